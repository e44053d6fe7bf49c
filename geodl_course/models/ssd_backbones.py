"""Backbones of single-shot detectors: from images to several feature maps, each coarser than the one before."""

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.backbones import SmallBackbone, imagenet_weights
from geodl_course.models.layers import conv_block


def start_with_xavier(module):
    """Weights of module's convolutions (D, C, k, k) drawn as the paper draws them, biases 0 → None.

    Glorot and Bengio 2010: as much goes out of a layer as came in. SSD, section 3.1.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class SmallStages(nn.Module):
    """Images (B, bands, H, W) → {"0": (B, C, H / 4, W / 4), "1": (B, D, H / 8, W / 8), ...}, each map half the last.

    The first stage is the small backbone of lecture 03, each further one a coarser_stage. run(stage, map) says how a
    stage is run (plumbing.folded in evaluation). Built in lecture 04.
    """

    def __init__(self, bands=3, widths=(32, 64, 96), extra=(96, 96, 96)):
        super().__init__()
        channels = [widths[-1], *extra]
        coarser = [coarser_stage(*pair) for pair in zip(channels, extra, strict=False)]
        self.stages = nn.ModuleList([SmallBackbone(bands, widths), *coarser])
        self.out_channels = channels
        self.settings = {"name": "small", "bands": bands, "widths": list(widths), "extra": list(extra)}

    def forward(self, images, run=nn.Module.__call__):
        maps = {}
        for name, stage in enumerate(self.stages):
            images = run(stage, images)
            maps[str(name)] = images
        return maps


def coarser_stage(inputs, outputs):
    """1 x 1 convolution to narrow a map, 3 x 3 to halve it: (B, inputs, H, W) → (B, outputs, H / 2, W / 2).

    SSD, section 2.1, figure 2.
    """
    return nn.Sequential(conv_block(inputs, inputs // 2, size=1), conv_block(inputs // 2, outputs, stride=2))


def plain(*layers):
    """Convolutions, each with a ReLU after it, and whatever else stands among layers: (B, C, H, W) → (B, D, H', W')."""
    rectified = [(layer, nn.ReLU(inplace=True)) if isinstance(layer, nn.Conv2d) else (layer,) for layer in layers]
    return nn.Sequential(*(layer for pair in rectified for layer in pair))


def same_size(inputs, outputs, number):
    """number 3 x 3 convolutions that keep the size: (B, inputs, H, W) → (B, outputs, H, W)."""
    return [nn.Conv2d(outputs if i else inputs, outputs, 3, padding=1) for i in range(number)]


def until_conv4_3(bands):
    """VGG-16's first ten convolutions: images (B, bands, 300, 300) → (B, 512, 38, 38)."""
    halve, upward = nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True)  # 75 cells become 38, as in the paper
    first = [*same_size(bands, 64, 2), halve, *same_size(64, 128, 2), halve]
    return plain(*first, *same_size(128, 256, 3), upward, *same_size(256, 512, 3))


def until_fc7():
    """VGG-16's last convolutions, then its two dense layers as convolutions: (B, 512, 38, 38) → (B, 1024, 19, 19).

    The first of them is subsampled from 7 x 7, its holes filled by dilation 6. SSD, section 3.
    """
    pool = nn.MaxPool2d(3, stride=1, padding=1)
    fc6, fc7 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.Conv2d(1024, 1024, 1)
    return plain(nn.MaxPool2d(2), *same_size(512, 512, 3), pool, fc6, fc7)


def coarser_vgg_stage(inputs, narrow, outputs, stride):
    """A stage after VGG-16: (B, inputs, H, W) → (B, outputs, H / 2, W / 2), or H - 2, W - 2 with stride 1."""
    return plain(nn.Conv2d(inputs, narrow, 1), nn.Conv2d(narrow, outputs, 3, stride, padding=int(stride == 2)))


class VGGStages(nn.Module):
    """Images (B, bands, 300, 300) → {"0": (B, 512, 38, 38), "1": (B, 1024, 19, 19), ... "5": (B, 256, 1, 1)}.

    The paper's network (sections 3 and 3.1): features of the first map are much longer vectors than those of the
    others, so they are brought to length 1 and rescaled by a learned factor a channel, 20 at first.
    """

    def __init__(self, bands=3):
        super().__init__()
        self.scale = nn.Parameter(torch.full((512,), 20.0))
        self.stages = nn.ModuleList([
            until_conv4_3(bands), until_fc7(),
            coarser_vgg_stage(1024, 256, 512, 2), coarser_vgg_stage(512, 128, 256, 2),
            coarser_vgg_stage(256, 128, 256, 1), coarser_vgg_stage(256, 128, 256, 1),
        ])  # fmt: skip
        start_with_xavier(nn.ModuleList([self.stages[1][-4:], *self.stages[2:]]))  # what VGG-16 does not have
        self.out_channels = [512, 1024, 512, 256, 256, 256]
        self.settings = {"name": "vgg16", "bands": bands}

    def forward(self, images, run=nn.Module.__call__):
        maps = {}
        for name, stage in enumerate(self.stages):
            images = run(stage, images)
            maps[str(name)] = images
        maps["0"] = self.scale[:, None, None] * F.normalize(maps["0"])
        return maps


def vgg_stages(bands=3, pretrained=True):
    """The paper's backbone: images (B, bands, 300, 300) → six maps of 38 to 1 cells a side.

    With pretrained its thirteen VGG-16 convolutions start from ImageNet weights; where these cannot be had, a line says
    so and all of it learns from scratch.
    """
    backbone, weights = VGGStages(bands), imagenet_weights("vgg16") if pretrained else None
    if weights:
        layers = [layer for stage in backbone.stages[:2] for layer in stage if isinstance(layer, nn.Conv2d)][:13]
        stored = [name.removesuffix(".weight") for name, value in weights.items() if value.ndim == 4]
        for layer, name in zip(layers, stored, strict=True):
            if layer.weight.shape == weights[f"{name}.weight"].shape:  # other bands: the first layer starts anew
                layer.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})
    return backbone


def make_stages(name="small", bands=3, **settings):
    """The backbone that an SSD's settings describe → module; its weights are not fetched, the checkpoint brings them.

    Raises ValueError for a backbone of one's own, which settings cannot describe.
    """
    if name == "own":
        raise ValueError("the settings name a backbone of your own: pass the module itself as backbone=")
    return SmallStages(bands, **settings) if name == "small" else VGGStages(bands)
