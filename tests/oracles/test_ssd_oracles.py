"""Our SSD against torchvision's with the same weights: same boxes, matches, losses, gradients and detections."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import _utils, ssd300_vgg16, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from geodl_course.chips import Targets
from geodl_course.models import ssd as ours
from geodl_course.models.ssd import from_torchvision
from geodl_course.models.ssd_backbones import SmallStages, VGGStages
from geodl_course.ops.boxes import take
from geodl_course.ops.default_boxes import default_boxes
from geodl_course.ops.matching import anchor_iou
from tests.oracles.test_faster_rcnn_oracles import compare_takeover, images_and_objects, same_losses

GENERATORS = {
    "the paper's on COCO": {"aspect_ratios": [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
                            "scales": [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], "steps": [8, 16, 32, 64, 100, 300]},
    "scales from a formula": {"aspect_ratios": [[2], [2, 3], [2]]},
    "not clipped, odd ratios": {"aspect_ratios": [[], [1.5, 4], [3]], "scales": [0.1, 0.4, 0.9, 1.6], "clip": False},
}  # fmt: skip


def boxes_of(generator, sizes, image_size, dtype):
    maps = [torch.zeros(1, 1, *size, dtype=dtype) for size in sizes]
    images = ImageList(torch.zeros(1, 3, *image_size, dtype=dtype), [image_size])
    [boxes] = generator(images, maps)
    return boxes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GENERATORS)
def test_default_boxes(name, dtype):
    generator = DefaultBoxGenerator(**GENERATORS[name])
    sizes = [(38, 38), (19, 21), (10, 10), (5, 4), (3, 3), (1, 1)][: len(generator.aspect_ratios)]
    theirs = boxes_of(generator, sizes, (300, 280), dtype)
    mine = default_boxes(sizes, (300, 280), generator.scales, generator.aspect_ratios, generator.steps, generator.clip,
                         dtype=dtype)  # fmt: skip
    assert mine.dtype == dtype
    torch.testing.assert_close(mine, theirs, atol=0, rtol=0, check_dtype=False)


def crowded(images=6, most=9, size=96, seed=0):
    """Objects (B, M, 4) of which some share their best default box, valid (B, M); the first image has none."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(images, most, 2, generator=generator) * size
    boxes = torch.cat((corner, corner + 2 + torch.rand(images, most, 2, generator=generator) * 40), dim=2)
    boxes[1:, 3] = boxes[1:, 1] + 0.01  # two that want the same default box
    boxes[1:, 4] += 5 * size  # one that no default box touches
    return boxes, torch.arange(most) < torch.arange(images)[:, None] * 2


def test_matching():
    anchors = default_boxes([(24, 24), (12, 12), (6, 6)], (96, 96), [0.1, 0.2, 0.4, 0.8], [[2], [2, 3], [2]])
    objects, valid = crowded()
    found = ours.match_default_boxes(anchor_iou(anchors, objects, valid), valid, 0.5)
    assert (found[0] == -1).all(), "no object, no match"
    for image in range(1, len(objects)):
        expected = _utils.SSDMatcher(0.5)(box_iou(objects[image, valid[image]], anchors))
        assert torch.equal(found[image], expected.clamp(min=-1))  # below the threshold it is -1, and never in between
        assert (expected >= 0).sum() > valid[image].sum() / 2


