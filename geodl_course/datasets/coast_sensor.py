"""From what the ground reflects to what Sentinel-2 stores: sun on slopes, clouds and shadows, haze, blur, noise."""

import numpy as np

from geodl_course.datasets.coast_relief import power_noise
from geodl_course.datasets.coast_spectra import SPECTRA
from geodl_course.datasets.land_water import REFLECTANCE

SKY = np.float32([0.20, 0.24, 0.30, 0.14, 0.08])  # what is left of the light in a cloud's shadow: blue sky
BLUR = 0.52  # px, the deviation of the optics' point spread
NOISE = np.float32([0.0006, 0.0006, 0.0007, 0.0006, 0.0004])


def light_slopes(albedo, height, sun):
    """Multiply albedo by what a slope gets of the sun; `sun` is (azimuth from north, elevation) in degrees."""
    from geodl_course.datasets.terrain import hillshade

    flat = np.sin(np.radians(sun[1]))
    shade = hillshade(np.where(height > 0, height, 0), 10.0, *sun) / np.float32(flat)
    albedo *= 0.25 + 0.75 * np.clip(shade, 0.1, 1.7)


def add_clouds(rng, albedo, share, sun):
    """Cumulus over `share` of the scene with its shadow on the ground → how thick (H, W) it is, 0..1."""
    size = albedo.shape[1]
    if not share:
        return np.zeros((size, size), np.float32)
    puffs = power_noise(rng, size, 3.2, 0.3 * size, shortest=3.0) + 0.12 * power_noise(rng, size, 2.4, 20, shortest=2.0)
    thick = np.clip((puffs - np.quantile(puffs, 1 - share)) * 1.8, 0, 1)
    thick = thick * thick * (3 - 2 * thick)
    shift = rng.uniform(60, 130) / np.tan(np.radians(sun[1]))  # clouds stand 600 to 1300 m high
    down, right = (int(shift * f(np.radians(sun[0]))) for f in (np.cos, lambda a: -np.sin(a)))
    shadow = np.roll(thick, (down, right), (0, 1))
    for band, sky in zip(albedo, SKY, strict=True):
        band *= 1 - 0.85 * shadow * (1 - sky)
    grain = 1 + 0.06 * power_noise(rng, size, 2.0, 25)
    for band, white in zip(albedo, SPECTRA["cloud"], strict=True):
        band += thick * (white * grain - band)
    return thick


def expose(rng, albedo, haze):
    """Albedo (5, H, W) → stored values uint16; `haze` is reflectance that the air adds to blue, less to the others.

    The short-wave infrared is measured at 20 m and resampled, as in the five-band stacks of real ports.
    """
    from scipy.ndimage import gaussian_filter1d, zoom

    size = albedo.shape[1]
    stored = np.empty(albedo.shape, np.uint16)
    air = haze * np.float32([0.45, 0.65, 1.0, 0.25, 0.05])
    for b, band in enumerate(albedo):
        seen = gaussian_filter1d(gaussian_filter1d(band, BLUR, 0, truncate=3), BLUR, 1, truncate=3)
        if b == 4:
            odd = size % 2
            seen = np.pad(seen, (0, odd), mode="edge")
            seen = seen.reshape(len(seen) // 2, 2, -1, 2).mean((1, 3))
            seen += NOISE[b] * rng.standard_normal(seen.shape, dtype=np.float32)
            seen = zoom(seen, 2, order=1, mode="nearest", grid_mode=True)[:size, :size]
        else:
            seen = seen + NOISE[b] * rng.standard_normal(seen.shape, dtype=np.float32)
        stored[b] = np.clip((seen + air[b]) * REFLECTANCE + 0.5, 1, 65535)
    return stored
