"""What every detector needs around its network: input checks, other sizes in and out, what only makes it quick.

No lecture builds these: how a system works does not depend on them.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.chips import Targets, check_targets

LARGEST = 50.0  # standard deviations: no standardised chip of reflectances comes near, stored values do


def check_batch(images, targets, backbone, classes, training):
    """Raise ValueError where images (B, C, H, W) or their Targets do not fit the model; says what to do about it."""
    weight = next(p for p in backbone.parameters() if p.ndim == 4)  # the first convolution: (D, C, 3, 3)
    if not isinstance(images, torch.Tensor):
        raise ValueError(f"images are a {type(images).__name__}: pass one tensor (B, C, H, W), as torch.stack makes it")
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}: pass one float tensor (B, C, H, W), B >= 1")
    if images.device != weight.device:
        raise ValueError(f"images are on {images.device}, the model on {weight.device}: move one with .to(device)")
    bands = images.shape[1], weight.shape[1]
    if bands[0] != bands[1]:
        raise ValueError(f"images have {bands[0]} bands, the backbone takes {bands[1]}: build the model with bands=")
    if training and targets is None:
        raise ValueError("a model in training needs targets: pass Targets, or call model.eval() to detect")
    if training and not isinstance(targets, Targets):
        raise ValueError(f"targets are a {type(targets).__name__}: make them with Targets.from_list(one dict an image)")
    if training and len(targets.boxes) != len(images):
        raise ValueError(f"targets are of {len(targets.boxes)} images, the batch has {len(images)}: pass one for each")
    if training and not targets.boxes.shape[1]:
        raise ValueError("targets have no place for an object (M = 0): Targets.from_list leaves one, marked not valid")
    if training and targets.boxes.device != images.device:
        raise ValueError(f"targets are on {targets.boxes.device}, images on {images.device}: use targets.to(device)")
    if training:
        check_targets(targets, tuple(images.shape[-2:]), classes)
    elif not images.sum(dtype=torch.float32).isfinite():  # quick; in training the loss tells
        raise ValueError("images hold NaN or infinite pixels: make them 0, as ChipDataset does where nodata is set")


def check_masks(targets, training):
    """Raise ValueError where a model is to learn masks from Targets that have none."""
    if training and isinstance(targets, Targets) and targets.masks is None:
        raise ValueError("this model learns masks and the targets have none: open the chips with masks=True, "
                         "as in ChipDataset(folder, split, masks=True)")


def check_size(size, built):
    """Raise ValueError unless images of size (H, W) are of the size (H, W) that the network was built for → None."""
    if list(size) != list(built):
        raise ValueError(
            f"images are {size[0]} x {size[1]} px (height x width), this network was built for {built[0]} x {built[1]} "
            "and fits no other: cut chips of that size, or build it with size="
        )


def check_sides(size, settings):
    """Raise ValueError where images of size (H, W) cannot be halved as often as settings say."""
    multiple = settings["stride"] * 2 ** settings["depth"]
    if any(side % multiple for side in size):
        raise ValueError(
            f"images are {size[0]} x {size[1]} px: this U-Net halves them until {multiple} px are one, so both sides "
            f"must be multiples of {multiple}. Cut chips of such a size, or build the model with a smaller depth="
        )


def check_names(maps, wanted):
    """Raise ValueError unless the names of a U-Net-ID's maps are the wanted ones, in their order."""
    if list(maps) != list(wanted):
        raise ValueError(f"maps are {', '.join(maps) or 'none'}: U-Net-ID always has {', '.join(wanted)}, in this "
                         "order. Leave maps= out; the plain U-Net, unet(), has the segment alone")


def check_code(settings):
    """Cells (H = W) that an encoder's widths leave of the size; raises ValueError where they make no network → int."""
    size, halvings = settings["size"], len(settings["widths"])
    most = (size & -size).bit_length() - 1  # so often can size be halved
    if not 1 <= halvings <= most:
        raise ValueError(f"{halvings} widths halve the image as often, and {size} px can be halved {most} times: give "
                         "at least one width and at most as many")
    for name in ("bands", "latent"):
        if not settings[name] >= 1:
            raise ValueError(f"{name} is {settings[name]}: the network needs at least 1")
    for name in ("noise", "beta"):
        value = settings.get(name)
        if value is not None and not (0 < value < math.inf if name == "noise" else 0 <= value < math.inf):
            raise ValueError(f"{name} is {value}: noise is more than 0 and finite (or None), beta at least 0")
    return size // 2**halvings


