"""SSD, the single-shot detector (Liu et al. 2016, arXiv 1512.02325), on whole batches: one look, several maps.

Symbols: B images, H x W cells, C channels, A default boxes a cell, N default boxes in all, M objects, K classes
(label 0: background), T candidates, D detections.
"""

import copy
import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.detections import best_detections
from geodl_course.models.layers import cell_by_cell
from geodl_course.models.settings import change
from geodl_course.models.ssd_backbones import VGGStages, make_stages, start_with_xavier, vgg_stages
from geodl_course.models.ssd_settings import check_settings, paper_settings, small_settings, torchvision_settings
from geodl_course.models.takeover import check_kinds, copy_parameters
from geodl_course.ops.boxes import clip_boxes, decode_boxes, encode_boxes, take, trim
from geodl_course.ops.default_boxes import default_boxes
from geodl_course.ops.matching import anchor_iou
from geodl_course.plumbing import check_batch, check_size, feature_maps, prepare, resize_boxes


class MapHeads(nn.Module):
    """Maps [(B, C, H, W), ...] → class logits (B, N, K + 1), deltas (B, N, 4), N = the sum of H * W * A."""

    def __init__(self, channels, boxes, classes):
        super().__init__()
        self.values = classes + 1, 4  # what each default box is told: K + 1 class scores, 4 deltas
        sizes = zip(channels, boxes, strict=True)
        self.layers = nn.ModuleList([nn.Conv2d(c, a * sum(self.values), 3, padding=1) for c, a in sizes])
        start_with_xavier(self)

    def forward(self, maps):
        cells = [cell_by_cell(layer(level)) for layer, level in zip(self.layers, maps, strict=True)]
        told = [one.unflatten(-1, (-1, sum(self.values))).flatten(1, 2) for one in cells]  # (B, H * W * A, K + 5)
        return torch.cat(told, dim=1).to(maps[0].dtype).split(self.values, dim=-1)


def match_default_boxes(iou, valid, positive):
    """The object that each default box answers for, from iou (B, N, M), objects valid (B, M) → (B, N), -1 for none.

    A box takes the object it overlaps most, from IoU positive on; but before that each object takes the box that
    overlaps it most, or small objects would have none. Of two objects that want one box the later gets it. iou is -1
    for padding, as from anchor_iou. SSD, section 2.2.
    """
    best, matched = iou.max(dim=2)  # (B, N)
    matched = matched.masked_fill(best < positive, -1)
    closest = iou.max(dim=1).indices  # (B, M): the default box nearest to each object
    objects = torch.arange(valid.shape[1], device=iou.device).expand_as(valid).masked_fill(~valid, -1)
    taken = torch.full_like(matched, -1).scatter_reduce(1, closest, objects, "amax")  # (B, N)
    return torch.where(taken >= 0, taken, matched)


def hard_negatives(loss, found, ratio):
    """The background boxes to learn from, by loss (B, N), where found (B, N) are those with an object → bool (B, N).

    In each image the ratio * (number of found) boxes without an object that have the highest loss; None: all of them.
    SSD, section 2.2: hard negative mining, 3 to 1.
    """
    if ratio is None:
        return ~found
    quota = ratio * found.sum(dim=1, keepdim=True)  # (B, 1)
    most = min(loss.shape[1], math.ceil(quota.max()))
    worst = loss.masked_fill(found, -torch.inf).topk(most, dim=1).indices  # (B, most), worst first
    within = torch.arange(most, device=loss.device) < quota  # (B, most)
    return torch.zeros_like(found).scatter(1, worst, within) & ~found


def ssd_losses(logits, deltas, boxes, targets, weights, positive, negatives):
    """Losses of logits (B, N, K + 1), deltas (B, N, 4) of default boxes (N, 4) → {"classifier", "box_reg"}.

    Softmax cross-entropy of the boxes with an object and of the hard negatives, smooth L1 of those with an object,
    both over the number of the latter (0 where there is none). SSD, section 2.2, equations 1 to 3 with α = 1.
    """
    matched = match_default_boxes(anchor_iou(boxes, targets.boxes, targets.valid), targets.valid, positive)
    found = matched >= 0  # (B, N)
    with torch.no_grad():  # choosing whom to teach is no part of the lesson
        surprise = logits.logsumexp(dim=-1) - logits[..., 0]  # the loss of the answer "background", (B, N)
        chosen = found | hard_negatives(surprise, found, negatives)
    labels = take(targets.labels, matched.clamp(min=0)) * found
    number = found.sum().clamp(min=1)
    classifier = F.cross_entropy(logits[chosen], labels[chosen], reduction="sum") / number
    image, box = found.nonzero(as_tuple=True)
    goals = encode_boxes(targets.boxes[image, matched[image, box]], boxes[box], weights)
    box_reg = F.smooth_l1_loss(deltas[image, box], goals, reduction="sum") / number
    return {"classifier": classifier, "box_reg": box_reg}


def best_of_classes(scores, most, score):
    """The most highest above score among scores (B, N, K), class by class → scores, index, labels, valid (B, T)."""
    classes = scores.shape[-1]
    best, index = scores.transpose(1, 2).topk(min(most, scores.shape[1]), dim=-1)  # (B, K, most)
    labels = torch.arange(1, classes + 1, device=scores.device)[:, None].expand_as(index)
    parts = trim((best > score).flatten(0, 1), *(part.flatten(0, 1) for part in (best, index, labels, best > score)))
    return [part.unflatten(0, (-1, classes)).flatten(1) for part in parts]


