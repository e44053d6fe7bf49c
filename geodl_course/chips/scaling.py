"""Chips for a generator whose last layer is a tanh: reflectance to [-1, 1] and back.

The range is stated, not taken from the data: 0 to 0.5 holds 99 % and more of the pixels of land and sea without cloud
in each of the five bands of sen2ships; what is brighter is cut off.
"""

import numpy as np
import torch

from geodl_course.chips.record import ChipError

RANGE = (0.0, 0.5)  # reflectance that becomes -1 and 1


def reflectance(dataset):
    """The chips of a ChipDataset as shares of the largest number that their type holds → (N, C, H, W) float32, 0..1.

    For sen2ships and coast that is about reflectance. Raises ChipError for chips of floats, whose unit is not known.
    """
    if dataset.images.dtype.kind != "u":
        raise ChipError(f"{dataset.info.name} holds {dataset.images.dtype}: only whole numbers have a largest one. "
                        "Divide by what is 1 in its unit, then use to_signed")
    return torch.from_numpy(dataset.images.astype(np.float32) / np.iinfo(dataset.images.dtype).max)


def to_signed(images, low=RANGE[0], high=RANGE[1]):
    """Reflectance (N, C, H, W) → the same with low at -1 and high at 1, cut off beyond; one number, or one a band.

    Raises ChipError for NaN, and where nearly all is beyond the range: then it is in another unit.
    """
    low, high = ends(images, low, high)
    if not bool((low < high).all()):
        raise ChipError(f"the range runs from {low.flatten().tolist()} to {high.flatten().tolist()}: low must be lower")
    if not images.isfinite().all():
        raise ChipError("images hold NaN or infinite pixels: leave these chips out, or fill the gaps before scaling")
    signed = 2 * (images - low) / (high - low) - 1
    cut = (signed.abs() > 1).float().mean().item()
    if cut > 0.5:
        raise ChipError(f"{cut:.0%} of the pixels are beyond {low.flatten().tolist()} to {high.flatten().tolist()}: "
                        "are these reflectances? chips.scaling.reflectance(dataset) makes them of stored chips")
    return signed.clamp(-1, 1)


def from_signed(images, low=RANGE[0], high=RANGE[1]):
    """Images (N, C, H, W) in [-1, 1] → reflectance from low to high: what to_signed did, undone."""
    low, high = ends(images, low, high)
    return (images + 1) / 2 * (high - low) + low


def ends(images, low, high):
    """low and high, one number or one a band, as tensors (1 or C, 1, 1) that fit images (N, C, H, W)."""
    return (torch.as_tensor(end, dtype=images.dtype, device=images.device).reshape(-1, 1, 1) for end in (low, high))
