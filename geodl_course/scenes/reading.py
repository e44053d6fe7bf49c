"""A scene of any size, read window by window at the resolution that a model was trained at."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from geodl_course.windows import windows

SAME = 0.02  # resolutions that differ by less than this share count as equal, and nothing is resampled


@dataclass(frozen=True)
class Scene:
    """A raster as a model sees it. height, width: in pixels of `resolution` metres, the model's; transform, crs: from
    these pixels to the map; zoom: pixels of the file per pixel of the model, both sides' mean; bands: their numbers in
    the file, from 1; path: the file, or several of one grid whose bands follow each other.
    """

    path: str | tuple
    bands: tuple
    height: int
    width: int
    zoom: float
    transform: object
    crs: object

    def bounds(self, corner, size):
        """Left, bottom, right, top on the map of the window at corner (row, col)."""
        row, col = corner
        ends = [self.transform * (col + dx * size, row + dy * size) for dx in (0, 1) for dy in (0, 1)]
        x, y = zip(*ends, strict=True)
        return min(x), min(y), max(x), max(y)


class Stack:
    """Open rasters of one grid, read as one: the bands of the first, then those of the next."""

    def __init__(self, sources):
        self.grid = sources[0]
        for source in sources:
            if (source.shape, source.transform, source.crs) != (self.grid.shape, self.grid.transform, self.grid.crs):
                raise ValueError(f"{source.name} is not on the grid of {self.grid.name}: bring both onto one, as "
                                 "gdalwarp does")  # fmt: skip
        self.bands = [(source, band) for source in sources for band in source.indexes]
        self.count = len(self.bands)
        self.descriptions = [source.descriptions[band - 1] for source, band in self.bands]

    def __getattr__(self, name):
        return getattr(self.grid, name)

    def read(self, indexes, out_shape, **how):
        chosen = [self.bands[i - 1] for i in indexes]
        return np.stack([source.read(band, out_shape=out_shape[1:], **how) for source, band in chosen])

    def read_masks(self, indexes, out_shape, **how):
        chosen = [self.bands[i - 1] for i in indexes]
        return np.stack([source.read_masks(band, out_shape=out_shape[1:], **how) for source, band in chosen])


def files_of(path):
    """A path, or several → list of path texts."""
    return [str(path)] if isinstance(path, (str, os.PathLike)) else [str(one) for one in path]


@contextlib.contextmanager
def open_source(path):
    """A raster file, or several of one grid → what read_window reads. Raises ValueError for what is no raster."""
    import rasterio

    with contextlib.ExitStack() as stack:
        sources = []
        for one in files_of(path):
            try:
                sources.append(stack.enter_context(rasterio.open(one)))
            except rasterio.errors.RasterioIOError as error:
                raise ValueError(f"{one}: cannot be read as a raster ({error}). Check path and format.") from error
        yield sources[0] if len(sources) == 1 else Stack(sources)


def open_scene(path, data, bands=None):
    """Raster file (GeoTIFF, COG, VRT) → Scene for a model trained on `data` (bands, resolution in metres).

    path: one file, or several of one grid, whose bands count on. bands: numbers from 1 in the model's order; without
    them those that bear the model's names, or all, if there are as many as the model has. A rotated raster is mapped as
    it lies. A cell's size is the map's: where Mercator stretches the north, it does so in chips cut from it, too.
    Raises ValueError for a raster without CRS, in degrees, or without these bands.
    """
    with open_source(path) as source:
        if source.crs is None:
            raise ValueError(f"{path} has no CRS, so nothing found in it has a place or a size. Assign the one it was "
                             "made in, for example: rio edit-info --crs EPSG:32636 scene.tif")
        if not source.crs.is_projected:
            raise ValueError(f"{path} is in degrees ({source.crs}); areas need metres. Warp it first, for example: "
                             "rio warp scene.tif metres.tif --dst-crs EPSG:32636")
        chosen = tuple(bands or pick_bands(source, data["bands"]))
        if len(chosen) != len(data["bands"]) or not all(1 <= band <= source.count for band in chosen):
            raise ValueError(f"bands {list(chosen)}: the model takes {len(data['bands'])} "
                             f"({', '.join(data['bands'])}), and {path} has bands 1 to {source.count}")
        zooms = [data["resolution"] / side for side in cell_sides(source)]
        zooms = [1.0 if abs(zoom - 1) < SAME else zoom for zoom in zooms]
        height, width = (max(1, round(cells / zoom)) for cells, zoom in zip(source.shape, zooms, strict=True))
        zoom = (zooms[0] * zooms[1]) ** 0.5
        transform = source.transform * source.transform.scale(source.width / width, source.height / height)
        files = files_of(path)
        return Scene(files[0] if len(files) == 1 else tuple(files), chosen, height, width, zoom, transform, source.crs)


def cell_sides(source):
    """Height, across the rows, and width of a raster's cell in metres, whichever way the raster lies."""
    grid, unit = source.transform, source.crs.linear_units_factor[1]
    width = np.hypot(grid.a, grid.d)
    return abs(grid.determinant) / width * unit, width * unit


