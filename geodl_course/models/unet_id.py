"""U-Net-ID (Wagner et al. 2020, Remote Sensing 12(10):1544): three U-Nets, for the border, the segment and the inner
part of each object, whose maps are refined together; and the plain U-Net that it is compared with.

From the paper's abstract and its figure of the network; that each path ends in convolutions of 64 and 32 channels is
what three independent ports agree on. What differs in the quick model: narrower, batch norm.
"""

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.settings import change
from geodl_course.models.unet_id_instances import Instances, grow_instances, label_components
from geodl_course.models.unet_id_layers import UNetPath, check_sides, refine_block
from geodl_course.models.unet_id_targets import MAPS, unet_id_targets
from geodl_course.plumbing import check_batch, prepare


def map_losses(logits, goals, names):
    """Logits and goals (B, N, H, W) → {name of map: binary cross-entropy + Dice loss}, each of the whole batch."""
    each = F.binary_cross_entropy_with_logits(logits, goals, reduction="none").mean(dim=(0, 2, 3))
    chance = logits.sigmoid()
    both, either = (chance * goals).sum(dim=(0, 2, 3)), (chance + goals).sum(dim=(0, 2, 3))
    dice = 1 - (2 * both + 1) / (either + 1)  # 1: nothing there and nothing found is a loss of 0
    return dict(zip(names, each + dice, strict=True))


class UNetID(nn.Module):
    """Images (B, C, H, W), in training with Targets → losses of the three maps; in evaluation Instances."""

    def __init__(self, bands=3, base=32, **changes):
        super().__init__()
        self.settings = change(unet_id_settings(bands, base), changes)
        depth, norm = self.settings["depth"], self.settings["norm"]
        self.paths = nn.ModuleList(UNetPath(bands, base, depth, norm) for _ in MAPS)
        self.refine = nn.ModuleList(refine_block(self.settings["tail"], norm) for _ in MAPS)

    def logits(self, images):
        """What the network says of images (B, C, H, W) → logits of border, segment, inner (B, 3, H, W)."""
        images = network_input(images, self.settings)
        first = torch.cat([path(images) for path in self.paths], dim=1).sigmoid()
        return torch.cat([refine(first) for refine in self.refine], dim=1).float()

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        logits = self.logits(images)
        if self.training:
            return map_losses(logits, unet_id_targets(targets.masks, targets.valid, **self.settings["targets"]), MAPS)
        maps = logits.sigmoid()
        return Instances(maps, grow_instances(maps, **self.settings["instances"]).to(images.device))


class UNet(nn.Module):
    """Images (B, C, H, W), in training with Targets → loss of the segment map; in evaluation Instances.

    One U-Net, one map, and each connected piece of it an instance: what U-Net-ID has to be better than.
    """

    def __init__(self, bands=3, base=32, **changes):
        super().__init__()
        self.settings = change(unet_settings(bands, base), changes)
        self.path = UNetPath(bands, base, self.settings["depth"], self.settings["norm"])

    def logits(self, images):
        """What the network says of images (B, C, H, W) → logits of the segment map (B, 1, H, W)."""
        return self.path(network_input(images, self.settings)).float()

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        logits = self.logits(images)
        if self.training:
            segment = (targets.masks & targets.valid[..., None, None]).any(dim=1, keepdim=True)
            return map_losses(logits, segment.float(), ["segment"])
        return Instances(logits.sigmoid(), label_components(logits.sigmoid(), **self.settings["instances"]))


def network_input(images, settings):
    """Images (B, C, H, W) as the first convolution wants them → (B, C, H, W); ValueError for sides that do not fit."""
    check_sides(tuple(images.shape[-2:]), settings["depth"])
    return prepare(images, None, False)[0]


def check_maps(images, targets, model):
    """Raise ValueError where images (B, C, H, W) or their Targets, which need masks, do not fit the model."""
    check_batch(images, targets, model, model.settings["classes"], model.training)
    if model.training and targets.masks is None:
        raise ValueError("these targets have boxes only, U-Net-ID learns from masks: use ChipDataset(masks=True)")


def unet_id_settings(bands=3, base=32):
    """Settings of U-Net-ID: base channels on the first level, twice as many on each that follows."""
    return {
        **unet_settings(bands, base),
        "system": "unet_id",
        "tail": [2 * base, base],  # the paper's 64 and 32 at base 32
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
        "norm": False,
        "instances": {"threshold": 0.5, "smallest": 1},
    }


def unet_id(classes=1, bands=3, base=8, norm=True, **changes):
    """The quick model: narrow, with batch norm; changes: any of unet_id_settings, e.g. targets={"scale": 0.75}.

    Raises ValueError for classes other than 1, KeyError for an unknown setting.
    """
    return UNetID(bands, base, norm=norm, **one_class(classes), **changes)


def unet_id_paper(classes=1, bands=3, **changes):
    """The paper's network: 32 to 512 channels, ELU, no norm, 23.34 million parameters for three bands."""
    return UNetID(bands, 32, **one_class(classes), **changes)


def unet(classes=1, bands=3, base=8, norm=True, **changes):
    """The plain U-Net with the widths of the quick U-Net-ID's paths; changes: any of unet_settings."""
    return UNet(bands, base, norm=norm, **one_class(classes), **changes)


def one_class(classes):
    """{"classes": 1}; raises ValueError for more: the maps know one kind of object."""
    if classes != 1:
        raise ValueError(f"{classes} classes: U-Net-ID maps one. Choose it with dataset.pick_classes([name])")
    return {"classes": 1}
