"""Where chip folders come from: generated scenes, downloads, and your own rasters."""

import os
from pathlib import Path


def data_root():
    """Folder of all data sets: $GEODL_DATA, or data/ beside the package."""
    return Path(os.environ.get("GEODL_DATA") or Path(__file__).resolve().parents[2] / "data")


def find(name):
    """Path of the data set `name`, or None where it is absent or not whole."""
    folder = data_root() / name
    return folder if damage(folder) is None else None


def damage(folder):
    """What a chip folder lacks and how to repair it, in words, or None where it is whole (images are only counted)."""
    from geodl_course.chips import ChipError, image_files, read_info

    try:
        counts = read_info(folder).counts
        found = {split: len(image_files(folder, split)) for split in counts}
    except ChipError as error:
        lacks = f"is not whole ({error})"
    else:
        short = [f"{found[s]} of {c.get('chips')} {s} images" for s, c in counts.items() if found[s] != c.get("chips")]
        if counts and not short:
            return None
        lacks = f"has {', '.join(short) or 'no chip'}"
    command = f"make.py {folder.name}" if folder.name in MAKERS else "chip.py"
    return f"{folder} {lacks}. Delete the folder and run: python data_scripts/{command}"


def make(name, **recipe):
    """Path of the data set `name`; makes it first where it is absent. `recipe` goes to its maker.

    Raises ChipError for a folder that is there but not whole: nothing is deleted without being asked.
    """
    folder = data_root() / name
    if folder.exists() and not recipe:
        if damage(folder):
            from geodl_course.chips import ChipError

            raise ChipError(damage(folder))
        return folder
    if name not in MAKERS:
        raise ValueError(f"no data set '{name}' is known. Choose one of {', '.join(MAKERS)}.")
    data_root().mkdir(parents=True, exist_ok=True)
    return MAKERS[name](folder, **recipe)


def _make_towns(out, **recipe):
    from geodl_course.datasets.towns import make_towns

    return make_towns(out, **recipe)


def _make_trees(out, **recipe):
    from geodl_course.datasets.download import fetch
    from geodl_course.datasets.neon_trees import import_trees

    return import_trees(fetch("neon_trees"), out, **recipe)


def _make_ships(out, **recipe):
    from geodl_course.datasets.download import fetch
    from geodl_course.datasets.sen2ships import import_ships

    return import_ships(fetch("sen2ships"), out, **recipe)


def _make_sentinel_coast(out, **recipe):
    from geodl_course.datasets.download import fetch
    from geodl_course.datasets.sentinel_coast import import_sentinel_coast

    return import_sentinel_coast(fetch("sentinel_coast"), out, **recipe)


def _make_coast(out, **recipe):
    from geodl_course.datasets.coast import QUICK, make_coast

    return make_coast(out, **QUICK | recipe)


def _make_coast_covers(out, **recipe):
    from geodl_course.datasets.coast import OTHERS, make_coast

    return make_coast(out, **OTHERS | recipe)


def _make_camera_trap(out, **recipe):
    from geodl_course.datasets.camera_trap import make_camera_trap

    return make_camera_trap(out, **recipe)


def _make_eurosat(out, **recipe):
    from geodl_course.datasets.download import fetch
    from geodl_course.datasets.eurosat import import_eurosat

    return import_eurosat(fetch("eurosat"), out, **recipe)


def _make_buildings(out, **recipe):
    from geodl_course.datasets.buildings import import_buildings
    from geodl_course.datasets.download import fetch

    return import_buildings(fetch("buildings"), out, **recipe)


def _make_vfill(out, **recipe):
    from geodl_course.datasets.download import fetch
    from geodl_course.datasets.vfill import import_vfill

    return import_vfill(fetch("vfill"), out, **recipe)


def _make_fills(out, **recipe):
    from geodl_course.datasets.valley_fills import QUICK, make_valley_fills

    return make_valley_fills(out, **QUICK | recipe)


def _make_large_fills(out, **recipe):
    from geodl_course.datasets.valley_fills import FULL, make_valley_fills

    return make_valley_fills(out, **FULL | recipe)


MAKERS = {
    "towns": _make_towns, "neon_trees": _make_trees, "sen2ships": _make_ships, "buildings": _make_buildings,
    "valley_fills": _make_fills, "valley_fills_512": _make_large_fills,
    "vfill": _make_vfill, "sentinel_coast": _make_sentinel_coast, "coast": _make_coast,
    "coast_covers": _make_coast_covers, "camera_trap": _make_camera_trap,
    "eurosat": _make_eurosat,
}
