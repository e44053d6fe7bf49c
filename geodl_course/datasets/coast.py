"""Generated coasts: scenes of five bands at 10 m, as Sentinel-2 stores them, with a known map of what each pixel shows.

A scene is relief with a sea, lakes and a meandering river (coast_relief.py); fields in parcels, rock and woods
(coast_land.py); towns with streets, quays and roads (coast_town.py); beaches, shallows, silt, surf, sun glint, ships
and wakes (coast_water.py); sun on slopes, clouds with shadows, haze, blur and noise (coast_sensor.py). Eight scenes in
a row are the eight of PLACES, parched or green, with glint or without, in turn, so every split has them all.

The map has the six COVERS; clouds are not in it. covers.json says of each chip its commonest cover, the share of
water in the map, the kind by the shares of land_water.py, and the share of cloud. The pixels alone give the same kind
for 96 of 100 chips: surf, clouds and quays are where map and rule part.

Values are compared with the real ports of sentinel_coast by `python -m tests.benchmarks.coast_spectra`: percentiles of
each band, of NDVI and of MNDWI, deviation within chips, step between pixels. They are alike, with three differences:
no sea glints as much as that of Algiers (median MNDWI of water 0.32, of all ports 0.10), the country is greener than
ports are (NDVI 0.48 against 0.20), and fewer roofs are very bright (95th percentile of red 0.22 against 0.29).

Frozen, generator and default seed: figures on these chips are stored, and a change of one drawn number changes all.
"""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodl_course.datasets import coast_land as land
from geodl_course.datasets import coast_sensor as sensor
from geodl_course.datasets import coast_water as water
from geodl_course.datasets.coast_relief import SEA, make_relief
from geodl_course.datasets.coast_spectra import COVERS
from geodl_course.datasets.coast_town import paint_port
from geodl_course.datasets.land_water import BANDS, cut_chips, kind_of

CRS = "EPSG:32632"
RESOLUTION = 10.0
QUICK = dict(train=32, val=8, test=8)  # scenes
OTHERS = dict(train=24, val=8, test=0, seed=1)  # coast_covers: scenes that coast does not have
PLACES = (  # what eight scenes in a row are, so that each split has the same kinds: shares, px, metres
    dict(sea=0.45, lakes=0.00, river=7, metres=35, fields=0.45, woods=0.25, towns=(110, 35), port=True, clouds=0.0),
    dict(sea=0.00, lakes=0.03, river=11, metres=20, fields=0.70, woods=0.15, towns=(80, 40), port=False, clouds=0.0),
    dict(sea=0.60, lakes=0.00, river=0, metres=100, fields=0.10, woods=0.30, towns=(90,), port=True, clouds=0.0),
    dict(sea=0.30, lakes=0.01, river=5, metres=60, fields=0.30, woods=0.20, towns=(130, 40), port=True, clouds=0.06),
    dict(sea=0.92, lakes=0.00, river=0, metres=50, fields=0.20, woods=0.25, towns=(30,), port=False, clouds=0.0),
    dict(sea=0.00, lakes=0.04, river=0, metres=80, fields=0.30, woods=0.45, towns=(60,), port=False, clouds=0.04),
    dict(sea=0.50, lakes=0.00, river=9, metres=15, fields=0.50, woods=0.10, towns=(120, 60), port=True, clouds=0.0),
    dict(sea=0.00, lakes=0.00, river=6, metres=50, fields=0.20, woods=0.35, towns=(170, 30), port=False, clouds=0.0),
)


@dataclass
class Scene:
    """image (5, H, W) uint16; known (H, W) uint8, places in COVERS; cloud (H, W) share of cloud, 0..1."""

    image: np.ndarray
    known: np.ndarray
    cloud: np.ndarray
    origin: tuple


