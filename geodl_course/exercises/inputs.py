"""What checks of several lectures need: random boxes to try answers on, numbers as a student writes them."""

import numpy as np
import torch


def random_boxes(number, size=128, seed=0):
    """Random boxes (N, 4) of at least one pixel inside a chip of `size` pixels; other ones each time for seed=None."""
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    low = torch.rand(number, 2, generator=generator) * (size - 1)
    side = 1 + torch.rand(number, 2, generator=generator) * (size - 1 - low)
    return torch.cat([low, low + side], dim=1)


def written(values):
    """Numbers as a student would write them down."""
    return "(" + ", ".join(f"{value:g}" for value in np.round(np.asarray(values, float), 2).tolist()) + ")"
