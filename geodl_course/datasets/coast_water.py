"""The water of the generated coasts: depth and bottom, silt, beaches and surf, sun glint and slicks, ships, wakes."""

import numpy as np

from geodl_course.datasets.coast_parcels import BARE, TOWN, lay
from geodl_course.datasets.coast_relief import LAKE, RIVER, SEA, power_noise
from geodl_course.datasets.coast_spectra import FADE, SPECTRA


def paint_water(rng, albedo, relief, silty):
    """Colours of sea, lakes and rivers without glint; `silty` 0..1 is how much the river carries."""
    from scipy.ndimage import distance_transform_edt

    size = len(relief.height)
    sea = relief.water == SEA
    patches = power_noise(rng, size, 2.6, 0.3 * size)
    if sea.any():
        depth = sea_depth(rng, sea, relief)
        clear, green = SPECTRA["deep sea"], SPECTRA["green sea"]
        tint = np.clip(rng.uniform(0.0, 0.7) + 0.2 * patches, 0, 1)
        weed = np.clip(0.5 + 1.5 * power_noise(rng, size, 2.4, 50), 0, 1) * rng.uniform(0.3, 1)
        for b, band in enumerate(albedo):
            deep = clear[b] + (green[b] - clear[b]) * tint
            bottom = SPECTRA["bottom"][b] + (SPECTRA["weed"][b] - SPECTRA["bottom"][b]) * weed
            light = np.exp(-FADE[b] * depth * (1 + tint))
            np.copyto(band, deep + (bottom - deep) * light, where=sea)
        if relief.mouth is not None:
            lay(albedo, sea * plume(rng, relief, patches) * silty, SPECTRA["silt"])
    for kind, share in ((LAKE, np.clip(0.25 * silty + 0.15 * patches, 0, 0.7)), (RIVER, 0.25 + 0.6 * silty)):
        own = relief.water == kind
        if own.any():
            inner = distance_transform_edt(own)
            shallow = np.clip(0.5 - 0.2 * inner, 0, 0.35) * own
            lay(albedo, own, SPECTRA["lake"])
            lay(albedo, own * share, SPECTRA["silt"])
            lay(albedo, shallow * (inner < 2), SPECTRA["weed"])


def sea_depth(rng, sea, relief):
    """Depth (H, W) in metres: it falls from the shore, faster under steep coasts, with banks in it."""
    from scipy.ndimage import distance_transform_edt

    size = len(sea)
    out = distance_transform_edt(sea).astype(np.float32) * 10
    banks = np.exp(0.5 * power_noise(rng, size, 3.0, 0.2 * size))
    return out * np.float32(rng.uniform(0.05, 0.16)) * banks + 0.6 + np.clip(-relief.height, 0, None) * 0.5


def plume(rng, relief, patches):
    """Share (H, W) of river water in the sea: a fan from the mouth that eddies fray."""
    size = len(relief.height)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wobble = 0.12 * size * power_noise(rng, size, 3.4, 0.3 * size)
    drift = rng.uniform(-0.5, 0.5)
    far = np.hypot(x - relief.mouth[0] + wobble, y - relief.mouth[1] + drift * wobble)
    return np.clip(1.25 * np.exp(-far / (rng.uniform(0.05, 0.14) * size)) + 0.08 * patches, 0, 1) * (far < 0.5 * size)


def paint_beach(rng, albedo, known, relief):
    """Sand along parts of the coast, wet at its edge; rock along others."""
    from scipy.ndimage import distance_transform_edt

    sea = relief.water == SEA
    if not sea.any() or sea.all():
        return
    inland = distance_transform_edt(~sea).astype(np.float32)
    stretch = power_noise(rng, len(known), 3.2, 0.25 * len(known))
    width = np.clip(rng.uniform(0.5, 2.5) + 2.2 * stretch, 0, 7) * np.clip(1.3 - 3 * relief.steep, 0, 1)
    free = (relief.water == 0) & (known != TOWN)
    sand = np.clip(width - inland + 0.5, 0, 1) * free
    lay(albedo, sand, SPECTRA["sand"])
    lay(albedo, sand * np.clip(1.6 - inland, 0, 0.8), SPECTRA["wet sand"])
    known[sand > 0.5] = BARE
    lay(albedo, np.clip(1.8 - inland, 0, 0.7) * (width < 0.3) * free, SPECTRA["rock"])