def test_hard_negatives():
    generator = torch.Generator().manual_seed(0)
    loss, found = torch.rand(5, 400, generator=generator), torch.rand(5, 400, generator=generator) < 0.03
    found[1], found[2, :300] = False, True  # nothing to balance; more wanted than there are
    for ratio in (3, 2.5):
        chosen = ours.hard_negatives(loss, found, ratio)
        for image in range(5):
            negatives = (~found[image]).nonzero()[:, 0]
            order = negatives[loss[image, negatives].argsort(descending=True)]
            expected = order[: -int(-ratio * int(found[image].sum()) // 1)]
            assert torch.equal(chosen[image].nonzero()[:, 0], expected.sort().values)
    assert torch.equal(ours.hard_negatives(loss, found, None), ~found)


def disturb(module, seed=0):
    """Batch statistics away from their defaults, and heads that do not say the same of every box."""
    generator = torch.Generator().manual_seed(seed)
    norms = [layer for layer in module.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.weight.data.uniform_(0.6, 1.4, generator=generator)
        layer.bias.data.uniform_(-0.2, 0.2, generator=generator)
        layer.momentum = 1.0  # one look at some images replaces the statistics, so that maps keep their scale
    bands = next(p for p in module.backbone.parameters() if p.ndim == 4).shape[1]
    images = module.transform(list(torch.rand(2, bands, 128, 128, generator=generator)))[0].tensors
    with torch.no_grad():
        maps = list(module.backbone.train()(images).values())
    for layer in norms:
        layer.running_mean += torch.rand(layer.running_mean.shape, generator=generator) * 0.2 - 0.1
        layer.running_var *= torch.rand(layer.running_var.shape, generator=generator) * 0.4 + 0.8
    for head in (module.head.classification_head, module.head.regression_head):
        for layer, level in zip(head.module_list, maps, strict=True):
            spread = float((layer.in_channels * 9 * level.square().mean()) ** -0.5)  # what it says is about 1
            layer.weight.data.normal_(0, spread, generator=generator)
            layer.bias.data.normal_(0, 0.3, generator=generator)
    return module


def small_reference(bands=3, classes=3, size=(128, 128), **settings):
    torch.manual_seed(0)
    boxes = DefaultBoxGenerator([[2], [2, 3], [2]], scales=[0.08, 0.2, 0.45, 0.9])
    backbone = SmallStages(bands, (16, 32, 48), (32, 32))
    return disturb(SSD(backbone, boxes, size, classes + 1, **{"score_thresh": 0.05, **settings}))


class OddSizes(nn.Module):
    """Maps whose cells do not divide the image, under names of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 5, stride=3), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Conv2d(16, 24, 5, stride=3)
        self.out_channels = [16, 24]

    def forward(self, images):
        fine = self.first(images)
        return {"fine": fine, "coarse": self.second(fine).relu()}


def odd_reference(**settings):
    torch.manual_seed(1)
    boxes = DefaultBoxGenerator([[2, 3], [2]], scales=[0.1, 0.3, 0.7], steps=[3, 9], clip=False)
    return disturb(SSD(OddSizes(), boxes, (100, 130), 6, **{"score_thresh": 0.05, **settings}))


REFERENCES = {
    "small": small_reference,
    "odd sizes": odd_reference,
    "resized": lambda **s: small_reference(size=(160, 96), **s),
    "settings of one's own": lambda **s: small_reference(**{
        "score_thresh": 0.3, "nms_thresh": 0.3, "detections_per_img": 25, "topk_candidates": 37, "iou_thresh": 0.6,
        "positive_fraction": 0.4, **s,
    }),
}  # fmt: skip


def compare_detections(name):
    """The reference called name and its takeover find the same."""
    compare_takeover(REFERENCES[name](), from_torchvision, height=112)


@pytest.mark.parametrize("name", REFERENCES)
def test_same_detections(name):
    compare_detections(name)


def test_same_detections_with_five_bands():
    module = small_reference(bands=5, image_mean=[0.1] * 5, image_std=[0.3] * 5)
    compare_takeover(module, from_torchvision, bands=5)


def test_same_detections_ssd300():
    torch.manual_seed(2)
    module = disturb(ssd300_vgg16(weights=None, weights_backbone=None, num_classes=5, score_thresh=0.1))
    assert isinstance(from_torchvision(module).backbone, VGGStages), "the paper's network is ours too"
    compare_takeover(module, from_torchvision, count=2, height=200, width=260)


def compare_losses(name):
    """The reference called name and its takeover have the same losses and gradients on the same batch."""
    module, names = REFERENCES[name](), {"classifier": "classification", "box_reg": "bbox_regression"}
    model, mine, theirs = same_losses(module, from_torchvision, *images_and_objects(count=4), names)
    sum(mine.values()).backward()
    sum(theirs.values()).backward()
    for one, other in zip(model.backbone.parameters(), module.backbone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)
    heads = zip(model.head.layers, *(head.module_list for head in module.head.children()), strict=True)
    for number, (layer, *pair) in enumerate(heads):
        parts = [p.weight.grad.unflatten(0, (-1, n)) for p, n in zip(pair, model.head.values, strict=True)]
        assert number or all(part.abs().sum() > 0 for part in parts), "nothing to compare"
        torch.testing.assert_close(layer.weight.grad, torch.cat(parts, 1).flatten(0, 1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_same_losses_and_gradients(name):
    compare_losses(name)


def test_same_losses_in_float32():
    module = small_reference().train()
    images, objects = images_and_objects(count=4)
    mine, theirs = from_torchvision(module)(images, Targets.from_list(objects)), module(list(images), objects)
    torch.testing.assert_close(mine["classifier"], theirs["classification"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mine["box_reg"], theirs["bbox_regression"], atol=1e-4, rtol=1e-4)


# --- the oracles can fail: parts are broken on purpose, and the comparison must notice each time ----------------------


def unforced(iou, valid, positive):
    best, matched = iou.max(dim=2)
    return matched.masked_fill(best < positive, -1)


def moved(scores, most, score):
    return ours_best(scores.roll(1, dims=-1), most, score)


ours_best, ours_decode, mining = ours.best_of_classes, ours.decode_boxes, ours.hard_negatives
DETECTION = {
    "default boxes off by one": ("default_boxes", lambda *a, **k: default_boxes(*a, **k) + 1),
    "box weights forgotten": ("decode_boxes", lambda deltas, boxes, _: ours_decode(deltas, boxes)),
    "classes moved by one": ("best_of_classes", moved),
    "too few candidates": ("best_of_classes", lambda scores, most, score: ours_best(scores, 20, score)),
    "boxes not clipped": ("clip_boxes", lambda boxes, size: boxes),
}
LOSSES = {
    "no forced matches": ("match_default_boxes", unforced),
    "four to one": ("hard_negatives", lambda loss, found, ratio: mining(loss, found, ratio + 1)),
    "easy negatives": ("hard_negatives", lambda loss, found, ratio: mining(-loss, found, ratio)),
    "all negatives": ("hard_negatives", lambda loss, found, ratio: ~found),
    "first object instead of the best": ("take", lambda values, index: take(values, index * 0)),
}


@pytest.mark.parametrize("name", DETECTION)
def test_broken_detection_is_noticed(monkeypatch, name):
    monkeypatch.setattr(ours, *DETECTION[name])
    with pytest.raises(AssertionError):
        compare_detections("small")


@pytest.mark.parametrize("name", LOSSES)
def test_broken_training_is_noticed(monkeypatch, name):
    monkeypatch.setattr(ours, *LOSSES[name])
    with pytest.raises(AssertionError):
        compare_losses("small")


def test_weights_are_copied_and_flags_kept():
    module = small_reference()
    module.backbone.stages[0][0][0].weight.requires_grad_(False)
    model = from_torchvision(module.train())
    assert model.training and not model.backbone.stages[0][0][0].weight.requires_grad
    before = [p.clone() for p in module.parameters()]
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_other_detectors_are_refused():
    module = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(TypeError, match="knows torchvision's SSDHead, not SSDLiteHead"):
        from_torchvision(module)
    with pytest.raises(TypeError, match="takes over torchvision's SSD, not Linear"):
        from_torchvision(nn.Linear(3, 3))
