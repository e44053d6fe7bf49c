"""Autoencoder and variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114), convolutional, 64 px.

The paper's networks are dense, with one hidden layer; these take DCGAN's convolutions, because chips are images. Both
are one encoder and one decoder; what differs is the code between them: the autoencoder keeps one small map of numbers,
the VAE a mean and a log variance a number, of which it draws. Images are standardised, as ChipDataset gives them.
"""

from itertools import pairwise

import torch
from torch import nn

from geodl_course.models.settings import change
from geodl_course.models.vae_layers import down_block, noise_of, up_block
from geodl_course.models.vae_losses import elbo_losses
from geodl_course.plumbing import check_code, check_standardised


def make_encoder(bands, widths, code, reach):
    """Images (B, bands, 64, 64), halved once a width → code (B, code, h, w); reach: cells that one number looks at."""
    blocks = [down_block(*pair) for pair in pairwise([bands, *widths])]
    return nn.Sequential(*blocks, nn.Conv2d(widths[-1], code, reach))


def make_decoder(bands, widths, code, reach):
    """Code (B, code, h, w) → images (B, bands, 64, 64): the encoder's layers turned round, in the other order."""
    start = nn.Sequential(nn.ConvTranspose2d(code, widths[-1], reach), nn.BatchNorm2d(widths[-1]), nn.ReLU())
    blocks = [up_block(*pair) for pair in pairwise(widths[::-1])]
    return nn.Sequential(start, *blocks, nn.ConvTranspose2d(widths[0], bands, 4, 2, 1))


class Autoencoder(nn.Module):
    """Images (B, C, 64, 64), in training → {"error": scalar}; in evaluation reconstructions (B, C, 64, 64)."""

    def __init__(self, bands=3, latent=16, **changes):
        super().__init__()
        self.settings = change(autoencoder_settings(bands, latent), changes)
        check_code(self.settings)
        self.encoder = make_encoder(self.settings["bands"], self.settings["widths"], self.settings["latent"], 1)
        self.decoder = make_decoder(self.settings["bands"], self.settings["widths"], self.settings["latent"], 1)

    def encode(self, images):
        """Images (B, C, 64, 64) → code (B, latent, h, w), one cell for each 2 ** len(widths) pixels."""
        check_standardised(images, self)
        return self.encoder(images)

    def decode(self, code):
        """Code (B, latent, h, w) → images (B, C, 64, 64)."""
        return self.decoder(code)

    def forward(self, images, targets=None):
        """targets are not looked at: the image is its own target."""
        found = self.decode(self.encode(images))
        return {"error": (found - images).square().mean()} if self.training else found


def reparameterise(mean, log_variance, noise=None):
    """mean, log_variance (B, L) → a draw (B, L) from N(mean, variance) through which gradients reach both.

    noise (B, L) from N(0, 1) is drawn where it is not given. Source: the paper, section 2.4.
    """
    noise = torch.randn_like(mean) if noise is None else noise
    return mean + noise * (0.5 * log_variance).exp()


class VAE(nn.Module):
    """Images (B, C, 64, 64), in training → {"reconstruction", "beta_kl"}; in evaluation images of the mean code."""

    def __init__(self, bands=3, latent=32, **changes):
        super().__init__()
        self.settings = change(vae_settings(bands, latent), changes)
        cells = check_code(self.settings)
        bands, widths, latent = (self.settings[name] for name in ("bands", "widths", "latent"))
        self.encoder = make_encoder(bands, widths, 2 * latent, cells)
        self.decoder = make_decoder(bands * (1 + (self.settings["noise"] is None)), widths, latent, cells)

    def encode(self, images):
        """Images (B, C, 64, 64) → mean (B, latent) and log variance (B, latent) of each chip's code."""
        check_standardised(images, self)
        return self.encoder(images).flatten(1).chunk(2, dim=1)

    def decode(self, code):
        """Code (B, latent) → images (B, C, 64, 64) and the log of the noise about them, of the same shape."""
        return noise_of(self.decoder(code[:, :, None, None]), self.settings["noise"])

    def forward(self, images, targets=None):
        """targets are not looked at: the image is its own target."""
        mean, log_variance = self.encode(images)
        if not self.training:
            return self.decode(mean)[0]
        found, log_noise = self.decode(reparameterise(mean, log_variance))
        return elbo_losses(images, found, log_noise, mean, log_variance, self.settings["beta"])


def autoencoder_settings(bands=3, latent=16):
    """Settings of the quick autoencoder: a code of latent numbers for each block of 16 x 16 pixels."""
    return {"system": "autoencoder", "bands": bands, "size": 64, "widths": [32, 64, 128, 128], "latent": latent}


def vae_settings(bands=3, latent=32):
    """Settings of the quick VAE: noise is a pixel's standard deviation about its reconstruction, beta the KL's weight.

    noise None: the decoder says it for each pixel and band, as that of An and Cho 2015.
    """
    shared = autoencoder_settings(bands, latent)
    return {**shared, "system": "vae", "noise": 0.5, "beta": 1.0}


def autoencoder(bands=3, latent=16, **changes):
    """The quick autoencoder; changes: any of autoencoder_settings. Raises KeyError for an unknown setting."""
    return Autoencoder(bands, latent, **changes)


def autoencoder_wide(bands=3, latent=16, **changes):
    """The autoencoder for a GPU: 64 to 512 channels."""
    return Autoencoder(bands, latent, **{"widths": [64, 128, 256, 512], **changes})


def vae(bands=3, latent=32, **changes):
    """The quick VAE; changes: any of vae_settings. Raises KeyError for an unknown setting."""
    return VAE(bands, latent, **changes)


def vae_wide(bands=3, latent=128, **changes):
    """The VAE for a GPU: 64 to 512 channels, 128 numbers a code."""
    return VAE(bands, latent, **{"widths": [64, 128, 256, 512], **changes})
