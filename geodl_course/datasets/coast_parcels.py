"""What the parts of a generated coast share: the covers' numbers, parcels with edges, spectra laid over others."""

from dataclasses import dataclass

import numpy as np

from geodl_course.datasets.coast_relief import power_noise
from geodl_course.datasets.coast_spectra import COVERS, SPECTRA

WATER, FOREST, FIELD, GRASS, TOWN, BARE = range(len(COVERS))


@dataclass
class Parcels:
    """For each pixel: number (H, W) of its parcel, its distance from the parcel's edge in pixels, its place (u, v)
    in the parcel's district, and the district's number."""

    number: np.ndarray
    edge: np.ndarray
    u: np.ndarray
    v: np.ndarray
    district: np.ndarray


def make_parcels(rng, size, spacing, length, width, bend=2.0):
    """Parcels of about `length` x `width` px in rows, whose direction changes every `spacing` px."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x, y = x + bend * power_noise(rng, size, 3.5, 0.3 * size), y + bend * power_noise(rng, size, 3.5, 0.3 * size)
    count = max(round(size / spacing), 1)
    centres = (np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2) + 0.5) * size / count
    centres = np.float32(centres + rng.uniform(-0.45, 0.45, centres.shape) * size / count)
    district, nearest = np.zeros((size, size), np.int64), np.full((size, size), np.inf, np.float32)
    for k, (cx, cy) in enumerate(centres):
        far = np.square(x - cx) + np.square(y - cy)
        district[far < nearest] = k
        np.minimum(nearest, far, out=nearest)
    number = np.zeros((size, size), np.int64)
    edge, along, across = (np.zeros((size, size), np.float32) for _ in range(3))
    for k in range(len(centres)):
        own = district == k
        turn, scale = rng.uniform(0, np.pi), rng.uniform(0.75, 1.35)
        u = x[own] * np.cos(turn) + y[own] * np.sin(turn) + 2 * size
        v = y[own] * np.cos(turn) - x[own] * np.sin(turn) + 2 * size
        rows = np.cumsum(scale * width * rng.lognormal(0, 0.35, int(6 * size / (scale * width)) + 2))
        row = np.searchsorted(rows, v)
        lengths = scale * length * rng.lognormal(0, 0.4, len(rows) + 1)
        part = (u + rng.uniform(0, 4 * size, len(rows) + 1)[row]) / lengths[row]
        share = part - np.floor(part)
        ends = np.concatenate([[0], rows, [9e9]])
        to_row = np.minimum(v - ends[row], ends[row + 1] - v)
        edge[own] = np.minimum(to_row, np.minimum(share, 1 - share) * lengths[row])
        number[own] = (k * 7919 + row * 104729 + np.floor(part).astype(np.int64) * 1299709) % 4096
        along[own], across[own] = u, v
    return Parcels(number, edge, along, across, district)


def lay(albedo, where, colour):
    """Blend a spectrum (5,) or (5, ...) into albedo with the share `where` (H, W), bool or 0..1."""
    share = np.asarray(where, np.float32)
    for band, tone in zip(albedo, colour, strict=True):
        band += share * (tone - band)


def choose(rng, names, shares, count):
    """Spectra (count, 5) drawn from `names` with `shares`."""
    table = np.stack([SPECTRA[name] for name in names])
    return table[rng.choice(len(names), count, p=np.asarray(shares) / np.sum(shares))]