def detect(logits, deltas, boxes, size, weights, score, threshold, before, keep):
    """Detections from logits (B, N, K + 1), deltas (B, N, 4) of default boxes (N, 4) on images of size (H, W).

    score: the lowest to report; before: so many a class go into suppression at IoU threshold; keep: so many an image
    leave it. SSD, section 3.7; 400 a class as in the authors' code.
    """
    scores = logits.softmax(dim=-1)[..., 1:]  # background is no detection: (B, N, K)
    scores, index, labels, valid = best_of_classes(scores, before, score)  # (B, T) each
    found = clip_boxes(decode_boxes(take(deltas, index), boxes[index], weights), size)  # only these need decoding
    return best_detections(found, scores, labels, valid, threshold, keep)


class SSD(nn.Module):
    """Images (B, C, H, W), in training with Targets → a dict of losses in training, Detections in evaluation."""

    def __init__(self, backbone, head, settings):
        super().__init__()
        self.backbone, self.head, self.settings = backbone, head, settings

    def forward(self, images, targets=None):
        settings = self.settings
        check_batch(images, targets, self.backbone, settings["classes"], self.training)
        inputs, size = prepare(images, settings["transform"], self.training)
        check_size(size, settings["size"])
        maps = list(feature_maps(self.backbone, inputs, self.training).values())  # [(B, C, H, W), ...]
        boxes = default_boxes([level.shape[-2:] for level in maps], size, **settings["boxes"], dtype=inputs.dtype)
        logits, deltas = self.head(maps)  # (B, N, K + 1), (B, N, 4)
        told = logits, deltas, boxes.to(inputs.device)
        if self.training:
            objects = resize_boxes(targets.boxes.to(images.dtype), images.shape[-2:], size)
            return ssd_losses(*told, replace(targets, boxes=objects), settings["weights"], **settings["loss"])
        found = detect(*told, size, settings["weights"], **settings["detect"])
        return replace(found, boxes=resize_boxes(found.boxes, size, images.shape[-2:]))


def assemble(backbone, settings, channels=None):
    """An SSD around backbone (a module with out_channels, or channels) with untrained heads that fit settings."""
    channels = channels or backbone.out_channels
    check_settings(settings, len(channels))
    counts = [2 + 2 * len(ratios) for ratios in settings["boxes"]["ratios"]]
    head = MapHeads(channels, counts, settings["classes"])
    recipe = getattr(backbone, "settings", {"name": "own"})  # what a checkpoint needs to build it again
    return SSD(backbone, head, {**settings, "backbone": recipe})


def ssd(classes, bands=3, size=128, backbone=None, **changes):
    """The quick model for K = classes on chips of size pixels with bands bands; images (B, bands, size, size).

    size: pixels, or (H, W). backbone: a module (returns a dict of maps, has a list out_channels) or settings of one;
    SmallStages by default. changes: any of small_settings, nested, e.g. detect={"score": 0.3}. Lecture 04.
    """
    if not isinstance(backbone, nn.Module):
        backbone = make_stages(**{"bands": bands, **(backbone or {})})
    sides = [size, size] if isinstance(size, int) else list(size)
    settings = change(small_settings(classes, max(1, *sides)), {"size": sides, **changes})
    return assemble(backbone, settings)


def ssd300_vgg16(classes, bands=3, pretrained=True, **changes):
    """The paper's SSD300 for K = classes: VGG-16, 8732 default boxes; images (B, bands, H, W) are resized to 300 x 300.

    pretrained: start from ImageNet weights where they can be had. changes: any of paper_settings, nested.
    """
    return assemble(vgg_stages(bands, pretrained), change(paper_settings(classes, bands), changes))


def from_torchvision(module):
    """Our SSD with the weights and settings of torchvision's SSD module: same images, same detections.

    Images as torchvision takes them (0..1), but stacked (B, C, H, W). The weights are copied. Raises TypeError for
    detectors of another kind or with heads of one's own.
    """
    check_takes_over(module)
    theirs = module.head.classification_head.module_list
    ours = copy.deepcopy(module.backbone)
    if type(ours).__name__ == "SSDFeatureExtractorVGG" and len(ours.extra) == 5:
        ours = VGGStages(theirs_bands(ours))
        copy_parameters(module.backbone.parameters(), ours.parameters())
    model = assemble(ours, torchvision_settings(module), [layer.in_channels for layer in theirs])
    copy_heads(module.head, model.head)
    return model.train(module.training)


def theirs_bands(backbone):
    """How many bands a backbone's first convolution (D, C, 3, 3) takes → C."""
    return next(p for p in backbone.parameters() if p.ndim == 4).shape[1]


@torch.no_grad()
def copy_heads(theirs, ours):
    """The weights (A * (K + 1), C, 3, 3) and (A * 4, C, 3, 3) of torchvision's two heads into our one → None.

    Ours tells each default box its classes and its deltas side by side.
    """
    both = zip(theirs.classification_head.module_list, theirs.regression_head.module_list, strict=True)
    for mine, pair in zip(ours.layers, both, strict=True):
        for name in ("weight", "bias"):
            parts = zip((getattr(layer, name) for layer in pair), ours.values, strict=True)
            parts = [part.unflatten(0, (-1, values)) for part, values in parts]  # (A, K + 1, ...), (A, 4, ...)
            setattr(mine, name, nn.Parameter(torch.cat(parts, dim=1).flatten(0, 1)))


def check_takes_over(module):
    """Raise TypeError where from_torchvision cannot promise the same detections from module → None."""
    if type(module).__name__ != "SSD":
        raise TypeError(f"from_torchvision takes over torchvision's SSD, not {type(module).__name__}")
    check_kinds({"DefaultBoxGenerator": module.anchor_generator, "SSDHead": module.head})