def paint_surf(rng, albedo, relief):
    """Foam in rows along the parts of the coast that waves come to."""
    from scipy.ndimage import distance_transform_edt

    size = len(relief.water)
    sea = relief.water == SEA
    if not sea.any() or sea.all():
        return
    out = distance_transform_edt(sea).astype(np.float32)
    reach = np.clip(8 * rng.uniform(0, 1) * (power_noise(rng, size, 3.2, 0.25 * size) - rng.uniform(-0.6, 0.8)), 0, 8)
    phase = out * np.float32(2 * np.pi / rng.uniform(3, 5)) + 2.5 * power_noise(rng, size, 2.0, 25)
    broken = np.clip(0.2 + 0.6 * power_noise(rng, size, 2.0, 25, shortest=1.5), 0, 0.9)
    lay(albedo, sea * np.clip(reach - out, 0, 1) * np.clip(np.cos(phase), 0, 1) * broken, SPECTRA["foam"])


def paint_glint(rng, albedo, wet, glint):
    """Sunlight mirrored by the waves: almost the same in all bands, rippled, streaked by wind, cut by slicks."""
    size = len(wet)
    wind = rng.uniform(0, np.pi)
    streaks = power_noise(rng, size, 2.4, 0.3 * size, streak=5.0, angle=wind)
    swell = power_noise(rng, size, 1.0, rng.uniform(8, 18), shortest=2.0, streak=2.5, angle=wind + 1.3)
    slicks = np.clip(power_noise(rng, size, 3.0, 0.35 * size, streak=3.5, angle=wind) - rng.uniform(0.9, 2.0), 0, 1)
    light = glint * np.clip(1 + 0.05 * streaks - 0.35 * slicks, 0, 2) + (0.0004 + 0.009 * glint) * swell
    for band, share in zip(albedo, np.float32([1.0, 0.97, 0.94, 0.97, 0.93]), strict=True):
        band += wet * light * share


def paint_ships(rng, albedo, sea, number):
    """`number` vessels on the sea, at anchor or under way with a wake: a bright line and two arms of 19 degrees."""
    size = len(sea)
    spots = np.flatnonzero(sea)
    if len(spots) < 400:
        return
    for spot in rng.choice(spots, number):
        row, col = np.divmod(spot, size)
        length, turn = min(rng.lognormal(1.6, 0.6), 28), rng.uniform(0, 2 * np.pi)
        reach = int(30 + 12 * length)
        at = tuple(slice(max(n - reach, 0), min(n + reach, size)) for n in (row, col))
        y, x = np.mgrid[at].astype(np.float32)
        u = (x - col) * np.cos(turn) + (y - row) * np.sin(turn)
        v = (y - row) * np.cos(turn) - (x - col) * np.sin(turn)
        own = albedo[:, *at]
        if rng.random() < 0.55:  # under way, bow towards +u
            behind = np.clip(-u - 0.3 * length, 0, None)
            fade = np.exp(-behind / (3 + 1.3 * length)) * (u < 0) * sea[at]
            track = np.clip(1.1 - abs(v) / (0.5 + 0.02 * behind), 0, 1)
            arms = np.clip(1.0 - abs(abs(v) - 0.34 * behind), 0, 1)
            lay(own, (0.32 * track + 0.05 * arms) * fade, SPECTRA["foam"])
        hull = np.clip(length / 2 - abs(u) + 0.5, 0, 1) * np.clip(0.10 * length + 0.45 - abs(v) + 0.5, 0, 1)
        lay(own, hull * sea[at], SPECTRA["ship"] * np.float32(rng.uniform(0.4, 1.6)))
