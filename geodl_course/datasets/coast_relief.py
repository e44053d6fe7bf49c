"""Where the generated coasts have sea, lakes, rivers and hills: heights first, water from them. Lengths are pixels.

Noise whose power falls with the frequency as f^-steep has no grid in it; level lines of such heights are coasts, and
the steeper the fall the smoother they are (Mandelbrot 1975 made islands of it).
"""

from dataclasses import dataclass

import numpy as np


def power_noise(rng, size, steep=3.0, longest=None, shortest=None, streak=1.0, angle=0.0):
    """(size, size) float32 noise, mean 0 and deviation 1, with power f^-steep between two wavelengths in pixels.

    `streak` above 1 draws it out that many times along `angle` (radians from the columns' axis).
    """
    from scipy import fft

    power = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    down, right = np.float32(fft.fftfreq(size))[:, None], np.float32(fft.rfftfreq(size))
    along = (right * np.cos(angle) + down * np.sin(angle)) * np.float32(streak)
    across = down * np.cos(angle) - right * np.sin(angle)
    squared = along * along + across * across
    floor = np.float32((1 / (longest or size)) ** 2)
    gain = np.maximum(squared, floor) ** np.float32(-steep / 4)
    gain *= squared > floor / 4
    if shortest is not None:
        gain *= np.exp(-squared * np.float32(shortest**2 / 2))
    noise = fft.irfft2(power * gain, (size, size))
    return (noise - noise.mean()) / max(float(noise.std()), 1e-9)


@dataclass
class Relief:
    """height (H, W) metres above the sea, below 0 in it; water (H, W): 0 land, 1 sea, 2 lake, 3 river; steep (H, W)
    rise by run; mouth: (x, y) of the river's last point on land, or None; far (H, W) pixels from land to the water."""

    height: np.ndarray
    water: np.ndarray
    steep: np.ndarray
    mouth: tuple | None
    far: np.ndarray


SEA, LAKE, RIVER = 1, 2, 3


def make_relief(rng, size, sea, lakes, river, metres):
    """Relief of a scene: shares of `sea` and `lakes`, a river `river` px wide (0: none), hills of `metres`."""
    from scipy.ndimage import distance_transform_edt

    rough = power_noise(rng, size, rng.uniform(3.8, 4.3), longest=rng.uniform(0.35, 0.7) * size, shortest=2.0)
    rough += np.float32(rng.uniform(0.01, 0.05)) * power_noise(rng, size, 2.6, longest=50, shortest=1.5)
    turn = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(turn), np.sin(turn)])  # from the sea inland
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - np.float32(0.5)
    height = rough + np.float32(rng.uniform(2.2, 3.4)) * (x * away[0] + y * away[1])
    level = np.quantile(height, sea) if sea else height.min() - 0.3
    height = (height - level) * np.float32(metres)
    water = np.where(height < 0, SEA, 0).astype(np.uint8)
    if lakes:
        basins = power_noise(rng, size, 4.2, longest=0.25 * size)
        dry = water == 0
        water[dry & (basins > np.quantile(basins[dry], 1 - lakes))] = LAKE
    mouth = None
    if river:
        course = meander(rng, size, -away)
        distance, width = near_course(course, size, river)
        inside = distance < width / 2
        mouth = river_mouth(course, water)
        water[inside & (water == 0)] = RIVER
        height *= np.where(height > 0, 1 - np.exp(-((distance / (0.09 * size)) ** 2)), 1) * 0.97 + 0.03
    far = distance_transform_edt(water == 0).astype(np.float32)
    down, right = np.gradient(height, 10.0)
    return Relief(height, water, np.hypot(down, right), mouth, far)


def meander(rng, size, heading):
    """Course (N, 2) of a river across the scene towards `heading`, (x, y) in pixels.

    Its direction swings as a sine of the way along it, which is how rivers bend (Langbein and Leopold 1966).
    """
    step, steps = 1.0, 5 * size
    bend = rng.uniform(0.10, 0.22) * size
    swing = np.cumsum(2 * np.pi / bend * np.exp(0.35 * drift(rng, steps, bend)))
    turn = rng.uniform(0.9, 1.75) * (1 + 0.3 * drift(rng, steps, 2 * bend))
    direction = np.arctan2(heading[1], heading[0]) + turn * np.sin(swing) + 0.25 * drift(rng, steps, size)
    points = np.cumsum(np.stack([np.cos(direction), np.sin(direction)], 1) * step, 0)
    start = size * (0.5 - 0.72 * np.asarray(heading) + rng.uniform(-0.18, 0.18) * np.array([-heading[1], heading[0]]))
    return points + start


def drift(rng, count, length):
    """(count,) noise of deviation 1 that changes over `length` steps."""
    from scipy.ndimage import gaussian_filter1d

    noise = gaussian_filter1d(rng.standard_normal(count), length / 2)
    return noise / noise.std()


def near_course(course, size, river):
    """Distance (H, W) from a course in pixels, and the river's width there, which grows to `river` px downstream."""
    from scipy.spatial import cKDTree

    centre = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2) + 0.5
    coarse = cKDTree(course[::2])
    distance, nearest = coarse.query(centre, distance_upper_bound=0.25 * size)
    share = np.minimum(nearest * 2, len(course) - 1) / len(course)
    width = river * (0.55 + 0.45 * share) * (1 + 0.12 * np.sin(share * 90))
    distance = np.where(np.isinf(distance), 0.25 * size, distance)
    return distance.reshape(size, size).astype(np.float32), width.reshape(size, size).astype(np.float32)


def river_mouth(course, water):
    """(x, y) where the course first meets the sea for good, or None."""
    size = len(water)
    inside = ((course >= 0) & (course < size)).all(1)
    at = course[inside].astype(int)
    wet = water[at[:, 1], at[:, 0]] == SEA
    return tuple(course[inside][np.argmax(wet)]) if wet.any() else None
