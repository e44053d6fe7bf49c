"""Our Mask R-CNN against torchvision's with the same weights, and mask operations against pycocotools and loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch import nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_loss, paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign, roi_pool

from geodl_course.models import faster_rcnn
from geodl_course.models.mask_heads import mask_loss
from geodl_course.models.mask_rcnn import from_torchvision
from geodl_course.ops.masks import cut_masks, mask_iou, mask_nms, paste_masks
from geodl_course.ops.roi_pool import roi_pool_flat
from tests.oracles import test_faster_rcnn_oracles as box_oracles


def mask_parts(channels, names, classes, **pool):
    """torchvision's mask branch with maps that say both yes and no."""
    generator = torch.Generator().manual_seed(3)
    predictor = MaskRCNNPredictor(16, 12, classes + 1)
    for parameter in predictor.mask_fcn_logits.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    head = MaskRCNNHeads(channels, (16, 24, 24, 16), 1)
    return {"mask_roi_pool": MultiScaleRoIAlign(names, 14, 2, **pool), "mask_head": head, "mask_predictor": predictor}


def small_reference(**settings):
    return box_oracles.small_reference(MaskRCNN, **mask_parts(48, ["0"], 3), **settings)


def pyramid_reference(**settings):
    parts = mask_parts(32, ["fine", "coarse"], 5, canonical_scale=40, canonical_level=3)
    return box_oracles.pyramid_reference(MaskRCNN, **parts, **settings)


REFERENCES = {
    "one level": small_reference,
    "several levels": pyramid_reference,
    "resized up": lambda **s: small_reference(min_size=200, **s),
    "resized down": lambda **s: pyramid_reference(min_size=300, max_size=100, **s),
}


def assert_same_masks(ours, theirs, pixels, score):
    """Boxes and scores agree, and of the masks 99.9 % of the pixels in the boxes or more."""
    order = box_oracles.assert_same_detections(ours, theirs, pixels, score)
    for mine, other, nearest in zip(ours.per_image(), theirs, order, strict=True):
        expected = other["masks"][nearest, 0] > 0.5
        assert 0.1 < expected.sum() / expected.flatten(1).any(0).sum().clamp(min=1), "no masks to compare"
        wrong, area = (mine["masks"] != expected).sum(), (mine["masks"] | expected).sum()
        assert wrong <= 0.001 * area, f"{wrong} pixels of {area} differ"


def compare_masks(module, pixels=1e-3, **images):
    """The module and its takeover find the same on the same images."""
    box_oracles.compare_takeover(module, from_torchvision, assert_same_masks, pixels, **images)


@pytest.mark.parametrize("name", REFERENCES)
def test_same_masks_small(name):
    compare_masks(REFERENCES[name](), height=112)


@pytest.mark.parametrize("make", [maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2])
def test_same_masks_resnet50_fpn(make):
    module = box_oracles.resnet_reference(make)
    module.roi_heads.mask_predictor.mask_fcn_logits.bias.data.normal_(0, 0.2)
    compare_masks(module, pixels=1e-2, count=2)


