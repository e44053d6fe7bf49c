"""Scores of how little a chip fits what a VAE learned: each takes images and the model, and gives one number a chip.

Higher is stranger, for every score. What each takes for granted stands in its docstring, and is where it fails. The
last two need no model: a score that does no better than they do has learned nothing about these anomalies.
"""

from functools import partial

import torch

from geodl_course.models.vae import reparameterise
from geodl_course.models.vae_losses import kl_to_standard, log_likelihood

LEAST = 1e-4  # variance of a chip without any, in squared standard deviations: it scores as high as its error / 1e-4


def error_map(images, model):
    """Images (N, C, H, W), model → squared error of each pixel and band, of the same shape."""
    return (images - model(images)).square()


def plain_error(images, model):
    """Images (N, C, H, W), model → mean squared error (N,).

    Assumes that what was not learned is reconstructed badly. It fails where the unknown is smoother than the known: a
    flat chip leaves little to get wrong, whatever it shows.
    """
    return error_map(images, model).mean(dim=(1, 2, 3))


def variance_of(images):
    """Images (N, C, H, W) → variance of each chip about its own band means, averaged over the bands (N,)."""
    return images.var(dim=(2, 3), correction=0).mean(dim=1)


def relative_error(images, model):
    """Images (N, C, H, W), model → mean squared error over the chip's own variance (N,): 1 says no more than the mean.

    Assumes that the model explains a constant share of what varies in a known chip. Noise in a flat chip is not
    explained by any model, so flat chips score high whatever they show; one without variance gets LEAST instead of 0.
    """
    return plain_error(images, model) / variance_of(images).clamp(min=LEAST)


def code_divergence(images, model):
    """Images (N, C, H, W), model → KL divergence of each code from the prior (N,), in nats.

    Assumes that the encoder sends strange chips far out. Nothing in training makes it: it never saw them.
    """
    return kl_to_standard(*model.encode(images))


def reconstruction_probability(images, model, samples=16, seed=0):
    """Images (N, C, H, W), model → minus the mean log p(image | code) over codes drawn from the encoder (N,), in nats.

    Assumes what the plain error does; it also counts how sure encoder and decoder are. Noise of the draws is the same
    for every chip, so a chip's score does not depend on its neighbours. Source: An and Cho 2015.
    """
    mean, log_variance = model.encode(images)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, 1, mean.shape[1], generator=generator).to(mean)
    codes = (reparameterise(mean, log_variance, each) for each in noise)
    return -sum(log_likelihood(images, *model.decode(code)) for code in codes) / samples


def band_error(images, model, band):
    """Images (N, C, H, W), model, number of a band → mean squared error in that band (N,).

    Assumes that the strange shows in that band and that the decoder cannot follow it there.
    """
    return error_map(images, model)[:, band].mean(dim=(1, 2))


def offset_error(images, model):
    """Images (N, C, H, W), model → squared error of the chip's band means, averaged over the bands (N,).

    Assumes that the strange has a colour that the decoder cannot make; texture does not count at all.
    """
    return (images - model(images)).mean(dim=(2, 3)).square().mean(dim=1)


def flatness(images, model=None):
    """Images (N, C, H, W) → minus the chip's variance (N,). No model: assumes that the strange is smooth."""
    return -variance_of(images)


def darkness(images, model=None, band=0):
    """Images (N, C, H, W), number of a band → minus its mean (N,). No model: assumes that the strange is dark there."""
    return -images[:, band].mean(dim=(1, 2))


def scores_for(bands):
    """Names of the bands, in the images' order → {name of score: function (images, model) → (N,)}, baselines last."""
    last = len(bands) - 1  # the longest wavelength: short-wave infrared, or what comes nearest
    found = {"plain error": plain_error, "error / variance": relative_error, "KL of the code": code_divergence,
             "reconstruction probability": reconstruction_probability, "error of the means": offset_error}
    found[f"error in {bands[last]}"] = partial(band_error, band=last)
    return found | {"no model: flatness": flatness, f"no model: dark in {bands[last]}": partial(darkness, band=last)}


@torch.no_grad()
def score_chips(score, images, model, batch_size=64):
    """A score on images (N, C, H, W) of any number, batch by batch, the model in eval mode meanwhile → (N,) float32."""
    was = model.training
    model.eval()
    try:
        found = [score(batch, model).float().cpu() for batch in images.split(batch_size) if len(batch)]
    finally:
        model.train(was)
    return torch.cat(found) if found else torch.zeros(0)
