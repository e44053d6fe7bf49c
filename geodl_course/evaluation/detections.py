"""How good is a detector: average precision as COCO counts it, precision-recall curves, and who matched whom.

Detections are a list with one dict per chip, `boxes (D, 4)`, `scores (D,)`, `labels (D,)`; targets likewise, with
`boxes (M, 4)` and `labels (M,)`. Boxes are pixel xyxy, labels 1..K.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from geodl_course.ops.boxes import box_iou

SIZES = {"small": "under 32 x 32 px", "medium": "32 x 32 to 96 x 96 px", "large": "over 96 x 96 px"}  # COCO's bins


class Matches(NamedTuple):
    """Indices of one chip: true (T,) detections, the objects (T,) that they found, false (F,), missed (M - T,)."""

    true: torch.Tensor
    objects: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor


def targets_of(dataset):
    """The targets of a whole data set → list of N dicts with boxes (M, 4), labels (M,), masks if the set has them."""
    return [dataset[i][1] for i in range(len(dataset))]


@torch.no_grad()
def detect(model, dataset, batch_size=16):
    """Run model over every chip of dataset → list of N dicts boxes (D, 4), scores (D,), labels (D,), on the CPU.

    A model that finds masks adds masks (D, H, W) bool. Images go to the device that the model is on, and the model is
    left in the mode (train or eval) it came in.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    found = []
    for start in range(0, len(dataset), batch_size):
        images = torch.stack([dataset[i][0] for i in range(start, min(start + batch_size, len(dataset)))])
        found += model(images.to(device)).per_image()
    model.train(training)
    return [{name: value.cpu() for name, value in one.items()} for one in found]


def average_precision(detections, targets, classes, most=100):
    """COCO average precision of N chips → dict of plain floats (0..1, nan where there is nothing to find).

    AP (mean over IoU 0.50:0.05:0.95 and over classes), AP50, AP75, AP_small, AP_medium, AP_large (objects under
    32 x 32 px, up to 96 x 96 px, larger; the object's box counts), and `classes`: {name: {"AP": ..., "AP50": ...}}.
    A class without objects is nan and left out of the means; a class whose objects were never found counts 0.
    Only the `most` best detections of a chip and class count. Source: Lin et al. 2014 (arXiv 1405.0312) and the COCO
    evaluation code; computed by torchmetrics with faster-coco-eval. Lecture 02 builds the curve, lecture 03 uses this.
    """
    check_pairs(detections, targets)
    found = [pick(one, "boxes", "scores", "labels") for one in detections]
    return coco_figures(found, [pick(one, "boxes", "labels") for one in targets], classes, most, "bbox")


def coco_figures(detections, targets, classes, most, kind):
    """The dict of average_precision, kind "bbox" by boxes, "segm" by masks; the dicts hold what torchmetrics takes."""
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(
        iou_type=kind,
        backend="faster_coco_eval",
        extended_summary=True,
        max_detection_thresholds=[1, min(10, most), most],
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),  # the defaults are rounded to float32, so that
        rec_thresholds=np.linspace(0, 1, 101).tolist(),  # a recall of exactly 0.3 would miss its own level
    )
    metric.warn_on_many_detections = False
    metric.update(detections, targets)
    found = metric.compute()
    return summarise(found["precision"], found["classes"].reshape(-1).tolist(), classes)


def summarise(precision, labels, classes):
    """Precision (10 IoU, 101 recalls, K, 4 sizes, 3 limits), -1 where undefined → the dict of average_precision."""
    precision = precision[..., -1].double()
    precision = torch.where(precision < 0, math.nan, precision)
    figures = {"AP": mean(precision[..., 0]), "AP50": mean(precision[0, ..., 0]), "AP75": mean(precision[5, ..., 0])}
    figures |= {f"AP_{size}": mean(precision[..., i + 1]) for i, size in enumerate(SIZES)}
    column = {label: precision[:, :, k, 0] for k, label in enumerate(labels)}
    nothing = torch.full((10, 101), math.nan)
    each = {name: column.get(k + 1, nothing) for k, name in enumerate(classes)}
    figures["classes"] = {name: {"AP": mean(of), "AP50": mean(of[0])} for name, of in each.items()}
    return figures


def evaluate(model, dataset, batch_size=16):
    """Average precision of model on dataset: average_precision of its detections."""
    return average_precision(detect(model, dataset, batch_size), targets_of(dataset), dataset.classes)


def match_detections(detections, target, iou=0.5, score=0.5):
    """Match one chip's detections to its objects, best score first → Matches.

    Each detection of at least `score` takes the unmatched object of its own class that it overlaps most, if that is
    at least `iou`; else it is false. Objects that nobody took are missed. Lecture 02.
    """
    kept = torch.nonzero(detections["scores"] >= score).flatten()
    kept = kept[detections["scores"][kept].argsort(descending=True, stable=True)]
    overlap = box_iou(detections["boxes"][kept], target["boxes"])
    overlap = overlap.masked_fill(detections["labels"][kept, None] != target["labels"], -1)
    taken = torch.full((len(kept),), -1)
    for i in range(len(kept) if len(target["boxes"]) else 0):
        best = overlap[i].argmax()
        if overlap[i, best] >= iou:
            taken[i] = best
            overlap[:, best] = -1  # an object is found once: whoever comes later is a duplicate, hence false
    free = torch.ones(len(target["boxes"]), dtype=torch.bool)
    free[taken[taken >= 0]] = False
    return Matches(kept[taken >= 0], taken[taken >= 0], kept[taken < 0], torch.nonzero(free).flatten())


def precision_recall(detections, targets, label, iou=0.5):
    """Precision-recall curve of one class over N chips → recall (D,), precision (D,), score (D,), best score first.

    Point i: what share of all objects is found, and what share of the detections is right, when everything scored at
    least score[i] is kept. No interpolation. recall is nan where the class has no object. Lecture 02.
    """
    check_pairs(detections, targets)
    scores, right, objects = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)], 0
    for one, target in zip(detections, targets, strict=True):
        mine, theirs = of_class(one, label), of_class(target, label)
        hit = torch.zeros(len(mine["scores"]), dtype=torch.bool)
        hit[match_detections(mine, theirs, iou, score=-math.inf).true] = True
        scores.append(mine["scores"])
        right.append(hit)
        objects += len(theirs["labels"])
    score, order = torch.cat(scores).sort(descending=True, stable=True)
    true = torch.cat(right)[order].cumsum(0)
    number = torch.arange(1, len(true) + 1)
    return true / objects if objects else torch.full((len(true),), math.nan), true / number, score


def check_pairs(detections, targets):
    """Raise ValueError unless detections and targets are of the same chips, as far as their number tells."""
    if len(detections) != len(targets):
        raise ValueError(
            f"{len(detections)} chips of detections but {len(targets)} of targets: give one dict per chip in both, "
            "an empty one (boxes of shape (0, 4)) for a chip without any."
        )


def pick(one, *names):
    return {name: one[name].detach().cpu() for name in names}


def of_class(one, label):
    chosen = one["labels"] == label
    return {name: one[name][chosen] for name in ("boxes", "labels", "scores") if name in one}


def mean(values):
    """Mean of the defined values (any shape) as a float, nan where there is none."""
    return float(values.nanmean())