def make_scene(seed, size=512):
    """One scene of (size, size) px. The same seed gives the same bytes; seed % 8 chooses of PLACES."""
    rng = np.random.default_rng([seed, 7])
    place = PLACES[seed % len(PLACES)]
    spread = np.mod(seed * np.array([0.61803, 0.75488, 0.56984, 0.41421]) + [0.1, 0.35, 0.6, 0.85], 1)
    dry, glint, haze, silty = spread  # evenly spread over scenes in a row
    scale = size / 512
    relief = make_relief(rng, size, place["sea"], place["lakes"], place["river"], place["metres"])
    towns = [max(radius * scale, 8) * rng.uniform(0.8, 1.2) for radius in place["towns"]]
    albedo, known = land.paint_land(rng, relief, dry, place["fields"], place["woods"], towns)
    sun = (rng.uniform(135, 165), rng.uniform(38, 62))  # from north clockwise, above the horizon, degrees
    sensor.light_slopes(albedo, relief.height, sun)
    water.paint_beach(rng, albedo, known, relief)
    if place["port"]:
        paint_port(rng, albedo, known, relief)
    wet = relief.water > 0
    water.paint_water(rng, albedo, relief, silty)
    known[wet] = COVERS.index("water")
    water.paint_surf(rng, albedo, relief)
    water.paint_glint(rng, albedo, wet, 0.052 * glint)
    water.paint_ships(rng, albedo, relief.water == SEA, rng.poisson(14 * place["sea"] * scale**2))
    cloud = sensor.add_clouds(rng, albedo, place["clouds"], sun)
    return Scene(sensor.expose(rng, albedo, 0.014 * haze), known, cloud, (500_000.0 + 6000 * seed, 4_900_000.0))


def write_scene(folder, scene, name):
    """Write `name`.tif (image) and `name`_cover.tif (known map) into a folder; returns both paths."""
    from rasterio.transform import from_origin

    from geodl_course.chips.rasters import write_raster

    image, known = Path(folder) / f"{name}.tif", Path(folder) / f"{name}_cover.tif"
    place = from_origin(*scene.origin, RESOLUTION, RESOLUTION)
    write_raster(image, scene.image, place, CRS, names=BANDS, tiled=True, blockxsize=256, blockysize=256)
    write_raster(known, scene.known[None], place, CRS, names=["cover"])
    return image, known


def make_coast(
    out, train=QUICK["train"], val=QUICK["val"], test=QUICK["test"], size=64, seed=0, extent=512, progress=True,
):  # fmt: skip
    """Chip folder `out` of `size`-px chips from scenes of `extent` px; the test scenes stay beside it in `out`_scenes.

    `train`, `val`, `test` are how many scenes each split has: no two share ground. Raises ValueError without a scene,
    ChipError for scenes smaller than a chip and where `out` exists.
    """
    from tqdm import tqdm

    from geodl_course.chips import DatasetInfo, write_chips
    from geodl_course.chips.writing import refuse_existing, whole_or_nothing

    out = Path(out)
    if train + val + test < 1:
        raise ValueError("a data set needs at least one scene: give train, val or test a number above 0.")
    refuse_existing(out)
    folder = out.with_name(f"{out.name}_scenes")
    shutil.rmtree(folder, ignore_errors=True)
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    info = DatasetInfo(
        out.name, [], BANDS, "uint16", size, RESOLUTION, CRS, licence="CC BY 4.0 (generated by this course)",
        citation="geodl_course, datasets/coast.py",
        recipe=dict(maker="coast", train=train, val=val, test=test, size=size, seed=seed, extent=extent, covers=COVERS),
    )  # fmt: skip

    def chips(folder):
        for number, split in enumerate(tqdm(splits, f"scenes of {out.name}", disable=not progress, delay=1)):
            scene = make_scene(1000 * seed + number, extent)
            if split == "test":
                write_scene(folder, scene, f"scene_{number}")
            for chip in scene_chips(scene, f"scene{number:02d}", size):
                yield split, chip

    with whole_or_nothing(folder) if test else contextlib.nullcontext() as part:
        return write_chips(out, info, chips(part))


def scene_chips(scene, name, size):
    """Yield the chips of a scene side by side; covers.json says cover, water, kind and the share of cloud of each."""
    from rasterio.transform import from_origin

    def say(rows, cols):
        shares = np.bincount(scene.known[rows, cols].ravel(), minlength=len(COVERS)) / size**2
        water, cloud = (round(float(share), 6) for share in (shares[0], scene.cloud[rows, cols].mean()))
        return {"cover": COVERS[shares.argmax()], "water": water, "kind": kind_of(water), "cloud": cloud}

    return cut_chips(name, scene.image, from_origin(*scene.origin, RESOLUTION, RESOLUTION), CRS, size, say)
