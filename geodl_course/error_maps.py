"""How badly a model reconstructs a whole scene: its squared error at every pixel, as a GeoTIFF that opens in QGIS.

The scene is read window by window, as map_scene reads it, and never held as a whole. Lecture 09 makes such a map.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from geodl_course.models.vae_scores import error_map
from geodl_course.scenes.merging import cores
from geodl_course.scenes.rasters import write_raster
from geodl_course.scenes.reading import corners, open_scene, read_ahead
from geodl_course.scenes.run import refuse_scene
from geodl_course.scenes.whole import whole


def write_error_map(scene, model, info, out, overlap=32, batch_size=64, progress=True):
    """Scene (a raster, or a list of rasters of one grid) and a model → GeoTIFF `out` of its errors, the path returned.

    Band 1 is the squared error averaged over the bands, then one band each, in squared standard deviations of `info`
    (the DatasetInfo of the chips that the model learned from: bands in their order, mean, std, resolution). Place and
    cells are the scene's, brought to the model's resolution where it differs. Neighbouring windows of the model's size
    share at least `overlap` pixels, and each pixel is taken from the window in whose core it lies; the last row and
    column of windows are shifted inward. Pixels without data are NaN; the model sees 0 there, the band's mean, as
    ChipDataset does it, and around a scene smaller than a window. Windows that cannot be read in two tries are NaN, and
    a warning names them at the end. The file appears when it is whole.
    Raises ValueError for a scene or an output that does not fit, and OSError for a disk that does not take it.
    """
    out, size = Path(out), model.settings["size"]
    data = {name: getattr(info, name) for name in ("bands", "mean", "std", "resolution")}
    place, failed, was = open_scene(scene, data), {}, model.training
    refuse_scene(scene, out)
    names, told = ["error", *(f"error in {name}" for name in info.bands)], "squared standard deviations of each band"
    strips = error_strips(place, data, model.eval(), (size, overlap, batch_size), failed, progress)
    try:
        with whole(out) as part:
            write_raster(part, place, names, strips, f"squared reconstruction error, in {told}")
    finally:
        model.train(was)
    for corner, why in failed.items():
        bounds = [round(side, 2) for side in place.bounds(corner, size)]
        warnings.warn(f"{bounds} could not be read and has no data in {out}: {why}", stacklevel=2)
    return out


def error_strips(scene, data, model, windows, failed, progress):
    """Yield (row, values (1 + C, h, width)) from top to bottom: each row of windows without what its neighbours give.

    windows: their size, overlap, and how many at a time. What cannot be read is noted in failed, {corner: why}.
    """
    from tqdm import tqdm

    size, overlap, batch_size = windows
    rows, columns = (sorted(set(starts)) for starts in zip(*corners(scene, size, overlap), strict=True))
    down, across = inner(rows, size, scene.height), inner(columns, size, scene.width)
    for row in tqdm(rows, desc="rows of windows", disable=not progress, delay=1):
        top, bottom = down[row]
        strip = np.full((1 + len(scene.bands), bottom - top, scene.width), np.nan, np.float32)
        at = [(row, column) for column in columns]
        batches = [at[i : i + batch_size] for i in range(0, len(at), batch_size)]
        for images, valid, placed, unread in read_ahead(scene, batches, size, data):
            failed |= unread
            for (_, column), held, errors in zip(placed, valid, find_errors(images, model), strict=True):
                left, right = across[column]
                errors[:, ~held] = np.nan
                part = errors[:, top - row : bottom - row, left - column : right - column]
                strip[0, :, left:right], strip[1:, :, left:right] = part.mean(axis=0), part
        yield top, strip


def inner(starts, size, end):
    """Starts of windows over 0..end → {start: (first, end) pixel that is taken from it}, every pixel once."""
    return {start: (int(first), min(int(last), end)) for start, (first, last) in cores(starts, size, end).items()}


@torch.no_grad()
def find_errors(images, model):
    """Images, a list of B (C, size, size) → squared errors (B, C, size, size)."""
    if not images:
        return np.zeros((0, 0, 0, 0), np.float32)
    device = next(model.parameters()).device
    return error_map(torch.from_numpy(np.stack(images)).to(device), model).cpu().numpy()
