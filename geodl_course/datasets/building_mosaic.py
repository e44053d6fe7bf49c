"""Tiles of the buildings of Kampala put together again: one raster to map, and its buildings to judge the map by."""

from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError
from geodl_course.chips.rasters import read_raster, write_raster
from geodl_course.datasets.buildings import all_tiles
from geodl_course.datasets.polygons import only_polygons, read_layer


def mosaic_scene(raw, out, zoom=20, split="val"):
    """The tiles of one zoom and split as one raster → (the path `out`, GeoDataFrame of its buildings, column class).

    raw: the fetched folder; out: the GeoTIFF to write, in EPSG:3857, the projection of the tiles, whose metres are the
    ground's at the equator. The tiles must fill the ground of one tile of a coarser zoom: the buildings are that one's,
    whole where finer tiles cut them. Raises ChipError where they do not. Publish no picture of it.
    """
    tiles = [tile for tile in all_tiles(Path(raw)) if tile.split == split]
    fine = [tile for tile in tiles if tile.zoom == zoom]
    whole = [tile for tile in tiles if tile.zoom < zoom and len(inside(fine, tile)) == 4 ** (zoom - tile.zoom)]
    if len(whole) != 1 or len(inside(fine, whole[0])) != len(fine):
        raise ChipError(f"{raw}: the {len(fine)} {split} tiles of zoom {zoom} do not fill one tile of a coarser zoom. "
                        "Choose another zoom or split.")
    pixels, transform = put_together(fine, whole[0])
    part = Path(f"{out}.part")
    write_raster(part, pixels, transform, "EPSG:3857", names=["red", "green", "blue"], tiled=True)
    part.replace(out)
    table, _ = only_polygons(read_layer(whole[0].labels), whole[0].labels, whole[0].image)
    return Path(out), table.to_crs(3857)[["geometry"]].reset_index(drop=True).assign(**{"class": "building"})


def inside(tiles, whole):
    """Those of the tiles whose centre lies in the tile `whole`."""
    west, south, east, north = whole.bounds
    return [t for t in tiles if west < sum(t.bounds[::2]) / 2 < east and south < sum(t.bounds[1::2]) / 2 < north]


def put_together(tiles, whole):
    """Tiles that fill the ground of the tile `whole` → pixels (3, H, W) uint8, transform in EPSG:3857."""
    from rasterio.transform import from_bounds
    from rasterio.warp import transform_bounds

    images = [read_raster(tile.image)[0] for tile in tiles]
    west, south, east, north = whole.bounds
    count, side = round(len(tiles) ** 0.5), images[0].shape[-1]
    pixels = np.zeros((len(images[0]), count * side, count * side), np.uint8)
    for tile, image in zip(tiles, images, strict=True):
        row = round((north - tile.bounds[3]) / (north - south) * count) * side
        col = round((tile.bounds[0] - west) / (east - west) * count) * side
        pixels[:, row : row + side, col : col + side] = image
    bounds = transform_bounds("EPSG:4326", "EPSG:3857", *whole.bounds, densify_pts=0)
    return pixels, from_bounds(*bounds, count * side, count * side)
