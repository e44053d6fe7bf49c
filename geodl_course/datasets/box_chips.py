"""What the importers of published boxes share: a raster of the fetched files, one chip of it with its boxes, and
boxes of a whole scene as a layer."""

import contextlib

import numpy as np

from geodl_course.chips import Chip, ChipError


@contextlib.contextmanager
def opened(image, name):
    """The open raster `image` of the fetched data set `name`. Raises ChipError where it cannot be read."""
    import rasterio

    try:
        with rasterio.open(image) as src:
            yield src
    except rasterio.errors.RasterioIOError as error:
        raise ChipError(
            f"{image}: cannot be read ({error}). Fetch it again: python data_scripts/fetch.py {name}"
        ) from error


def cut_boxes(boxes, row, col, size, min_visible):
    """Boxes (M, 4) as seen in the window of `size` at (row, col): shifted and cut → those seen (V, 4), which (M,).

    A box that the border cuts stays when at least `min_visible` of its area is inside and the part is at least 2
    pixels wide and high.
    """
    moved = np.asarray(boxes, np.float64).reshape(-1, 4) - [col, row, col, row]
    inside = np.clip(moved, 0, size)
    sides = inside[:, 2:] - inside[:, :2]
    whole = (inside == moved).all(1)
    share = sides.prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1)
    seen = whole | ((share >= min_visible) & (sides >= 2).all(1))
    return inside[seen], seen


def box_chip(stem, pixels, boxes, labels, corner, size, transform, crs, nodata):
    """The chip of `size` at `corner` (row, col) of `pixels` (C, H, W), filled up where it leaves them.

    boxes (V, 4) are in its pixels, as from cut_boxes, with their labels (V,) 1..K.
    """
    row, col = corner
    image = np.full((len(pixels), size, size), nodata or 0, pixels.dtype)
    part = pixels[:, row : row + size, col : col + size]
    image[:, : part.shape[1], : part.shape[2]] = part
    return Chip(
        stem, image, boxes=boxes.astype(np.float32), labels=np.asarray(labels, np.int64),
        transform=transform * transform.translation(col, row), crs=crs,
    )


def box_layer(boxes, transform, crs, name):
    """Boxes (M, 4) in pixels of a raster → GeoDataFrame of them on the map, with `name` in a column class."""
    import geopandas
    import shapely

    a, b, c, d, e, f = tuple(transform)[:6]
    shapes = shapely.box(*np.asarray(boxes, np.float64).reshape(-1, 4).T)
    shapes = shapely.transform(shapes, lambda p: p @ np.array([[a, d], [b, e]]) + [c, f])
    return geopandas.GeoDataFrame({"class": [name] * len(shapes)}, geometry=list(shapes), crs=crs)
