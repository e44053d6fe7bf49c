"""From masks and many bands to one raster of ids a class, and what that costs, counted."""

import numpy as np

from geodl_course.chips import ChipError


def instance_rasters(masks, names, told):
    """{class: ids (H, W)} of masks (M, H, W) bool with a class name each; ids count 1, 2, 3 ... in each class.

    Where two of one class overlap, the later one wins. `told` counts "pixels_covered_twice" and
    "instances_without_pixel": empty masks, and those that later ones cover wholly.
    """
    rasters = {}
    for name in dict.fromkeys(names):
        mine = [mask for mask, other in zip(masks, names, strict=True) if other == name]
        rasters[name] = _lay(mine, len(mine), told)
    return rasters


def one_band(bands, path, told):
    """Ids (H, W) of a label raster's bands (C, H, W): the ids of one band as they are, those of several made different.

    Beyond 65535 they count 1, 2, 3 ... anew. Raises ChipError for what are no ids.
    """
    if bands.dtype.kind not in "ui" or bands.min() < 0:
        raise ChipError(f"{path}: ids are {bands.dtype} from {bands.min()} on; they must be whole numbers from 0 on. "
                        "Export again, or write the raster as uint16.")
    ids = bands[0].astype(np.int64)
    if len(bands) > 1:
        ids = _lay(list(bands.astype(np.int64)), sum(len(np.unique(band[band > 0])) for band in bands), told)
    if ids.max() > 65535:
        found, places = np.unique(ids, return_inverse=True)
        ids = (places + (found[0] > 0)).reshape(ids.shape)
        told["rasters_renumbered"] += 1
    told["instances_in_parts"] += _in_parts(ids)
    return ids


def _lay(layers, number, told):
    """Layers of ids (H, W), or of masks, laid on each other, the later above; `number` of instances in them."""
    ids, top = np.zeros(layers[0].shape, np.int64), 0
    for layer in layers:
        above = layer > 0
        told["pixels_covered_twice"] += int((above & (ids > 0)).sum())
        ids[above] = layer[above] + top
        top += int(layer.max())
    told["instances_without_pixel"] += number - len(np.unique(ids[ids > 0]))
    return ids


def _in_parts(ids):
    """How many instances consist of parts that touch nowhere, not even at a corner."""
    from skimage.measure import label

    parts = label(ids, connectivity=2)
    pairs = np.unique(np.stack([ids[ids > 0], parts[ids > 0]]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
