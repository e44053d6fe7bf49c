"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on whole batches: no loop over images, anchors or boxes.

Symbols: B images, H x W cells, C channels, N anchors, M objects, P proposals, R RoIs, K classes (label 0: background).
"""

import copy
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.chips import check_targets
from geodl_course.models.backbones import folded, make_backbone, resnet_fpn
from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import batched_nms, box_area, box_iou, clip_boxes, decode_boxes, encode_boxes, take
from geodl_course.ops.matching import anchor_iou, match_boxes, sample
from geodl_course.ops.roi_align import roi_align, roi_align_flat

# --- images in ------------------------------------------------------------------------------------------------------


def check_batch(images, targets, backbone, classes, training):
    """Raise ValueError where images (B, C, H, W) or their Targets do not fit the model; says what to do about it."""
    weight = next(p for p in backbone.parameters() if p.ndim == 4)  # the first convolution: (D, C, 3, 3)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}: pass one float tensor (B, C, H, W)")
    if images.device != weight.device:
        raise ValueError(f"images are on {images.device}, the model on {weight.device}: move one with .to(device)")
    bands = images.shape[1], weight.shape[1]
    if bands[0] != bands[1]:
        raise ValueError(f"images have {bands[0]} bands, the backbone takes {bands[1]}: build the model with bands=")
    if training and targets is None:
        raise ValueError("a model in training needs targets: pass Targets, or call model.eval() to detect")
    if training and targets.boxes.device != images.device:
        raise ValueError(f"targets are on {targets.boxes.device}, images on {images.device}: use targets.to(device)")
    if training:
        check_targets(targets, tuple(images.shape[-2:]), classes)


def prepare(images, transform, training):
    """Images (B, C, H, W) as the backbone wants them → batch (B, C, H', W'), size (h, w) of the part that is image."""
    if transform is None:  # chips come normalised and of one size
        return images.contiguous(memory_format=torch.channels_last), tuple(images.shape[-2:])
    mean, std = (images.new_tensor(transform[key])[:, None, None] for key in ("mean", "std"))
    images = resize((images - mean) / std, training, **transform["resize"])
    size = tuple(images.shape[-2:])
    down, right = (-side % transform["multiple"] for side in size)  # a pyramid halves sizes several times
    return F.pad(images, (0, right, 0, down)).contiguous(memory_format=torch.channels_last), size


def resize(images, training, min_size, max_size, fixed_size):
    """Images (B, C, H, W) with the shorter side at min_size, the longer at most max_size → (B, C, h, w).

    min_size is a list: training draws one for the batch, evaluation uses the last. fixed_size (width, height) wins.
    """
    if fixed_size is not None:
        return F.interpolate(images, size=(fixed_size[1], fixed_size[0]), mode="bilinear", align_corners=False)
    draw = int(torch.rand(()) * len(min_size)) if training and len(min_size) > 1 else -1
    height, width = images.shape[-2:]
    scale = min(min_size[draw] / min(height, width), max_size / max(height, width))
    options = {"mode": "bilinear", "align_corners": False, "recompute_scale_factor": True}
    return images if scale == 1 else F.interpolate(images, scale_factor=scale, **options)


def resize_boxes(boxes, old, new):
    """Boxes (..., 4) on an image of size old (H, W), moved to the same image at size new (H, W) → (..., 4)."""
    if tuple(old) == tuple(new):
        return boxes
    y, x = (torch.tensor(new, dtype=torch.float32) / torch.tensor(old, dtype=torch.float32)).tolist()
    return boxes * boxes.new_tensor([x, y, x, y])  # float32 ratios also for float64 boxes: torchvision's rounding


def feature_maps(backbone, images, training):
    """What backbone makes of images (B, 3, H, W) → dict of maps (B, C, H, W), finest first."""
    maps = backbone(images) if training else folded(backbone, images)
    maps = maps if isinstance(maps, dict) else {"0": maps}  # a backbone with one level may return it bare
    return {name: level.to(images.dtype) for name, level in maps.items()}  # half precision is too coarse for boxes


# --- stage 1: where could something be? -----------------------------------------------------------------------------


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


def start_small(module, deviation):
    """Weights of module's layers drawn from N(0, deviation²), biases 0: an untrained head says "perhaps" everywhere."""
    for name, parameter in module.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=deviation)


