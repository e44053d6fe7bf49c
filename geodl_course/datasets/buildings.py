"""Buildings of Kampala: drone image tiles with one GeoJSON of building polygons each become a chip folder with masks.

A tile's name ends in its place in the XYZ scheme of web maps, x-y-z; its image is georeferenced in degrees, and both
must agree. One tile becomes one chip: `size` pixels average the publisher's 256. The rules:

* Zoom levels are never mixed: `zoom` is one, 20 unless asked, where a tile is 38 m wide here and a chip of 128 px has
  cells of 0.30 m (0.15 m as published, at 256 px).
* Validation are the publisher's val-chips. Tiles of all zooms show the same town, so a train tile that touches or
  overlaps a val tile of any zoom is dropped: neither this set nor a model compared across zooms has seen its ground.
* Each polygon is an instance with an id of its own, also where it touches another. A multipolygon is one instance;
  holes are background. Where polygons overlap, a pixel belongs to the smallest of them, so no building is erased by a
  larger one drawn later. Features without geometry are left out.
* A polygon is cut to its tile. The part stays when it is at least `min_visible` of the area and, where the border cuts
  it, at least 2 pixels wide and high. The publisher cut the polygons at the tiles before: how much of a building lies
  beyond is not known, so both halves of one are instances.

dataset.json (`recipe`) counts all of it.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodl_course.chips import Chip, ChipError, DatasetInfo, write_chips
from geodl_course.datasets.box_chips import opened
from geodl_course.datasets.chipping import drop_touching

FOLDERS = {"train": ("chips", "labels/2"), "val": ("val-chips", "val-labels/2")}
EQUATOR = 40_075_016.686  # metres around the equator of Web Mercator's sphere
AGAIN = "Fetch it again: python data_scripts/fetch.py buildings"
NOTE = (
    "Train tiles hold about six buildings each, val tiles about 28: a denser part of the town. Some roofs are not "
    "mapped. The licence of the image is not verified: publish no picture of it."
)


def import_buildings(raw, out, size=128, zoom=20, min_visible=0.3, progress=True):
    """Chip folder `out` from the fetched folder `raw` (chips/, labels/2/, val-chips/, val-labels/2/). Returns the path.

    `size` is at most the tiles' own 256 pixels. The module's docstring states the rules. Raises ChipError naming the
    file: an image without labels or labels without an image, a tile that does not lie where its name says, a polygon
    that is none or crosses itself, polygons that all lie elsewhere, a zoom that the set does not have.
    """
    from tqdm import tqdm

    tiles = all_tiles(Path(raw))
    kept, dropped = _chosen(tiles, zoom)
    told, chips = Counter(tiles=len(kept), train_tiles_dropped_beside_val=dropped), []
    for tile in tqdm(kept, desc="tiles of buildings", disable=not progress, delay=1):
        chips.append((tile.split, _chip(tile, size, min_visible, told)))
    return write_chips(out, _info(kept, size, zoom, min_visible, told), chips)


def _info(tiles, size, zoom, min_visible, told):
    from geodl_course.datasets.download import entry

    source = entry("buildings")
    latitude = np.radians(np.mean([(tile.bounds[1] + tile.bounds[3]) / 2 for tile in tiles]))
    return DatasetInfo(
        "buildings", ["building"], ["red", "green", "blue"], "uint8", size,
        round(float(EQUATOR * np.cos(latitude) / 2**zoom / size), 4), "EPSG:4326",
        licence=source["licence"], citation=source["citation"],
        recipe={
            "made_by": "import_buildings", "zoom": zoom, "min_visible": min_visible, "note": NOTE,
            "validation": "the publisher's val-chips", "test": "none: too few tiles", **told,
        },
    )


# --------------------------------------------------------------------------------------------- tiles


@dataclass
class _Tile:
    split: str
    image: Path
    labels: Path
    zoom: int
    bounds: tuple


def _tile(split, image, labels):
    found = re.search(r"-(\d+)-(\d+)-(\d+)$", image.stem)
    if not found:
        raise ChipError(f"{image}: the name does not end in x-y-z, its place among the tiles. {AGAIN}")
    x, y, zoom = (int(n) for n in found.groups())
    return _Tile(split, image, labels, zoom, tile_bounds(x, y, zoom))


def tile_bounds(x, y, zoom):
    """(left, bottom, right, top) in degrees of an XYZ tile: column x eastwards, row y southwards, of 2^zoom."""
    west, east = (360 * n / 2**zoom - 180 for n in (x, x + 1))
    north, south = (np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * n / 2**zoom)))) for n in (y, y + 1))
    return west, float(south), east, float(north)


def all_tiles(raw):
    tiles = []
    for split, (images, labels) in FOLDERS.items():
        found = {path.stem: path for path in sorted((raw / images).glob("*.tif"))}
        drawn = {path.stem: path for path in sorted((raw / labels).glob("*.geojson"))}
        if not found:
            raise ChipError(f"{raw / images} has no .tif. {AGAIN}")
        for stem in sorted(found.keys() ^ drawn.keys()):
            lacks = f"{raw / labels / stem}.geojson" if stem in found else f"{raw / images / stem}.tif"
            raise ChipError(f"{found.get(stem) or drawn[stem]}: {lacks} is missing, which belongs to it. {AGAIN}")
        tiles += [_tile(split, path, drawn[stem]) for stem, path in found.items()]
    return tiles


def _chosen(tiles, zoom):
    """The tiles of one zoom without train tiles that touch a val tile of any zoom, and how many those are."""
    splits = np.array([tile.split for tile in tiles])
    mine = np.array([tile.zoom == zoom for tile in tiles])
    for split in FOLDERS:
        if not (mine & (splits == split)).any():
            zooms = sorted({tile.zoom for tile in tiles})
            raise ChipError(f"no {split} tile has zoom {zoom}. Choose one of {', '.join(map(str, zooms))}.")
    kept = drop_touching([tile.bounds for tile in tiles], splits)
    if not (mine & (kept == "train")).any():
        raise ChipError(f"every train tile of zoom {zoom} touches a val tile. Choose another zoom.")
    return [tile for tile, use in zip(tiles, mine & (kept != ""), strict=True) if use], int((mine & (kept == "")).sum())


# --------------------------------------------------------------------------------------------- chips


def _chip(tile, size, min_visible, told):
    from rasterio.enums import Resampling

    with opened(tile.image, "buildings") as src:
        _check_image(src, tile, size)
        pixels = src.read(out_shape=(src.count, size, size), resampling=Resampling.average)
        transform = src.transform * src.transform.scale(src.width / size, src.height / size)
        crs = src.crs
    polygons = _polygons(tile, transform, crs, size, told)
    ids = _instances(polygons, size, min_visible, told)
    return Chip(tile.image.stem, pixels, {"building": ids}, transform=transform, crs=crs)


def _check_image(src, tile, size):
    if (src.count, src.dtypes[0], src.width) != (3, "uint8", src.height):
        raise ChipError(
            f"{tile.image}: {src.count} bands of {src.dtypes[0]}, {src.width} x {src.height} pixels; a tile is square "
            f"and has 3 bands of uint8. {AGAIN}"
        )
    if not 1 <= size <= src.width:
        raise ChipError(f"{tile.image} is {src.width} pixels wide. Choose a size from 1 to {src.width}, not {size}.")
    off = np.abs(np.array(src.bounds) - tile.bounds).max() / ((tile.bounds[2] - tile.bounds[0]) / src.width)
    if src.crs is None or src.crs.to_epsg() != 4326 or off > 0.5:
        raise ChipError(
            f"{tile.image} lies at {tuple(src.bounds)} in {src.crs}, its name says {tile.bounds} in EPSG:4326. "
            f"Rename it or georeference it again. {AGAIN}"
        )


def _polygons(tile, transform, crs, size, told):
    """Polygons (N,) of a tile in pixels of its chip, whole, without those that lie outside; counted in `told`."""
    import shapely

    from geodl_course.datasets.polygons import in_pixels, only_polygons, read_layer

    table, empty = only_polygons(read_layer(tile.labels), tile.labels, tile.image)
    polygons = in_pixels(table.geometry.to_crs(crs), transform)
    inside = shapely.intersects(polygons, shapely.box(0, 0, size, size))
    if len(polygons) and not inside.any():
        raise ChipError(
            f"{tile.labels}: all {len(polygons)} polygons lie outside {tile.image}. Check the `crs` that the file "
            f"names ({table.crs.to_string()}). {AGAIN}"
        )
    told["polygons"] += int(inside.sum())
    told["polygons_outside"] += int((~inside).sum())
    told["features_without_geometry"] += empty
    return polygons[inside]


def _instances(polygons, size, min_visible, told):
    """Polygons (N,) in pixels → ids (size, size) uint16, 1, 2, 3 ... in the order of the polygons."""
    import shapely
    from rasterio.features import rasterize

    area = shapely.area(polygons)
    told["overlapping_pairs"] += _overlapping(polygons)
    ids = np.zeros((size, size), np.int32)
    if len(polygons):  # the smallest last: it stays on top
        order = np.argsort(-area, kind="stable")
        ids = rasterize([(polygons[i], int(i) + 1) for i in order], out_shape=ids.shape, dtype="int32")
    kept = np.zeros(len(polygons) + 1, bool)
    frame = shapely.box(0, 0, size, size)
    cut = shapely.intersects(polygons, frame.exterior)
    share = shapely.area(shapely.intersection(polygons, frame)) / np.maximum(area, 1e-12)
    for i in np.unique(ids[ids > 0]) - 1:
        rows, cols = np.nonzero(ids == i + 1)
        large = min(np.ptp(rows), np.ptp(cols)) >= 1
        kept[i + 1] = share[i] >= min_visible and (large or not cut[i])
        told["rests_dropped_at_borders"] += int(not kept[i + 1])
    told["polygons_without_pixel"] += len(polygons) - len(np.unique(ids[ids > 0]))
    return np.where(kept, np.cumsum(kept), 0).astype(np.uint16)[ids]


def _overlapping(polygons, least=0.01):
    """How many pairs of polygons share more than `least` square pixels."""
    import shapely

    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    one, other = one[one < other], other[one < other]
    return int((shapely.area(shapely.intersection(polygons[one], polygons[other])) > least).sum())
