"""U-Net-ID (Wagner et al. 2020, Remote Sensing 12(10):1544): three U-Nets, for the border, the segment and the inner
part of each object, whose maps are refined together; and the plain U-Net that it is compared with.

From the paper's abstract and its figure of the network; that each path ends in convolutions of 64 and 32 channels is
what three independent ports agree on. The quick model is narrower, works
at half the resolution, and its U-Nets have losses of their own.
"""

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.settings import change
from geodl_course.models.unet_id_instances import Instances, grow_instances, label_components
from geodl_course.models.unet_id_layers import UNetPath, check_sides, full_size, refine_block
from geodl_course.models.unet_id_targets import MAPS, unet_id_targets
from geodl_course.plumbing import check_batch, check_masks

SMALL = {"stride": 2, "depth": 3, "instances": {"smallest": 20}}  # what two cores train in 120 s, on chips of 128 px


def map_losses(logits, goals, names):
    """Logits and goals (B, N, H, W) → {name of map: binary cross-entropy + Dice loss}, each of the whole batch."""
    each = F.binary_cross_entropy_with_logits(logits, goals, reduction="none").mean(dim=(0, 2, 3))
    chance = logits.sigmoid()
    both, either = (chance * goals).sum(dim=(0, 2, 3)), (chance + goals).sum(dim=(0, 2, 3))
    dice = 1 - (2 * both + 1) / (either + 1)  # 1: nothing there and nothing found is a loss of 0
    return dict(zip(names, each + dice, strict=True))


def two_losses(own, refined, goals, weight):
    """Logits of each U-Net alone and refined (B, 3, H, W), goals (B, 3, H, W) → {map: loss of both, own by weight}."""
    late = map_losses(refined, goals, MAPS)
    if not weight:
        return late
    early = map_losses(own, goals, MAPS)  # without it each U-Net learns through a sigmoid and three layers: slowly
    return {name: late[name] + weight * early[name] for name in MAPS}


class UNetID(nn.Module):
    """Images (B, C, H, W), in training with Targets → losses of the three maps; in evaluation Instances."""

    def __init__(self, bands=3, base=32, **changes):
        super().__init__()
        self.settings = change(unet_id_settings(bands, base), changes)
        stride, tail, norm = (self.settings[name] for name in ("stride", "tail", "norm"))
        self.paths = nn.ModuleList(make_path(self.settings) for _ in MAPS)
        self.refine = nn.ModuleList(refine_block(stride, tail, norm) for _ in MAPS)

    def both(self, images):
        """Images (B, C, H, W) → logits of border, segment, inner: of each U-Net alone, and refined (B, 3, H, W)."""
        images = network_input(images, self.settings)
        own = [path(images) for path in self.paths]
        together = torch.cat(own, dim=1).sigmoid()
        refined = [refine(together) for refine in self.refine]
        return full_size(own, self.settings["stride"]), full_size(refined, self.settings["stride"])

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        own, refined = self.both(images)
        if self.training:
            goals = unet_id_targets(targets.masks, targets.valid, **self.settings["targets"])
            return two_losses(own, refined, goals, self.settings["own"])
        maps = refined.sigmoid()
        return Instances(maps, grow_instances(maps, **self.settings["instances"]).to(images.device))


class UNet(nn.Module):
    """Images (B, C, H, W), in training with Targets → loss of the segment map; in evaluation Instances.

    One U-Net, one map, and each connected piece of it an instance: what U-Net-ID has to be better than.
    """

    def __init__(self, bands=3, base=32, **changes):
        super().__init__()
        self.settings = change(unet_settings(bands, base), changes)
        self.path = make_path(self.settings)

    def logits(self, images):
        """What the network says of images (B, C, H, W) → logits of the segment map (B, 1, H, W)."""
        return full_size([self.path(network_input(images, self.settings))], self.settings["stride"])

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        logits = self.logits(images)
        if self.training:
            segment = (targets.masks & targets.valid[..., None, None]).any(dim=1, keepdim=True)
            return map_losses(logits, segment.float(), ["segment"])
        return Instances(logits.sigmoid(), label_components(logits.sigmoid(), **self.settings["instances"]))


def make_path(settings):
    """The untrained U-Net, images (B, C, H, W) → (B, s², H / s, W / s), that settings describe."""
    return UNetPath(*(settings[name] for name in ("bands", "base", "depth", "norm", "stride")))


def network_input(images, settings):
    """Images (B, C, H, W) in the layout that convolutions are quickest with; ValueError for sides that do not fit."""
    check_sides(tuple(images.shape[-2:]), settings)
    return images.contiguous(memory_format=torch.channels_last)


def check_maps(images, targets, model):
    """Raise ValueError where images (B, C, H, W) or their Targets, which need masks, do not fit the model."""
    check_batch(images, targets, model, model.settings["classes"], model.training)
    check_masks(targets, model.training)


def unet_id_settings(bands=3, base=32):
    """Settings of U-Net-ID: base channels on the first level, twice as many on each that follows."""
    return {
        **unet_settings(bands, base),
        "system": "unet_id",
        "tail": [2 * base, base],  # the paper's 64 and 32 at base 32
        "own": 0.0,  # weight of the loss of each U-Net's own map, before the three are refined together
        "targets": {"shrink_by": 2, "outside": 4, "inside": 3, "scale": 1.0},
        "instances": {"thresholds": [0.5, 0.5, 0.5], "smallest": 1},
    }


def unet_settings(bands=3, base=32):
    """Settings of the plain U-Net: as those of one path of U-Net-ID."""
    return {
        "system": "unet",  # models.build takes it by this name, from a notebook's classes as well
        "classes": 1,
        "bands": bands,
        "base": base,
        "depth": 4,
        "stride": 1,  # of the first convolution: 2 for half the resolution, and each last layer says 2 x 2 pixels
        "norm": False,
        "instances": {"threshold": 0.5, "smallest": 1},
    }


def unet_id(classes=1, bands=3, base=16, **changes):
    """The quick model: half the resolution, a level less, and each U-Net has a loss of its own.

    changes: any of unet_id_settings, nested, e.g. targets={"scale": 0.75}. Raises ValueError for classes other than 1,
    KeyError for an unknown setting.
    """
    return UNetID(bands, base, **{**SMALL, "own": 1.0, **one_class(classes), **changes})


def unet_id_paper(classes=1, bands=3, **changes):
    """The paper's network: 32 to 512 channels, ELU, no norm, 23.34 million parameters for three bands."""
    return UNetID(bands, 32, **one_class(classes), **changes)


def unet(classes=1, bands=3, base=16, **changes):
    """The plain U-Net with the widths of the quick U-Net-ID's paths; changes: any of unet_settings."""
    return UNet(bands, base, **{**SMALL, **one_class(classes), **changes})


def start_from(model, plain):
    """UNetID model whose three U-Nets start as the UNet plain, trained on the same images → the model.

    All three must know buildings from ground before they can learn where one ends: one U-Net learns that in a third of
    the time. The paper says nothing of this. Raises RuntimeError where base, depth, bands, norm or stride differ.
    """
    for path in model.paths:
        path.load_state_dict(plain.path.state_dict())
    return model


def one_class(classes):
    """{"classes": 1}; raises ValueError for more: the maps know one kind of object."""
    if classes != 1:
        raise ValueError(f"{classes} classes: U-Net-ID maps one. Choose it with dataset.pick_classes([name])")
    return {"classes": 1}
