"""The figures: what is drawn, where, and in which look. How they look was judged by eye."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from geodl_course import evaluation, plots

CLASSES = ["building", "tank", "vehicle"]


def groups(ax):
    """{colour: (number of boxes, line style)} of what draw_boxes left on an axes."""
    drawn = [c for c in ax.collections if isinstance(c, PolyCollection) and len(c.get_paths())]
    return {to_hex(c.get_edgecolor()[0]).upper(): (len(c.get_paths()), c.get_linestyle()[0][1]) for c in drawn}


def info(bands=("red", "green", "blue"), nodata=None):
    return SimpleNamespace(bands=list(bands), nodata=nodata)


def test_eight_bit_colours_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    assert (plots.to_rgb(torch.from_numpy(image)) == image.transpose(1, 2, 0)).all()


def test_bands_are_found_by_name():
    image = np.stack([np.full((4, 4), v, np.uint8) for v in (10, 20, 30, 40)])
    assert plots.to_rgb(image, info(["nir", "Red", "green", "blue"]))[0, 0].tolist() == [20, 30, 40]
    assert plots.to_rgb(image, bands=(3, 0, 0))[0, 0].tolist() == [40, 10, 10]
    assert plots.to_rgb(image[:2])[0, 0].tolist() == [10, 10, 10]


def test_other_types_are_stretched_and_nodata_is_grey():
    ramp = np.linspace(0, 5000, 10_000).reshape(1, 100, 100).astype(np.uint16)
    shown = plots.to_rgb(ramp)[..., 0]
    assert shown[0, 0] == 0 and shown[-1, -1] == 255 and 120 < shown[50, 0] < 135
    assert (shown == 0).mean() == pytest.approx(0.02, abs=0.005)
    holed = ramp.astype(np.float32)
    holed[0, :50] = np.nan
    shown = plots.to_rgb(holed)[..., 0]
    assert (shown[:50] == plots.NO_DATA).all() and 120 < shown[75, 0] < 135
    assert (plots.to_rgb(np.zeros((3, 4, 4), np.uint8), info(nodata=0)) == plots.NO_DATA).all()
    assert plots.to_rgb(np.full((1, 4, 4), np.nan, np.float32)).shape == (4, 4, 3)


def test_nodata_in_one_band_is_a_hole_in_floats_and_a_shadow_in_bytes():
    floats = np.stack([np.full((1, 4), 5.0), np.arange(4.0)[None], np.arange(4.0)[None]]).astype(np.float32)
    assert plots.empty_pixels(floats, info(nodata=0)).tolist() == [[True, False, False, False]]
    assert not plots.empty_pixels(floats.astype(np.uint8), info(nodata=0)).any()


def test_a_batch_is_not_an_image():
    with pytest.raises(ValueError, match=r"one image \(C, H, W\), got shape \(2, 3, 4, 4\)"):
        plots.to_rgb(np.zeros((2, 3, 4, 4)))


def test_boxes_lie_where_they_should():
    ax = plots.show_chip(np.zeros((3, 32, 32), np.uint8), torch.tensor([[2, 3, 10, 20.0]]))
    [path] = [c for c in ax.collections if len(c.get_paths())][0].get_paths()
    assert path.get_extents().bounds == (2, 3, 8, 17)
    assert ax.images[0].get_extent() == [0, 32, 32, 0]  # pixel edges on whole numbers: half-open boxes fit
    assert ax.get_xlim() == (0, 32) and ax.get_ylim() == (32, 0)


def test_classes_differ_by_colour_and_by_line():
    boxes = torch.tensor([[2, 3, 10, 20], [4, 4, 9, 9], [12, 12, 30, 30.0]])
    ax = plots.show_chip(np.zeros((3, 32, 32), np.uint8), boxes, torch.tensor([1, 3, 1]), CLASSES)
    drawn = groups(ax)
    assert {colour: number for colour, (number, _) in drawn.items()} == {"#CC79A7": 2, "#E69F00": 1}
    assert len({str(style) for _, style in drawn.values()}) == 2
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["building", "vehicle"]
    assert len({plots.class_look(label) for label in range(1, 9)}) == 8


def one_of_each():
    target = {"boxes": torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30.0]]), "labels": torch.tensor([1, 2])}
    found = {
        "boxes": torch.tensor([[0, 0, 10, 10], [15, 0, 25, 8], [5, 5, 9, 9.0]]),
        "scores": torch.tensor([0.9, 0.7, 0.2]), "labels": torch.tensor([1, 3, 1]),
    }
    return found, target


def test_right_false_and_missed_differ_by_colour_and_by_line():
    ax = plots.show_detections(np.zeros((3, 32, 32), np.uint8), *one_of_each(), CLASSES, score=0.5)
    drawn = groups(ax)
    corners = {
        to_hex(c.get_edgecolor()[0]).upper(): c.get_paths()[0].get_extents().min.tolist() for c in ax.collections
    }
    assert corners == {plots.TRUE_POSITIVE: [0, 0], plots.FALSE_POSITIVE: [15, 0], plots.MISSED: [20, 20]}
    assert [number for number, _ in drawn.values()] == [1, 1, 1]
    assert len({str(style) for _, style in drawn.values()}) == 3
    assert {text.get_text() for text in ax.texts} == {"vehicle 0.70", "tank"}
    assert [t.get_text() for t in ax.figure.legends[0].get_texts()] == ["1 found", "1 false", "1 missed"]


def test_a_chip_without_anything_can_be_shown():
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    image = np.zeros((3, 32, 32), np.uint8)
    assert groups(plots.show_detections(image, nothing, nothing, CLASSES)) == {}
    assert groups(plots.show_chip(image, nothing["boxes"], nothing["labels"], CLASSES)) == {}
    assert groups(plots.show_anchors(image, nothing["boxes"])) == {}


class Chips:
    classes, info, stems = CLASSES, info(), [f"{i:06d}" for i in range(6)]
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)

    def __getitem__(self, i):
        return self.images[i].float(), one_of_each()[1]


def test_grids_show_the_chosen_chips():
    figure = plots.show_chips(Chips(), [4, 0, 5], columns=2)
    assert [ax.get_title(loc="left") for ax in figure.axes][:3] == ["000004", "000000", "000005"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["building", "tank"]
    figure = plots.show_results(Chips(), [one_of_each()[0]] * 6, range(4))
    assert all(set(groups(ax)) == {plots.TRUE_POSITIVE, plots.FALSE_POSITIVE, plots.MISSED} for ax in figure.axes)


def test_anchors_by_state():
    anchors = torch.tensor([[0, 0, 8, 8], [8, 8, 16, 16], [16, 16, 24, 24.0]])
    ax = plots.show_anchors(np.zeros((3, 32, 32), np.uint8), anchors, torch.tensor([1, 0, -1]), anchors[:1])
    colours = {plots.TRUE_POSITIVE, plots.FALSE_POSITIVE, plots.IGNORED, plots.GROUND_TRUTH}
    assert set(groups(ax)) == colours and len(ax.figure.legends[0].get_texts()) == 4


def test_pooling_is_shown_on_the_box_rounded_and_as_it_is():
    rounded, exact = plots.show_pooling(np.zeros((3, 64, 64), np.uint8), [21.0, 22.0, 30.0, 33.0], 4, 3).axes
    for ax in (rounded, exact):
        assert ax.get_xlim() == (11, 40) and ax.get_ylim() == (43, 12)
    left = [min(np.min(line.get_xdata()) for line in ax.lines) for ax in (rounded, exact)]
    assert left == [20, 21]  # whole cells of 4 pixels; the box itself


def test_seeds_of_each_row_stand_apart_and_one_name_needs_no_legend():
    ax = plots.plot_seeds({"towns": {"ours": [0.7, 0.8], "theirs": [0.6]}, "trees": {"theirs": [0.1]}}, "AP50")
    drawn = {(line.get_label(), tuple(line.get_xdata())): tuple(line.get_ydata()) for line in ax.lines}
    assert drawn["ours", (0.7, 0.8)] == pytest.approx((-0.1, -0.1)) and drawn["theirs", (0.6,)] == pytest.approx((0.1,))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "theirs"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["towns", "trees"]
    assert plots.plot_seeds({"towns": {"": [0.7]}}, "AP50").get_legend() is None


def test_precision_recall_is_drawn_from_the_left_edge():
    found, target = one_of_each()
    curves = {name: evaluation.precision_recall([found], [target], k + 1) for k, name in enumerate(CLASSES)}
    ax = plots.plot_precision_recall(curves)
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 1] and ax.lines[0].get_ydata().tolist() == [1, 1, 0.5]
    assert [text.get_text() for text in ax.texts] == ["building"]  # nobody found the tank, there is no vehicle


@pytest.mark.parametrize("validated", [True, False])
def test_history(validated):
    steps = [{"step": i, "lr": 0.1, "loss": 3.0 / i, "classifier": 2.0 / i, "box_reg": 1.0 / i} for i in range(1, 41)]
    rows = [{"epoch": 1, "step": 40, **({"AP": 0.4, "AP50": 0.7} if validated else {})}]
    figure = plots.plot_history(SimpleNamespace(rows=rows, steps=steps))
    assert len(figure.axes) == 1 + validated
    assert [text.get_text() for text in figure.axes[0].texts] == ["box reg", "classifier", "sum"]
    figure.canvas.draw()


@given(st.lists(st.floats(0, 1), max_size=10))
def test_labels_never_overlap(heights):
    moved = plots.spread(sorted(heights), 0.08)
    assert all(b - a >= 0.08 - 1e-9 for a, b in zip(moved, moved[1:], strict=False)) and all(y <= 1 for y in moved)
