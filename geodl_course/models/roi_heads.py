"""The second stage of Faster R-CNN: what is it, and where exactly? RoIs are cut out of the maps, named and corrected.

Symbols: B images, P proposals, R RoIs, C channels, n x n bins, K classes (label 0: background), D detections.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.detections import best_detections
from geodl_course.models.layers import FlattenBins, start_small
from geodl_course.ops.boxes import box_area, box_iou, clip_boxes, decode_boxes, encode_boxes, take, trim
from geodl_course.ops.matching import match_boxes, sample
from geodl_course.ops.roi_align import roi_align, roi_align_flat


def sample_rois(proposals, valid, targets, positive, negative, number, fraction):
    """RoIs to learn from, of proposals (B, P, 4), valid (B, P) → rois (B, R, 4), valid, labels, matched.

    labels (B, R): the object's class from IoU positive on, background (0) below negative; matched (B, R): which of the
    image's objects that is. Fast R-CNN (arXiv 1504.08083), section 2.3.
    """
    # The objects themselves join: while the RPN is untrained they are the only good proposals there are.
    boxes = torch.cat((proposals, targets.boxes), dim=1)
    valid = torch.cat((valid, targets.valid), dim=1)
    matched, state = match_boxes(box_iou(boxes, targets.boxes), targets.valid, positive, negative, force_best=False)
    index, valid = sample(state.masked_fill(~valid, -1), number, fraction)
    matched = take(matched, index)
    labels = take(targets.labels, matched) * (take(state, index) == 1)  # background is 0
    return trim(valid, take(boxes, index), valid, labels, matched)


def roi_levels(boxes, scales, canonical_size, canonical_level):
    """Which map suits boxes (B, R, 4), of maps with scales [1/4, 1/8, ...] → level (B, R), 0 the finest.

    A box of canonical_size pixels belongs to level canonical_level, where level k has the scale 1 / 2^k, and one of
    half the size to the level below. Feature Pyramid Networks (arXiv 1612.03144), equation 1.
    """
    first, last = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
    level = (canonical_level + torch.log2(box_area(boxes).sqrt() / canonical_size) + 1e-6).floor()
    return level.clamp(first, last).long() - first


def scale_of(level, size):
    """Scale of a map (B, C, H, W) of images of size (h, w), a power of 2 → number."""
    return 2.0 ** round(math.log2(level.shape[-2] / size[0]))


def pool_flat(maps, boxes, image, size, canonical_size, canonical_level, cut=roi_align_flat, **bins):
    """RoIs (V, 4) of images (V,) cut from the fitting one of maps [(B, C, H, W), ...] → (V, C, n, n).

    bins: settings of cut, which cuts RoIs from one map.
    """
    scales = [scale_of(level, size) for level in maps]
    if len(maps) == 1:
        return cut(maps[0], boxes, image, scale=scales[0], **bins)
    chosen = roi_levels(boxes, scales, canonical_size, canonical_level)  # (V,)
    pooled = maps[0].new_zeros(len(boxes), bins["output_size"], bins["output_size"], maps[0].shape[1])
    for number, (level, scale) in enumerate(zip(maps, scales, strict=True)):
        roi = (chosen == number).nonzero()[:, 0]
        pooled[roi] = cut(level, boxes[roi], image[roi], scale=scale, **bins).permute(0, 2, 3, 1)
    return pooled.permute(0, 3, 1, 2)


def pool_rois(maps, boxes, size, output_size, sampling_ratio, aligned, **canonical):
    """RoIs (B, R, 4) cut from the fitting one of maps [(B, C, H, W), ...] of images (h, w) → (B, R, C, n, n)."""
    if len(maps) == 1:  # roi_align knows a quicker way where all RoIs of an image come from one map
        return roi_align(maps[0], boxes, output_size, scale_of(maps[0], size), sampling_ratio, aligned)
    image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
    bins = {"output_size": output_size, "sampling_ratio": sampling_ratio, "aligned": aligned}
    return pool_flat(maps, boxes.flatten(0, 1), image, size, **canonical, **bins).unflatten(0, boxes.shape[:2])


class BoxHead(nn.Module):
    """Pooled features (B, R, C, n, n) → class logits (B, R, K + 1), deltas (B, R, K + 1, 4)."""

    def __init__(self, trunk, hidden, classes):
        super().__init__()
        self.trunk = trunk
        self.classes = nn.Linear(hidden, classes + 1)  # background is class 0
        self.deltas = nn.Linear(hidden, 4 * (classes + 1))  # each class corrects boxes in its own way
        start_small(self.classes, 0.01)
        start_small(self.deltas, 0.001)

    def forward(self, pooled):
        hidden = self.trunk(pooled.flatten(0, 1))  # all RoIs of all images at once: (B * R, hidden)
        hidden = hidden.unflatten(0, pooled.shape[:2])
        return self.classes(hidden), self.deltas(hidden).unflatten(-1, (-1, 4))


def two_layers(inputs, hidden):
    """The trunk of the box head: (N, C, n, n) with C * n * n = inputs → (N, hidden)."""
    first, second = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
    return nn.Sequential(FlattenBins(), first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


def box_losses(logits, deltas, labels, goals):
    """Losses of logits (V, K + 1), deltas (V, K + 1, 4) of V RoIs against labels (V,), goals (V, 4) → two scalars.

    {"classifier", "box_reg"}: cross-entropy, and smooth L1 of the true class's deltas over all RoIs, background
    included in the mean but without a box of its own. Fast R-CNN (arXiv 1504.08083), section 2.3, equation 1.
    """
    number = max(1, len(labels))
    classifier = F.cross_entropy(logits, labels, reduction="sum") / number
    found = labels > 0
    own = deltas[found, labels[found]]  # the deltas of the class that is there, (V1, 4)
    box_reg = F.smooth_l1_loss(own, goals[found], beta=1 / 9, reduction="sum") / number
    return {"classifier": classifier, "box_reg": box_reg}


def detect(logits, deltas, rois, valid, size, weights, score, threshold, keep, smallest):
    """Detections from logits (B, R, K + 1), deltas (B, R, K + 1, 4), rois (B, R, 4), valid (B, R).

    score: the lowest score to report; threshold: IoU above which the better of two boxes of a class wins; keep: at
    most so many an image; smallest: shortest side in pixels.
    """
    scores = logits.softmax(dim=-1, dtype=rois.dtype)[..., 1:]  # background is no detection: (B, R, K)
    boxes = decode_boxes(deltas[..., 1:, :], rois[:, :, None], weights)  # (B, R, K, 4)
    boxes = clip_boxes(boxes, size)
    labels = torch.arange(1, logits.shape[-1], device=logits.device).expand_as(scores)
    valid = valid[..., None] & (scores > score) & ((boxes[..., 2:] - boxes[..., :2]) >= smallest).all(dim=-1)
    candidates = (part.flatten(1, 2) for part in (boxes, scores, labels, valid))  # (B, R * K, ...)
    return best_detections(*candidates, threshold, keep)


class RoIHeads(nn.Module):
    """Maps [(B, C, H, W), ...], proposals (B, P, 4), valid (B, P) → Detections, in training losses."""

    def __init__(self, head, settings):
        super().__init__()
        self.head, self.settings = head, settings

    def forward(self, maps, size, rois, valid, targets=None):
        if self.training:
            return self.losses(maps, size, targets, *sample_rois(rois, valid, targets, **self.settings["rois"]))
        pooled = pool_rois(maps, rois, size, **self.settings["pool"])  # (B, R, C, n, n)
        logits, deltas = self.head(pooled)  # (B, R, K + 1), (B, R, K + 1, 4)
        return detect(logits, deltas, rois, valid, size, **self.settings["detect"])

    def losses(self, maps, size, targets, rois, valid, labels, matched):
        logits, deltas = self.head(pool_rois(maps, rois, size, **self.settings["pool"]))
        objects = take(targets.boxes, matched)  # (B, R, 4)
        goals = encode_boxes(objects[valid], rois[valid], self.settings["detect"]["weights"])
        return box_losses(logits[valid], deltas[valid], labels[valid], goals)
