"""Budgets, proofs and checks as a notebook uses them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import geodl_course
from geodl_course import exercises, teaching
from geodl_course.models.detections import Detections


@pytest.mark.parametrize(
    "variable, cuda, name, chips",
    [(None, False, "quick", 2), (None, True, "full", 20), ("quick", True, "quick", 2), ("full", False, "full", 20)],
)
def test_budget_follows_the_machine_and_the_variable(monkeypatch, variable, cuda, name, chips):
    monkeypatch.delenv("GEODL_BUDGET", raising=False)
    if variable:
        monkeypatch.setenv("GEODL_BUDGET", variable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    budget = teaching.budget(chips=(2, 20), batch_size=8)
    assert (budget.name, budget.chips, budget.batch_size) == (name, chips, 8)
    assert repr(budget) == f"{name} budget\n  chips       {chips}\n  batch_size  8"


def test_budget_names_what_is_wrong(monkeypatch):
    monkeypatch.setenv("GEODL_BUDGET", "fast")
    with pytest.raises(ValueError, match="'fast'; set it to quick or full"):
        teaching.budget()
    monkeypatch.setenv("GEODL_BUDGET", "quick")
    with pytest.raises(AttributeError, match="no 'epoch'; it has epochs"):
        _ = teaching.budget(epochs=3).epoch


@pytest.mark.parametrize("version", ["9.9", "0.0.9"])
def test_require_names_both_versions_and_the_next_step(version):
    teaching.require(geodl_course.__version__)
    message = rf"written for geodl_course {version}, installed is {geodl_course.__version__}.*git pull"
    with pytest.raises(ImportError, match=message):
        teaching.require(version)


def test_check_same_prints_the_difference_and_the_count(capsys):
    teaching.check_same(lambda a: a, lambda a: a + 1e-6, torch.zeros(3, 5))
    assert capsys.readouterr().out == "equal to 1e-06 on 15 values\n"
    teaching.check_same(lambda: (1, [2.0, np.nan]), lambda: (np.int64(1), [2.0, np.nan]))
    assert capsys.readouterr().out == "equal to 0e+00 on 3 values\n"
    teaching.check_same(lambda: torch.tensor([True, False]), lambda: np.array([True, False]))
    teaching.check_same(lambda: torch.tensor([np.inf, 1.0]), lambda: torch.tensor([np.inf, 1.0]))


class Fixed(torch.nn.Module):
    """A detector that finds boxes (D, 4) with labels (D,) on each image, in torchvision's way or in ours."""

    def __init__(self, boxes, labels, batched):
        super().__init__()
        self.boxes, self.labels, self.batched = torch.tensor(boxes).view(-1, 4), torch.tensor(labels), batched

    def forward(self, images):
        if not self.batched:
            return [{"boxes": self.boxes, "labels": self.labels} for _ in images]
        row = self.boxes[None].expand(len(images), -1, -1), torch.ones(len(images), len(self.labels))
        return Detections(*row, self.labels.expand(len(images), -1), row[1].bool())


@pytest.mark.parametrize(
    "boxes, labels, words",
    [
        ([[1.0, 2, 3, 4]], [1], "2 boxes; agree to 1e-3 px: True; same classes: True\n"),
        ([[1.0, 2, 3, 4.5]], [1], "2 boxes; agree to 1e-3 px: False; same classes: True\n"),
        ([[1.0, 2, 3, np.nan]], [1], "2 boxes; agree to 1e-3 px: False; same classes: True\n"),
        ([[1.0, 2, 3, 4]], [2], "2 boxes; agree to 1e-3 px: True; same classes: False\n"),
    ],
)
def test_detectors_are_compared_box_by_box(boxes, labels, words, capsys):
    reference, images = Fixed([[1.0, 2, 3, 4]], [1], False), torch.zeros(2, 3, 8, 8)
    teaching.check_same_detections(reference, Fixed(boxes, labels, True), images)
    assert capsys.readouterr().out == words


