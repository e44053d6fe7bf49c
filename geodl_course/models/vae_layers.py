"""Layers of autoencoder and VAE, and the checks of what goes into them."""

import math

import torch
from torch import nn

from geodl_course.plumbing import check_size

LARGEST = 50.0  # standard deviations: no standardised chip of reflectances comes near, stored values do
QUIETEST = -3.0  # log of the least noise that a decoder may claim: without it a flat chip's likelihood has no bound


def down_block(inputs, outputs):
    """Convolution 4 x 4 of stride 2, batch norm, leaky ReLU: (B, inputs, H, W) → (B, outputs, H / 2, W / 2)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


def up_block(inputs, outputs):
    """Transposed convolution 4 x 4 of stride 2, batch norm, ReLU: (B, inputs, H, W) → (B, outputs, 2 H, 2 W)."""
    turned = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(turned, nn.BatchNorm2d(outputs), nn.ReLU())


def noise_of(found, noise):
    """Decoder's output (B, C or 2 C, H, W) → images (B, C, H, W), log of the noise about each pixel, same shape."""
    if noise is not None:
        return found, torch.full_like(found, math.log(noise))
    images, log_noise = found.chunk(2, dim=1)
    return images, log_noise.clamp(min=QUIETEST)


def check_settings(settings):
    """Cells (H = W) that the widths leave of the size; raises ValueError for settings that make no network → int."""
    size, halvings = settings["size"], len(settings["widths"])
    if not halvings or size % 2**halvings:
        raise ValueError(f"{halvings} widths halve the image as often, and {size} px cannot be: 1 to 6 fit 64 px")
    for name in ("bands", "latent"):
        if not settings[name] >= 1:
            raise ValueError(f"{name} is {settings[name]}: the network needs at least 1")
    for name in ("noise", "beta"):
        value = settings.get(name)
        if value is not None and not (0 < value < math.inf if name == "noise" else 0 <= value < math.inf):
            raise ValueError(f"{name} is {value}: noise is more than 0 and finite (or None), beta at least 0")
    return size // 2**halvings


def check_chips(images, model):
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