def cell_by_cell(level):
    """A map (B, C, H, W) row by row, in the order of the anchors → (B, H * W, C)."""
    return level.permute(0, 2, 3, 1).flatten(1, 2)


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


def trim(valid, *values):
    """Values (B, P, ...) without the columns in which no image has anything valid (B, P) → the same, narrower.

    One column stays where nothing is valid at all.
    """
    most = max(1, int(valid.sum(dim=1).max()))  # valid ones come first in each row
    return [value[:, :most] for value in values]


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


# --- stage 2: what is it, and where exactly? ------------------------------------------------------------------------


def sample_rois(proposals, valid, targets, positive, negative, number, fraction):
    """RoIs to learn from, of proposals (B, P, 4), valid (B, P) → rois (B, R, 4), valid, labels, objects.

    labels (B, R): the object's class from IoU positive on, background (0) below negative; objects (B, R, 4): the box
    of that object. Fast R-CNN (arXiv 1504.08083), section 2.3.
    """
    # The objects themselves join: while the RPN is untrained they are the only good proposals there are.
    boxes = torch.cat((proposals, targets.boxes), dim=1)
    valid = torch.cat((valid, targets.valid), dim=1)
    matched, state = match_boxes(box_iou(boxes, targets.boxes), targets.valid, positive, negative, force_best=False)
    index, valid = sample(state.masked_fill(~valid, -1), number, fraction)
    matched = take(matched, index)
    labels = take(targets.labels, matched) * (take(state, index) == 1)  # background is 0
    return trim(valid, take(boxes, index), valid, labels, take(targets.boxes, matched))


def roi_levels(boxes, scales, canonical_size, canonical_level):
    """Which map suits boxes (B, R, 4), of maps with scales [1/4, 1/8, ...] → level (B, R), 0 the finest.

    A box of canonical_size pixels belongs to level canonical_level, where level k has the scale 1 / 2^k, and one of
    half the size to the level below. Feature Pyramid Networks (arXiv 1612.03144), equation 1.
    """
    first, last = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
    level = (canonical_level + torch.log2(box_area(boxes).sqrt() / canonical_size) + 1e-6).floor()
    return level.clamp(first, last).long() - first


def pool_rois(maps, boxes, size, output_size, sampling_ratio, aligned, canonical_size, canonical_level):
    """RoIs (B, R, 4) cut from the fitting one of maps [(B, C, H, W), ...] of images (h, w) → (B, R, C, n, n)."""
    scales = [2.0 ** round(math.log2(level.shape[-2] / size[0])) for level in maps]
    if len(maps) == 1:
        return roi_align(maps[0], boxes, output_size, scales[0], sampling_ratio, aligned)
    chosen = roi_levels(boxes, scales, canonical_size, canonical_level)  # (B, R)
    pooled = maps[0].new_zeros(*boxes.shape[:2], output_size, output_size, maps[0].shape[1])
    for number, (level, scale) in enumerate(zip(maps, scales, strict=True)):
        image, roi = (chosen == number).nonzero(as_tuple=True)
        cut = roi_align_flat(level, boxes[image, roi], image, output_size, scale, sampling_ratio, aligned)
        pooled[image, roi] = cut.permute(0, 2, 3, 1)
    return pooled.permute(0, 1, 4, 2, 3)


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


class FlattenBins(nn.Module):
    """Pooled features (N, C, n, n) → (N, n * n * C): bin by bin, as they lie in memory, so nothing is copied."""

    def forward(self, pooled):
        return pooled.permute(0, 2, 3, 1).flatten(1)


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


@dataclass
class Detections:
    """Boxes (B, D, 4) in pixels, scores (B, D) in 0..1, labels (B, D) in 1..K, valid (B, D): the rest is padding.

    Best first; padding is zero.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor

    def per_image(self):
        """B dicts boxes (D, 4), scores (D,), labels (D,) without padding, as torchvision's detectors return them."""
        parts = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        return [{name: part[i][valid] for name, part in parts.items()} for i, valid in enumerate(self.valid)]


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
    boxes, scores, labels, valid = (part.flatten(1, 2) for part in (boxes, scores, labels, valid))  # (B, R * K, ...)
    index, valid = batched_nms(boxes, scores, labels, valid, threshold, keep)
    boxes, scores, labels = (take(part, index) for part in (boxes, scores, labels))
    return Detections(boxes * valid[..., None], scores * valid, labels * valid, valid)


