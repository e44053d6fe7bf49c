"""Generated terrain of surface mines in the Appalachians: a DEM at 2 m, exact polygons of the faces of valley fills.

A valley fill takes the rock above a coal seam into the head of the next valley; its face is a stair of steep steps and
benches. Each scene is a DEM and a layer of faces; `terrain_scene` draws it as slopeshade, slope, hillshade and
topographic position, as it does any DEM with polygons; then it is cut into chips like every other scene.

QUICK averages the DEM to cells of 4 m, so that a chip of 128 px shows 512 m; FULL keeps 2 m, 1024 m in 512 px, and
leaves out faces of four steps, which are small in so large a chip. Train chips overlap by half, so that a face up to
half a chip wide is whole in one of them, and of those without a face one in four stays; val and test chips lie side by
side and are all there.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodl_course.datasets import valley_fill_plan as plan
from geodl_course.datasets.valley_fill_relief import make_relief
from geodl_course.datasets.valley_fill_works import CELL

CLASSES = ["valley_fill"]
CRS = "EPSG:26917"
QUICK = dict(scenes=10, size=128, cell=4.0, steps=4)
FULL = dict(scenes=20, size=512, cell=2.0, steps=5)
SHARES = dict(train=0.5, val=0.3, test=0.2)  # of the scenes: faces are few and large, so val takes more than a fifth


@dataclass
class Scene:
    """dem (H, W) float32 in 2-m cells; faces: polygons in pixels, row downwards; made (H, W) bool: where people dug."""

    dem: np.ndarray
    faces: list
    made: np.ndarray
    origin: tuple


def make_scene(seed, size=2048, steps=4):
    """The terrain of one scene of (size, size) cells of 2 m, with faces of at least `steps` steps, four to eight.

    The same seed gives the same bytes.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    rng = np.random.default_rng([seed, 3])
    relief = make_relief(rng, size)
    dem = relief.dem.copy()
    mines = plan.plan_mines(rng, relief)
    plan.strip(rng, dem, mines)
    for mine in mines:
        plan.works.level_tops(dem, mine, rng)
    fills, taken = plan.fill_valleys(rng, dem, relief, mines, steps)
    plan.roads(rng, dem, taken)
    made = binary_dilation(np.abs(dem - relief.dem) > 0.02, iterations=2)
    dem = np.where(made, gaussian_filter(dem, 0.6), dem)
    faces = [outline(face, rows.start, cols.start) for _, rows, cols, face in fills]
    origin = (400000.0 + 10000 * (seed % 20), 4170000.0 + 10000 * (seed // 20 % 5))
    return Scene(np.round(dem, 2).astype(np.float32), faces, made, origin)


def outline(face, row, col):
    """Polygon in pixels around a mask (H, W) whose first cell is at (row, col), without the stairs of its cells."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine

    rings = shapes(face.astype(np.uint8), mask=face, transform=Affine.translation(col, row))
    polygon = max((shapely.Polygon(ring["coordinates"][0]) for ring, _ in rings), key=lambda one: one.area)
    return polygon.simplify(1.0)


def write_scene(folder, seed, name="scene", cell=QUICK["cell"], size=2048, steps=4):
    """Write `name`_dem.tif, `name`_faces.gpkg and, drawn from them, `name`.tif and `name`.gpkg; returns these two."""
    from rasterio.transform import Affine
    from shapely import transform

    from geodl_course.chips.rasters import write_raster
    from geodl_course.datasets.terrain import terrain_scene, write_polygons

    scene = make_scene(seed, size, steps)
    dem, faces = Path(folder) / f"{name}_dem.tif", Path(folder) / f"{name}_faces.gpkg"
    x, y = scene.origin
    write_raster(
        dem, scene.dem[None], Affine(CELL, 0, x, 0, -CELL, y), CRS, -9999.0, ["height above the sea in metres"],
        tiled=True, blockxsize=256, blockysize=256, predictor=3,
    )  # fmt: skip
    shapes = [transform(face, lambda xy: xy * (CELL, -CELL) + (x, y)) for face in scene.faces]
    write_polygons(faces, shapes, CLASSES[0], CRS)
    return terrain_scene(dem, faces, folder, name, cell=cell)


def make_valley_fills(
    out, scenes=QUICK["scenes"], size=QUICK["size"], cell=QUICK["cell"], steps=QUICK["steps"], seed=0, workers=2,
    extent=2048, progress=True,
):  # fmt: skip
    """Chip folder `out` of `size`-px chips in cells of `cell` metres; the scenes stay beside it in `out`_scenes.

    Each scene is wholly train, val or test, in the shares of SHARES, so that no split shares ground with another.
    `extent` is the side of a DEM in 2-m cells, `steps` the least number of steps of a face; `workers` processes make
    the scenes.
    """
    from geodl_course.datasets.chipping import chip_scenes
    from geodl_course.datasets.generated import scenes_beside

    held = {split: max(round(scenes * SHARES[split]), 1) for split in ("val", "test")}
    splits = ["train"] * (scenes - sum(held.values())) + ["val"] * held["val"] + ["test"] * held["test"]
    recipe = dict(maker="valley_fills", scenes=scenes, size=size, cell=cell, steps=steps, seed=seed, extent=extent)
    settings = cell, extent, steps
    with scenes_beside(out, write_scene, seed, splits, *settings, workers=workers, progress=progress) as sources:
        return chip_scenes(
            sources, out, class_field="type", size=size, name="valley_fills", classes=CLASSES, progress=progress,
            overlap={"train": size // 2}, empty=0.25, seed=seed, recipe=recipe,
            licence="CC BY 4.0 (generated by this course)", citation="geodl_course, datasets/valley_fills.py",
        )  # fmt: skip
