"""U-Net-ID (Wagner et al. 2020, Remote Sensing 12(10):1544): three U-Nets, for the border, the segment and the inner
part of each object, whose maps are refined together; and the plain U-Net that it is compared with.

From the paper's abstract and its figure of the network; that each path ends in convolutions of 64 and 32 channels is
what three independent ports agree on. The quick model is narrower, works at half the resolution and with batch norm;
refining adds to its maps.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.settings import change
from geodl_course.models.unet_id_instances import Instances, find_instances
from geodl_course.models.unet_id_layers import UNetPath, full_size, refine_block
from geodl_course.models.unet_id_targets import MAPS, unet_id_targets
from geodl_course.plumbing import check_batch, check_masks, check_names, check_sides

SMALL = {"stride": 2, "depth": 3, "norm": True}  # what two cores train in 120 s


def map_losses(logits, goals, names):
    """Logits and goals (B, N, H, W) → {name of map: binary cross-entropy + Dice loss}, each of the whole batch."""
    each = F.binary_cross_entropy_with_logits(logits, goals, reduction="none").mean(dim=(0, 2, 3))
    chance = logits.sigmoid()
    both, either = (chance * goals).sum(dim=(0, 2, 3)), (chance + goals).sum(dim=(0, 2, 3))
    dice = 1 - (2 * both + 1) / (either + 1)  # 1: nothing there and nothing found is a loss of 0
    return dict(zip(names, each + dice, strict=True))


def draw_goals(targets, settings):
    """Targets with masks → the maps to learn (B, N, H, W)."""
    if settings["maps"] == ["segment"]:
        return (targets.masks & targets.valid[..., None, None]).any(dim=1, keepdim=True).float()
    return unet_id_targets(targets.masks, targets.valid, **settings["targets"])


class UNetID(nn.Module):
    """Images (B, C, H, W), in training with Targets → losses of the three maps; in evaluation Instances."""

    def __init__(self, bands=3, base=32, **changes):
        super().__init__()
        self.settings = change(unet_id_settings(bands, base), changes)
        check_names(self.settings["maps"], MAPS)
        stride, tail, norm, add = (self.settings[name] for name in ("stride", "tail", "norm", "add"))
        self.paths = nn.ModuleList(make_path(self.settings) for _ in MAPS)
        self.refine = nn.ModuleList(refine_block(stride, tail, norm, add) for _ in MAPS)

    def logits(self, images):
        """What the network says of images (B, C, H, W) → logits of border, segment, inner (B, 3, H, W)."""
        images = network_input(images, self.settings)
        own = [path(images) for path in self.paths]
        together = torch.cat(own, dim=1).sigmoid()
        kept = self.settings["add"]  # True and False count as 1 and 0
        refined = [refine(together) + kept * before for refine, before in zip(self.refine, own, strict=True)]
        return full_size(refined, self.settings["stride"])

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        logits = self.logits(images)
        if self.training:
            return map_losses(logits, draw_goals(targets, self.settings), MAPS)
        maps = logits.sigmoid()
        return Instances(maps, find_instances(maps, **self.settings["instances"]).to(images.device))


class UNet(nn.Module):
    """Images (B, C, H, W), in training with Targets → losses of its maps; in evaluation Instances.

    One U-Net. With one map, the segment, each connected piece of it is an instance: what U-Net-ID has to be better
    than. With all three it is what the U-Nets of U-Net-ID start from.
    """

    def __init__(self, bands=3, base=32, maps=("segment",), **changes):
        super().__init__()
        self.settings = change(unet_settings(bands, base, maps), changes)
        self.path = make_path(self.settings, len(maps))

    def logits(self, images):
        """What the network says of images (B, C, H, W) → logits of its maps (B, N, H, W)."""
        return full_size([self.path(network_input(images, self.settings))], self.settings["stride"])

    def forward(self, images, targets=None):
        check_maps(images, targets, self)
        logits, names = self.logits(images), self.settings["maps"]
        if self.training:
            return map_losses(logits, draw_goals(targets, self.settings), names)
        maps = logits.sigmoid()
        return Instances(maps, find_instances(maps, **self.settings["instances"]).to(images.device))


def make_path(settings, maps=1):
    """The untrained U-Net, images (B, C, H, W) → (B, maps x s², H / s, W / s), that settings describe."""
    return UNetPath(*(settings[name] for name in ("bands", "base", "depth", "norm", "stride")), maps)


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
        **unet_settings(bands, base, MAPS),
        "system": "unet_id",
        "tail": [2 * base, base],  # the paper's 64 and 32 at base 32
        "add": False,  # what refining says is added to the U-Net's own map, and is nothing when training starts
    }


def unet_settings(bands=3, base=32, maps=("segment",)):
    """Settings of one U-Net with these maps: as those of one path of U-Net-ID."""
    return {
        "system": "unet",  # models.build takes it by this name, from a notebook's classes as well
        "classes": 1,
        "bands": bands,
        "base": base,
        "depth": 4,
        "stride": 1,  # of the first convolution: 2 for half the resolution, and each last layer says 2 x 2 pixels
        "norm": False,
        "maps": list(maps),
        "targets": {"shrink_by": 2, "outside": 4, "inside": 3, "scale": 1.0},
        "instances": {"thresholds": [0.5] * len(maps), "smallest": 1},
    }


def unet_id(classes=1, bands=3, base=16, **changes):
    """The quick model: half the resolution, a level less, batch norm; refining adds to the maps.

    changes: any of unet_id_settings, nested, e.g. targets={"scale": 0.75}. Raises ValueError for classes other than 1
    and for other maps, KeyError for an unknown setting.
    """
    return UNetID(bands, base, **{**SMALL, "add": True, **one_class(classes), **changes})


def unet_id_paper(classes=1, bands=3, **changes):
    """The paper's network: 32 to 512 channels, ELU, no norm, 23.34 million parameters for three bands."""
    return UNetID(bands, 32, **one_class(classes), **changes)