class WithMask(Fixed):
    """Fixed that finds, for its one box, a mask (H, W) as well: probabilities in torchvision's way, bool in ours."""

    def __init__(self, mask, batched):
        super().__init__([[1.0, 2, 3, 4]], [1], batched)
        self.mask = mask

    def forward(self, images):
        found = super().forward(images)
        if self.batched:
            return replace(found, masks=self.mask.expand(len(images), 1, -1, -1))
        return [{**one, "masks": self.mask[None, None] * 0.9} for one in found]


@pytest.mark.parametrize("wrong, words", [(0, "True"), (1, "True"), (2, "False"), (1000, "False")])
def test_masks_are_compared_on_the_pixels_of_either(wrong, words, capsys):
    theirs = torch.zeros(100, 100, dtype=torch.bool)
    theirs[:10] = True
    ours = theirs.flatten().clone()
    ours[:wrong] = False
    ours = WithMask(ours.view(100, 100), True)
    teaching.check_same_detections(WithMask(theirs, False), ours, torch.zeros(1, 3, 8, 8))
    assert capsys.readouterr().out.splitlines()[1] == f"masks: 99.9 % of the pixels in either one agree: {words}"


def test_detectors_that_find_other_numbers_of_boxes_are_told():
    ours = Fixed(np.zeros((0, 4), np.float32), np.zeros(0, int), True)
    with pytest.raises(AssertionError, match=r"\[1, 1\] by the reference, \[0, 0\] by ours"):
        teaching.check_same_detections(Fixed([[1.0, 2, 3, 4]], [1], False), ours, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    "ours, theirs, message",
    [
        (torch.zeros(2), torch.tensor([0, 1e-3]), "differ by 1.0e-03"),
        (torch.zeros(2), torch.zeros(2, 1), "shapes differ"),
        (torch.zeros(2), (torch.zeros(2), torch.zeros(2)), "shapes differ"),
        (torch.zeros(2), torch.tensor([0, np.nan]), "differ by"),
        (torch.zeros(2), torch.tensor([0, np.inf]), "differ by"),
        (torch.tensor([True]), torch.tensor([False]), "differ by"),
    ],
)
def test_check_same_raises_on_any_difference(ours, theirs, message, capsys):
    with pytest.raises(AssertionError, match=message):
        teaching.check_same(lambda: ours, lambda: theirs)
    assert capsys.readouterr().out == ""


@pytest.fixture
def register(monkeypatch):
    monkeypatch.setattr(exercises, "CHECKS", {})

    @exercises.exercise("99.1")
    def double(answer):
        return None if answer(3) == 6 else f"of 3 it makes {answer(3)}"


def unfinished(x):
    raise NotImplementedError("exercise 99.1")


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda x: 2 * x, "right"),
        (lambda x: x + 1, "not yet. of 3 it makes 4"),
        (lambda x: None, "not yet. of 3 it makes None"),
        (lambda x: x / 0, "stops with ZeroDivisionError: division by zero"),
        (unfinished, "not done yet"),
    ],
)
def test_check_tells_right_from_wrong_from_not_done(register, capsys, answer, words):
    teaching.check("99.1", answer)
    assert capsys.readouterr().out == f"Exercise 99.1: {words}\n"


def test_a_number_is_registered_once(register):
    with pytest.raises(AssertionError, match="two checks"):
        exercises.exercise("99.1")(print)


@given(number=st.integers(0, 50), size=st.integers(2, 2000), seed=st.integers(0, 99))
def test_random_boxes_are_proper_boxes_inside_the_chip(number, size, seed):
    boxes = teaching.random_boxes(number, size, seed)
    assert boxes.shape == (number, 4)
    assert (boxes >= 0).all() and (boxes <= size).all() and (boxes[:, 2:] - boxes[:, :2] >= 0.99).all()
    assert torch.equal(boxes, teaching.random_boxes(number, size, seed))


def test_random_boxes_without_a_seed_differ_each_time():
    assert not torch.equal(teaching.random_boxes(5, seed=None), teaching.random_boxes(5, seed=None))
