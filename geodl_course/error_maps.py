"""How badly a model reconstructs a whole scene: its squared error at every pixel, as a GeoTIFF that opens in QGIS.

The scene is read window by window and never held as a whole. Lecture 09 makes such a map of a port.
"""

import contextlib
import os
from pathlib import Path

import numpy as np
import torch

from geodl_course.chips import valid_pixels
from geodl_course.models.vae_scores import error_map
from geodl_course.windows import windows

LAYOUT = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "tiled": True, "blockxsize": 256, "blockysize": 256,
          "compress": "deflate", "predictor": 3, "bigtiff": "IF_SAFER", "interleave": "band"}  # fmt: skip


def write_error_map(scene, model, info, out, overlap=32, batch_size=64, progress=True):
    """Scene (a raster, or a list of rasters of one grid) and a model → GeoTIFF `out` of its errors, the path returned.

    Band 1 is the squared error averaged over the bands, then one band each, in squared standard deviations of `info`
    (the DatasetInfo of the chips that the model learned from: bands in their order, mean, std). CRS and transform are
    the scene's. Neighbouring windows of the model's size share at least `overlap` pixels, and each pixel is taken from
    the window in which it lies farther inside; the last row and column of windows are shifted inward. Pixels without
    data are NaN; the model sees 0 there, the band's mean, as ChipDataset does it. The file appears when it is whole.
    Raises ValueError for a scene whose bands or size do not fit, and OSError for a disk that does not take it.
    """
    import rasterio

    out, size = Path(out), model.settings["size"]
    part = out.with_name(out.name + ".part")
    with contextlib.ExitStack() as stack:
        paths = [scene] if isinstance(scene, (str, os.PathLike)) else list(scene)
        sources = [stack.enter_context(rasterio.open(path)) for path in paths]
        first = check_scene(sources, info, size)
        if out.resolve() in [Path(path).resolve() for path in paths]:
            raise ValueError(f"{out} is the scene itself: give the map another name")
        stack.callback(part.unlink, missing_ok=True)
        place = {"height": first.height, "width": first.width, "crs": first.crs, "transform": first.transform}
        with rasterio.open(part, "w", count=len(info.bands) + 1, **place, **LAYOUT) as target:
            target.descriptions = ["error", *(f"error in {name}" for name in info.bands)]
            target.update_tags(content="squared reconstruction error, in squared standard deviations of each band")
            window, last = write_strips(sources, target, model, info, overlap, batch_size, progress)
        with rasterio.open(part) as again:  # GDAL may only log that the disk was full
            if not np.array_equal(again.read(window=window), last, equal_nan=True):
                raise OSError(f"{out} could not be written whole: free some space and try again")
        part.replace(out)
    return out


def check_scene(sources, info, size):
    """The first of the open rasters; raises ValueError where no chips of `size` px can be cut from them."""
    first = sources[0]
    for source in sources[1:]:
        if (source.shape, source.transform, source.crs) != (first.shape, first.transform, first.crs):
            raise ValueError(f"{source.name} is not on the grid of {first.name}: bring both onto one, as gdalwarp does")
    count = sum(source.count for source in sources)
    if count != len(info.bands):
        raise ValueError(f"{first.name}: the scene has {count} bands, the model learned {len(info.bands)} "
                         f"({', '.join(info.bands)}): give these, in this order")
    if min(first.shape) < size:
        raise ValueError(f"{first.name} is {first.height} x {first.width} px, smaller than one window of {size} px")
    return first


def write_strips(sources, target, model, info, overlap, batch_size, progress):
    """Write one row of windows after another → the last strip's window and what was written there."""
    from rasterio.windows import Window
    from tqdm import tqdm

    size = model.settings["size"]
    corners = windows(target.height, target.width, size, overlap)
    rows, columns = (sorted({corner[axis] for corner in corners}) for axis in (0, 1))
    edges, sides = seams(rows, size), seams(columns, size)
    for i, row in enumerate(tqdm(rows, desc="rows of windows", disable=not progress, delay=1)):
        pixels, valid = read_strip(sources, Window(0, row, target.width, size))
        errors = strip_errors(standardised(pixels, valid, info), model, columns, sides, batch_size)
        errors[:, ~valid] = np.nan
        inner = slice(edges[i] - row, edges[i + 1] - row)
        window = Window(0, edges[i], target.width, edges[i + 1] - edges[i])
        strip = np.concatenate((errors.mean(axis=0, keepdims=True), errors))[:, inner]
        target.write(strip, window=window)
    return window, strip


def seams(starts, size):
    """Starts of overlapping windows of `size` pixels → where each begins to be used, then where the last ends."""
    return [starts[0], *((a + size + b) // 2 for a, b in zip(starts, starts[1:], strict=False)), starts[-1] + size]


def read_strip(sources, window):
    """One window of all sources → bands (C, H, W), and which pixels hold data in every one of them (H, W)."""
    pixels, valid = [], []
    for source in sources:
        bands = source.read(window=window)
        held = valid_pixels(bands, source.nodata)
        held = held & ~np.isnan(bands) if bands.dtype.kind == "f" else held
        pixels.append(bands.astype(np.float32))
        valid.append(held.all(axis=0))
    return np.concatenate(pixels), np.all(valid, axis=0)


def standardised(pixels, valid, info):
    """Bands (C, H, W) → (x - mean) / std of info, 0 where there is no data, as ChipDataset gives chips."""
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (info.mean, info.std))
    return np.where(valid, (pixels - mean) / std, np.float32(0))


@torch.no_grad()
def strip_errors(strip, model, columns, sides, batch_size):
    """Strip (C, size, W), standardised → squared error (C, size, W), put together at the seams `sides`."""
    size, device = strip.shape[1], next(model.parameters()).device
    strip = torch.from_numpy(strip)
    chips = torch.stack([strip[:, :, column : column + size] for column in columns])
    was = model.training
    model.eval()
    try:
        found = torch.cat([error_map(batch.to(device), model).cpu() for batch in chips.split(batch_size)])
    finally:
        model.train(was)
    pieces = [errors[:, :, sides[i] - column : sides[i + 1] - column]
              for i, (column, errors) in enumerate(zip(columns, found, strict=True))]  # fmt: skip
    return torch.cat(pieces, dim=2).numpy()