class RoIHeads(nn.Module):
    """Maps [(B, C, H, W), ...], proposals (B, P, 4), valid (B, P) → Detections, in training losses."""

    def __init__(self, head, settings):
        super().__init__()
        self.head, self.settings = head, settings

    def forward(self, maps, size, rois, valid, targets=None):
        settings, weights = self.settings, self.settings["detect"]["weights"]
        if self.training:
            rois, valid, labels, objects = sample_rois(rois, valid, targets, **settings["rois"])
        pooled = pool_rois(maps, rois, size, **settings["pool"])  # (B, R, C, n, n)
        logits, deltas = self.head(pooled)  # (B, R, K + 1), (B, R, K + 1, 4)
        if not self.training:
            return detect(logits, deltas, rois, valid, size, **settings["detect"])
        goals = encode_boxes(objects[valid], rois[valid], weights)
        return box_losses(logits[valid], deltas[valid], labels[valid], goals)


# --- the whole ------------------------------------------------------------------------------------------------------


class FasterRCNN(nn.Module):
    """Images (B, C, H, W), in training with Targets → a dict of losses in training, Detections in evaluation."""

    def __init__(self, backbone, rpn_head, box_head, settings):
        super().__init__()
        self.backbone, self.settings = backbone, settings
        self.rpn = RPN(rpn_head, settings)
        self.roi_heads = RoIHeads(box_head, settings)

    def forward(self, images, targets=None):
        check_batch(images, targets, self.backbone, self.settings["classes"], self.training)
        inputs, size = prepare(images, self.settings["transform"], self.training)
        if self.training:
            boxes = resize_boxes(targets.boxes.to(images.dtype), images.shape[-2:], size)
            targets = replace(targets, boxes=boxes)
        maps = feature_maps(self.backbone, inputs, self.training)  # {"0": (B, C, H, W), ...}
        proposals, valid, losses = self.rpn(list(maps.values()), inputs.shape[-2:], size, targets)
        pooled = [maps[name] for name in self.settings["pool_from"]]
        result = self.roi_heads(pooled, size, proposals, valid, targets)
        if self.training:
            return {**losses, **result}
        return replace(result, boxes=resize_boxes(result.boxes, size, images.shape[-2:]))


# --- models ready for use -------------------------------------------------------------------------------------------


def small_settings(classes):
    """Settings of the quick model for K = classes: chips of about 128 pixels with objects from 5 pixels on."""
    return {
        "classes": classes,
        "transform": None,
        "anchors": {"sizes": [[8, 16, 32, 64]], "ratios": [[0.5, 1.0, 2.0]]},
        "rpn": {"positive": 0.7, "negative": 0.3, "number": 128, "fraction": 0.5},
        "proposals": {"train": proposal_settings(500, 200), "test": proposal_settings(300, 150)},
        "rois": {"positive": 0.5, "negative": 0.5, "number": 64, "fraction": 0.25},
        "pool_from": ["0"],
        "pool": pool_settings(aligned=True),
        "detect": detect_settings(),
        "heads": {"depth": 1, "hidden": 256},
    }


def proposal_settings(before, after, threshold=0.7, score=0.0, smallest=1e-3):
    """Settings of propose."""
    return {"before": before, "after": after, "threshold": threshold, "score": score, "smallest": smallest}


def pool_settings(output_size=7, sampling_ratio=2, aligned=True, canonical_size=224, canonical_level=4):
    """Settings of pool_rois."""
    canonical = {"canonical_size": canonical_size, "canonical_level": canonical_level}
    return {"output_size": output_size, "sampling_ratio": sampling_ratio, "aligned": aligned, **canonical}


def detect_settings(weights=(10.0, 10.0, 5.0, 5.0), score=0.05, threshold=0.5, keep=100):
    """Settings of detect."""
    return {"weights": list(weights), "score": score, "threshold": threshold, "keep": keep, "smallest": 1e-2}


