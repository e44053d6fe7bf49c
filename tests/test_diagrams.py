"""Data-flow drawings: every box and arrow that a lecture writes down is drawn, nothing overlaps, mistakes are named."""

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from geodl_course.diagrams import KINDS, draw_flow

NODES = {
    "chips": (0, 0, "data", "chips\n(B, 3, 128, 128)"),
    "backbone": (1, 0, "learned", "backbone"),
    "features": (2, 0, "data", "features\n(B, 96, 32, 32)\nstride 4"),
    "loss": (2, 1, "loss", "loss"),
}


@pytest.fixture
def axes():
    yield draw_flow(NODES, ["chips backbone features", "features loss"])
    plt.close("all")


def patches(ax, kind):
    return [patch for patch in ax.patches if isinstance(patch, kind)]


def test_every_box_and_arrow_is_drawn(axes):
    assert len(patches(axes, FancyBboxPatch)) == len(NODES)
    assert len(patches(axes, FancyArrowPatch)) == 3
    assert {"chips", "(B, 96, 32, 32)", "stride 4"} <= {text.get_text() for text in axes.texts}


def test_text_stays_inside_its_box(axes):
    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    boxes = [patch.get_window_extent(renderer) for patch in patches(axes, FancyBboxPatch)]
    for text in axes.texts:
        inner = text.get_window_extent(renderer)
        assert any(box.x0 <= inner.x0 and inner.x1 <= box.x1 and box.y0 <= inner.y0 and inner.y1 <= box.y1
                   for box in boxes), text.get_text()


def test_boxes_one_cell_apart_do_not_touch(axes):
    boxes = [patch.get_extents() for patch in patches(axes, FancyBboxPatch)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_kinds_differ_in_more_than_colour():
    outlines = [(style[2], style[3]) for style in KINDS.values()]
    assert len(set(outlines)) == len(KINDS)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'chips' has the kind 'tensor'"):
        draw_flow({"chips": (0, 0, "tensor", "chips")}, [])
    with pytest.raises(ValueError, match="'bakbone'"):
        draw_flow(NODES, ["chips bakbone"])
    plt.close("all")
