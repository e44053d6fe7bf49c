"""The dry ground of the generated coasts outside towns: meadows and scrub, crops in parcels, rock, quarries, woods.

Everything is painted into albedo (5, H, W) and into the known map (H, W) of places in COVERS.
"""

import numpy as np

from geodl_course.datasets.coast_parcels import BARE, FIELD, FOREST, GRASS, choose, lay, make_parcels
from geodl_course.datasets.coast_relief import power_noise
from geodl_course.datasets.coast_spectra import SPECTRA
from geodl_course.datasets.coast_town import paint_town

CROPS = ("lush", "growing", "ripe", "stubble", "dark soil", "red soil", "pale soil")
WET_SHARES, DRY_SHARES = np.array([5, 5, 1, 1, 2, 1, 0.5]), np.array([1.2, 2, 3, 4, 0.7, 3, 2.5])


def paint_land(rng, relief, dry, fields, woods, towns):
    """Albedo (5, H, W) and known map (H, W) of the dry ground; `dry` 0..1 is how parched it is.

    fields, woods: shares of the dry ground that are given to them, towns later take of it; towns: radii in pixels.
    """
    size = len(relief.height)
    fine, middle = power_noise(rng, size, 0.4), power_noise(rng, size, 2.2, 30)
    broad = power_noise(rng, size, 3.2, 0.4 * size)
    mix = np.clip(dry + 0.22 * broad + 0.10 * middle, 0, 1)
    green, parched = SPECTRA["meadow"], SPECTRA["dry grass"]
    albedo = np.stack([g + (p - g) * mix for g, p in zip(green, parched, strict=True)])
    lay(albedo, np.clip(0.5 + 0.8 * middle + 0.3 * fine, 0, 1) * (0.35 + 0.4 * dry), SPECTRA["scrub"])
    known = np.full((size, size), GRASS, np.uint8)
    paint_fields(rng, albedo, known, relief, dry, fields)
    paint_rock(rng, albedo, known, relief, dry, fine, middle)
    paint_forest(rng, albedo, known, relief, dry, woods, fine, middle)
    for radius in towns:
        paint_town(rng, albedo, known, relief, radius, dry, fine)
    albedo *= 1 + 0.05 * fine + 0.05 * middle
    return albedo, known


def paint_fields(rng, albedo, known, relief, dry, share):
    """Crops in parcels where the ground is flat; each parcel has one crop, a tone, and a gradient of its own."""
    size = len(known)
    parcels = make_parcels(rng, size, rng.uniform(70, 130), rng.uniform(18, 34), rng.uniform(9, 17))
    shares = WET_SHARES * (1 - dry) + DRY_SHARES * dry
    colours = choose(rng, CROPS, shares * rng.uniform(0.4, 1.6, len(CROPS)), 4096)
    colours = colours * (1 + 0.10 * rng.standard_normal((4096, 1), dtype=np.float32))
    colours += 0.25 * rng.random((4096, 1), dtype=np.float32) * (np.roll(colours, 1, 0) - colours)
    liking = power_noise(rng, size, 3.0, 0.4 * size) - 9 * np.clip(relief.steep, 0.02, 0.4)
    total, count = (np.bincount(parcels.number.ravel(), w, 4096) for w in (liking.ravel(), None))
    liking = (total / np.maximum(count, 1) - 9 * (rng.random(4096) < 0.06))[parcels.number]  # parcels are whole
    farmed = liking > np.quantile(liking[relief.water == 0], 1 - share)
    wave = np.sin(parcels.u * np.float32(0.15)) * rng.standard_normal(4096).astype(np.float32)[parcels.number]
    tone = 1 + 0.035 * wave
    for band, of_parcel in zip(albedo, colours.T, strict=True):
        np.copyto(band, np.float32(of_parcel)[parcels.number] * tone, where=farmed)
    known[farmed] = FIELD
    hedged = rng.random(64)[parcels.district % 64] < 0.55 - 0.4 * dry
    line = np.clip(0.9 - parcels.edge, 0, 1) * farmed
    lay(albedo, 0.75 * line * hedged, SPECTRA["broadleaf"])
    lay(albedo, 0.55 * line * ~hedged, SPECTRA["track"])
    wood = (rng.random(4096) < 0.05)[parcels.number] & farmed
    lay(albedo, wood, SPECTRA["conifer"])
    known[wood] = FOREST


def paint_rock(rng, albedo, known, relief, dry, fine, middle):
    """Rock where it is steep and dry, and now and then a quarry."""
    size = len(known)
    stone = np.clip((relief.steep - 0.42 + 0.25 * dry + 0.05 * middle) * 6 + 0.3 * fine, 0, 1) * (0.25 + 0.75 * dry)
    lay(albedo, stone, SPECTRA["rock"])
    known[stone > 0.5] = BARE
    barren = power_noise(rng, size, 3.3, 0.25 * size, shortest=2.5) > 2.1 - 1.1 * dry
    barren &= known == GRASS
    ground = SPECTRA["pale soil"] * 0.55 + SPECTRA["red soil"] * 0.45
    lay(albedo, barren * np.clip(0.8 + 0.15 * middle, 0, 1), ground)
    known[barren] = BARE
    for _ in range(rng.poisson(0.8)):
        pit = blob(rng, size, rng.uniform(0.1, 0.9, 2) * size, rng.uniform(5, 14))
        steps = 0.5 + 0.5 * np.sin(relief.height * 0.8)
        lay(albedo, pit * (0.75 + 0.25 * steps), SPECTRA["quarry"])
        known[pit > 0.5] = BARE


def blob(rng, size, centre, radius):
    """Soft mask (H, W) of a ragged round patch."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y, x = y - np.float32(centre[1]), x - np.float32(centre[0])
    angle = np.arctan2(y, x)
    waves = (rng.standard_normal() * np.cos(n * angle + rng.uniform(0, 6.28)) for n in (2, 3, 5))
    edge = radius * (1 + 0.16 * sum(waves))
    return np.clip(edge - np.hypot(x, y) + 0.5, 0, 1)


def paint_forest(rng, albedo, known, relief, dry, share, fine, middle):
    """Woods on hills and in patches: two kinds of trees that mix, crowns as fine grain, glades."""
    size = len(known)
    liking = power_noise(rng, size, 2.8, 0.3 * size, shortest=2.0) + 3.0 * np.clip(relief.steep, 0, 0.35)
    liking -= 1.1 * (known == FIELD)
    woods = (liking > np.quantile(liking[relief.water == 0], 1 - share)) & (known != BARE)
    conifers = np.clip(0.45 + 0.9 * power_noise(rng, size, 2.5, 0.2 * size) + 0.3 * dry, 0, 1)
    leaf, needle = SPECTRA["broadleaf"], SPECTRA["conifer"]
    open_ground = np.clip(0.10 + 0.45 * dry + 0.18 * middle + 0.10 * fine, 0, 0.8)
    grain = 1 + 0.11 * fine + 0.05 * middle
    for band, a, b, s in zip(albedo, leaf, needle, SPECTRA["scrub"], strict=True):
        trees = (a + (b - a) * conifers) * grain
        np.copyto(band, trees + open_ground * (s - trees), where=woods)
    known[woods] = FOREST
