"""Our Faster R-CNN against torchvision's with the same weights: same detections, same losses, same gradients."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from geodl_course.chips import Targets
from geodl_course.models.backbones import SmallBackbone, conv_block
from geodl_course.models.faster_rcnn import from_torchvision

LOSSES = {
    "objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "classifier": "loss_classifier",
    "box_reg": "loss_box_reg",
}


class TwoLevels(nn.Module):
    """Maps of strides 4 and 8 under names of their own, and one that only the RPN looks at."""

    def __init__(self):
        super().__init__()
        self.stem, self.next = SmallBackbone(3, (16, 16, 32)), conv_block(32, 32, stride=2)
        self.out_channels = 32

    def forward(self, images):
        fine = self.stem(images)
        coarse = self.next(fine)
        return {"fine": fine, "coarse": coarse, "extra": coarse[..., ::2, ::2]}


def disturb(module, seed=0, scale=1.0):
    """Batch statistics away from their defaults, and heads that do not say the same of every box.

    scale shrinks the heads' weights where features are large, so that scores do not all end at 1.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.weight.data.uniform_(0.6, 1.4, generator=generator)
        layer.bias.data.uniform_(-0.2, 0.2, generator=generator)
        layer.momentum = 1.0  # one look at some images replaces the statistics, so deep networks keep their scale
    bands = next(module.backbone.parameters()).shape[1]
    with torch.no_grad():
        module.backbone.train()(torch.rand(2, bands, 96, 96, generator=generator) * 4 - 2)
    for layer in norms:
        layer.running_mean += torch.rand(layer.running_mean.shape, generator=generator) * 0.2 - 0.1
        layer.running_var *= torch.rand(layer.running_var.shape, generator=generator) * 0.4 + 0.8
    for layer, spread in ((module.rpn.head.cls_logits, 0.1), (module.roi_heads.box_predictor.cls_score, 0.3)):
        layer.weight.data.normal_(0, scale * spread, generator=generator)
        layer.bias.data.normal_(0, scale * spread, generator=generator)
    for layer, spread in ((module.rpn.head.bbox_pred, 0.05), (module.roi_heads.box_predictor.bbox_pred, 0.2)):
        layer.weight.data.normal_(0, scale * spread, generator=generator)
    return module


SETTINGS = {"min_size": 128, "max_size": 400, "box_score_thresh": 0.0, "rpn_post_nms_top_n_test": 120}


def small_reference(kind=FasterRCNN, bands=3, sampling_ratio=2, **settings):
    """torchvision's detector, or one of its kind with more parts in settings, on one map."""
    backbone = SmallBackbone(bands, (16, 32, 48))
    torch.manual_seed(0)
    return disturb(kind(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((8, 16, 33, 64),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=sampling_ratio),
        box_head=TwoMLPHead(backbone.out_channels * 49, 64),
        box_predictor=FastRCNNPredictor(64, 4),
        **SETTINGS | settings,
    ))  # fmt: skip


def pyramid_reference(kind=FasterRCNN, **settings):
    """The same on several maps."""
    torch.manual_seed(1)
    return disturb(kind(
        TwoLevels(),
        rpn_anchor_generator=AnchorGenerator(((8, 12), (24, 32), (48, 100)), ((0.5, 1.0, 2.0),) * 3),
        box_roi_pool=MultiScaleRoIAlign(["fine", "coarse"], 5, 2, canonical_scale=40, canonical_level=3),
        box_head=TwoMLPHead(32 * 25, 64),
        box_predictor=FastRCNNPredictor(64, 6),
        **SETTINGS | settings,
    ))  # fmt: skip


def resnet_reference(make):
    """One of torchvision's large detectors by its function make, for small images."""
    torch.manual_seed(2)
    settings = SETTINGS | {"min_size": 96, "max_size": 320, "rpn_post_nms_top_n_test": 40, "num_classes": 5}
    return disturb(make(weights=None, weights_backbone=None, **settings), scale=0.1)


REFERENCES = {
    "one level": small_reference,
    "several levels": pyramid_reference,
    "resized up": lambda **s: small_reference(min_size=200, **s),
    "resized down, longer side decides": lambda **s: pyramid_reference(min_size=300, max_size=100, **s),
    "fixed size": lambda **s: small_reference(fixed_size=(160, 96), **s),
    "adaptive sampling": lambda **s: small_reference(sampling_ratio=0, **s),
    "score, boxes and thresholds of one's own": lambda **s: small_reference(**{
        "bbox_reg_weights": (8.0, 9.0, 4.0, 6.0), "box_nms_thresh": 0.3, "rpn_nms_thresh": 0.6, "box_score_thresh": 0.2,
        "rpn_score_thresh": 0.3, "box_detections_per_img": 30, "rpn_pre_nms_top_n_test": 77, **s,
    }),
}  # fmt: skip


def images_and_objects(count=3, height=128, width=128, bands=3, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, bands, height, width, generator=generator)
    objects = []
    for image in range(count):
        corner = torch.rand(2 * image, 2, generator=generator) * 90  # the first image has no objects
        side = torch.rand(2 * image, 2, generator=generator) * 30 + 5
        labels = torch.randint(1, classes + 1, (2 * image,), generator=generator)
        objects.append({"boxes": torch.cat((corner, corner + side), dim=1), "labels": labels})
    return images, objects