def unet(classes=1, bands=3, base=16, **changes):
    """The plain U-Net with the widths of the quick U-Net-ID's paths; changes: any of unet_settings."""
    return UNet(bands, base, **{**SMALL, **one_class(classes), **changes})


def unet_three_maps(classes=1, bands=3, base=16, **changes):
    """One U-Net for all three maps, as the quick U-Net-ID has one for each; `start_from` begins with it."""
    return UNet(bands, base, MAPS, **{**SMALL, **one_class(classes), **changes})


def start_from(model, single):
    """UNetID model whose three U-Nets start as the UNet single, trained for all three maps → the model.

    All three must know buildings from ground before they can learn where one ends: one U-Net learns that in a third of
    the time. The paper says nothing of this. Raises RuntimeError where base, depth, bands, norm or stride differ,
    ValueError where single has other maps.
    """
    if single.settings["maps"] != model.settings["maps"]:
        raise ValueError(f"this U-Net maps {', '.join(single.settings['maps'])}: U-Net-ID starts from one that maps "
                         f"{', '.join(MAPS)}, as unet_three_maps() builds it")
    shared = single.path.state_dict()
    for number, path in enumerate(model.paths):
        last = {name: shared[name].chunk(len(MAPS))[number] for name in ("last.weight", "last.bias")}
        path.load_state_dict({**shared, **last})
    return model


def one_class(classes):
    """{"classes": 1}; raises ValueError for more: the maps know one kind of object."""
    if classes != 1:
        raise ValueError(f"{classes} classes: U-Net-ID maps one. Choose it with dataset.pick_classes([name])")
    return {"classes": 1}


def smallest_of(targets):
    """Pixels of an instance than which 99 of 100 in targets, dicts with masks (M, H, W), are larger; at least 1.

    What a network finds below that is hardly ever an object: a model gets it as instances={"smallest": ...}.
    """
    sizes = np.concatenate([np.zeros(0), *(one["masks"].sum(dim=(-2, -1)) for one in targets)])
    return max(1, int(np.quantile(sizes, 0.01))) if len(sizes) else 1
