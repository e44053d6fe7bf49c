"""The grid inspector without a browser: what it computes, what it draws, how its controls hang together."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodl_course import widgets
from geodl_course.models.yolo_v1 import encode_cells
from geodl_course.teaching import random_boxes

IMAGE = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
DISPLAY = IMAGE.transpose(1, 2, 0)
OBJECTS = torch.tensor([[8, 8, 24, 24.0], [40, 30, 52, 36], [10, 10, 26, 26]])  # centres (16, 16), (46, 33), (18, 18)
LABELS = torch.tensor([1, 2, 1])
CLASSES = ("house", "car")


def state(**changes):
    given = {"boxes": OBJECTS, "labels": LABELS, "classes": CLASSES, "grid": 4, "row": 1, "col": 1}
    return widgets.GridState(DISPLAY, **given | changes)


def said(grid=4):
    """An output that says of cell (1, 1): box 2 is object 0, nearly; and of all others nothing."""
    output = torch.zeros(grid, grid, 12)
    goal = encode_cells(OBJECTS[:1].expand(grid**2, 4)[None], (64, 64), grid)[0, grid + 1]
    output[1, 1] = torch.tensor([0.5, 0.5, 0.1, 0.1, 0.2, *goal.tolist(), 0.9, 0.8, 0.1])
    return output


def test_cells_without_a_network():
    data = widgets.grid_compute(state())
    assert data.answers.tolist() == [[-1] * 4, [-1, 0, -1, -1], [-1, -1, 1, -1], [-1] * 4]
    assert data.lost == [2]
    assert data.said.isnan().all() and data.responsible == 0
    assert data.boxes.tolist() == [[8, 8, 24, 24]]
    wanted = dict(zip(data.names, data.wanted.tolist(), strict=True))
    assert wanted == {"box 1: x": 0, "box 1: y": 0, "box 1: √w": 0.5, "box 1: √h": 0.5, "box 1: confidence": 1,
                      "house": 1, "car": 0}  # fmt: skip
    assert widgets.grid_compute(state(grid=8)).lost == [2]
    assert widgets.grid_compute(state(grid=32)).lost == []


def test_empty_cell_wants_no_confidence_and_nothing_else():
    data = widgets.grid_compute(state(row=0, col=0, output=said()))
    assert data.responsible == -1
    wanted = dict(zip(data.names, data.wanted.tolist(), strict=True))
    assert [name for name, value in wanted.items() if value == 0] == ["box 1: confidence", "box 2: confidence"]
    assert all(np.isnan(value) for name, value in wanted.items() if "confidence" not in name)
    assert "answers for no object" in widgets.grid_words(data)


def test_responsible_box_is_compared_with_the_object():
    data = widgets.grid_compute(state(output=said()))
    assert data.responsible == 1 and data.iou[1] == pytest.approx(1)
    assert data.said.tolist() == pytest.approx(said()[1, 1].tolist())
    names = dict(zip(data.names, data.wanted.tolist(), strict=True))
    assert names["box 2: confidence"] == pytest.approx(1) and names["box 1: confidence"] == 0
    assert np.isnan(names["box 1: x"])
    assert len(data.sure) == 1 and data.sure[0].tolist() == pytest.approx([8, 8, 24, 24])
    assert len(widgets.grid_compute(state(output=said(), confidence=0.1)).sure) == 2
    words = widgets.grid_words(data)
    assert "answers for object 0</b>, a house; box 2 is responsible: IoU 1.00" in words
    assert "1 of 3 objects share a cell" in words


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20), st.integers(1, 16))
def test_every_object_is_answered_for_or_lost(seed, count, grid):
    boxes, labels = random_boxes(count, size=64, seed=seed), torch.ones(count, dtype=torch.long)
    data = widgets.grid_compute(state(boxes=boxes, labels=labels, grid=grid, row=0, col=0))
    answered = data.answers[data.answers >= 0].tolist()
    assert sorted(answered + data.lost) == list(range(count))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for row, col in torch.nonzero(data.answers >= 0).tolist():
        x, y = centres[data.answers[row, col]].tolist()
        assert (int(y * grid / 64), int(x * grid / 64)) == (row, col)


def test_impossible_states_are_named():
    with pytest.raises(ValueError, match="4 x 4 grid"):
        widgets.grid_compute(state(row=4))
    with pytest.raises(ValueError, match="for K = 2"):
        widgets.grid_compute(state(output=torch.zeros(4, 4, 11)))


def test_drawing_shows_what_was_computed_and_reuses_its_artists():
    figure = widgets.grid_draw(widgets.grid_compute(state()))
    before = {id(artist) for artist in figure.findobj() if artist.get_gid()}
    data = widgets.grid_compute(state(output=said()))
    assert widgets.grid_draw(data, figure) is figure
    assert {id(artist) for artist in figure.findobj() if artist.get_gid()} == before
    drawn = {c.get_gid(): len(c.get_paths()) for c in figure.findobj(lambda a: hasattr(a, "get_paths") and a.get_gid())}
    assert drawn["grid"] == 16 and drawn["answering"] == 2 and drawn["objects"] == 3 and drawn["boxes lost"] == 1
    assert drawn["boxes responsible"] == drawn["boxes other"] == drawn["boxes sure"] == 1
    assert drawn["said"] == 12
    first = widgets.png(figure)
    widgets.grid_draw(widgets.grid_compute(dataclasses.replace(data.state, row=0)), figure)
    assert widgets.png(figure) != first


def test_the_legend_names_what_is_in_the_picture():
    def named(given):
        return {text.get_text() for text in widgets.grid_draw(widgets.grid_compute(given)).legends[0].get_texts()}

    only_a_network_has = {"the network says", "other box of the cell", "sure boxes of all cells", "responsible box"}
    assert only_a_network_has <= named(state(output=said()))
    assert not only_a_network_has & named(state()) and "its object" in named(state())


def test_chip_without_objects():
    empty = state(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), output=said())
    data = widgets.grid_compute(empty)
    assert (data.answers == -1).all() and data.lost == []
    widgets.grid_draw(data)
    assert "0 of 0 objects" in widgets.grid_words(data)


def test_shell_keeps_its_place_when_the_grid_changes():
    inspector = widgets.grid(IMAGE, OBJECTS, LABELS, CLASSES, grids=(4, 8), grid=4)
    controls = inspector.controls
    assert set(controls) == {"row", "col", "grid"}
    controls["row"].value, controls["col"].value = 1, 3
    controls["grid"].value = 8
    assert (controls["row"].value, controls["col"].value) == (3, 7) and controls["row"].max == 7
    assert "Cell (3, 7) of 8 × 8" in inspector.read_out.value
    controls["grid"].value = 4
    assert "Cell (1, 3) of 4 × 4" in inspector.read_out.value


def test_shell_with_a_network_has_its_grid():
    inspector = widgets.grid(IMAGE, OBJECTS, LABELS, CLASSES, said(), row=1, col=1)
    assert set(inspector.controls) == {"row", "col", "confidence"}
    first = inspector.picture.value
    assert "confidence 0.50 or more: 1." in inspector.read_out.value
    inspector.controls["confidence"].value = 0.1
    assert "or more: 2." in inspector.read_out.value and inspector.picture.value != first
