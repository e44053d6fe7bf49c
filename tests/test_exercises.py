"""The checks of the exercises: the right answer passes, each likely wrong answer is caught with a counter-example.

The solutions themselves are run by the solutions' notebooks; here stand answers that students really give.
"""

import re

import pytest
import torch

from geodl_course.exercises import CHECKS
from geodl_course.ops.boxes import box_iou


def smooth_l1(error, beta):
    return torch.where(error.abs() < beta, 0.5 * error**2 / beta, error.abs() - 0.5 * beta)


def inside(anchors, size):
    return (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= size[1]) & (anchors[:, 3] <= size[0])


def proposal_recall(proposals, boxes, iou):
    return (box_iou(proposals, boxes).amax(0) >= iou).float().mean()


RIGHT = {"03.1": smooth_l1, "03.2": inside, "03.3": proposal_recall}

WRONG = {
    "03.1": {
        "beta forgotten": lambda error, beta: smooth_l1(error, 1.0),
        "sign forgotten": lambda error, beta: torch.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta),
        "averaged": lambda error, beta: smooth_l1(error, beta).mean(),
    },
    "03.2": {
        "height and width swapped": lambda anchors, size: inside(anchors, size[::-1]),
        "border excluded": lambda anchors, size: inside(anchors, size) & (anchors[:, 2] < size[1]),
        "touching is enough": lambda anchors, size: (anchors[:, 2] > 0) & (anchors[:, 0] < size[1]),
    },
    "03.3": {
        "share of proposals": lambda proposals, boxes, iou: (box_iou(proposals, boxes).amax(1) >= iou).float().mean(),
        "bar fixed": lambda proposals, boxes, iou: proposal_recall(proposals, boxes, 0.5),
        "best proposal for all": lambda proposals, boxes, iou: (box_iou(proposals, boxes).amax() >= iou).float(),
    },
}


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_passes(number):
    assert CHECKS[number](RIGHT[number]) is None


@pytest.mark.parametrize("number, name", [(number, name) for number, wrong in WRONG.items() for name in wrong])
def test_a_wrong_answer_gets_a_counter_example(number, name):
    assert re.search(r"\d.*\.$", CHECKS[number](WRONG[number][name]))  # a sentence with figures in it


def test_every_check_is_tried():
    assert set(CHECKS) == set(RIGHT) == set(WRONG), "give a new check a right answer and wrong ones here"
    assert all(len(wrong) >= 2 for wrong in WRONG.values())
