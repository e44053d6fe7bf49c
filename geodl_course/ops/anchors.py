"""Anchors: the boxes that a detector corrects instead of inventing boxes from nothing."""

import torch


def cell_anchors(sizes, ratios):
    """Anchors of one cell, centred on (0, 0), for sizes (S,) in pixels and ratios (R,) height : width → (R * S, 4).

    An anchor of size s has the area s²; ratio 2 is twice as high as wide. Corners are rounded to whole pixels as
    in the authors' code and in torchvision, so weights trained there fit here. All sizes of the first ratio come first.
    Faster R-CNN, section 3.1.1. Built in lecture 02.
    """
    sizes, root = torch.tensor(sizes, dtype=torch.float32), torch.tensor(ratios, dtype=torch.float32).sqrt()
    width = ((1 / root)[:, None] * sizes).flatten()  # width * height = size² whatever the ratio
    height = (root[:, None] * sizes).flatten()
    return (torch.stack((-width, -height, width, height), dim=1) / 2).round()


def grid_anchors(cell, feature_size, stride):
    """The anchors cell (A, 4) on every cell of a map of feature_size (H, W) with stride (sy, sx) → (H * W * A, 4).

    Pixels of the input image; row by row, the A anchors of a cell side by side. Anchors sit on the cells' upper left
    pixels (as in torchvision). Built in lecture 02.
    """
    height, width = feature_size
    y = torch.arange(height, dtype=cell.dtype, device=cell.device) * stride[0]
    x = torch.arange(width, dtype=cell.dtype, device=cell.device) * stride[1]
    y, x = torch.meshgrid(y, x, indexing="ij")  # (H, W) each
    shift = torch.stack((x, y, x, y), dim=-1)  # both corners move alike: (H, W, 4)
    return (shift[:, :, None] + cell).reshape(-1, 4)
