"""Checks of the exercises, a file for each lecture. Each tries an answer on fresh random input and returns None when it
is right, or a sentence with a counter-example.

To add one to lecture_02.py:

    @exercise("02.1")
    def generalised_iou(answer):
        a, b = random_boxes(20, seed=None), random_boxes(20, seed=None)
        worst = (answer(a, b) - torchvision.ops.generalized_box_iou(a, b).diagonal()).abs().argmax()
        ...

and at least two wrong answers that it must catch to tests/test_exercises.py.
"""

import importlib

CHECKS = {}


def exercise(number):
    """Register the check of exercise `number`."""

    def register(check):
        assert number not in CHECKS, f"exercise {number} has two checks"
        CHECKS[number] = check
        return check

    return register


def find(number):
    """The check of exercise `number`."""
    if number not in CHECKS:  # by name: a check that is added for one lecture makes no other notebook stale
        importlib.import_module(f"{__name__}.lecture_{number[:2]}")
    return CHECKS[number]
