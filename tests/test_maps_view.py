"""The maps inspector without a browser: what it computes, what it draws, how its controls hang together."""

import dataclasses

import numpy as np
import pytest
import torch

from geodl_course import widgets
from geodl_course.models.unet_id_instances import grow_instances
from geodl_course.models.unet_id_targets import unet_id_targets
from geodl_course.widgets.maps_view import edges

IMAGE = np.random.default_rng(0).integers(0, 255, (3, 48, 64), dtype=np.uint8)
DISPLAY = IMAGE.transpose(1, 2, 0)
HOUSES = torch.zeros(3, 48, 64, dtype=torch.bool)
HOUSES[0, 10:30, 8:24] = HOUSES[1, 10:30, 24:44] = HOUSES[2, 36:46, 50:62] = True  # two share a wall, one stands alone
MAPS = 0.1 + 0.8 * unet_id_targets(HOUSES[None], torch.ones(1, 3, dtype=torch.bool))[0]


def state(**changes):
    return widgets.MapsState(DISPLAY, **{"maps": MAPS, "truth": HOUSES} | changes)


def test_instances_are_those_of_the_model():
    data = widgets.maps_compute(state())
    assert np.array_equal(data.ids, grow_instances(MAPS[None])[0].numpy())
    assert (data.found, data.false, data.missed) == (3, 0, 0) and data.pieces == (3, 2)
    assert data.over.sum((1, 2)).tolist() == [int((each > 0.5).sum()) for each in MAPS]
    words = widgets.maps_words(data)
    assert "<b>3 instances</b>: 3 of 3 objects found" in words and "false instances: 0" in words
    assert "3 separate pieces over 0.50, the segment map 2" in words


def test_pieces_of_the_segment_merge_neighbours():
    data = widgets.maps_compute(state(grow=False))
    assert data.ids.max() == 2 and (data.found, data.false, data.missed) == (2, 0, 1)  # the pair fits one: IoU 20 / 36
    assert "pieces of the segment map" in widgets.maps_draw(data).axes[0].get_title(loc="left")


def test_thresholds_work_each_on_its_map():
    assert widgets.maps_compute(state(inner=0.95)).ids.max() == 0
    assert widgets.maps_compute(state(inner=0.05)).ids.max() == 1  # all is one source
    only = widgets.maps_compute(state(segment=0.95))
    assert np.array_equal(only.ids > 0, MAPS[2].numpy() > 0.5)
    assert widgets.maps_compute(state(smallest=150)).ids.max() == 2
    assert not widgets.maps_compute(state(border=0.95)).over[0].any()


def test_without_truth_and_without_instances():
    data = widgets.maps_compute(state(truth=None, maps=torch.zeros(3, 48, 64)))
    assert data.found is None and data.ids.max() == 0
    assert widgets.maps_words(data).startswith("<b>0 instances</b>.<br>")
    widgets.maps_draw(data)
    none = widgets.maps_compute(state(truth=HOUSES[:0]))
    assert (none.found, none.false, none.missed) == (0, 3, 0)
    widgets.maps_draw(none)


def test_maps_of_another_size_are_named():
    with pytest.raises(ValueError, match=r"maps are \(3, 48, 48\).*\(3, 48, 64\)"):
        widgets.maps_compute(state(maps=MAPS[:, :, :48]))


def test_edges_run_between_pixels():
    ids = np.zeros((4, 6), int)
    ids[1:3, 1:3], ids[1:3, 3:6] = 1, 2
    found = {tuple(map(tuple, line)) for line in edges(ids).tolist()}
    assert len(found) == len(edges(ids)) == 2 + 2 + 2 + 2 * 5
    assert {((3, 1), (3, 2)), ((3, 2), (3, 3)), ((1, 1), (1, 2)), ((6, 1), (6, 2)), ((4, 3), (5, 3))} <= found
    assert edges(np.ones((1, 1), bool)).shape == (4, 2, 2) and edges(np.zeros((2, 2), bool)).shape == (0, 2, 2)


def test_drawing_shows_what_was_computed_and_reuses_its_artists():
    figure = widgets.maps_draw(widgets.maps_compute(state()))
    before = {id(artist) for artist in figure.findobj() if artist.get_gid()}
    data = widgets.maps_compute(state(inner=0.95, border=0.3))
    assert widgets.maps_draw(data, figure) is figure
    assert {id(artist) for artist in figure.findobj() if artist.get_gid()} == before
    drawn = {a.get_gid(): len(a.get_segments()) for a in figure.findobj(lambda a: hasattr(a, "get_segments"))
             if a.get_gid()}
    assert drawn["instances"] == drawn["edges inner"] == 0 and drawn["edges segment"] == 2 * (36 + 20) + 2 * (12 + 10)
    assert drawn["truth"] == 2 * (16 + 20) + 2 * (20 + 20) + 2 * (12 + 10)
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes[1:]] == [
        "border > 0.30", "segment > 0.50", "inner > 0.95"]  # fmt: skip
    first = widgets.png(figure)
    widgets.maps_draw(widgets.maps_compute(dataclasses.replace(data.state, inner=0.5)), figure)
    assert widgets.png(figure) != first


def test_shell_follows_every_control():
    inspector = widgets.maps(IMAGE, MAPS.requires_grad_(), HOUSES, inner=0.6)
    assert set(inspector.controls) == {"border", "segment", "inner", "smallest", "grow"}
    seen = [inspector.picture.value]
    for name, value, words in (("inner", 0.95, "<b>0 instances"), ("inner", 0.5, "<b>3 instances"),
                               ("smallest", 150, "<b>2 instances"), ("segment", 0.95, "the segment map 0 over 0.95"),
                               ("segment", 0.5, "2 over 0.50"), ("grow", False, "1 of 3 objects")):
        inspector.controls[name].value = value
        assert words in inspector.read_out.value
        seen.append(inspector.picture.value)
    assert all(one != other for one, other in zip(seen, seen[1:], strict=False))
