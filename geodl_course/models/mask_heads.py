"""The mask branch of Mask R-CNN (He et al. 2017, arXiv 1703.06870): which of an RoI's pixels belong to the object?

Symbols: B images, C channels, n x n bins, K classes; V RoIs of the whole batch in one row, image (V,) says whose.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.detections import Detections
from geodl_course.models.roi_heads import RoIHeads, pool_flat
from geodl_course.ops.boxes import trim
from geodl_course.ops.masks import cut_masks, paste_masks
from geodl_course.ops.roi_align import roi_align_flat
from geodl_course.ops.roi_pool import roi_pool_flat
from geodl_course.plumbing import resize_boxes

ROIS = 32  # at a time in the mask head: its maps are large, and memory is used again where they are of one size
PIXELS = 2**20  # of masks pasted at a time


class MaskHead(nn.Module):
    """Pooled features (V, C, n, n) → mask logits (V, maps, 2n, 2n)."""

    def __init__(self, trunk, hidden, between, maps):
        super().__init__()
        self.trunk = trunk  # convolutions: (V, hidden, n, n); no layer that forgets where
        self.up = nn.ConvTranspose2d(hidden, between, 2, stride=2)  # twice as many rows and columns
        self.maps = nn.Conv2d(between, maps, 1)  # one map a class
        for layer in (self.up, self.maps):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, pooled):
        cells = self.trunk(pooled).permute(0, 2, 3, 1)  # (V, n, n, hidden)
        pixels = four_pixels(cells, self.up)  # (V, n, n, 2, 2, between)
        logits = F.linear(pixels, self.maps.weight.flatten(1), self.maps.bias)  # a 1 x 1 convolution is a linear layer
        return logits.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)  # rows n x 2, columns n x 2


def four_pixels(cells, up):
    """Cells (V, n, n, C) through the deconvolution up, 2 x 2 pixels with stride 2, and ReLU → (V, n, n, 2, 2, D).

    Its windows do not overlap: each cell makes four pixels of its own, as a linear layer does, which is quicker here.
    """
    weight = up.weight.permute(2, 3, 1, 0)  # (2, 2, D, C)
    pixels = F.linear(cells, weight.flatten(0, 2), up.bias.repeat(4)).relu_()
    return pixels.unflatten(-1, weight.shape[:3])


def convolutions(channels, widths):
    """The trunk of the mask head: (V, channels, n, n) → (V, widths[-1], n, n), a 3x3 convolution for each width."""
    layers = []
    for inputs, outputs in zip([channels, *widths], widths, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        nn.init.kaiming_normal_(layers[-2].weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers)


def cut_rois(level, boxes, image, scale, layer, output_size, sampling_ratio, aligned):
    """RoIs (V, 4) of images (V,) cut from one map (B, C, H, W) → (V, C, n, n), by RoIAlign, or as layer "pool" says."""
    if layer == "pool":
        return roi_pool_flat(level, boxes, image, output_size, scale)
    return roi_align_flat(level, boxes, image, output_size, scale, sampling_ratio, aligned)


def mask_goals(boxes, masks, size, bins, aligned):
    """What RoIs (V, 4) should show: the masks (V, H, W) of their objects, cut by the RoIs → (V, n, n) in 0..1.

    Boxes are pixels of images of size (h, w); masks may still have the size they came in.
    """
    return cut_masks(masks, resize_boxes(boxes, size, masks.shape[-2:]), bins, aligned)


def mask_loss(logits, labels, goals, activation="sigmoid"):
    """Loss of mask logits (V, K, n, n) against labels (V,), goals (V, n, n) → scalar, the mean over pixels.

    "sigmoid": binary cross-entropy on the map of the true class; the other maps learn nothing, so classes do not
    compete for a pixel. "softmax": logits (V, K + 1, n, n), and each pixel is either background (0) or the true class,
    so they do. 0 without RoIs. Section 3.
    """
    roi = torch.arange(len(labels), device=labels.device)
    if activation == "softmax":
        shares = logits.log_softmax(dim=1)
        loss = -(goals * shares[roi, labels] + (1 - goals) * shares[:, 0]).sum()
    else:
        loss = F.binary_cross_entropy_with_logits(logits[roi, labels - 1], goals, reduction="sum")
    return loss / max(1, goals.numel())


def pick_maps(logits, labels, activation="sigmoid"):
    """The map of each RoI's class (V,) in mask logits (V, K, n, n) → (V, n, n) in 0..1; activation as in mask_loss."""
    roi = torch.arange(len(labels), device=labels.device)
    if activation == "softmax":
        return logits.softmax(dim=1)[roi, labels]
    return logits[roi, labels - 1].sigmoid()