def with_masks(objects, size=(128, 128)):
    """A random half of each box as its mask; boxes are cut to whole pixels first, so that masks fit them."""
    generator = torch.Generator().manual_seed(9)
    for one in objects:
        one["boxes"] = torch.cat((one["boxes"][:, :2].floor(), one["boxes"][:, 2:].ceil()), dim=1)
        one["masks"] = torch.zeros(len(one["boxes"]), *size, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(one["masks"], one["boxes"].int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = torch.rand(y1 - y0, x1 - x0, generator=generator) > 0.5
    return objects


def compare_losses(name):
    """The reference called name and its takeover have the same losses and gradients on the same batch."""
    module = REFERENCES[name](**box_oracles.EVERYTHING)
    images, objects = box_oracles.images_and_objects()
    names = {**box_oracles.LOSSES, "mask": "loss_mask"}
    model, ours, theirs = box_oracles.same_losses(module, from_torchvision, images, with_masks(objects), names)
    ours["mask"].backward()
    theirs["loss_mask"].backward()
    reference = [p for part in (module.roi_heads.mask_head, module.roi_heads.mask_predictor) for p in part.parameters()]
    for mine, other in zip(model.roi_heads.mask_head.parameters(), reference, strict=True):
        torch.testing.assert_close(mine.grad, other.grad[-len(mine) :], atol=1e-6, rtol=1e-5)
    for mine, other in zip(model.backbone.parameters(), module.backbone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["one level", "several levels"])
def test_same_losses_and_gradients(name):
    compare_losses(name)


@torch.no_grad()
def test_goals_and_loss_are_the_reference_s():
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(5, 50, 64, generator=generator) > 0.6
    corner, side = torch.rand(40, 2, generator=generator) * 50 - 8, torch.rand(40, 2, generator=generator) * 40
    boxes, matched = torch.cat((corner, corner + side), dim=1), torch.randint(5, (40,), generator=generator)
    boxes[0, 2:] = boxes[0, :2] + 0.3
    expected = project_masks_on_boxes(masks, boxes, matched, 28)
    goals = cut_masks(masks[matched], boxes, 28, aligned=False)
    torch.testing.assert_close(goals, expected, atol=1e-5, rtol=0)
    logits, labels = torch.randn(40, 4, 28, 28, generator=generator), torch.randint(1, 4, (5,), generator=generator)
    reference = maskrcnn_loss(logits, [boxes], [masks], [labels], [matched])
    torch.testing.assert_close(mask_loss(logits[:, 1:], labels[matched], goals), reference)


@given(st.integers(0, 2**31), st.sampled_from([(40, 56), (128, 128)]))
@settings(max_examples=30)
def test_pasting_is_the_reference_s(seed, size):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(30, 2, generator=generator) * torch.tensor(size[::-1])
    half = torch.rand(30, 2, generator=generator) ** 3 * 60
    boxes = torch.cat((centre - half, centre + half), dim=1)  # partly or wholly off the image, or hardly there
    masks = torch.rand(30, 28, 28, generator=generator)
    expected = paste_masks_in_image(masks[:, None], boxes, size)[:, 0]
    pasted = paste_masks(masks[None], boxes[None], size, aligned=False)[0]  # 30 of one image in one operation
    torch.testing.assert_close(pasted, expected, atol=2e-5, rtol=0)


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_a_mask_cut_out_and_pasted_back_is_the_mask(seed):
    """A box of 28 whole pixels is what the small mask can hold: nothing may be lost or moved."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(3, 64, 80, dtype=torch.bool)
    corner = (torch.rand(3, 2, generator=generator) * torch.tensor([52, 36])).floor()
    boxes = torch.cat((corner, corner + 28), dim=1)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = torch.rand(28, 28, generator=generator) > 0.5
    assert torch.equal(paste_masks(cut_masks(masks, boxes, 28), boxes, (64, 80)) > 0.5, masks)


def test_300_masks_on_a_chip_of_512():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1, 300, 2, generator=generator) * 400
    boxes = torch.cat((corner, corner + 10 + torch.rand(1, 300, 2, generator=generator) * 100), dim=-1)
    masks = torch.rand(1, 300, 28, 28, generator=generator)
    pasted = paste_masks(masks, boxes, (512, 512), aligned=False)
    some = torch.arange(0, 300, 37)
    expected = paste_masks_in_image(masks[0, some, None], boxes[0, some], (512, 512))[:, 0]
    torch.testing.assert_close(pasted[0, some], expected, atol=2e-5, rtol=0)


def random_masks(seed, count, size):
    """Masks bool (2, count, H, W): blobs, rows, single pixels and nothing."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((2, count, *size), bool)
    for mask in masks.reshape(-1, *size):
        y, x = generator.integers(0, size[0]), generator.integers(0, size[1])
        height, width = generator.integers(0, size[0]), generator.integers(0, size[1])
        mask[y : y + height, x : x + width] = generator.random() < 0.9
        mask &= generator.random(size) < generator.choice([0.5, 1.0])
    return torch.from_numpy(masks)


@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 5))
@settings(max_examples=40)
def test_mask_iou_is_coco_s(seed, first, second):
    size = (23, 17)
    a, b = random_masks(seed, first, size), random_masks(seed + 1, second, size)
    found = mask_iou(a, b)
    assert found.shape == (2, first, second)
    for one, other, iou in zip(a, b, found, strict=True):
        one, other = (coco.encode(np.asfortranarray(part.permute(1, 2, 0).byte().numpy())) for part in (one, other))
        expected = np.nan_to_num(np.array(coco.iou(one, other, [0] * second)))  # 0/0 there
        np.testing.assert_allclose(iou.numpy(), expected, atol=1e-6)


