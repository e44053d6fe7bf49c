"""Generated towns: whole scenes that look like an orthophoto, with exact polygons of buildings, tanks and vehicles.

Frozen, generator and default seed: every stored figure of the course was measured on these towns. Their difficulty is
that of a reference, torchvision's Faster R-CNN on the small backbone, trained for 90 s on two cores (seeds 0, 1, 2 of
`python tests/benchmarks/reference_towns.py data/towns --seed 0`): AP50 0.820, 0.824, 0.801 (asked: 0.80 to 0.93), AP
0.492, 0.491, 0.482 (asked: below 0.65), the worst class below the best by 0.116, 0.100, 0.151 (asked: at least 0.10).
A change of one drawn number changes all scenes, so it needs all figures anew.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodl_course.datasets import town_render as render
from geodl_course.datasets.town_plan import plan_town

CLASSES = ["building", "tank", "vehicle"]
CRS = "EPSG:26917"
RESOLUTION = 0.4


@dataclass
class Scene:
    """image (3, H, W) uint8; objects: (class, polygon in pixels, row downwards); sun: unit vector (right, down, up)."""

    image: np.ndarray
    objects: list
    sun: np.ndarray
    resolution: float
    origin: tuple


def sun_and_look(rng):
    """The sun's direction (it stands in the south) and what one flight's camera and air make of the colours."""
    azimuth, elevation = np.radians(rng.uniform(120, 240)), np.radians(rng.uniform(36, 58))
    sun = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    look = dict(
        shadow=rng.uniform(0.78, 0.95), gain=rng.uniform(0.98, 1.12) * (1 + 0.03 * rng.standard_normal(3)),
        lift=np.array([0.01, 0.015, 0.025]) * rng.uniform(0, 2), gamma=rng.uniform(0.72, 0.85),
        blur=rng.uniform(0.45, 0.65), noise=rng.uniform(1.2, 3.0),
    )  # fmt: skip
    return sun, look


def paint(canvas, plan, seeds, rng):
    """Lay the plan on the canvas: ground and lines from the lowest layer up, what stands on it, then the crowns."""
    size = canvas.height.shape[0]
    place = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(canvas.resolution)
    far = [np.square(place - np.float32(x)) + np.square(place - np.float32(y))[:, None] for x, y in seeds]
    district = np.argmin(far, 0)
    flat = [(part.get("layer", 0), render.paint_surface, part) for part in plan.ground]
    flat += [(part.get("layer", 3), render.paint_lines, part) for part in plan.lines]
    for _, lay, part in sorted(flat, key=lambda one: one[0]):
        lay(canvas, part, district)
    for part in plan.boxes:
        render.paint_box(canvas, part)
    solid = dict(tank=render.paint_tank, vehicle=render.paint_vehicle, building=render.paint_roof)
    for kind, _, parts, _ in plan.objects:
        for part in parts:
            (render.paint_box if part.get("box") else solid[kind])(canvas, part)
    stamps = render.tree_stamps(rng, canvas)
    leaf = plan.green * rng.uniform(0.62, 0.85)
    for x, y, share, _ in plan.trees:
        tone = leaf * (1 + 0.12 * rng.standard_normal()) + 0.015 * rng.standard_normal(3)
        render.paint_tree(canvas, stamps[min(int(share * len(stamps)), len(stamps) - 1)], x, y, tone)


def make_scene(seed, size=2048, resolution=RESOLUTION):
    """One town of (size, size) px at `resolution` metres as a Scene. The same seed gives the same bytes."""
    from shapely import transform

    planning, painting = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    plan, seeds = plan_town(planning, size * resolution)
    sun, look = sun_and_look(painting)
    canvas = render.new_canvas(painting, size, resolution, sun, (plan.green * 1.1, plan.green * (1.0, 0.86, 0.9)))
    paint(canvas, plan, seeds, painting)
    image = render.develop(canvas, painting, look)
    objects = [(kind, transform(shape, lambda xy: xy / resolution)) for kind, shape, _, _ in plan.objects]
    return Scene(image, objects, sun, resolution, (440000.0 + 1000 * (seed % 100), 4390000.0))


def write_scene(folder, seed, name="scene", size=2048, resolution=RESOLUTION):
    """Write one scene as `name`.tif and `name`.gpkg (fields id, type); returns both paths."""
    import geopandas
    import pyogrio
    from rasterio.transform import Affine
    from shapely import transform

    from geodl_course.chips.rasters import write_raster

    scene = make_scene(seed, size, resolution)
    image, objects = Path(folder) / f"{name}.tif", Path(folder) / f"{name}.gpkg"
    x, y = scene.origin
    write_raster(
        image, scene.image, Affine(resolution, 0, x, 0, -resolution, y), CRS, names=("red", "green", "blue"),
        interleave="pixel", tiled=True, blockxsize=256, blockysize=256,
    )  # fmt: skip
    kinds = [kind for kind, _ in scene.objects]
    shapes = [transform(shape, lambda xy: xy * (resolution, -resolution) + (x, y)) for _, shape in scene.objects]
    table = geopandas.GeoDataFrame(dict(id=range(1, len(kinds) + 1), type=kinds), geometry=shapes, crs=CRS)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})  # same seed, same bytes
    written = io.BytesIO()
    table.to_file(written, driver="GPKG", layer="objects", engine="pyogrio")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    objects.write_bytes(written.getbuffer())  # Python reports a full disk here
    return image, objects


def make_towns(out, scenes=5, size=128, seed=0, workers=2, extent=2048, progress=True):
    """Chip folder `out` of `size`-px chips from towns of `extent` px; the scenes stay beside it in `out`_scenes.

    The last scene is test, the one before val, the others train, so that no split shares ground with another.
    """
    from geodl_course.datasets.chipping import chip_scenes
    from geodl_course.datasets.generated import scenes_beside

    splits = ["train"] * (scenes - 2) + ["val", "test"]
    with scenes_beside(out, write_scene, seed, splits, extent, workers=workers, progress=progress) as sources:
        return chip_scenes(
            sources, out, class_field="type", size=size, name="towns", classes=CLASSES, progress=progress,
            licence="CC BY 4.0 (generated by this course)", citation="geodl_course, datasets/towns.py",
            recipe=dict(maker="towns", scenes=scenes, size=size, seed=seed, extent=extent, resolution=RESOLUTION),
        )  # fmt: skip