def pieces(valid, number):
    """Where valid (B, D) is True, at most number places at a time → pairs image (number,), slot (number,)."""
    image, slot = valid.nonzero(as_tuple=True)
    return zip(image.split(number), slot.split(number), strict=True)


def detect_masks(head, maps, size, found, pool, activation):
    """Detections found, their boxes on maps [(B, C, H, W), ...] of images of size (h, w) → with masks (B, D, n, n).

    The masks are still small: shares in 0..1 of n x n cells that fill the box.
    """
    boxes, scores, labels, valid = trim(found.valid, found.boxes, found.scores, found.labels, found.valid)
    masks = boxes.new_zeros(*valid.shape, 2 * pool["output_size"], 2 * pool["output_size"])
    for image, slot in pieces(valid, ROIS):
        logits = head(pool_flat(maps, boxes[image, slot], image, size, cut=cut_rois, **pool))
        masks[image, slot] = pick_maps(logits, labels[image, slot], activation).to(masks)
    return Detections(boxes, scores, labels, valid, masks)


def paste_detections(found, size, aligned):
    """Detections found with small masks (B, D, n, n) → with masks (B, D, H, W) of the image's size, bool.

    Where the share is above one half. PIXELS at a time: shares need four times the room of yes and no.
    """
    masks = found.valid.new_zeros(*found.valid.shape, *size)
    for image, slot in pieces(found.valid, max(1, PIXELS // (size[0] * size[1]))):
        shares = paste_masks(found.masks[image, slot], found.boxes[image, slot], size, aligned)
        masks[image, slot] = shares > 0.5
    return replace(found, masks=masks)


class MaskRoIHeads(RoIHeads):
    """Maps [(B, C, H, W), ...], proposals (B, P, 4), valid (B, P) → Detections with masks (B, D, n, n), or losses."""

    def __init__(self, head, mask_head, settings):
        super().__init__(head, settings)
        self.mask_head = mask_head

    def forward(self, maps, size, rois, valid, targets=None):
        result = super().forward(maps, size, rois, valid, targets)
        if self.training:
            return result
        # Boxes first: masks are cut from the boxes as corrected, and only from those that are kept.
        return detect_masks(self.mask_head, maps, size, result, self.settings["mask_pool"], **self.settings["mask"])

    def losses(self, maps, size, targets, rois, valid, labels, matched):
        losses = super().losses(maps, size, targets, rois, valid, labels, matched)
        image, roi = (valid & (labels > 0)).nonzero(as_tuple=True)  # background has no mask
        boxes, labels, pool = rois[image, roi], labels[image, roi], self.settings["mask_pool"]
        pooled = pool_flat(maps, boxes, image, size, cut=cut_rois, **pool)
        logits = torch.cat([self.mask_head(some) for some in pooled.split(ROIS)]).to(boxes)  # no half precision
        masks = targets.masks[image, matched[image, roi]]  # of the objects that the boxes were matched with
        goals = mask_goals(boxes, masks, size, logits.shape[-1], pool["aligned"])
        return {**losses, "mask": mask_loss(logits, labels, goals, **self.settings["mask"])}
