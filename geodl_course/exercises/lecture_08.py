"""Checks of lecture 08, DCGAN."""

import math

import numpy as np
import torch

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import written


@exercise("08.1")
def generator_weights(answer):
    for bands, latent, widths in ((3, 100, [512, 256, 128, 64]), (5, 10, [32, 16, 8]), (1, 7, [24, 12])):
        kernels, before = 0, latent
        for width in [*widths, bands]:
            kernels += before * width * 16
            before = width
        wanted, found = kernels + 2 * sum(widths), int(answer(bands, latent, widths))
        if found != wanted:
            return (f"With {bands} bands, codes of {latent} and widths {written(widths)} it is {kernels} weights of "
                    f"kernels and {2 * sum(widths)} of batch norm, {wanted} in all; yours is {found}.")


@exercise("08.2")
def hinge_losses(answer):
    for scale in (0.5, 3.0):
        real, made = torch.randn(6) * scale, torch.randn(6) * scale
        given = real.tolist(), made.tolist()
        found = [float(value) for value in answer(real, made)]
        if len(found) != 2:
            return f"There are 2 losses, the discriminator's and the generator's; yours are {len(found)}."
        judge = sum(max(0.0, 1 - x) for x in given[0]) / 6 + sum(max(0.0, 1 + x) for x in given[1]) / 6
        for whose, wanted, yours in (("discriminator", judge, found[0]), ("generator", -sum(given[1]) / 6, found[1])):
            if not math.isclose(yours, wanted, rel_tol=1e-4, abs_tol=1e-4):
                return (f"Real logits {written(given[0])}, made {written(given[1])}: the {whose}'s loss is "
                        f"{wanted:.4f}, yours is {yours:.4f}.")


@exercise("08.3")
def ring_power(answer):
    for size, rings in ((12, 4), (16, 5)):
        images = torch.randn(2, 3, size, size) + 2
        found = torch.as_tensor(answer(images, rings))
        if found.shape != (rings,):
            return f"{rings} rings have {rings} values, yours are {tuple(found.shape)}."
        for k, wanted in enumerate(power_in_rings(images.double().numpy(), rings)):
            if not math.isclose(float(found[k]), wanted, rel_tol=1e-3, abs_tol=1e-3):
                low, high = 0.5 * k / rings, 0.5 * (k + 1) / rings
                return (f"Chips of {size} px, {rings} rings: the mean power at {low:.3f} to {high:.3f} cycles a pixel "
                        f"is {wanted:.3f}, yours is {float(found[k]):.3f}.")


def power_in_rings(images, rings):
    """Mean power of images (N, C, S, S) in each ring of frequencies, by sums of cosines and sines → list of floats."""
    size = images.shape[-1]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
    spectrum = waves @ (images - images.mean((2, 3), keepdims=True)) @ waves.T
    found = [[] for _ in range(rings)]
    for y in range(size):
        for x in range(size):
            cycles = min(y, size - y) ** 2 + min(x, size - x) ** 2  # squared, in cycles a chip
            ring = next((k for k in range(rings) if cycles < (size * (k + 1) / (2 * rings)) ** 2), None)
            if ring is not None:
                found[ring].append((abs(spectrum[..., y, x]) ** 2).mean())
    return [float(np.mean(values)) for values in found]