def full_settings(classes):
    """Settings of the full model for K = classes: a pyramid of five maps, for chips of 256 pixels or more."""
    sizes, levels = [[size] for size in (16, 32, 64, 128, 256)], ["0", "1", "2", "3"]
    return {
        **small_settings(classes),
        "anchors": {"sizes": sizes, "ratios": [[0.5, 1.0, 2.0]] * len(sizes)},
        "rpn": {"positive": 0.7, "negative": 0.3, "number": 256, "fraction": 0.5},
        "proposals": {"train": proposal_settings(1000, 1000), "test": proposal_settings(1000, 500)},
        "rois": {"positive": 0.5, "negative": 0.5, "number": 256, "fraction": 0.25},
        "pool_from": levels,
        "heads": {"depth": 1, "hidden": 1024},
    }


def change(settings, changes):
    """Nested settings with some values changed, the rest kept; raises KeyError naming a setting that does not exist."""
    settings = dict(settings)
    for name, value in changes.items():
        if name not in settings:
            raise KeyError(f"there is no setting {name!r}: choose among {', '.join(settings)}")
        nested = isinstance(value, dict) and isinstance(settings[name], dict)
        settings[name] = change(settings[name], value) if nested else value
    return settings


def assemble(backbone, settings):
    """A FasterRCNN around backbone (a module with out_channels) with untrained heads that fit settings."""
    channels, bins, heads = backbone.out_channels, settings["pool"]["output_size"], settings["heads"]
    anchors = len(settings["anchors"]["sizes"][0]) * len(settings["anchors"]["ratios"][0])
    rpn_head = RPNHead(channels, anchors, heads["depth"])
    box_head = BoxHead(two_layers(channels * bins**2, heads["hidden"]), heads["hidden"], settings["classes"])
    recipe = getattr(backbone, "settings", {"name": "own"})  # what a checkpoint needs to build it again
    return FasterRCNN(backbone, rpn_head, box_head, {**settings, "backbone": recipe})


def faster_rcnn(classes, bands=3, backbone=None, **changes):
    """The quick model for K = classes on chips with bands bands; images (B, bands, H, W).

    backbone: a module (returns one map or a dict of maps, has out_channels) or settings of one; the small backbone by
    default. changes: any of small_settings, nested, e.g. detect={"score": 0.3}. Lecture 03.
    """
    if not isinstance(backbone, nn.Module):
        backbone = make_backbone(**{"bands": bands, **(backbone or {})})
    return assemble(backbone, change(small_settings(classes), changes))


def faster_rcnn_resnet50_fpn(classes, bands=3, pretrained=True, **changes):
    """The full model for K = classes: ResNet-50 with a feature pyramid, images (B, bands, H, W).

    pretrained: start from ImageNet weights where they can be had. changes: any of full_settings, nested.
    """
    backbone = resnet_fpn("resnet50", pretrained, bands)
    return assemble(backbone, change(full_settings(classes), changes))


# --- weights of others ----------------------------------------------------------------------------------------------


def from_torchvision(module):
    """Our FasterRCNN with the weights and settings of torchvision's FasterRCNN module: same images, same detections.

    Images as torchvision takes them (0..1), but stacked (B, C, H, W). The weights are copied. Raises TypeError for
    detectors of another kind or with a box predictor of one's own.
    """
    check_takes_over(module)
    settings = torchvision_settings(module)
    model = assemble(copy.deepcopy(module.backbone), settings)
    if type(module.roi_heads.box_head).__name__ != "TwoMLPHead":  # some have convolutions: use that part as it is
        trunk, hidden = copy.deepcopy(module.roi_heads.box_head), module.roi_heads.box_predictor.cls_score.in_features
        model.roi_heads.head = BoxHead(trunk, hidden, settings["classes"])
    copy_weights(module, model)
    return model.train(module.training)


