"""Instance masks as tensors: cut out of chips, pasted into chips, overlap, suppression.

Symbols: V masks, whatever image they belong to; n x n cells of a small mask that fills its box.
"""

import torch
import torch.nn.functional as F

from geodl_course.ops.boxes import take, unflatten
from geodl_course.ops.roi_align import corners

PIECE = 2**16  # pixels that mask_iou turns into numbers at a time: 300 masks of these are 79 MB


def cell_weights(low, high, size, bins, aligned):
    """How much each of size pixels counts in each bin of boxes from low to high (V,) → (V, bins, size).

    As RoIAlign with as many points a bin as the bin is pixels long; its weights are scattered to the pixels they belong
    to, which needs no room for every point at every pixel.
    """
    index, weights = corners(low, high, size, bins, 1.0, 0, aligned)  # (V, bins, 2S) each
    empty = weights.new_zeros(*weights.shape[:-1], size)
    return empty.scatter_add(-1, index.long(), weights)


def cut_masks(masks, boxes, bins, aligned=True):
    """Masks (V, H, W) cut out by boxes (V, 4) and brought to n = bins cells → (V, n, n), the share of a cell in 0..1.

    RoIAlign of the mask, rows and columns one after the other. aligned as in roi_align. Mask R-CNN (arXiv 1703.06870),
    section 3. Built in lecture 06.
    """
    x0, y0, x1, y1 = boxes.unbind(-1)
    down = cell_weights(y0, y1, masks.shape[-2], bins, aligned)  # (V, n, H)
    across = cell_weights(x0, x1, masks.shape[-1], bins, aligned)  # (V, n, W)
    return down @ masks.to(boxes.dtype) @ across.mT


def pixel_weights(low, high, size, cells):
    """How much each of n = cells counts in each of size pixels, for boxes from low to high (...) → (..., size, n)."""
    pixels = torch.arange(size, dtype=low.dtype, device=low.device) + 0.5  # their centres
    length = (high - low).clamp(min=torch.finfo(low.dtype).eps)[..., None]
    share = (pixels - low[..., None]) / length  # (..., size): 0..1 inside the box
    place = (share * cells - 0.5).clamp(0, cells - 1)  # which cell's centre, with a fraction
    hat = (1 - (place[..., None] - torch.arange(cells, dtype=low.dtype, device=low.device)).abs()).clamp(min=0)
    return hat * ((share >= 0) & (share < 1))[..., None]  # nothing outside the box


def whole_pixels(masks, boxes):
    """Masks (..., n, n) with a border of 0, boxes (..., 4) grown by that border and cut to whole pixels → both.

    The rule of the first Mask R-CNN implementations, where a box ended with its last pixel and not behind it.
    """
    cells = masks.shape[-1]
    centre, half = (boxes[..., :2] + boxes[..., 2:]) * 0.5, (boxes[..., 2:] - boxes[..., :2]) * 0.5
    half = half * ((cells + 2) / cells)
    first, last = (centre - half).trunc(), (centre + half).trunc()
    return F.pad(masks, (1, 1, 1, 1)), torch.cat((first, (last + 1).maximum(first + 1)), dim=-1)


def paste_masks(masks, boxes, size, aligned=True):
    """Masks (..., n, n), values 0..1, where boxes (..., 4) are on images of size (H, W) → (..., H, W), 0 elsewhere.

    The way back from cut_masks: each pixel is interpolated between the cells of its mask, and since rows and columns
    are independent, all masks of all images are two matrix products. aligned False rounds boxes to whole pixels: masks
    from torchvision's detectors need it. Mask R-CNN, section 3.1, Inference. Built in lecture 06.
    """
    masks, boxes = (masks, boxes) if aligned else whole_pixels(masks, boxes)
    x0, y0, x1, y1 = boxes.to(masks.dtype).unbind(-1)
    down = pixel_weights(y0, y1, size[0], masks.shape[-1])  # (..., H, n)
    across = pixel_weights(x0, x1, size[1], masks.shape[-1])  # (..., W, n)
    return down @ masks @ across.mT


def mask_iou(a, b):
    """IoU of every mask in a (..., N, H, W) with every mask in b (..., M, H, W), both bool → (..., N, M) in 0..1.

    Two empty masks have the IoU 0. The pixels that two masks share are a product of matrices: N x pixels, pixels x M.
    Built in lecture 06.
    """
    a, b = a.flatten(-2), b.flatten(-2)  # (..., N, H * W), (..., M, H * W)
    pieces = zip(a.split(PIECE, dim=-1), b.split(PIECE, dim=-1), strict=True)  # as numbers they are four times as large
    shared = sum(one.float() @ other.float().mT for one, other in pieces)
    union = a.sum(dim=-1)[..., :, None] + b.sum(dim=-1)[..., None, :] - shared
    return shared / union.clamp(min=1)


def mask_nms(masks, scores, groups, valid, threshold, keep):
    """Suppression by masks (B, N, H, W), scores (B, N), valid (B, N) → index (B, keep), valid (B, keep).

    As batched_nms of boxes: within one image and one group (groups (B, N), None for one group) the best mask stays,
    whatever overlaps it by an IoU above threshold goes, and so on; best first. Built in lecture 06.
    """
    order = scores.masked_fill(~valid, -1).argsort(dim=1, descending=True, stable=True)  # (B, N), best first
    masks, valid = take(masks, order), take(valid, order)
    rival = mask_iou(masks, masks) > threshold  # (B, N, N)
    if groups is not None:
        rival &= take(groups, order)[:, :, None] == take(groups, order)[:, None, :]
    kept = settle(rival.triu(diagonal=1), valid)  # only the better one suppresses
    image, rank = kept.nonzero(as_tuple=True)
    return unflatten(image, order[image, rank], len(valid), keep)


def settle(rival, valid):
    """Who stays of valid (B, N), where rival (B, N, N) says that row i suppresses column j if i stays itself → (B, N).

    Every round lets go whom a staying one suppresses. The first is settled at once and each round settles at least one
    more, so this ends with what a loop from the best to the worst would keep, mostly after two or three rounds.
    """
    kept, before = valid, None
    while before is None or not torch.equal(kept, before):
        before = kept
        kept = valid & ~(rival & before[:, :, None]).any(dim=1)
    return kept
