"""U-Net-ID: targets drawn from instances, instances grown from maps, the network and its place in the course's loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodl_course import models, training
from geodl_course.chips import ChipDataset, ChipError, DatasetInfo, Targets
from geodl_course.models.unet_id import UNet, UNetID, map_losses, unet, unet_id, unet_id_paper
from geodl_course.models.unet_id_instances import Instances, flood, grow_instances, label_components
from geodl_course.models.unet_id_targets import MAPS, number_pixels, unet_id_targets, vanishing

SIDE = 64


def boxes_as_masks(*boxes, side=SIDE):
    """Half-open boxes x0, y0, x1, y1 as one chip's masks (1, M, H, W) and valid (1, M)."""
    masks = torch.zeros(1, len(boxes), side, side, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks[0], boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks, torch.ones(1, len(boxes), dtype=torch.bool)


def shapes(seed, side=SIDE, number=12):
    """Building-like shapes without overlap: rectangles and Ls on a grid of plots, many of them sharing walls."""
    g = np.random.default_rng(seed)
    masks = np.zeros((number, side, side), bool)
    cuts = [np.sort(np.append(g.choice(np.arange(8, side - 7, 8), 3, replace=False), [0, side])) for _ in range(2)]
    plots = [(x0, y0, x1, y1) for x0, x1 in zip(cuts[0], cuts[0][1:]) for y0, y1 in zip(cuts[1], cuts[1][1:])]
    for mask, plot in zip(masks, g.permutation(plots)[:number], strict=False):
        x0, y0, x1, y1 = plot + g.integers(0, 2, 4) * [1, 1, -1, -1] * g.integers(0, 2)  # set back, or wall to wall
        mask[y0:y1, x0:x1] = True
        if g.integers(0, 2) and min(x1 - x0, y1 - y0) >= 14:
            mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = False  # an L
    masks = masks[masks.any((1, 2))]
    return torch.from_numpy(masks)[None], torch.ones(1, len(masks), dtype=torch.bool)


def ious(ids, masks):
    """IoU of each mask (M, H, W) with the instance in ids (H, W) that it shares most pixels with."""
    found = []
    for mask in masks:
        other = ids == ids[mask & (ids > 0)].mode().values if (mask & (ids > 0)).any() else torch.zeros_like(mask)
        found.append(float((mask & other).sum() / (mask | other).sum()))
    return found


# ------------------------------------------------------------------------------------------ targets


def test_a_square_by_hand():
    border, segment, inner = unet_id_targets(*boxes_as_masks((10, 20, 30, 40)))[0]
    expected = torch.zeros(3, SIDE, SIDE)
    expected[1, 20:40, 10:30] = 1
    expected[2, 22:38, 12:28] = 1
    expected[0, 16:44, 6:34] = 1
    expected[0, 23:37, 13:27] = 0
    assert torch.equal(torch.stack((border, segment, inner)), expected)


def test_a_shared_wall_is_border_and_parts_two_inner_segments():
    masks, valid = boxes_as_masks((10, 10, 26, 30), (26, 10, 46, 30))
    border, segment, inner = unet_id_targets(masks, valid)[0]
    assert segment[10:30, 10:46].all() and border[15:25, 22:30].all()  # 4 px of each reach into the other
    assert not border[15:25, 21].any() and not border[15:25, 30].any()
    assert not inner[:, 24:28].any() and inner[12:28, 23].all() and inner[12:28, 28].all()
    assert label_components(inner[None, None]).max() == 2 and label_components(segment[None, None]).max() == 1
    assert min(ious(grow_instances(unet_id_targets(masks, valid))[0], masks[0])) == 1


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_instances_come_back_from_their_targets(seed):
    masks, valid = shapes(seed)
    ids = grow_instances(unet_id_targets(masks, valid))[0]
    assert ids.max() == len(masks[0]) and min(ious(ids, masks[0])) >= 0.9
