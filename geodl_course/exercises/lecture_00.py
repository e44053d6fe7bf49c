"""Checks of lecture 00, welcome."""

import torch

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import random_boxes, written


@exercise("00.1")
def centres(answer):
    boxes = random_boxes(6, seed=None)
    wanted = torch.stack([boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)], 1)
    found = torch.as_tensor(answer(boxes))
    if found.shape != wanted.shape:
        return f"6 boxes have centres of shape (6, 2), yours is {tuple(found.shape)}."
    worst = (found - wanted).abs().amax(1).argmax()
    if not torch.allclose(found, wanted, atol=1e-3):
        return f"The centre of {written(boxes[worst])} is {written(wanted[worst])}, yours is {written(found[worst])}."