def pick_bands(source, names):
    """Numbers of the bands that bear these names, else of all bands, if there are as many."""
    held = [(name or "").lower() for name in source.descriptions]
    if all(name.lower() in held for name in names):
        return [held.index(name.lower()) + 1 for name in names]
    if source.count == len(names):
        return range(1, source.count + 1)
    raise ValueError(f"{source.name} has {source.count} bands ({', '.join(filter(None, held)) or 'without names'}); "
                     f"the model takes {', '.join(names)}. Say which those are: bands=[...], numbered from 1")


def corners(scene, size, overlap):
    """Upper left corners [(row, col), ...] of the windows over a scene; the last ones are shifted inward."""
    return windows(scene.height, scene.width, size, overlap)


def read_window(source, scene, corner, size):
    """Open raster, Scene, corner (row, col) → pixels (C, size, size) float32, valid (size, size).

    Where the file is finer than the model, cells are averaged, where it is coarser, interpolated. valid is False and
    the pixels are 0 outside the scene, where whole numbers have no data in any band, and where floats lack one band.
    """
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    (row, col), high, wide = corner, min(size, scene.height - corner[0]), min(size, scene.width - corner[1])
    per_row, per_col = source.height / scene.height, source.width / scene.width
    window = Window(col * per_col, row * per_row, wide * per_col, high * per_row)
    how = {"window": window, "out_shape": (len(scene.bands), high, wide), "indexes": list(scene.bands)}
    if (scene.height, scene.width) != source.shape:
        how["resampling"] = Resampling.average if scene.zoom > 1 else Resampling.bilinear
    read, masks = source.read(out_dtype=np.float32, **how), source.read_masks(**how)
    if source.dtypes[0].startswith("float"):
        held = np.isfinite(read).all(axis=0) & masks.all(axis=0)
    else:
        held = masks.any(axis=0)  # a shadow that is 0 in one band stays data
    read[:, ~held] = 0
    outside = (0, size - high), (0, size - wide)
    return np.pad(read, ((0, 0), *outside)), np.pad(held, outside)


def standardise(pixels, valid, data):
    """Pixels (C, H, W) → (x - mean) / std of each band, 0 where there is no data, as ChipDataset gives chips."""
    mean, std = (np.array(data[name], np.float32)[:, None, None] for name in ("mean", "std"))
    scaled = pixels - mean
    scaled /= std
    scaled[:, ~valid] = 0
    return scaled


def read_batch(source, scene, at, size, data):
    """Windows with corners `at` → images (B, C, size, size) float32, valid (B, size, size), the corners of these, and
    {corner: why} of those that could not be read in two tries. Windows without any data are left out.
    """
    images, held, found, failed = [], [], [], {}
    for corner in at:
        try:
            pixels, valid = read_twice(source, scene, corner, size)
        except Exception as error:  # GDAL's errors come in many kinds
            failed[corner] = " ".join(str(error).split())
            continue
        if valid.any():
            images.append(standardise(pixels, valid, data))
            held.append(valid)
            found.append(corner)
    return images, held, found, failed


def read_ahead(scene, batches, size, data):
    """Lists of corners → yields what read_batch says of each; the next one is read while the caller uses the last."""
    with open_source(scene.path) as source, ThreadPoolExecutor(1) as reader:
        coming = None
        for at in [*batches, None]:
            ahead = at and reader.submit(read_batch, source, scene, at, size, data)
            if coming:
                yield coming.result()
            coming = ahead


def read_twice(source, scene, corner, size):
    with contextlib.suppress(Exception):
        return read_window(source, scene, corner, size)
    return read_window(source, scene, corner, size)
