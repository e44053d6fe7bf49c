"""Where chip folders come from: generated scenes, downloads, and your own rasters."""

import os
from pathlib import Path


def data_root():
    """Folder of all data sets: $GEODL_DATA, or data/ beside the package."""
    return Path(os.environ.get("GEODL_DATA") or Path(__file__).resolve().parents[2] / "data")


def find(name):
    """Path of the data set `name`, or None where it is absent or not whole."""
    from geodl_course.chips import ChipError, image_files, read_info

    folder = data_root() / name
    try:
        counts = read_info(folder).counts
        whole = bool(counts) and all(len(image_files(folder, s)) == c["chips"] for s, c in counts.items())
    except ChipError:
        return None
    return folder if whole else None


def make(name, **recipe):
    """Path of the data set `name`; makes it first where it is absent. `recipe` goes to its maker."""
    found = find(name)
    if found and not recipe:
        return found
    makers = {"towns": _make_towns, "neon_trees": _make_trees, "sen2ships": _make_ships}
    if name not in makers:
        raise ValueError(f"no data set '{name}' is known. Choose one of {', '.join(makers)}.")
    data_root().mkdir(parents=True, exist_ok=True)
    return makers[name](data_root() / name, **recipe)


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
