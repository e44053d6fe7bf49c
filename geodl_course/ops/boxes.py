"""Boxes as tensors: area, overlap, clipping, coding, suppression. Boxes are half-open pixel boxes (x0, y0, x1, y1)."""

import math

import torch
import torchvision


def box_area(boxes):
    """Area of boxes (..., N, 4) → (..., N).

    Square pixels; a reversed box has a negative or misleading area, so check boxes before they come here.
    Built in lecture 02.
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(a, b):
    """IoU of every box in a (..., N, 4) with every box in b (..., M, 4) → (..., N, M).

    Values in 0..1. Leading dimensions broadcast, so one set of anchors meets a whole batch of objects. Where both
    boxes are empty the IoU is 0 and not 0/0: padding then matches nothing. Built in lecture 02.
    """
    ax0, ay0, ax1, ay1 = a[..., :, None, :].unbind(-1)  # each (..., N, 1)
    bx0, by0, bx1, by1 = (side.contiguous() for side in b[..., None, :, :].unbind(-1))  # each (..., 1, M)
    width = torch.minimum(ax1, bx1).sub_(torch.maximum(ax0, bx0))  # (..., N, M); in place, as N * M is large
    height = torch.minimum(ay1, by1).sub_(torch.maximum(ay0, by0))
    shared = width.clamp_(min=0).mul_(height.clamp_(min=0))  # boxes apart have a negative side, not a negative area
    union = (box_area(a)[..., :, None] + box_area(b)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def clip_boxes(boxes, size):
    """Boxes (..., 4) cut to an image of size (H, W) → (..., 4).

    A box wholly outside becomes an empty box on the border. Built in lecture 02.
    """
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack((x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)), dim=-1)


def to_centres(boxes):
    """Boxes (..., 4) → centre x, centre y, width, height, each (...)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    width, height = x1 - x0, y1 - y0
    return x0 + 0.5 * width, y0 + 0.5 * height, width, height


def encode_boxes(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    """What leads from anchors (..., 4) to boxes (..., 4) → deltas (..., 4).

    Shifts in units of the anchor's sides, sizes as logarithms of a ratio, so that a car and a warehouse make errors
    of the same magnitude. weights scale the four deltas (the second stage uses 10, 10, 5, 5: the inverse of the
    standard deviations 0.1, 0.1, 0.2, 0.2). Faster R-CNN (arXiv 1506.01497), section 3.1.2, equation 2.
    Built in lecture 02.
    """
    x, y, width, height = to_centres(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = to_centres(anchors)
    wx, wy, ww, wh = weights
    dx = wx * (x - anchor_x) / anchor_width  # a shift of 1 is a whole anchor
    dy = wy * (y - anchor_y) / anchor_height
    dw = ww * torch.log(width / anchor_width)  # half and twice as wide are equally far from 0
    dh = wh * torch.log(height / anchor_height)
    return torch.stack((dx, dy, dw, dh), dim=-1)


def decode_boxes(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0), largest=math.log(1000 / 16)):
    """What deltas (..., 4) make of anchors (..., 4) → boxes (..., 4).

    The inverse of encode_boxes. largest caps the logarithm of a size ratio: 62.5 times the anchor. Same source; built
    in lecture 02.
    """
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas.unbind(-1), weights, strict=True))
    anchor_x, anchor_y, anchor_width, anchor_height = to_centres(anchors)
    x = anchor_x + dx * anchor_width
    y = anchor_y + dy * anchor_height
    width = anchor_width * torch.exp(dw.clamp(max=largest))  # without the cap one wild logit makes an infinite box
    height = anchor_height * torch.exp(dh.clamp(max=largest))
    return torch.stack((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height), dim=-1)


def take(values, index):
    """Rows of values (B, N, ...) chosen per image by index (B, S) → (B, S, ...)."""
    image = torch.arange(len(values), device=values.device)[:, None]  # (B, 1): each image picks among its own rows
    return values[image, index]


def trim(valid, *values):
    """Values (B, P, ...) without the columns in which no image has anything valid (B, P) → the same, narrower.

    One column stays where nothing is valid at all.
    """
    most = max(1, int(valid.sum(dim=1).max()))  # valid ones come first in each row
    return [value[:, :most] for value in values]


def batched_nms(boxes, scores, groups, valid, threshold, keep):
    """Non-maximum suppression of boxes (B, N, 4), scores (B, N), valid (B, N) → index (B, keep), valid (B, keep).

    Boxes suppress each other within one image and one group: groups (B, N) holds small integers >= 0 (a class, a
    pyramid level), None means one group. Kept boxes come best first; slots that nothing fills point to box 0 and are
    not valid. All images go through one call of torchvision.ops.batched_nms. Built (as a loop) in lecture 02.
    """
    total = scores.shape[1]
    image = torch.arange(len(scores), device=scores.device)[:, None].expand_as(scores)  # (B, N)
    group = image if groups is None else image + len(scores) * groups  # no box may suppress another image's
    candidate = valid.flatten().nonzero()[:, 0]
    boxes, scores, group = (values.flatten(0, 1)[candidate] for values in (boxes, scores, group))
    kept = candidate[torchvision.ops.batched_nms(boxes, scores, group, threshold)]  # best first over all images
    kept = kept[(kept // total).argsort(stable=True)]  # image by image, still best first within each
    return unflatten(kept // total, kept % total, len(valid), keep)


def unflatten(image, values, images, keep):
    """Values (T,) of ascending image numbers (T,) as one padded row an image → (images, keep), valid (images, keep)."""
    first = torch.searchsorted(image, torch.arange(images, device=image.device))  # where each image's values begin
    rank = torch.arange(len(image), device=image.device) - first[image]  # 0, 1, 2 ... within its image
    fits = rank < keep
    padded, valid = values.new_zeros(images, keep), torch.zeros(images, keep, dtype=torch.bool, device=values.device)
    padded[image[fits], rank[fits]] = values[fits]
    valid[image[fits], rank[fits]] = True
    return padded, valid