def test_mask_iou_of_large_masks_goes_piece_by_piece(monkeypatch):
    a, b = random_masks(0, 4, (61, 47)), random_masks(1, 3, (61, 47))
    whole = mask_iou(a, b)
    monkeypatch.setattr("geodl_course.ops.masks.PIECE", 1000)
    assert torch.equal(mask_iou(a, b), whole) and whole.max() > 0.1


def greedy(masks, scores, groups, threshold):
    """Suppression as a loop: best first, one chip."""
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    for i in order:
        overlaps = [(masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum().clamp(min=1) for j in kept
                    if groups is None or groups[i] == groups[j]]  # fmt: skip
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    return kept


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.booleans())
@settings(max_examples=60)
def test_mask_nms_is_the_loop(seed, threshold, grouped):
    generator = torch.Generator().manual_seed(seed)
    masks = random_masks(seed, 12, (9, 8))
    scores = (torch.rand(2, 12, generator=generator) * 6).round() / 6  # with ties
    groups = torch.randint(2, (2, 12), generator=generator) if grouped else None
    valid = torch.rand(2, 12, generator=generator) > 0.2
    index, kept = mask_nms(masks, scores, groups, valid, threshold, keep=5)
    assert index.shape == kept.shape == (2, 5)
    for image in range(2):
        there = valid[image].nonzero()[:, 0]
        group = None if groups is None else groups[image, there]
        expected = there[greedy(masks[image, there], scores[image, there], group, threshold)].tolist()
        assert index[image][kept[image]].tolist() == expected[:5]


@given(st.integers(0, 2**31), st.sampled_from([1.0, 0.5, 0.25]), st.sampled_from([3, 7]))
@settings(max_examples=40)
def test_roi_pool_is_the_reference_s(seed, scale, bins):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 12, 15, generator=generator, dtype=torch.float64, requires_grad=True)
    corner = torch.rand(9, 2, generator=generator, dtype=torch.float64) * 20 - 4
    boxes = torch.cat((corner, corner + torch.rand(9, 2, generator=generator, dtype=torch.float64) * 25), dim=1)
    image = torch.randint(2, (9,), generator=generator)
    expected = roi_pool(features, torch.cat((image[:, None], boxes), dim=1), bins, scale)
    found = roi_pool_flat(features, boxes, image, bins, scale)
    assert torch.equal(found, expected)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((part * weights).sum(), features)[0] for part in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_weights_are_copied_and_flags_kept():
    module = small_reference()
    module.roi_heads.mask_head[0][0].weight.requires_grad_(False)
    model = from_torchvision(module.train())
    assert model.training and not model.roi_heads.mask_head.trunk[0].weight.requires_grad
    before = [p.clone() for p in module.parameters()]
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_other_detectors_are_refused():
    module = small_reference()
    with pytest.raises(TypeError, match=r"MaskRCNN predicts more: mask_rcnn.from_torchvision"):
        faster_rcnn.from_torchvision(module)
    module.roi_heads.mask_roi_pool = MultiScaleRoIAlign(["1"], 14, 2)
    with pytest.raises(TypeError, match="masks are cut from maps"):
        from_torchvision(module)
    module.roi_heads.mask_predictor = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(TypeError, match="knows torchvision's MaskRCNNPredictor, not Sequential"):
        from_torchvision(module)
    module.roi_heads.mask_predictor = None
    with pytest.raises(TypeError, match="faster_rcnn has one for boxes"):
        from_torchvision(module)
