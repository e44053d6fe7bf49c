"""Multiply-adds counted by hand, and objects whose traits are plain to see."""

import numpy as np
import pytest
import torch
from torch import nn

from geodl_course import measure
from geodl_course.evaluation import match_detections
from geodl_course.measure import cost, missed_by_trait, result_file, stored, traits


def test_multiply_adds_of_layers_that_can_be_counted_by_hand():
    maps = torch.rand(2, 3, 8, 8)
    millions, milliseconds = cost(lambda: nn.Conv2d(3, 5, 3, padding=1)(maps), repeat=3)
    assert millions == pytest.approx(2 * 5 * 8 * 8 * 3 * 9 / 1e6)
    assert cost(lambda: torch.rand(4, 7) @ torch.rand(7, 9))[0] == pytest.approx(4 * 7 * 9 / 1e6)
    assert milliseconds > 0


def chip():
    """A grey chip of 64 px with five objects: plain, narrow, dark, cut, and two that nearly touch."""
    image = np.full((3, 64, 64), 120, np.uint8)
    image[:, 40:52, 5:17] = 20
    boxes = [[20, 5, 32, 17], [5, 5, 10, 30], [5, 40, 17, 52], [50, 20, 64, 32], [30, 40, 42, 52], [43, 40, 55, 52]]
    return image, {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor([1, 1, 1, 1, 2, 2])}


def test_each_trait_finds_its_object():
    small, dark, cut, near, every = traits(*chip()).values()
    assert small.tolist() == [False, True, False, False, False, False]
    assert dark.tolist() == [False, False, True, False, False, False]
    assert cut.tolist() == [False, False, False, True, False, False]
    assert near.tolist() == [False, False, False, False, True, True]
    assert every.all()


def test_brightness_is_taken_inside_the_box_alone():
    image = np.full((3, 64, 64), 200, np.uint8)
    image[:, 40:44, 5:8] = 150  # 0.75 of 200 is not under 0.75; one row or column more would be brighter, or dark
    image[:, 44, 5:9] = image[:, 40:45, 8] = 0
    target = {"boxes": torch.tensor([[5.0, 40, 8, 44]]), "labels": torch.tensor([1])}
    assert not traits(image, target)["dark: in shadow, or black"].any()


def test_objects_of_another_class_are_no_neighbours():
    image, target = chip()
    target["labels"][4] = 1
    assert not traits(image, target)["under 2 px from one of its class"].any()


def test_missed_objects_are_counted_by_trait():
    image, target = chip()
    found = torch.tensor([0, 2, 3])
    detections = {"boxes": target["boxes"][found], "labels": target["labels"][found], "scores": torch.ones(3)}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    nothing = {**empty, "scores": torch.zeros(0)}
    outcomes = [match_detections(detections, target), match_detections(nothing, empty)]
    table = missed_by_trait([image, image], [target, empty], outcomes)
    assert table["objects"].tolist() == [1, 1, 1, 2, 6]
    assert table["missed"].tolist() == [1, 0, 0, 2, 3]
    assert table["share"].tolist() == [1, 0, 0, 1, 0.5]


def test_stored_figures_come_run_by_run_and_nothing_is_no_error(tmp_path, monkeypatch):
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    (results / "speed.json").write_text('{"runs": [{"figures": {"a": 1}}, {"figures": {"a": 2}}]}')
    monkeypatch.setattr(measure, "__file__", str(tmp_path / "geodl_course" / "measure.py"))
    assert stored("speed") == [{"a": 1}, {"a": 2}]
    assert stored("never") == []


def test_a_result_file_that_is_not_there_is_told(capsys):
    assert result_file("speed.json").name == "speed.json" and not capsys.readouterr().out
    assert result_file("never.png") is None and "never.png is not there yet" in capsys.readouterr().out
