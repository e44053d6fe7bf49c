"""Generated camera traps: cameras that never move, light that changes over the day, now and then an animal.

Each camera has one background: trunks, leaves, grass, a path. Over the day the sun moves and the shadows of the trunks
with it, its light is warm and weak in the morning and the evening, clouds dim it, leaves stir, the sensor is noisy.
Animals are deer, boars, foxes and birds, drawn as a few ellipses in colours near those of the ground, partly behind
trunks; a bird covers some ten pixels, a deer some three hundred.

Split by day, with every camera in all splits: the first days train, later ones validate and test. What a camera shows
when nothing is there can only be learned from that camera; a split by camera would ask for backgrounds never seen.
covers.json says kind (empty, animal), camera, day, hour and animal ("none" where there is none). Pictures are
photographs: they have no place on a map, and the resolution of dataset.json is that at the animals' distance.
"""

from pathlib import Path

import numpy as np

SIZE = 64
HOURS = (6.0, 20.0)
CAMERAS, SHOTS = 3, 12  # pictures a day and camera
DAYS = dict(train=20, val=6, test=6)
ANIMALS = {  # body length in px, height as a share of it, length of the legs, colour, how often
    "deer": (22, 0.36, 0.42, (0.42, 0.29, 0.18), 4), "boar": (17, 0.52, 0.24, (0.20, 0.17, 0.15), 3),
    "fox": (12, 0.30, 0.24, (0.55, 0.30, 0.14), 3), "bird": (5, 0.60, 0.30, (0.16, 0.15, 0.17), 2),
}  # fmt: skip


def make_background(seed, camera):
    """What camera number `camera` sees: a dict of albedo (3, 64, 64), leaves (64, 64), trunks (x, foot row, width)."""
    from geodl_course.datasets.coast_relief import power_noise

    rng = np.random.default_rng([seed, camera, 11])
    row = np.arange(SIZE, dtype=np.float32)[:, None]
    column = np.arange(SIZE, dtype=np.float32)[None]
    horizon = rng.uniform(16, 26)
    fine, middle = power_noise(rng, SIZE, 0.6), power_noise(rng, SIZE, 2.2, 24)
    grass = np.array(rng.uniform((0.26, 0.32, 0.12), (0.38, 0.40, 0.20)))[:, None, None]
    wood = np.array([0.13, 0.19, 0.08])[:, None, None] * rng.uniform(0.8, 1.3)
    ground = row > horizon + 2 * middle[:1]
    albedo = np.where(ground, grass * (1 + 0.10 * fine + 0.14 * middle), wood * (1 + 0.25 * fine + 0.35 * middle))
    way = rng.uniform(18, 46) + (row - SIZE) * rng.uniform(-0.5, 0.5) + 3 * np.sin(row / 9)
    path = np.clip((row - horizon) / 9 - abs(column - way) / 2 + 1.5, 0, 1) * ground
    albedo += path * (np.array([0.45, 0.38, 0.28])[:, None, None] * (1 + 0.06 * fine) - albedo)
    feet = sorted(rng.uniform(horizon + 2, 52, rng.integers(3, 6)))
    trunks = [(rng.uniform(4, 60), foot, 0.8 + (foot - horizon) * rng.uniform(0.08, 0.16)) for foot in feet]
    for x, foot, width in trunks:
        bark = (np.clip(width - abs(column - x) + 0.5, 0, 1) * (row < foot))[None]
        tone = np.array([0.24, 0.19, 0.14])[:, None, None] * (1 - 0.25 * (column - x) / width + 0.12 * fine)
        albedo += bark * (tone - albedo)
    return {"albedo": np.clip(albedo, 0.02, 1), "leaves": ~ground, "horizon": horizon, "trunks": trunks}


def draw_animal(rng, scene, background):
    """Draw one animal on scene (3, 64, 64) in place → its name. Trunks that stand nearer hide it."""
    names = list(ANIMALS)
    often = np.array([ANIMALS[name][4] for name in names])
    name = names[rng.choice(len(names), p=often / often.sum())]
    length, fat, legs, colour, _ = ANIMALS[name]
    foot = rng.uniform(background["horizon"] + 8, 60)
    near = (foot - background["horizon"]) / (SIZE - background["horizon"])
    length = length * (0.55 + 0.45 * near) * rng.uniform(0.9, 1.1)
    x, way = rng.uniform(6, 58), rng.choice([-1, 1])
    height, leg = fat * length, legs * length
    v, u = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    u, v = (u - x) * way, foot - v  # u towards the head, v up from the feet

    def ellipse(cu, cv, ru, rv):
        return np.clip((1 - np.hypot((u - cu) / ru, (v - cv) / rv)) * min(ru, rv) + 0.5, 0, 1)

    middle = leg + height / 2
    cover = ellipse(0, middle, length / 2, height / 2)
    head = (0.58 * length, middle + (0.55 if name == "deer" else 0.15) * height)
    cover = np.maximum(cover, ellipse(*head, 0.16 * length, 0.13 * length))
    cover = np.maximum(cover, ellipse(0.44 * length, (head[1] + middle) / 2, 0.14 * length, 0.26 * height + 0.5))
    if name in ("fox", "bird"):
        cover = np.maximum(cover, ellipse(-0.62 * length, middle, 0.26 * length, 0.3 * height))
    for place in (-0.36, -0.24, 0.24, 0.36):
        thin = np.clip(0.035 * length + 0.5 - abs(u - place * length), 0, 1)
        cover = np.maximum(cover, thin * (v > 0) * (v < middle))
    for at, stands, width in background["trunks"]:
        if stands > foot:
            cover = cover * ~((abs(np.arange(SIZE)[None] - at) < width) & (np.arange(SIZE)[:, None] < stands))
    belly = np.clip(0.75 + 0.5 * (v - leg) / max(height, 1), 0.6, 1.2)
    tone = np.array(colour)[:, None, None] * rng.uniform(0.8, 1.2) * belly
    scene += cover * (tone - scene)
    return name


