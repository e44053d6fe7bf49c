"""Layers of autoencoder and VAE."""

import math

import torch
from torch import nn

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