def check_standardised(images, model):
    """Raise ValueError unless images are standardised (B, C, size, size), of the model's bands, without NaN → None."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not len(images) or not images.is_floating_point():
        told = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"images are {told}: pass one float tensor (B, C, H, W), B >= 1")
    bands, size = model.settings["bands"], model.settings["size"]
    if images.shape[1] != bands:
        raise ValueError(f"images have {images.shape[1]} bands, the model takes {bands}: build it with bands=, or "
                         "choose bands with dataset.pick_bands([...])")
    check_size(images.shape[-2:], (size, size))
    largest = images.detach().abs().amax().item()
    if not math.isfinite(largest):
        raise ValueError("images hold NaN or infinite pixels: make them 0, as ChipDataset does where nodata is set")
    if largest > LARGEST:
        raise ValueError(f"images hold values up to {largest:.4g}, these are not standardised: subtract each band's "
                         "mean and divide by its standard deviation, as ChipDataset(folder, split) does")


def prepare(images, transform, training):
    """Images (B, C, H, W) as the backbone wants them → batch (B, C, H', W'), size (h, w) of the part that is image."""
    if transform is None:  # chips come normalised and of one size
        return images.contiguous(memory_format=torch.channels_last), tuple(images.shape[-2:])
    mean, std = (images.new_tensor(transform[key])[:, None, None] for key in ("mean", "std"))
    images = resize((images - mean) / std, training, **transform["resize"])
    size = tuple(images.shape[-2:])
    down, right = (-side % transform["multiple"] for side in size)  # a pyramid halves sizes several times
    return F.pad(images, (0, right, 0, down)).contiguous(memory_format=torch.channels_last), size


def resize(images, training, min_size, max_size, fixed_size):
    """Images (B, C, H, W) with the shorter side at min_size, the longer at most max_size → (B, C, h, w).

    min_size is a list: training draws one for the batch, evaluation uses the last. fixed_size (width, height) wins.
    """
    if fixed_size is not None:
        if images.shape[-2:] == (fixed_size[1], fixed_size[0]):
            return images
        return F.interpolate(images, size=(fixed_size[1], fixed_size[0]), mode="bilinear", align_corners=False)
    draw = int(torch.rand(()) * len(min_size)) if training and len(min_size) > 1 else -1
    height, width = images.shape[-2:]
    scale = min(min_size[draw] / min(height, width), max_size / max(height, width))
    options = {"mode": "bilinear", "align_corners": False, "recompute_scale_factor": True}
    return images if scale == 1 else F.interpolate(images, scale_factor=scale, **options)


def resize_boxes(boxes, old, new):
    """Boxes (..., 4) on an image of size old (H, W), moved to the same image at size new (H, W) → (..., 4)."""
    if tuple(old) == tuple(new):
        return boxes
    y, x = (torch.tensor(new, dtype=torch.float32) / torch.tensor(old, dtype=torch.float32)).tolist()
    return boxes * boxes.new_tensor([x, y, x, y])  # float32 ratios also for float64 boxes: torchvision's rounding


def feature_maps(backbone, images, training):
    """What backbone makes of images (B, 3, H, W) → dict of maps (B, C, H, W), finest first."""
    if not training and hasattr(backbone, "stages"):  # a map after each stage: it folds stage by stage
        maps = backbone(images, folded)
    else:
        maps = backbone(images) if training else folded(backbone, images)
    maps = maps if isinstance(maps, dict) else {"0": maps}  # a backbone with one level may return it bare
    return {name: level.to(images.dtype) for name, level in maps.items()}  # half precision is too coarse for boxes


def folded(block, images):
    """What block does with images (B, C, H, W) in evaluation, batch norm folded into the convolutions → (B, D, H, W).

    In evaluation batch norm is a fixed scale and shift per channel, which the convolution's weights can take on: one
    multiplication of the weights replaces a pass over the map. Layers in a Sequential fold, all else runs as it is.
    """
    if not isinstance(block, nn.Sequential):
        return block(images)
    layers = list(block)
    if [type(layer) for layer in layers] != [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] or layers[0].bias is not None:
        for layer in layers:
            images = folded(layer, images)
        return images
    convolution, norm, _ = layers
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (D,)
    weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(images, weight, bias, convolution.stride, convolution.padding).relu_()


class WeightedRows(torch.autograd.Function):
    """Rows of table (T, C) picked by index (N, S), weighed by weights (N, S) and summed → (N, C).

    The same as embedding_bag, which does this for the words of a sentence, but its way back goes entry by entry.
    The transpose of a weighted sum is a weighted sum too: sort the entries by the row that they came from. Three
    times as fast on a CPU. Only the table gets gradients: RoIs are taken as given.
    """

    @staticmethod
    def forward(ctx, table, index, weights):
        ctx.save_for_backward(index, weights, torch.arange(len(table), dtype=index.dtype, device=index.device))
        return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx, gradient):
        index, weights, rows = ctx.saved_tensors
        row, entry = index.flatten().sort()  # (N * S,): all entries of a row side by side
        first = torch.searchsorted(row, rows).to(row.dtype)  # where the entries of each row begin
        source = (entry // index.shape[1]).to(row.dtype)  # the sum that each entry went into
        weights = weights.flatten()[entry]
        back = F.embedding_bag(source, gradient.contiguous(), first, per_sample_weights=weights, mode="sum")
        return back, None, None  # (T, C)
