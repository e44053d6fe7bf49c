"""Values that belong to a scene as GeoTIFFs for a GIS: tiled, compressed, with overviews, and checked when written."""

import zlib

import numpy as np
import shapely

from geodl_course.datasets.polygons import in_pixels
from geodl_course.scenes.reading import open_source, read_window
from geodl_course.scenes.whole import blame_disk

TILE = 256
LAYOUT = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "tiled": True, "blockxsize": TILE,
          "blockysize": TILE, "compress": "deflate", "predictor": 3, "bigtiff": "IF_SAFER",
          "interleave": "band"}  # fmt: skip


def write_raster(path, scene, names, strips, content):
    """Strips (row, values (K, h, width)) of a scene, top to bottom → GeoTIFF of K bands called `names`.

    Values are float32, NaN is no data; overviews halve the scene until it fits into a tile of 256 px, each pixel the
    mean of what it covers. content: one line on what the values are. Raises OSError where the disk does not take it.
    """
    import rasterio
    from rasterio.windows import Window

    place = {"height": scene.height, "width": scene.width, "crs": scene.crs, "transform": scene.transform}
    sums = []
    with blame_disk(path), rasterio.open(path, "w", count=len(names), **place, **LAYOUT) as target:
        target.descriptions = names
        target.update_tags(content=content)
        for row, values in strips:
            values = np.ascontiguousarray(values, np.float32)
            target.write(values, window=Window(0, row, scene.width, values.shape[1]))
            sums.append((row, values.shape[1], zlib.crc32(values)))
    with blame_disk(path):
        finish(path, sums)


def finish(path, sums):
    """Give the file overviews; raise OSError unless it holds what was written: GDAL may only log a full disk."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    with rasterio.open(path, "r+") as target:
        longer = max(target.shape)
        levels = [2**k for k in range(1, 32) if longer > TILE * 2 ** (k - 1)]
        if levels:
            target.build_overviews(levels, Resampling.average)
    with rasterio.open(path) as again:
        whole = again.overviews(1) == levels
        for row, height, written in sums:
            whole = whole and zlib.crc32(again.read(window=Window(0, row, again.width, height))) == written
    for number in range(len(levels)):
        with rasterio.open(path, overview_level=number) as again:
            for _, window in again.block_windows():  # raises where it ends too early
                again.read(1, window=window)
    if not whole:
        raise OSError("what was written is not there")


def write_scores(layer, path, classes, scene):
    """A layer as a raster of the scene: a band a class, the best score of its objects over each pixel, 0 for none."""
    content = "best score of an object over the pixel, 0 where none was found, no data where the scene has none"
    write_raster(path, scene, classes, score_strips(layer, classes, scene), content)


def score_strips(layer, classes, scene):
    """Yield (row, values (K, TILE, width)) of write_scores: NaN where the scene has no data or cannot be read."""
    layer = layer.iloc[::-1]  # the best is painted last
    shapes, scores = in_pixels(layer.geometry, scene.transform), layer["score"].to_numpy()
    of_class = [layer["class"].to_numpy() == name for name in classes]
    tree = shapely.STRtree(shapes)
    with open_source(scene.path) as source:
        for row in range(0, scene.height, TILE):
            held = np.concatenate([has_data(source, scene, (row, col)) for col in range(0, scene.width, TILE)], axis=1)
            held = held[: scene.height - row, : scene.width]
            near = np.sort(tree.query(shapely.box(0, row, scene.width, row + len(held))))
            bands = [paint(shapes[i], scores[i], row, held.shape) for i in (near[own[near]] for own in of_class)]
            yield row, np.where(held, np.stack(bands), np.float32(np.nan))


def has_data(source, scene, corner):
    try:
        return read_window(source, scene, corner, TILE)[1]
    except Exception:  # map_scene has told it
        return np.zeros((TILE, TILE), bool)


def paint(shapes, scores, row, size):
    """Shapes (N,) with scores (N,) over the pixels of a strip that begins at row → (height, width), later ones win."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    if not len(shapes):
        return np.zeros(size, np.float32)
    return rasterize(zip(shapes, scores, strict=True), size, transform=Affine.translation(0, row), dtype="float32")
