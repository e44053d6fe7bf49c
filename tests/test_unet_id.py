"""U-Net-ID: targets drawn from instances, instances grown from maps, the network and its place in the course's loop."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodl_course import models, training
from geodl_course.chips import ChipDataset, ChipError, DatasetInfo, Targets
from geodl_course.models.unet_id import (
    UNet,
    UNetID,
    draw_goals,
    map_losses,
    smallest_of,
    start_from,
    unet,
    unet_id,
    unet_id_paper,
    unet_three_maps,
)
from geodl_course.models.unet_id_instances import Instances, grow_instances, label_components
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
    plots = [(x0, y0, x1, y1) for x0, x1 in pairwise(cuts[0]) for y0, y1 in pairwise(cuts[1])]
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


def test_sizes_scale_with_the_pixel():
    masks, valid = boxes_as_masks((10, 10, 50, 50))
    for scale, sizes in ((0.75, (2, 3, 2)), (2.0, (4, 8, 6)), (0.1, (1, 1, 1))):
        assert torch.equal(unet_id_targets(masks, valid, scale=scale), unet_id_targets(masks, valid, *sizes))


def test_what_lies_outside_the_chip_shrinks_nothing():
    border, segment, inner = unet_id_targets(*boxes_as_masks((0, 20, 20, SIDE)))[0]
    assert torch.equal(inner, boxes_as_masks((0, 22, 18, SIDE))[0][0, 0].float())
    assert not border[40, :17].any() and border[40, 17:24].all()


@pytest.mark.parametrize("box", [(7, 9, 8, 10), (3, 30, 40, 31), (20, 20, 24, 24), (0, 0, 1, 1)])
def test_an_instance_that_would_vanish_keeps_a_pixel_and_comes_back(box):
    masks, valid = boxes_as_masks(box, (30, 40, 50, 60))
    assert vanishing(masks, valid).tolist() == [[True, False]]
    maps = unet_id_targets(masks, valid)
    assert (maps[0, 2].bool() & masks[0, 0]).sum() == 1
    ids = grow_instances(maps)[0]
    assert ids.max() == 2 and ious(ids, masks[0]) == [1, 1]


def test_the_innermost_pixel_is_in_the_middle():
    masks, valid = boxes_as_masks((20, 30, 23, 33))
    assert unet_id_targets(masks, valid)[0, 2].nonzero().tolist() == [[31, 21]]


def test_overlap_belongs_to_the_smallest():
    masks, valid = boxes_as_masks((10, 10, 40, 40), (30, 30, 44, 44))
    numbers = number_pixels(masks, valid)[0, 0]
    assert (numbers[30:44, 30:44] == 2).all() and (numbers == 1).sum() == 800
    assert ious(grow_instances(unet_id_targets(masks, valid))[0], masks[0])[1] == 1
    double = number_pixels(*boxes_as_masks((10, 10, 20, 20), (10, 10, 20, 20)))
    assert double.unique().tolist() == [0, 1]  # the same drawn twice: the first


def test_one_instance_in_two_parts_has_two_inner_segments():
    masks, valid = boxes_as_masks((5, 5, 20, 20))
    masks[0, 0, 40:60, 40:60] = True
    assert vanishing(masks, valid).tolist() == [[False]]
    assert grow_instances(unet_id_targets(masks, valid)).max() == 2


def test_padding_and_chips_without_instances():
    masks, valid = boxes_as_masks((10, 10, 20, 20), (30, 30, 50, 50))
    valid[0, 1] = False
    assert torch.equal(unet_id_targets(masks, valid), unet_id_targets(masks[:, :1], valid[:, :1]))
    empty = unet_id_targets(torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool))
    assert not empty.any() and not grow_instances(empty).any()


# ---------------------------------------------------------------------------------------- instances


def test_the_border_decides_where_neighbours_part():
    segment, inner, border = torch.zeros(3, 20, 40)
    segment[5:15, 5:35] = inner[8:12, 8:12] = inner[8:12, 28:32] = 1
    border[:, 24:27] = torch.tensor([0.6, 0.9, 0.6])  # nearer to the right one
    ids = grow_instances(torch.stack((border, segment, inner))[None])[0]
    assert (ids[5:15, 5:25] == 1).all() and (ids[5:15, 26:35] == 2).all()
    flat = grow_instances(torch.stack((border, segment, inner))[None], thresholds=(0.95, 0.5, 0.5))[0]
    assert (flat[5:15, 5:20] == 1).all() and (flat[5:15, 20:35] == 2).all()  # no border: half way


def test_a_segment_without_inner_part_is_no_instance_and_small_ones_go():
    maps = torch.zeros(1, 3, 30, 30)
    maps[0, 1, 2:10, 2:10] = maps[0, 1, 20:23, 20:23] = maps[0, 2, 20:23, 20:23] = 1
    assert grow_instances(maps).sum() == 9
    assert not grow_instances(maps, smallest=10).any()
    assert label_components(maps[:, 1:2], smallest=10).sum() == 64


def test_instances_as_a_detector_reports_them():
    masks, valid = boxes_as_masks((4, 6, 20, 26), (30, 6, 50, 26))
    maps = unet_id_targets(masks, valid) * torch.tensor([1, 0.8, 1])[:, None, None]
    none = torch.zeros_like(maps)
    first, second = Instances(torch.cat((maps, none)), grow_instances(torch.cat((maps, none)))).per_image()
    assert torch.equal(first["masks"], masks[0]) and first["labels"].tolist() == [1, 1]
    assert first["boxes"].tolist() == [[4, 6, 20, 26], [30, 6, 50, 26]]
    assert first["scores"].tolist() == pytest.approx([0.8, 0.8])
    assert {name: tuple(value.shape) for name, value in second.items()} == {
        "masks": (0, SIDE, SIDE), "boxes": (0, 4), "scores": (0,), "labels": (0,)}  # fmt: skip


# ------------------------------------------------------------------------------------------ network


def test_the_papers_network_has_its_parameters():
    with torch.device("meta"):
        one, paper = UNet(3, 32), unet_id_paper()
    numbers = [sum(p.numel() for p in model.parameters()) for model in (one, paper)]
    convolutions = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512),
                    (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64), (64, 32), (32, 32)]
    wide = sum(9 * i * o + o for i, o in convolutions) + sum(4 * 2 * o * o + o for o in (32, 64, 128, 256)) + 33
    refined = (9 * 3 * 64 + 64) + (9 * 64 * 32 + 32) + 33
    assert numbers == [wide, 3 * (wide + refined)] and round(numbers[1] / 1e6, 2) == 23.34
    assert UNetID(3).settings == paper.settings


def tiny(**changes):
    torch.manual_seed(0)
    return unet_id(base=2, **changes)


@pytest.mark.parametrize("changes", [{}, {"stride": 1, "depth": 2}, {"stride": 4, "depth": 1}, {"norm": True}])
def test_shapes_and_gradients(changes):
    model, images = tiny(**changes), torch.rand(2, 3, 32, 48)
    assert model.logits(images).shape == (2, 3, 32, 48)
    masks, valid = boxes_as_masks((2, 2, 20, 20), side=48)
    targets = Targets(torch.tensor([[[2, 2, 20, 20.0]]] * 2), torch.ones(2, 1).long(), valid.repeat(2, 1),
                      masks[:, :, :32].repeat(2, 1, 1, 1))
    losses = model(images, targets)
    assert list(losses) == list(MAPS)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    found = model.eval()(images)
    assert found.maps.shape == (2, 3, 32, 48) and found.ids.shape == (2, 32, 48) and len(found.per_image()) == 2


def test_loss_without_instances_is_finite_and_small_when_right():
    goals = torch.zeros(2, 3, 16, 16)
    losses = map_losses(torch.full_like(goals, -20), goals, MAPS)
    assert all(0 <= loss < 1e-3 for loss in losses.values())
    model = tiny()
    targets = Targets.from_list([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(),
                                  "masks": torch.zeros(0, 32, 32, dtype=torch.bool)}])
    assert all(loss.isfinite() for loss in model(torch.rand(1, 3, 32, 32), targets).values())


@pytest.mark.parametrize("make", [unet_id, unet])
def test_what_does_not_fit_is_named(make):
    model = make(base=2)
    boxes = Targets(torch.tensor([[[0, 0, 4, 4.0]]]), torch.ones(1, 1).long(), torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match=r"ChipDataset\(folder, split, masks=True\)"):
        model(torch.rand(1, 3, 32, 32), boxes)
    with pytest.raises(ValueError, match="40 x 32 px.* multiples of 16"):
        model.eval()(torch.rand(1, 3, 40, 32))
    with pytest.raises(ValueError, match="4 bands"):
        model(torch.rand(1, 4, 32, 32))
    with pytest.raises(ValueError, match=r"3 classes.*pick_classes"):
        make(classes=3)
    with pytest.raises(KeyError, match="no setting 'widths'"):
        make(widths=3)


@pytest.mark.parametrize("maps", [["segment"], ["inner", "segment", "border"], []])
def test_u_net_id_has_its_three_maps_and_no_others(maps):
    with pytest.raises(ValueError, match="maps are .*: U-Net-ID always has border, segment, inner"):
        unet_id(base=2, maps=maps)
    assert unet_id(base=2, maps=list(MAPS)).settings["maps"] == list(MAPS)


def test_the_smallest_is_that_than_which_99_of_100_are_larger():
    sizes = [np.arange(1, 51), np.arange(51, 102)]  # 1 to 101 pixels, on two chips: one in a hundred is 1 px
    targets = [{"masks": torch.arange(128) < torch.from_numpy(each)[:, None, None]} for each in sizes]
    assert smallest_of(targets) == 2 and smallest_of(targets[:1]) == 1
    assert smallest_of([{"masks": torch.zeros(0, 4, 4, dtype=torch.bool)}]) == smallest_of([]) == 1


def test_three_u_nets_start_as_one_that_knows_all_three_maps():
    torch.manual_seed(0)
    single, images = unet_three_maps(base=4).eval(), torch.rand(2, 3, 32, 32)
    model = start_from(unet_id(base=4), single).eval()
    assert torch.allclose(model.logits(images), single.logits(images), atol=1e-6)
    assert torch.equal(model(images).ids, single(images).ids)
    with pytest.raises(ValueError, match="maps segment.* unet_three_maps"):
        start_from(unet_id(base=4), unet(base=4))
    with pytest.raises(RuntimeError, match="size mismatch"):
        start_from(unet_id(base=8), single)


def test_each_network_learns_its_own_maps():
    masks, valid = boxes_as_masks((10, 10, 20, 20), (20, 10, 30, 20))
    targets = Targets(torch.zeros(1, 2, 4), torch.ones(1, 2).long(), valid, masks)
    goals = draw_goals(targets, unet_three_maps(base=2).settings)
    assert torch.equal(goals, unet_id_targets(masks, valid)) and goals[0, 2].sum() < goals[0, 1].sum()
    assert torch.equal(draw_goals(targets, unet(base=2).settings), goals[:, 1:2])


@pytest.mark.parametrize("make", [unet_id, unet, unet_three_maps])
def test_trained_in_the_loop_kept_and_built_again(make, tmp_path):
    class Two:
        stems = ["a", "b"]

        def __len__(self):
            return 2

        def __getitem__(self, i):
            masks = boxes_as_masks((4, 6, 20, 26), (20, 6, 30, 26), side=32)[0][0]
            image = masks.float().sum(0).expand(3, -1, -1) * torch.tensor([1.0, 0, -1])[:, None, None]
            boxes = torch.tensor([[4, 6, 20, 26.0], [20, 6, 30, 26]])
            return image, {"boxes": boxes, "labels": torch.ones(2, dtype=torch.long), "masks": masks}

    torch.manual_seed(0)
    model = make(base=4)
    history = training.fit(model, Two(), steps=100, batch_size=2, lr=5e-3, progress=False, checkpoint=tmp_path)
    assert history.steps[-1]["loss"] < 0.7 * history.steps[0]["loss"]
    again, images = training.load_model(tmp_path), torch.rand(2, 3, 32, 32)
    assert again.settings == model.settings and again.settings["system"] in models.TABLE
    assert torch.equal(again(images).maps, model(images).maps)


# ---------------------------------------------------------------------------------- picking classes


def make_chips(number=3):
    g = np.random.default_rng(0)
    info = DatasetInfo("toy", ["house", "tank", "car"], ["grey"], "uint8", 8, 1.0, "EPSG:32633", mean=[0.0], std=[1.0])
    rasters = np.zeros((4, 8, 8), np.uint16)
    rasters[0, :2, :2], rasters[0, 5:, 5:], rasters[1, 3:5, :3], rasters[2, :4, 4:], rasters[3, 6, 6] = 1, 2, 1, 1, 1
    keys = np.array([[0, 1], [0, 2], [2, 1], [2, 3]])  # chip, class: chip 1 has no object
    boxes = np.array([[0, 0, 2, 2], [5, 5, 8, 8], [0, 3, 3, 5], [4, 0, 8, 4], [6, 6, 7, 7]], np.float32)
    arrays = {"stems": np.array(list("abc")), "images": g.integers(0, 255, (number, 1, 8, 8), dtype=np.uint8),
              "counts": np.array([3, 0, 2]), "boxes": boxes, "labels": np.array([1, 1, 2, 1, 3]),
              "rasters": rasters, "raster_keys": keys}
    data = ChipDataset.__new__(ChipDataset)
    data._set(info, "train", arrays, True, True)
    return data


def test_classes_are_picked_with_their_boxes_and_masks():
    data = make_chips()
    picked = data.pick_classes(["car", "house"])
    assert picked.classes == ["car", "house"] and len(picked) == 3
    assert [one[1]["labels"].tolist() for one in picked] == [[2, 2], [], [2, 1]]
    for (_, new), (_, old) in zip(picked, data, strict=True):
        kept = old["labels"] != 2
        assert torch.equal(new["boxes"], old["boxes"][kept]) and torch.equal(new["masks"], old["masks"][kept])
    only = data.pick_classes(["tank"]).take([2, 0])
    assert [len(one[1]["boxes"]) for one in only] == [0, 1] and only[1][1]["masks"].sum() == 6
    assert data.classes == ["house", "tank", "car"] and data[0][1]["labels"].tolist() == [1, 1, 2]
    for names in (["barn"], []):
        with pytest.raises(ChipError, match="choose among house, tank, car"):
            data.pick_classes(names)
