"""vfillDL, the published valley fills (Maxwell, Pourmohammadi and Poyner 2020): terrain models become a chip folder.

The set holds no chips but, for a training area and several test areas, a DEM, a layer of faces and a layer that says
where faces were mapped: dems/train_dem.img with vectors/training.shp and extents/training.shp, dems/ky1_dem.tif with
vectors/testingKY1.shp and extents/testingKY1.shp, and so on. Each area is drawn by `terrain_scene`, which takes any DEM
and polygons, and cut by `chip_scenes`. The training area is parted into train and val by a straight line; each test
area is test. Of the train chips without a face one in ten is kept.
"""

import shutil
from pathlib import Path

from geodl_course.chips import ChipError
from geodl_course.datasets.chipping import chip_scenes
from geodl_course.datasets.terrain import terrain_scene

AGAIN = "Fetch it again: python data_scripts/fetch.py vfill"


def import_vfill(raw, out, size=512, cell=2.0, height_unit=1.0, empty=0.1, seed=0, progress=True):
    """Chip folder `out` of `size`-px chips in cells of `cell` metres from the fetched folder `raw`. Returns the path.

    `height_unit` is metres per unit of the DEMs' heights. The scenes stay beside `out` in `out`_scenes. Raises
    ChipError for an area without its DEM or extent, and for what `terrain_scene` and `chip_scenes` refuse.
    """
    from tqdm import tqdm

    from geodl_course.chips.writing import refuse_existing, whole_or_nothing
    from geodl_course.datasets.download import entry

    out, source = Path(out), entry("vfill")
    refuse_existing(out)
    work = areas(raw)
    scenes = out.with_name(f"{out.name}_scenes")
    shutil.rmtree(scenes, ignore_errors=True)  # of a run that failed later
    with whole_or_nothing(scenes) as part:
        for name, dem, faces, extent in tqdm(work, desc="areas of vfill", disable=not progress, delay=1):
            terrain_scene(dem, faces, part, name, cell=cell, extent=extent, height_unit=height_unit)
    layers = [
        (scenes / f"{name}.tif", scenes / f"{name}.gpkg", "spatial" if name == "train" else "test")
        for name, *_ in work
    ]
    return chip_scenes(
        layers, out, class_field="type", size=size, name="vfill", classes=["valley_fill"], val=0.2, test=0, seed=seed,
        empty=empty, licence=source["licence"], citation=source["citation"], progress=progress,
        recipe={"made_by": "import_vfill", "cell": cell, "height_unit": height_unit, "areas": [n for n, *_ in work]},
    )


def areas(raw):
    """[(name, DEM, layer of faces, layer of the extent), ...] of a folder; training is `train`, testingKY1 `ky1`."""
    vectors = sorted(Path(raw).rglob("vectors/*.shp"))
    if not vectors:
        raise ChipError(f"{raw} has no vectors/*.shp. {AGAIN}")
    found = []
    for faces in vectors:
        home = faces.parents[1]
        name = "train" if faces.stem == "training" else faces.stem.removeprefix("testing").lower()
        dems = [path for path in sorted((home / "dems").glob("*")) if path.suffix.lower() in (".tif", ".img")]
        mine = [path for path in dems if path.stem.lower() in (name, f"{name}_dem")]
        if len(mine) != 1:
            raise ChipError(
                f"{faces}: {len(mine)} terrain models in {home / 'dems'} are named {name} or {name}_dem, of "
                f"{', '.join(path.name for path in dems) or 'none'}. {AGAIN}"
            )
        extent = home / "extents" / faces.name
        if not extent.is_file():
            raise ChipError(f"{faces}: {extent} is missing, which says where the faces were mapped. {AGAIN}")
        found.append((name, mine[0], faces, extent))
    if "train" not in {name for name, *_ in found}:
        raise ChipError(f"{vectors[0].parent} has no training.shp. {AGAIN}")
    return found
