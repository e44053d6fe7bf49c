"""Checks of the exercises, by number. Each tries an answer on fresh random input and returns None when it is right,
or a sentence with a counter-example.

To add one, write a function below under its lecture's heading:

    @exercise("02.1")
    def generalised_iou(answer):
        a, b = random_boxes(20, seed=None), random_boxes(20, seed=None)
        worst = (answer(a, b) - torchvision.ops.generalized_box_iou(a, b).diagonal()).abs().argmax()
        ...

and at least two wrong answers that it must catch to tests/test_exercises.py.
"""

import torch
import torch.nn.functional as F

from geodl_course.ops.boxes import box_iou
from geodl_course.teaching import random_boxes

CHECKS = {}


def exercise(number):
    """Register the check of exercise `number`."""

    def register(check):
        assert number not in CHECKS, f"exercise {number} has two checks"
        CHECKS[number] = check
        return check

    return register


# --- lecture 03: Faster R-CNN -----------------------------------------------------------------------------------------


@exercise("03.1")
def smooth_l1(answer):
    for beta in (1.0, 0.11, 2.5):
        errors = torch.cat((torch.randn(40) * 2 * beta, torch.tensor([0.0, beta, -beta])))
        wanted = F.smooth_l1_loss(errors, torch.zeros_like(errors), reduction="none", beta=beta)
        found = answer(errors, beta)
        if found.shape != wanted.shape:
            return f"{len(errors)} errors make {len(errors)} losses, yours are {tuple(found.shape)}: do not average."
        worst = (found - wanted).abs().argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-5:
            return (f"For an error of {errors[worst]:.3f} and beta {beta} the loss is {wanted[worst]:.4f}, "
                    f"yours is {found[worst]:.4f}.")


@exercise("03.2")
def inside(answer):
    height, width = 96, 128  # not square, or a swap of the two would pass
    anchors = random_boxes(200, size=160, seed=None) - 16
    edges = torch.tensor([[0, 0, width, height], [-0.5, 3, 20, 30], [90, 60, width, height + 0.5], [100, 10, 128, 90]])
    anchors = torch.cat((anchors, edges))
    found = answer(anchors, (height, width))
    if found.shape != anchors.shape[:1] or found.dtype != torch.bool:
        return f"{len(anchors)} anchors make {len(anchors)} booleans, yours are {tuple(found.shape)} of {found.dtype}."
    for anchor, yours in zip(anchors, found, strict=True):
        x0, y0, x1, y1 = anchor.tolist()
        if bool(yours) != (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
            box = ", ".join(f"{value:.1f}" for value in anchor.tolist())
            return f"({box}) on an image {height} high and {width} wide is {'not ' * bool(yours)}inside."


@exercise("03.3")
def proposal_recall(answer):
    for bar in (0.5, 0.7):
        boxes = random_boxes(12, seed=None)
        proposals = torch.cat((boxes[:7] + torch.randn(7, 4), random_boxes(40, seed=None)))
        wanted = sum(1 for column in box_iou(proposals, boxes).T if column.max() >= bar) / len(boxes)
        found = float(answer(proposals, boxes, bar))
        if not abs(found - wanted) < 1e-6:
            return f"At IoU {bar}, {wanted * 12:.0f} of 12 objects are covered: {wanted:.3f}, yours is {found:.3f}."
    if float(answer(random_boxes(5) + 500, random_boxes(3), 0.5)) != 0:
        return "Proposals that touch no object cover none: 0."
