"""RoIPool: what RoIAlign replaced. Boxes and bins are rounded to whole cells, and the largest value of a bin counts."""

import torch
import torch.nn.functional as F


def bin_cells(low, high, size, bins, scale):
    """The cells of each bin along one side of RoIs from low to high (V,) → index (V, bins, S), empty (V, bins).

    Bins overlap where they do not fall on cells. Shorter bins repeat their last cell, which changes no maximum.
    """
    first, last = (low * scale + 0.5).floor(), (high * scale + 0.5).floor()  # the first rounding: the box
    length = (last - first + 1).clamp(min=1)[:, None] / bins  # of a bin; the last cell belongs to the box
    step = torch.arange(bins, dtype=low.dtype, device=low.device)
    begin = (step * length).floor() + first[:, None]  # the second rounding: its bins
    end = ((step + 1) * length).ceil() + first[:, None]
    begin, end = begin.clamp(0, size), end.clamp(0, size)
    longest = max(1, int((end - begin).max()) if len(low) else 1)
    cells = begin[..., None] + torch.arange(longest, dtype=low.dtype, device=low.device)
    return cells.minimum(end[..., None] - 1).clamp(0, size - 1).long(), end <= begin


def roi_pool_flat(features, boxes, image, output_size, scale):
    """Largest values in the bins of boxes (V, 4) of images (V,) on features (B, C, H, W) → (V, C, n, n).

    A bin off the map is 0. Fast R-CNN (arXiv 1504.08083), section 2.1. Built in lecture 06.
    """
    n, (_, channels, height, width) = output_size, features.shape
    x0, y0, x1, y1 = boxes.unbind(-1)
    ix, off_x = bin_cells(x0, x1, width, n, scale)  # (V, n, S), (V, n)
    iy, off_y = bin_cells(y0, y1, height, n, scale)
    row = (image[:, None, None] * height + iy) * width  # where the row begins in the table of all cells
    index = row[:, :, None, :, None] + ix[:, None, :, None, :]  # (V, n, n, S, S)
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    bins = F.embedding_bag(index.flatten(3).flatten(0, 2), table, mode="max")  # (V * n * n, C)
    bins = bins * ~(off_y[:, :, None] | off_x[:, None, :]).reshape(-1, 1)
    return bins.reshape(len(boxes), n, n, channels).permute(0, 3, 1, 2)
