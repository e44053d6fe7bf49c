"""The region proposal network of Faster R-CNN (Ren et al. 2015, arXiv 1506.01497): where could something be?

Symbols: B images, H x W cells, C channels, N anchors, M objects, P proposals.
"""

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.layers import cell_by_cell, start_small
from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import batched_nms, clip_boxes, decode_boxes, encode_boxes, take, trim
from geodl_course.ops.matching import anchor_iou, match_boxes, sample


class RPNHead(nn.Module):
    """Maps [(B, C, H, W), ...] → objectness logits (B, N), deltas (B, N, 4), N = the sum of H * W * A."""

    def __init__(self, channels, anchors, depth=1):
        super().__init__()
        layers = [(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(depth)]
        self.shared = nn.Sequential(*[layer for pair in layers for layer in pair])
        self.objectness = nn.Linear(channels, anchors)  # one logit an anchor; a 1 x 1 convolution is a linear layer
        self.deltas = nn.Linear(channels, 4 * anchors)
        start_small(self, 0.01)

    def forward(self, maps):
        cells = torch.cat([cell_by_cell(self.shared(level)) for level in maps], dim=1)  # (B, cells, C)
        return self.objectness(cells).flatten(1), self.deltas(cells).reshape(len(cells), -1, 4)


def pyramid_anchors(maps, image_size, sizes, ratios):
    """Anchors for maps [(B, C, H, W), ...] of images of image_size (H, W) → [(H * W * A, 4), ...], one a level."""
    anchors = []
    for level, level_sizes, level_ratios in zip(maps, sizes, ratios, strict=True):
        height, width = level.shape[-2:]
        stride = image_size[0] // height, image_size[1] // width
        cell = cell_anchors(level_sizes, level_ratios).to(level)
        anchors.append(grid_anchors(cell, (height, width), stride))
    return anchors


def best_per_level(logits, counts, number):
    """The number highest of logits (B, N) within each level of counts [N1, N2, ...] → index (B, T), level (T,)."""
    first, index, level = 0, [], []
    for number_of_level, count in enumerate(counts):
        best = logits[:, first : first + count].topk(min(number, count), dim=1).indices + first
        index.append(best)
        level.append(torch.full_like(best[0], number_of_level))
        first += count
    return torch.cat(index, dim=1), torch.cat(level)


def propose(logits, deltas, anchors, size, before, after, threshold, score, smallest):
    """Proposals from logits (B, N), deltas (B, N, 4), anchors [(N1, 4), ...] → boxes (B, P, 4), valid (B, P).

    before: how many a level go into suppression at IoU threshold; after: how many an image leave it, best first.
    score and smallest (pixels) drop the rest. Faster R-CNN, section 3.3.
    """
    index, level = best_per_level(logits, [len(a) for a in anchors], before)  # (B, T), (T,)
    boxes = decode_boxes(take(deltas, index), torch.cat(anchors)[index])  # only the best are worth decoding
    boxes = clip_boxes(boxes, size)
    scores = take(logits, index).sigmoid()
    valid = ((boxes[..., 2:] - boxes[..., :2]) >= smallest).all(dim=-1) & (scores >= score)
    kept, valid = batched_nms(boxes, scores, level.expand_as(scores), valid, threshold, after)
    return trim(valid, take(boxes, kept), valid)


def rpn_losses(logits, deltas, anchors, targets, positive, negative, number, fraction):
    """Losses of logits (B, N), deltas (B, N, 4), anchors (N, 4) against targets → {"objectness", "rpn_box"}.

    Both are means over the sampled anchors, as in the authors' code; only positives have a box to be wrong about.
    Faster R-CNN, section 3.1.2, equation 1, with N_reg = N_cls and λ = 1. Unlike there, anchors that cross the image's
    border take part, as in torchvision.
    """
    iou = anchor_iou(anchors, targets.boxes, targets.valid)  # (B, N, M), padding marked
    matched, state = match_boxes(iou, None, positive, negative, force_best=True)
    index, valid = sample(state, number, fraction)  # (B, S)
    truth = take(state, index)[valid].to(logits)  # (V,): 1 object, 0 background
    objectness = F.binary_cross_entropy_with_logits(take(logits, index)[valid], truth)
    image, slot = (valid & (take(state, index) == 1)).nonzero(as_tuple=True)
    chosen = index[image, slot]  # the positive anchors, (V1,)
    goal = encode_boxes(targets.boxes[image, matched[image, chosen]], anchors[chosen])
    rpn_box = F.smooth_l1_loss(deltas[image, chosen], goal, beta=1 / 9, reduction="sum") / valid.sum()
    return {"objectness": objectness, "rpn_box": rpn_box}


class RPN(nn.Module):
    """Maps [(B, C, H, W), ...] → proposals (B, P, 4), valid (B, P), and the losses in training."""

    def __init__(self, head, settings):
        super().__init__()
        self.head, self.settings = head, settings

    def forward(self, maps, padded_size, size, targets=None):
        logits, deltas = self.head(maps)  # (B, N), (B, N, 4)
        anchors = pyramid_anchors(maps, padded_size, **self.settings["anchors"])
        how_many = self.settings["proposals"]["train" if self.training else "test"]
        # Detached: the second stage takes the proposals as given and does not teach the first one through them.
        proposals, valid = propose(logits.detach(), deltas.detach(), anchors, size, **how_many)
        if not self.training:
            return proposals, valid, {}
        return proposals, valid, rpn_losses(logits, deltas, torch.cat(anchors), targets, **self.settings["rpn"])
