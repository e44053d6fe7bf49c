"""Checks of lecture 03, Faster R-CNN."""

import torch
import torch.nn.functional as F

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import random_boxes, written
from geodl_course.ops.boxes import box_iou


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
            return f"{written(anchor)} on an image {height} high and {width} wide is {'not ' * bool(yours)}inside."


@exercise("03.3")
def proposal_recall(answer):
    for bar in (0.5, 0.7):
        boxes = random_boxes(12, seed=None)
        share = torch.tensor([1, 1, 0.6, 1])  # x1 comes closer: IoU 0.6, which only one of the bars accepts
        shrunk = boxes[7:10] * share + boxes[7:10, [0, 1, 0, 3]] * (1 - share)
        proposals = torch.cat((boxes[:7] + torch.randn(7, 4), shrunk, random_boxes(20, size=40, seed=None) + 200))
        wanted = sum(1 for column in box_iou(proposals, boxes).T if column.max() >= bar) / len(boxes)
        found = float(answer(proposals, boxes, bar))
        if not abs(found - wanted) < 1e-6:
            return f"At IoU {bar}, {wanted * 12:.0f} of 12 objects are covered: {wanted:.3f}, yours is {found:.3f}."
    if float(answer(random_boxes(5) + 500, random_boxes(3), 0.5)) != 0:
        return "Proposals that touch no object cover none: 0."