@torch.no_grad()
def copy_weights(module, model):
    """The weights of the heads of torchvision's FasterRCNN module, arranged as ours, into model."""
    parts = [module.rpn.head, module.roi_heads.box_head, module.roi_heads.box_predictor]
    theirs = [parameter for part in parts for parameter in part.parameters()]
    ours = [*model.rpn.parameters(), *model.roi_heads.parameters()]  # declared in the same order
    for mine, other in zip(ours, theirs, strict=True):
        mine.data = other.reshape(mine.shape).clone()  # 1 x 1 convolutions (A, C, 1, 1) are linear here, (A, C)
        mine.requires_grad_(other.requires_grad)
    flatten, first, *_ = model.roi_heads.head.trunk
    if isinstance(flatten, FlattenBins):  # (hidden, C * n * n) there, (hidden, n * n * C) here
        bins = first.weight.unflatten(1, (model.backbone.out_channels, -1))
        first.weight.data = bins.transpose(1, 2).flatten(1)


def check_takes_over(module):
    """Raise TypeError where from_torchvision cannot promise the same detections from module."""
    rpn, heads = module.rpn, module.roi_heads
    known = {"RPNHead": rpn.head, "AnchorGenerator": rpn.anchor_generator}
    known |= {"MultiScaleRoIAlign": heads.box_roi_pool, "FastRCNNPredictor": heads.box_predictor}
    for name, part in known.items():
        if type(part).__name__ != name:
            raise TypeError(f"from_torchvision knows torchvision's {name}, not {type(part).__name__}")
    if len(set(heads.box_roi_pool.output_size)) > 1:
        raise TypeError(f"from_torchvision needs square RoIs, not {heads.box_roi_pool.output_size}")
    if module.roi_heads.has_mask() or module.roi_heads.has_keypoint():
        raise TypeError(f"from_torchvision takes over boxes only, and {type(module).__name__} predicts more")


def torchvision_settings(module):
    """The settings of torchvision's FasterRCNN module in our words."""
    rpn, heads, classes = module.rpn, module.roi_heads, module.roi_heads.box_predictor.cls_score.out_features - 1
    anchors, pool = rpn.anchor_generator, heads.box_roi_pool
    modes = {"train": "training", "test": "testing"}
    limits = {ours: (rpn._pre_nms_top_n[mode], rpn._post_nms_top_n[mode]) for ours, mode in modes.items()}
    rest = rpn.nms_thresh, rpn.score_thresh, rpn.min_size
    last = heads.score_thresh, heads.nms_thresh, heads.detections_per_img
    return {
        "classes": classes,
        "transform": transform_settings(module.transform),
        "anchors": {"sizes": nested(anchors.sizes), "ratios": nested(anchors.aspect_ratios)},
        "rpn": sampling_settings(rpn),
        "proposals": {mode: proposal_settings(*limit, *rest) for mode, limit in limits.items()},
        "rois": sampling_settings(heads),
        "pool_from": list(pool.featmap_names),
        "pool": torchvision_pool(pool),
        "detect": detect_settings(heads.box_coder.weights, *last),
        "heads": {"depth": len(rpn.head.conv), "hidden": heads.box_predictor.cls_score.in_features},
    }


def torchvision_pool(pool):
    """Settings of pool_rois that do what torchvision's MultiScaleRoIAlign pool does."""
    canonical = pool.canonical_scale, pool.canonical_level
    return pool_settings(pool.output_size[0], pool.sampling_ratio, False, *canonical)


def nested(values):
    """Tuples of tuples as lists of lists of plain numbers, which JSON can hold."""
    return [[float(value) for value in level] for level in values]


def sampling_settings(stage):
    """Thresholds and sample sizes of one stage of torchvision's detector, in our words."""
    matcher, sampler = stage.proposal_matcher, stage.fg_bg_sampler
    limits = {"positive": matcher.high_threshold, "negative": matcher.low_threshold}
    return {**limits, "number": sampler.batch_size_per_image, "fraction": sampler.positive_fraction}


def transform_settings(transform):
    """Normalisation, resizing and padding of torchvision's detector, in our words."""
    fixed = None if transform.fixed_size is None else list(transform.fixed_size)
    sizes = {"min_size": list(transform.min_size), "max_size": transform.max_size, "fixed_size": fixed}
    normalisation = {"mean": list(transform.image_mean), "std": list(transform.image_std)}
    return {**normalisation, "resize": sizes, "multiple": transform.size_divisible}