def assert_same_detections(ours, theirs, pixels, score):
    """Both found the same; two whose scores differ by a rounding error may stand in either order.

    Returns for each image which of theirs is which of ours.
    """
    order = []
    for mine, other in zip(ours.per_image(), theirs, strict=True):
        assert len(mine["boxes"]) == len(other["boxes"]) > 10, "too few boxes to compare"
        distance = (mine["boxes"][:, None] - other["boxes"]).abs().amax(dim=-1)
        distance += 1e6 * (mine["labels"][:, None] != other["labels"])
        distance += (mine["scores"][:, None] - other["scores"]).abs() / score * pixels
        nearest = distance.argmin(dim=1)
        assert torch.equal(nearest.sort().values, torch.arange(len(nearest))), "not the same boxes and labels"
        torch.testing.assert_close(mine["boxes"], other["boxes"][nearest], atol=pixels, rtol=0)
        torch.testing.assert_close(mine["scores"], other["scores"][nearest], atol=score, rtol=0)
        torch.testing.assert_close(mine["scores"], other["scores"], atol=score, rtol=0)  # best first
        order.append(nearest)
    return order


@torch.no_grad()
def compare_takeover(module, take_over, assert_same=assert_same_detections, pixels=1e-3, **images):
    """torchvision's module and what take_over makes of it find the same on the same images."""
    images, _ = images_and_objects(**images)
    assert_same(take_over(module.eval())(images), module(list(images)), pixels, 1e-4)
    images, module = images.double(), module.double()
    assert_same(take_over(module)(images), module(list(images)), 1e-6, 1e-9)


def compare_detections(name):
    """The reference called name and its takeover find the same."""
    compare_takeover(REFERENCES[name](), from_torchvision, height=112)


@pytest.mark.parametrize("name", REFERENCES)
def test_same_detections_small(name):
    compare_detections(name)


def test_same_detections_with_five_bands():
    module = small_reference(bands=5, image_mean=[0.1] * 5, image_std=[0.3] * 5)
    compare_takeover(module, from_torchvision, bands=5)


@pytest.mark.parametrize("make", [fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2])
def test_same_detections_resnet50_fpn(make):
    compare_takeover(resnet_reference(make), from_torchvision, pixels=1e-2, count=2)


# As many places in the samples as there are candidates: both draw all of them, and chance has no say.
EVERYTHING = {
    "rpn_batch_size_per_image": 100_000, "box_batch_size_per_image": 100_000, "box_positive_fraction": 0.5,
}  # fmt: skip


def same_losses(module, take_over, images, objects, names):
    """torchvision's module and its takeover, with their losses on one batch, which are the same."""
    module, images = module.double().train(), images.double()
    model = take_over(module)
    ours = model(images, Targets.from_list(objects))
    theirs = module(list(images), [{**one, "boxes": one["boxes"].double()} for one in objects])
    assert list(ours) == list(names)
    for mine, other in names.items():
        # Targets hold boxes in float32, which is what limits the agreement here.
        torch.testing.assert_close(ours[mine], theirs[other], atol=1e-6, rtol=1e-6, check_dtype=False)
    return model, ours, theirs


def compare_losses(name):
    """The reference called name and its takeover have the same losses and gradients on the same batch."""
    module = REFERENCES[name](**EVERYTHING)
    model, ours, theirs = same_losses(module, from_torchvision, *images_and_objects(), LOSSES)
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.rpn.head.parameters())
    for (name, mine), other in zip(model.named_parameters(), module.parameters(), strict=True):
        expected = other.grad.reshape(mine.shape)
        if name == "roi_heads.head.trunk.1.weight":  # RoIs are flattened channel by channel there, bin by bin here
            expected = expected.unflatten(1, (module.backbone.out_channels, -1)).transpose(1, 2).flatten(1)
        torch.testing.assert_close(mine.grad, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["one level", "several levels", "resized up", "adaptive sampling"])
def test_same_losses_and_gradients(name):
    compare_losses(name)


def test_weights_are_copied_and_flags_kept():
    module = small_reference()
    module.backbone[0][0].weight.requires_grad_(False)
    model = from_torchvision(module.train())
    assert model.training and not model.backbone[0][0].weight.requires_grad
    before = [p.clone() for p in module.parameters()]
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_other_detectors_are_refused():
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    with pytest.raises(TypeError, match="MaskRCNN predicts more"):
        from_torchvision(maskrcnn_resnet50_fpn(weights=None, weights_backbone=None))
    module = small_reference()
    module.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0"], (7, 5), 2)
    with pytest.raises(TypeError, match=r"square RoIs, not \(7, 5\)"):
        from_torchvision(module)
    module.roi_heads.box_predictor = nn.Linear(3, 3)
    with pytest.raises(TypeError, match="knows torchvision's FastRCNNPredictor, not Linear"):
        from_torchvision(module)
