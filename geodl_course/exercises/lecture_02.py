"""Checks of lecture 02, boxes, anchors, suppression."""

import torch
import torchvision

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import random_boxes, written
from geodl_course.ops.boxes import box_area, box_iou


@exercise("02.1")
def generalised_iou(answer):
    a, b = random_boxes(40, seed=None), random_boxes(40, seed=None)
    near, far = a[:10] + 150, a[10:20] + 400  # apart: there the plain IoU is 0
    a, b = torch.cat((a, a[:20])), torch.cat((b, near, far))
    wanted, found = torchvision.ops.generalized_box_iou(a, b).diagonal(), answer(a, b)
    if found.shape != wanted.shape:
        return f"{len(a)} pairs have {len(a)} values, yours are {tuple(found.shape)}: row i goes with row i."
    worst = (found - wanted).abs().nan_to_num(torch.inf).argmax()
    if not (found[worst] - wanted[worst]).abs() < 1e-4:
        pair = f"{written(a[worst])} and {written(b[worst])}"
        return f"For {pair} it is {wanted[worst]:.4f}, yours is {found[worst]:.4f}."


@exercise("02.2")
def over_smaller(answer):
    a, b = random_boxes(12, seed=None), random_boxes(9, seed=None)
    b[:3] = a[:3] + torch.tensor([0.2, 0.1, -0.3, -0.2])  # nearly the same, and inside
    found = answer(a, b)
    if found.shape != (12, 9):
        return f"12 boxes against 9 are (12, 9) pairs, yours are {tuple(found.shape)}."
    for i, j in ((i, j) for i in range(12) for j in range(9)):
        width, height = (torch.minimum(a[i, 2:], b[j, 2:]) - torch.maximum(a[i, :2], b[j, :2])).clamp(min=0).tolist()
        wanted = width * height / min(box_area(a[i]), box_area(b[j]))
        if not abs(float(found[i, j]) - wanted) < 1e-4:
            return f"For {written(a[i])} and {written(b[j])} it is {wanted:.4f}, yours is {found[i, j]:.4f}."


@exercise("02.3")
def soft_nms(answer):
    for number, sigma in ((2, 0.5), (3, 0.5), (25, 0.5), (25, 0.2)):
        boxes, scores = random_boxes(number, size=30, seed=None), torch.rand(number)
        given, wanted, waiting = scores.clone(), scores.clone(), list(range(number))
        found = answer(boxes, scores, sigma)
        if not torch.equal(given, scores):
            return f"The {number} scores that went in were changed: work on scores.clone()."
        while waiting:
            best = max(waiting, key=lambda i: wanted[i])
            waiting.remove(best)
            wanted[waiting] *= torch.exp(-(box_iou(boxes[best, None], boxes[waiting])[0] ** 2) / sigma)
        if found.shape != wanted.shape:
            return f"{number} boxes have {number} scores, yours are {tuple(found.shape)}."
        worst = (found - wanted).abs().argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-4:
            return (f"Of {number} boxes, the one with score {given[worst]:.3f} ends at {wanted[worst]:.3f} with sigma "
                    f"{sigma}, yours at {found[worst]:.3f}.")
