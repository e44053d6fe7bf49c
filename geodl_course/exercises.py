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

CHECKS = {}


def exercise(number):
    """Register the check of exercise `number`."""

    def register(check):
        assert number not in CHECKS, f"exercise {number} has two checks"
        CHECKS[number] = check
        return check

    return register