def take_picture(rng, background, hour, animal):
    """One picture (3, 64, 64) uint8 at `hour`, and the name of the animal in it, "none" unless `animal`."""
    from scipy.ndimage import gaussian_filter, shift

    scene = background["albedo"].copy()
    stirred = shift(scene, (0, *rng.normal(0, 0.4, 2)), order=1, mode="nearest")
    scene = np.where(background["leaves"], stirred, scene)
    name = draw_animal(rng, scene, background) if animal else "none"
    day = (hour - HOURS[0]) / (HOURS[1] - HOURS[0])  # 0 sunrise, 1 sunset
    sun = np.sin(np.pi * np.clip(day, 0.02, 0.98))
    clear = rng.uniform(0.15, 1)
    row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    shadow = np.zeros((SIZE, SIZE), np.float32)
    for x, foot, width in background["trunks"]:  # a trunk's shadow turns around its foot
        along = row - foot
        lean = np.clip(1.6 * np.cos(np.pi * day) / max(sun, 0.25), -4, 4)
        dark = np.clip(1.2 * width - abs(column - x + lean * along), 0, 1) * np.clip(along + 0.5, 0, 1)
        shadow = np.maximum(shadow, dark * (along < 10 + 14 * (1 - sun)))
    warm = np.array([1.0, 0.90 + 0.10 * sun, 0.70 + 0.30 * sun])[:, None, None]
    light = (0.25 + 0.55 * sun) * (0.45 + 0.55 * clear) * warm
    scene = scene * light * (1 - 0.5 * clear * gaussian_filter(shadow, 0.6))
    seen = np.clip(scene * 1.35 / (0.35 + 0.65 * (0.25 + 0.55 * sun)), 0, 1) ** 0.75  # the camera opens up in the dark
    seen = gaussian_filter(seen, (0, 0.4, 0.4)) * 255 + rng.normal(0, 2.0 + 5.0 * (1 - sun), (3, SIZE, SIZE))
    return np.clip(seen + 0.5, 0, 255).astype(np.uint8), name


def make_camera_trap(out, cameras=CAMERAS, shots=SHOTS, share=0.25, seed=0, progress=True, **days):
    """Chip folder `out` of `shots` pictures a day from each camera, a `share` of them with an animal. Returns the path.

    days: how many each split has, as in DAYS. Raises ValueError for a share outside 0..1 and ChipError where `out`
    exists.
    """
    from tqdm import tqdm

    from geodl_course.chips import Chip, DatasetInfo, write_chips

    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is a share of the pictures: choose a number from 0 to 1.")
    out, days = Path(out), DAYS | days
    info = DatasetInfo(
        "camera_trap", [], ["red", "green", "blue"], "uint8", SIZE, 0.05, "",
        licence="CC BY 4.0 (generated by this course)", citation="geodl_course, datasets/camera_trap.py",
        recipe=dict(maker="camera_trap", cameras=cameras, shots=shots, share=share, seed=seed, days=days,
                    split="by day, every camera in all splits"),
    )  # fmt: skip
    calendar = [split for split, count in days.items() for _ in range(count)]
    backgrounds = [make_background(seed, camera) for camera in range(cameras)]

    def chips():
        for day, split in enumerate(tqdm(calendar, "days of camera_trap", disable=not progress, delay=1)):
            for camera, background in enumerate(backgrounds):
                rng = np.random.default_rng([seed, camera, day, 13])
                for number, hour in enumerate(np.sort(rng.uniform(*HOURS, shots)).round(2)):
                    image, name = take_picture(rng, background, hour, rng.random() < share)
                    kind = "empty" if name == "none" else "animal"
                    cover = {"kind": kind, "camera": f"camera {camera + 1}", "day": day + 1, "hour": float(hour),
                             "animal": name}  # fmt: skip
                    yield split, Chip(f"camera{camera + 1}_day{day + 1:02d}_{number:02d}", image, {}, cover=cover)

    return write_chips(out, info, chips())
