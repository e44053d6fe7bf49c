"""Backbones: from images to feature maps."""

import torch
from torch import nn
from torchvision.models import get_model_weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from geodl_course.models.layers import conv_block


class SmallBackbone(nn.Sequential):
    """Images (B, bands, H, W) → one map (B, widths[-1], H / 4, W / 4): enough to learn on a laptop.

    Two convolutions a stage; stages 1 and 2 halve the map, the third keeps it, because a 5-pixel car must still cover
    a cell. Widths in multiples of 16 keep batch norm quick on CPUs. Has out_channels and stride, so that it fits
    torchvision's detectors as well. Built in lecture 03.
    """

    def __init__(self, bands=3, widths=(32, 64, 96)):
        a, b, c = widths
        first = conv_block(bands, a, stride=2), conv_block(a, a)  # (B, 32, H / 2, W / 2)
        second = conv_block(a, b, stride=2), conv_block(b, b)  # (B, 64, H / 4, W / 4)
        third = conv_block(b, c), conv_block(c, c)  # (B, 96, H / 4, W / 4)
        super().__init__(*first, *second, *third)
        self.out_channels, self.stride = c, 4
        self.settings = {"name": "small", "bands": bands, "widths": list(widths)}


def resnet_fpn(name="resnet50", pretrained=True, bands=3, frozen=None):
    """torchvision's ResNet with a feature pyramid: images (B, bands, H, W) → five maps of 256 channels, strides 4..64.

    With pretrained the ResNet starts from its ImageNet weights, its batch norm and first two stages frozen; where the
    weights cannot be had (no network), a line says so and all of it learns from scratch. frozen says the same without
    fetching anything, for a checkpoint that brings its own weights. Feature Pyramid Networks (arXiv 1612.03144).
    Lecture 03, full budget.
    """
    weights = imagenet_weights(name) if pretrained else None
    frozen = weights is not None if frozen is None else frozen
    norm = FrozenBatchNorm2d if frozen else nn.BatchNorm2d  # frozen statistics make sense only where there are some
    learning = 3 if frozen else 5  # edges and textures of the first two stages are good as they are
    backbone = resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=norm, trainable_layers=learning)
    if weights:
        backbone.body.load_state_dict(weights, strict=False)  # all but the classifier, which the pyramid replaces
    if bands != 3:
        replace_first_layer(backbone.body, bands)
    backbone.settings = {"name": name, "bands": bands, "frozen": frozen}
    return backbone


def imagenet_weights(name):
    """ImageNet weights of the ResNet called name, or None and one plain line where they cannot be had."""
    try:
        return get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, a proxy's page instead of the file, a hash that differs
        print(f"ImageNet weights of {name} cannot be had ({error}): starting from scratch, so train longer.")
        return None


def replace_first_layer(body, bands):
    """Give the ResNet body a first convolution for bands input bands, from the mean of its weights (64, 3, 7, 7)."""
    old = body["conv1"]
    body["conv1"] = nn.Conv2d(bands, old.out_channels, 7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        mean = old.weight.mean(dim=1, keepdim=True)  # (64, 1, 7, 7)
        body["conv1"].weight.copy_(mean.expand(-1, bands, -1, -1) * 3 / bands)  # the sum over bands stays the same


def make_backbone(name="small", bands=3, **settings):
    """The backbone that a model's settings describe; its weights are not fetched, the checkpoint brings them.

    Raises ValueError for a backbone of one's own, which settings cannot describe.
    """
    if name == "own":
        raise ValueError("the settings name a backbone of your own: pass the module itself as backbone=")
    if name == "small":
        return SmallBackbone(bands, **settings)
    return resnet_fpn(name, pretrained=False, bands=bands, **settings)
