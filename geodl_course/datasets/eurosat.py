"""EuroSAT (Helber et al. 2019): 27 000 Sentinel-2 chips of 64 px with one land cover each become a chip folder.

What is handled: the archive's thirteen bands in its own order (B8A comes last), of which five are kept; values, which
are top-of-atmosphere reflectance times 10 000, are brought to the course's scale (65535 is a reflectance of 1, brighter
is cut there). The air is in them: blue is brighter than in sen2ships, whose values are of the surface. `cover` is the
folder's name, `water` and `kind` follow from the pixels by the rule of land_water.py.

Split by place: chips are ordered from west to east, the first 60 % train, the next 20 % validate, the last 20 % test,
and what lies within `gap` degrees east of a border is left out. Written from descriptions of the archive (torchgeo's
reader, the authors' paper) and tried on a small archive made in its layout, not on the published one.
"""

from pathlib import Path

import numpy as np

from geodl_course.chips import Chip, ChipError, DatasetInfo, write_chips
from geodl_course.datasets.box_chips import opened
from geodl_course.datasets.land_water import BANDS, REFLECTANCE, is_water, kind_of

PUBLISHED = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
KEPT = ["B04", "B03", "B02", "B08", "B11"]  # BANDS
SIZE, SCALE = 64, 10_000.0
AGAIN = "Fetch it again: python data_scripts/fetch.py eurosat"


def import_eurosat(raw, out, gap=0.02, progress=True):
    """Chip folder `out` from the fetched folder `raw`, in which CLASS/CLASS_1.tif lie at any depth. Returns the path.

    Raises ChipError for a file that is no chip of thirteen uint16 bands, or has no place on the map.
    """
    from tqdm import tqdm

    from geodl_course.datasets.download import entry

    files = sorted(path for path in Path(raw).rglob("*/*.tif") if path.stem.startswith(f"{path.parent.name}_"))
    if not files:
        raise ChipError(f"{raw} has no CLASS/CLASS_1.tif. {AGAIN}")
    places = [_place(path) for path in tqdm(files, "places of eurosat", unit="chip", disable=not progress, delay=1)]
    splits = split_by_longitude([longitude for longitude, _ in places], gap)
    work = tqdm(list(zip(files, splits, strict=True)), "chips of eurosat", unit="chip", disable=not progress, delay=1)
    source = entry("eurosat")
    info = DatasetInfo(
        "eurosat", [], BANDS, "uint16", SIZE, 10.0, ", ".join(sorted({crs for _, crs in places})),
        licence=source["licence"], citation=source["citation"],
        recipe={
            "made_by": "import_eurosat", "about": source["about"], "gap": gap, "left_out": int((splits == "").sum()),
            "split": "by longitude: west trains, east tests", "covers": sorted({path.parent.name for path in files}),
        },
    )
    return write_chips(out, info, ((split, _chip(path)) for path, split in work if split))


def _place(path):
    """Longitude of a chip's middle, and its CRS as text; the file is looked at before anything is written."""
    from rasterio.warp import transform

    with opened(path, "eurosat") as src:
        if (src.count, src.dtypes[0], src.shape) != (len(PUBLISHED), "uint16", (SIZE, SIZE)):
            raise ChipError(
                f"{path}: {src.count} bands of {src.dtypes[0]}, {src.shape}: not the {len(PUBLISHED)} bands of uint16, "
                f"{SIZE} x {SIZE} pixels, of EuroSAT. {AGAIN}"
            )
        if src.crs is None:
            raise ChipError(f"{path} has no CRS, so its place is unknown and it belongs to no split. {AGAIN}")
        (longitude,), _ = transform(src.crs, "EPSG:4326", *([n] for n in src.xy(SIZE / 2, SIZE / 2)))
        return longitude, src.crs.to_string()


def split_by_longitude(longitudes, gap):
    """Longitudes (N,) → splits (N,): 60 % train in the west, 20 % val, 20 % test; "" within `gap` east of a border."""
    longitudes = np.asarray(longitudes, float)
    first, second = np.quantile(longitudes, [0.6, 0.8])
    splits = np.where(longitudes <= first, "train", np.where(longitudes <= second, "val", "test")).astype(object)
    for border in (first, second):
        splits[(longitudes > border) & (longitudes <= border + gap)] = ""
    return splits


def _chip(path):
    with opened(path, "eurosat") as src:
        values = src.read([PUBLISHED.index(band) + 1 for band in KEPT])
        transform, crs = src.transform, src.crs
    image = np.clip(np.round(values * (REFLECTANCE / SCALE)), 0, 65535).astype(np.uint16)
    water = round(float(is_water(image).mean()), 6)
    cover = {"cover": path.parent.name, "water": water, "kind": kind_of(water)}
    return Chip(path.stem, image, {}, transform=transform, crs=crs, cover=cover)
