"""A tiny scene for tests: 0.5 m cells in EPSG:26917, addressed in pixels."""

import geopandas
import rasterio
import shapely
from rasterio.transform import from_origin

LEFT, TOP, CELL = 500_000.0, 4_400_000.0, 0.5


def pixel_box(x0, y0, x1, y1):
    """A polygon on the map that covers the pixels x0..x1, y0..y1 (x1 and y1 excluded) of the tiny scene."""
    return shapely.box(LEFT + x0 * CELL, TOP - y1 * CELL, LEFT + x1 * CELL, TOP - y0 * CELL)


def write_scene(path, image, crs="EPSG:26917", nodata=None, transform=None, **settings):
    """Write an image (C, H, W) as a GeoTIFF at the place of the tiny scene."""
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=image.dtype, crs=crs, nodata=nodata,
        transform=transform or from_origin(LEFT, TOP, CELL, CELL), **settings,
    ) as dst:
        dst.write(image)
    return path


def write_objects(path, rows, crs="EPSG:26917"):
    """Write [(class, polygon), ...] as a vector layer with a field `type`."""
    table = geopandas.GeoDataFrame({"type": [name for name, _ in rows]}, geometry=[p for _, p in rows], crs=crs)
    table.to_file(path, engine="pyogrio")
    return path
