"""Data-flow drawings: every box and arrow that a lecture writes down is drawn, nothing overlaps, mistakes are named."""

import itertools

import matplotlib.pyplot as plt
import pytest
import torch
import torchvision
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from geodl_course.diagrams import (
    KINDS,
    draw_flow,
    draw_pooling,
    faster_rcnn_flow,
    mask_rcnn_flow,
    rcnn_family,
    ssd_flow,
    two_ways,
    unet_flow,
    unet_id_flow,
)

NODES = {
    "chips": (0, 0, "data", "chips\n(B, 3, 128, 128)"),
    "backbone": (1, 0, "learned", "backbone"),
    "features": (2, 0, "data", "features\n(B, 96, 32, 32)\nstride 4"),
    "loss": (2, 1, "loss", "loss"),
}


@pytest.fixture
def axes():
    return draw_flow(NODES, ["chips backbone features", "features loss"])


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


def test_the_family_has_one_bottleneck_less_each_time():
    nodes, chains = rcnn_family()
    slow = [sum(node[2] == "slow" for name, node in nodes.items() if name.startswith(f"{row}-")) for row in range(3)]
    assert slow == [2, 1, 0]
    assert len(chains) == 3
    draw_flow(nodes, chains)


def test_shapes_in_the_flow_follow_from_chip_and_stride():
    nodes, chains = faster_rcnn_flow(size=256, channels=64, stride=8, anchors=9)
    assert "(B, 64, 32, 32)" in nodes["features"][3]
    assert f"(B, {32 * 32 * 9})" in nodes["scores"][3]
    assert {name for chain in chains for name in chain.split()} == set(nodes)
    assert not {node[2] for node in faster_rcnn_flow(losses=False)[0].values()} & {"loss"}


def drawn_edges(box, stride, rounded):
    """Where the bins' edges along x lie, in pixels."""
    ax = plt.subplots()[1]
    draw_pooling(ax, box, stride, 2, rounded)
    return sorted({float(line.get_xdata()[0]) for line in ax.lines if len(set(line.get_xdata())) == 1})


def test_rounded_bins_begin_and_end_where_torchvision_s_roi_pool_does():
    box, stride = (6.6, 5.0, 22.9, 30.0), 4
    columns = torch.arange(16.0).expand(1, 1, 16, 16)  # each cell holds its column: extremes tell where bins lie

    def pool(maps):
        return torchvision.ops.roi_pool(maps, torch.tensor([[0, *box]]), 2, 1 / stride)[0, 0, 0]

    left, middle, right = drawn_edges(box, stride, rounded=True)
    assert (-pool(-columns) * stride).tolist() == [left, middle]
    assert (pool(columns)[-1] + 1) * stride == right
    assert drawn_edges(box, stride, rounded=False) == pytest.approx([6.6, (6.6 + 22.9) / 2, 22.9])


def test_ssd_counts_its_default_boxes():
    nodes, chains = ssd_flow(size=300, channels=512, cells=(38, 19, 10), boxes=4)
    assert "(B, 7620, 4)" in nodes["told"][3]  # (38² + 19² + 10²) * 4
    assert "1444 boxes" in nodes["head1"][3] and "(B, 512, 10, 10)" in nodes["map2"][3]
    assert {name for chain in chains for name in chain.split()} == set(nodes)
    assert not {node[2] for node in ssd_flow(losses=False)[0].values()} & {"loss"}


def test_the_unet_s_way_down_and_up_is_joined_at_every_level():
    nodes, chains = unet_flow(size=256, base=16, bands=5, depth=3)
    assert "(B, 5, 256, 256)" in nodes["chips"][3] and "(B, 64, 64, 64)" in nodes["down2"][3]
    assert "(B, 128, 32, 32)" in nodes["bottom"][3]
    assert {f"down{k} up{k}" for k in range(3)} <= set(chains)
    assert all(nodes[f"down{k}"][3] == nodes[f"up{k}"][3] for k in range(3)), "what is copied across has one shape"


@pytest.mark.parametrize("flow", [two_ways, unet_flow, unet_id_flow])
def test_the_drawings_of_instances_hold_no_loose_box_and_text_fits(flow):
    nodes, chains = flow()
    assert {name for chain in chains for name in chain.split()} == set(nodes)
    ax = draw_flow(nodes, chains)
    test_text_stays_inside_its_box(ax)


def test_unet_id_feeds_all_three_maps_to_each_refinement():
    chains = unet_id_flow(losses=False)[1]
    assert [chain.split()[2:5] for chain in chains[1:]] == [[f"map{k}", "maps", f"tail{k}"] for k in range(3)]
    assert "loss" not in unet_id_flow(losses=False)[0]


def test_the_mask_branch_hangs_on_the_same_map_and_keeps_its_shapes():
    nodes, chains = mask_rcnn_flow(size=256, channels=64, stride=8, classes=3)
    assert "(B, 64, 32, 32)" in nodes["features"][3] and "(B, D, 3, 28, 28)" in nodes["maps"][3]
    assert "(B, D, 256, 256)" in nodes["masks"][3]
    assert {name for chain in chains for name in chain.split()} == set(nodes)
    assert not {node[2] for node in mask_rcnn_flow(losses=False)[0].values()} & {"loss"}
    ax = draw_flow(nodes, chains)
    ax.figure.canvas.draw()
    sizes = [text.get_window_extent() for text in ax.texts]
    width = min(patch.get_window_extent().width for patch in patches(ax, FancyBboxPatch))
    assert max(size.width for size in sizes) < width
