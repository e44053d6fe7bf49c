"""The inspectors without a browser: what they compute, what they draw, and how their controls hang together."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from geodl_course import widgets
from geodl_course.ops.boxes import box_iou
from geodl_course.widgets import drawing, shell

IMAGE = np.random.default_rng(0).integers(0, 255, (3, 64, 96), dtype=np.uint8)
DISPLAY = IMAGE.transpose(1, 2, 0)
OBJECTS = torch.tensor([[8, 8, 24, 24.0], [40, 30, 52, 36], [60, 10, 92, 58]])


def anchor_state(**changes):
    return widgets.AnchorState(DISPLAY, **{"boxes": OBJECTS, "stride": 8, "row": 2, "col": 2} | changes)


def boxes_and_scores(seed, count, levels=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 30], 1)
    scores = torch.rand(count, generator=generator)
    return boxes, (scores * levels).round() / levels if levels else scores


# ---- anchors


def test_anchor_on_an_object_is_positive_and_the_others_follow_their_thresholds():
    data = widgets.anchors_compute(anchor_state(sizes=(16, 12, 64), ratios=(1.0,)))  # centred on (16, 16): object 0
    assert data.anchors.tolist()[0] == [8, 8, 24, 24]
    assert data.iou[0] == 1 and data.matched[0] == 0
    assert data.iou[1] == pytest.approx(144 / 256)
    assert data.label.tolist() == [1, -1, 0]


def test_every_object_gets_an_anchor_however_bad():
    data = widgets.anchors_compute(anchor_state(sizes=(4,), ratios=(1.0,)))
    assert (data.reached < 0.7).all()
    assert (data.labels == 1).sum() >= len(OBJECTS)
    row, col = (index[0].item() for index in torch.where(data.labels[..., 0] == 1))
    there = widgets.anchors_compute(anchor_state(sizes=(4,), ratios=(1.0,), row=row, col=col))
    assert there.forced.tolist() == [True]


def test_without_force_an_object_may_wait_for_another_map():
    data = widgets.anchors_compute(anchor_state(sizes=(4,), ratios=(1.0,), force=False))
    assert (data.labels != 1).all() and not data.forced.any()
    assert f"{len(OBJECTS)} of {len(OBJECTS)} objects" in widgets.anchors_words(data)
    assert "rely on" not in widgets.anchors_words(data) and "on this map" in widgets.anchors_words(data)


@settings(max_examples=20, deadline=None)
@given(stride=st.sampled_from([4, 8, 16, 32]), seed=st.integers(0, 10**6), negative=st.floats(0.1, 0.4))
def test_anchor_cell_is_one_cell_of_the_whole_map(stride, seed, negative):
    boxes, _ = boxes_and_scores(seed, 5)
    state = widgets.AnchorState(DISPLAY[:50, :90], boxes, stride=stride, row=1, col=2, negative=negative)
    data = widgets.anchors_compute(state)
    assert data.grid == (-(-50 // stride), -(-90 // stride))  # a strip that fills no whole cell gets one too
    assert data.labels[1, 2].tolist() == data.label.tolist()
    centre = (data.anchors[:, :2] + data.anchors[:, 2:]) / 2
    torch.testing.assert_close(centre, data.centres[1, 2].expand_as(centre))
    best = torchvision.ops.box_iou(data.anchors, boxes).amax(1)
    torch.testing.assert_close(data.iou, best)
    assert (best[data.label == 0] < negative).all()
    assert (best[data.label == -1] >= negative).all() and (best[data.label == -1] < 0.7).all()
    assert torch.equal(data.forced, (data.label == 1) & (best < 0.7))


def test_chip_without_objects_has_only_negative_anchors():
    data = widgets.anchors_compute(anchor_state(boxes=torch.zeros(0, 4)))
    assert (data.labels == 0).all()
    assert "0 of 0 objects" in widgets.anchors_words(data)
    widgets.anchors_draw(data)


def test_each_map_may_have_anchors_of_its_own():
    cells = {8: torch.tensor([[-4.0, -4, 12, 12]]), 16: torch.tensor([[-8.0, -8, 24, 24], [0, 4, 16, 12]])}
    data = widgets.anchors_compute(anchor_state(cells=cells, sizes=(), ratios=(), row=1, col=1))
    assert data.anchors.tolist() == [[4, 4, 20, 20]]
    inspector = widgets.anchors(IMAGE, OBJECTS, cells=cells, positive=0.5, negative=0.5)
    assert set(inspector.controls) == {"stride", "row", "col", "iou"}
    assert inspector.controls["stride"].options == (8, 16) and "of 1 anchors" in inspector.read_out.value
    inspector.controls["stride"].value = 16
    assert "of 2 anchors" in inspector.read_out.value and "0 ignored" in inspector.read_out.value
    assert len(inspector.figure.axes[1].get_yticks()) == 2


@pytest.mark.parametrize("changes, words", [({"sizes": ()}, "at least one size"), ({"row": 8}, "8 x 12")])
def test_impossible_anchor_states_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        widgets.anchors_compute(anchor_state(**changes))


# ---- non-maximum suppression


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(0, 1), st.sampled_from([0, 8]), st.booleans())
def test_walk_keeps_what_torchvision_keeps(seed, count, threshold, levels, grouped):
    boxes, scores = boxes_and_scores(seed, count, levels)
    groups = torch.arange(count) % 3 if grouped else None
    events = widgets.nms_walk(box_iou(boxes, boxes), scores, threshold, groups)
    apart = boxes + (groups[:, None] * 1000 if grouped else 0)
    assert [kept for kept, _ in events] == torchvision.ops.nms(apart, scores, threshold).tolist()
    everybody = [i for kept, gone in events for i in [kept, *gone]]
    assert sorted(everybody) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30), st.floats(0, 1), st.floats(0.1, 0.9), st.integers(0, 40))
def test_every_box_is_in_one_group_at_every_step(seed, count, score, iou, step):
    boxes, scores = boxes_and_scores(seed, count)
    data = widgets.nms_compute(widgets.NmsState(DISPLAY, boxes, scores, None, score, iou, step))
    groups = [data.kept, data.kept_before, data.suppressed, data.suppressed_before, data.waiting]
    assert sorted(sum(groups, [])) == sorted(data.order)
    assert sorted(data.order + data.below) == list(range(count))
    assert len(data.kept + data.kept_before) == min(step, data.steps)
    assert all(overlap > iou for overlap in data.overlap)
    assert scores[data.order].tolist() == sorted(scores[data.order].tolist(), reverse=True)
    if step >= data.steps:
        assert not data.waiting


def test_boxes_of_other_classes_do_not_suppress():
    boxes, scores = torch.tensor([[0, 0, 10, 10.0], [0, 0, 10, 10]]), torch.tensor([0.9, 0.8])
    state = widgets.NmsState(DISPLAY, boxes, scores, step=9)
    assert widgets.nms_compute(state).suppressed == [1]
    apart = widgets.nms_compute(dataclasses.replace(state, groups=torch.tensor([1, 2])))
    assert apart.steps == 2 and not apart.suppressed + apart.suppressed_before


# ---- drawing


def groups_drawn(figure):
    paths = {c.get_gid(): c for c in figure.findobj(lambda a: hasattr(a, "get_paths") and a.get_gid())}
    return {gid: len(c.get_offsets()) if gid.startswith("centres") else len(c.get_paths()) for gid, c in paths.items()}


def test_anchor_drawing_shows_what_was_computed_and_reuses_its_artists():
    data = widgets.anchors_compute(anchor_state())
    figure = widgets.anchors_draw(data)
    assert isinstance(figure, Figure)
    artists = figure.findobj()
    other = widgets.anchors_compute(anchor_state(stride=16, row=1, col=4, sizes=(16, 32), positive=0.5))
    assert widgets.anchors_draw(other, figure) is figure
    before = {id(a) for a in artists if a.get_gid()}
    assert {id(a) for a in figure.findobj() if a.get_gid()} == before
    drawn = groups_drawn(figure)
    for label in (1, 0, -1):
        assert drawn[f"anchors {label}"] == drawn[f"bars {label}"] == (other.label == label).sum()
    assert sum(drawn[f"centres {label}"] for label in (1, 0, -1)) == other.grid[0] * other.grid[1]


def test_nms_drawing_shows_what_was_computed():
    boxes, scores = boxes_and_scores(3, 30)
    state = widgets.NmsState(DISPLAY, boxes, scores, iou=0.2)
    figure = widgets.nms_draw(widgets.nms_compute(state))
    data = widgets.nms_compute(dataclasses.replace(state, step=3))
    widgets.nms_draw(data, figure)
    drawn = groups_drawn(figure)
    for group in ("kept", "kept_before", "suppressed", "suppressed_before", "waiting"):
        assert drawn[f"boxes {group}"] == drawn[f"bars {group}"] == len(getattr(data, group))
    assert len(data.suppressed) and f"suppresses {len(data.suppressed)}<" in widgets.nms_words(data)


def test_a_new_step_changes_the_picture():
    boxes, scores = boxes_and_scores(3, 30)
    state = widgets.NmsState(DISPLAY, boxes, scores)
    figure = widgets.nms_draw(widgets.nms_compute(state))
    first = widgets.png(figure)
    widgets.nms_draw(widgets.nms_compute(dataclasses.replace(state, step=1)), figure)
    assert widgets.png(figure) != first


# ---- the shells


def test_anchor_shell_keeps_its_place_when_the_map_changes():
    inspector = widgets.anchors(IMAGE, OBJECTS, strides=(4, 16), sizes=(16, 32))
    controls = inspector.controls
    controls["row"].value, controls["col"].value = 9, 20
    first = inspector.picture.value
    controls["stride"].value = 16
    assert (controls["row"].value, controls["col"].value) == (2, 5)
    assert (controls["row"].max, controls["col"].max) == (3, 5)
    assert "Cell (2, 5) of 4 × 6" in inspector.read_out.value
    assert inspector.picture.value != first
    controls["stride"].value = 4
    controls["row"].value = 15
    assert "Cell (15, " in inspector.read_out.value


def test_anchor_shell_says_what_is_missing_and_recovers():
    inspector = widgets.anchors(IMAGE, OBJECTS, sizes=(16,))
    inspector.controls["size 16"].value = False
    assert inspector.read_out.value == "choose at least one size and one ratio"
    inspector.controls["size 16"].value = True
    assert "positive" in inspector.read_out.value


def test_nms_shell_follows_its_thresholds():
    boxes, scores = boxes_and_scores(3, 30)
    inspector = widgets.nms(IMAGE, boxes, scores, step=2, iou=0.9)
    assert inspector.controls["step"].max == len(torchvision.ops.nms(boxes, scores, 0.9)[: (scores >= 0.05).sum()])
    inspector.controls["iou"].value = 0.1
    chosen = scores >= 0.05
    assert inspector.controls["step"].max == len(torchvision.ops.nms(boxes[chosen], scores[chosen], 0.1))
    assert "Step 2 of" in inspector.read_out.value
    inspector.controls["score"].value = 1.0
    assert "nothing decided" in inspector.read_out.value


def test_a_control_moved_while_the_picture_is_drawn_is_not_lost():
    """ipykernel 7 handles a control's first event in the main thread, later ones in another: two at once happen."""
    import ipywidgets

    controls, drawn, go_on = {name: ipywidgets.IntSlider() for name in "ab"}, threading.Event(), threading.Event()

    def compute(state):
        if state == [1, 0]:
            drawn.set()
            assert go_on.wait(20)
        return state

    def draw(data, figure=None):
        return figure or drawing.new_figure()[0]

    def choose(old):
        return [control.value for control in controls.values()]

    inspector = shell.inspector([0, 0], compute, draw, str, controls, choose, ["ab"])
    threads = [threading.Thread(target=setattr, args=(control, "value", 1)) for control in controls.values()]
    threads[0].start()
    assert drawn.wait(20)
    threads[1].start()
    threads[1].join(0.3)  # long enough to be turned away, or to wait for its turn
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert inspector.read_out.value == "[1, 1]"


def test_reader_without_a_kernel_gets_a_picture():
    bundle = widgets.anchors(IMAGE, OBJECTS)._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert bundle["image/png"].startswith("iVBORw0KGgo")


def test_any_band_count():
    bands = np.random.default_rng(1).integers(0, 4000, (5, 32, 32)).astype(np.uint16)
    assert widgets.anchors(bands, OBJECTS[:1]).picture.value
