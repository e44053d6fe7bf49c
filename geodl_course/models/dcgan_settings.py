"""Settings of DCGAN as plain data that a checkpoint can hold, and what images it can be trained on."""

import math

import torch

from geodl_course.models.settings import check_range


def dcgan_settings(bands=3, latent=100, width=64):
    """Settings of DCGAN: width channels in the largest maps, twice as many at each halving of their sides."""
    return {
        "system": "dcgan",  # models.build takes it by this name, from a notebook's classes as well
        "bands": bands,
        "latent": latent,
        "codes": "uniform",  # in [-1, 1], as in the paper; "normal" as the authors' code also can
        "width": width,
        "size": 64,
        "norm": "batch",  # the discriminator's: "layer" for a Wasserstein critic with a penalty per sample
    }


def stage_widths(width, size):
    """Channels from the largest map, of size / 2 pixels, down to 4 x 4: [64, 128, 256, 512] for width 64, size 64."""
    return [width * 2**stage for stage in range(int(math.log2(size)) - 2)]


def check_settings(settings):
    """Raise ValueError where settings make no network → None."""
    check_range({name: settings[name] for name in ("bands", "latent", "width")}, 1, math.inf, "at least 1")
    if settings["size"] not in (16, 32, 64, 128, 256):
        raise ValueError(f"size is {settings['size']}: DCGAN doubles maps of 4 x 4 px, so images are 16, 32, 64, 128 "
                         "or 256 px a side; cut chips of such a size")
    for name, known in (("norm", ("batch", "layer", "none")), ("codes", ("uniform", "normal"))):
        if settings[name] not in known:
            raise ValueError(f"{name} is {settings[name]!r}: choose one of {', '.join(known)}")


def check_images(images, settings):
    """Raise ValueError where images (N, C, S, S) are none that a DCGAN of these settings can learn from → None."""
    check_shape(images, settings)
    check_values(images)


def check_shape(images, settings):
    """Raise ValueError where images (N, C, S, S) are not of the kind, bands and size that settings name → None."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.is_floating_point() or not len(images):
        kind = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"images are {kind}: pass one float tensor (N, C, S, S), N >= 1, as to_signed(reflectance("
                         "dataset)) makes it")
    bands, size = settings["bands"], settings["size"]
    if images.shape[1] != bands:
        raise ValueError(f"images have {images.shape[1]} bands, the model was built for {bands}: dcgan(bands=...)")
    if tuple(images.shape[2:]) != (size, size):
        raise ValueError(f"images are {images.shape[2]} x {images.shape[3]} px, the model was built for {size} x "
                         f"{size}: cut chips of {size} px, or build it with another size=")


def check_values(images):
    """Raise ValueError unless images (N, C, S, S) are finite, in [-1, 1], and every band varies → None."""
    low, high = images.amin(dim=(0, 2, 3)), images.amax(dim=(0, 2, 3))
    if not bool((low + high).isfinite().all()):
        raise ValueError("images hold NaN or infinite pixels: leave these chips out, or fill the gaps")
    if low.min() < -1 or high.max() > 1:
        raise ValueError(f"images run from {low.min():.4g} to {high.max():.4g}, a tanh makes -1 to 1: scale them with "
                         "chips.scaling.to_signed(reflectance) first")
    if low.min() >= 0:
        raise ValueError(f"images run from {low.min():.4g} to {high.max():.4g} and never below 0, a tanh makes -1 to "
                         "1: scale them with chips.scaling.to_signed(reflectance) first")
    still = (low == high).nonzero().flatten().tolist()
    if still:
        raise ValueError(f"band {still[0]} is {low[still[0]]:.4g} in every pixel of every image: there is nothing to "
                         "learn in it; leave it out, or look at how the chips were made")
