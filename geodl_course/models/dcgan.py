"""DCGAN (Radford, Metz and Chintala, ICLR 2016, arXiv 1511.06434), by the rules of its section 3.

Symbols: B images, C bands, S pixels a side, Z numbers in a code. Kernels of 4 x 4 without bias and the widths 512, 256,
128, 64 are those of the authors' code (soumith/dcgan.torch), and so is how batch norm starts.
"""

from itertools import pairwise

import torch
from torch import nn

from geodl_course.models.dcgan_settings import check_settings, dcgan_settings, stage_widths
from geodl_course.models.settings import change


def up_block(inputs, outputs, stride=2):
    """Twice as large, narrower: (B, inputs, H, W) → (B, outputs, 2 H, 2 W); at stride 1 a code's 1 x 1 to 4 x 4."""
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding=stride - 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def make_generator(bands, latent, widths):
    """An untrained generator: codes (B, Z) → images (B, C, S, S) in [-1, 1]. No batch norm on what leaves it."""
    layers = [nn.Unflatten(1, (latent, 1, 1)), up_block(latent, widths[0], stride=1)]
    layers += [up_block(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], bands, 4, 2, 1, bias=False), nn.Tanh())


def norm_of(kind, channels):
    """The layer that evens out maps (B, channels, H, W): "batch" over the batch, "layer" within one image, "none"."""
    kinds = {"batch": nn.BatchNorm2d, "layer": lambda channels: nn.GroupNorm(1, channels), "none": nn.Identity}
    return kinds[kind](channels)


def down_block(inputs, outputs, norm):
    """Half as large, wider: (B, inputs, H, W) → (B, outputs, H / 2, W / 2)."""
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, norm_of(norm, outputs), nn.LeakyReLU(0.2, inplace=True))


def make_discriminator(bands, widths, norm="batch"):
    """An untrained discriminator: images (B, C, S, S) → one number each (B,), a logit. No norm on what enters it.

    No sigmoid: the losses are computed from logits, and a Wasserstein critic has none at all.
    """
    layers = [down_block(bands, widths[0], "none"), *(down_block(*pair, norm) for pair in pairwise(widths))]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, bias=False), nn.Flatten(0))


def start_as_paper(module):
    """Weights of one layer drawn anew: convolutions from N(0, 0.02²), scales of norms from N(1, 0.02²) → None."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def draw_codes(number, latent, kind="uniform", device=None):
    """Codes (number, Z): uniform in [-1, 1] as in the paper, or "normal"."""
    if kind == "normal":
        return torch.randn(number, latent, device=device)
    return torch.rand(number, latent, device=device) * 2 - 1


class DCGAN(nn.Module):
    """Two networks: generator, codes (B, Z) → images (B, C, S, S); discriminator, images → logits (B,)."""

    def __init__(self, settings):
        super().__init__()
        self.settings = settings
        widths = stage_widths(settings["width"], settings["size"])
        self.generator = make_generator(settings["bands"], settings["latent"], widths[::-1])
        self.discriminator = make_discriminator(settings["bands"], widths, settings["norm"])
        self.apply(start_as_paper)

    def forward(self, codes):
        return self.generator(codes)


def draw_samples(model, number, seed=0, batch=256):
    """Made-up images (number, C, S, S) in [-1, 1] of a DCGAN; the same for the same seed, whatever the batch."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codes = draw_codes(number, model.settings["latent"], model.settings["codes"])
    was_training = model.training
    model.eval()  # batch norm by its running statistics: an image does not depend on the others drawn with it
    with torch.no_grad():
        images = [model.generator(part.to(device)).cpu() for part in codes.split(batch)]
    model.train(was_training)
    return torch.cat(images)


def dcgan(bands=3, latent=100, width=64, **changes):
    """The network of the authors' code, C = bands, Z = latent: 512, 256, 128, 64 channels at width 64; 64 x 64 px.

    changes: any of dcgan_settings, e.g. norm="layer" for a Wasserstein critic. A quick one has width 16. Raises
    ValueError for settings that make no network, KeyError for an unknown one. Lecture 08.
    """
    settings = change(dcgan_settings(bands, latent, width), changes)
    check_settings(settings)
    return DCGAN(settings)
