"""How good are instance masks: average precision by masks, instances counted one to one, and area.

Masks of one chip are bool, predicted (D, H, W) and true (M, H, W); over several chips they come as two lists, one entry
a chip, (0, H, W) for a chip without any. Three questions, three answers: `mask_average_precision` judges masks with
their scores, `instance_scores` counts objects, `area_scores` counts pixels and does not care whose they are.
"""

from __future__ import annotations

import math

import torch

from geodl_course.evaluation.detections import Matches, check_pairs, coco_figures, pick
from geodl_course.ops.masks import mask_iou


def mask_average_precision(detections, targets, classes, most=100):
    """COCO average precision of N chips by the IoU of masks → the same dict as average_precision gives for boxes.

    detections: dicts masks (D, H, W) bool, scores (D,), labels (D,); targets: dicts masks (M, H, W) bool, labels (M,).
    AP_small, AP_medium, AP_large go by the area of the object's mask. Masks may overlap. Raises ValueError for masks
    that are missing, not bool, or not of one size. Source: Lin et al. 2014 (arXiv 1405.0312). Lecture 06.
    """
    check_pairs(detections, targets)
    for chip, (one, target) in enumerate(zip(detections, targets, strict=True)):
        if "masks" not in one or "masks" not in target:
            where = "targets" if "masks" in one else "detections"
            raise ValueError(f"chip {chip}: the {where} have no masks. Use a model that finds masks, "
                             "and ChipDataset(..., masks=True).")
        check_masks(one["masks"], target["masks"], chip)
    found = [on_the_list(pick(one, "masks", "scores", "labels"), scores=torch.tensor([-1.0])) for one in detections]
    wanted = [on_the_list(pick(one, "masks", "labels"), iscrowd=torch.tensor([1])) for one in targets]
    return coco_figures(found, wanted, classes, most, "segm")


def on_the_list(one, **mark):
    """The dict of a chip, and for a chip without any mask one of no pixel that counts for nothing, as `mark` says.

    torchmetrics (1.9) leaves chips without a mask out, and with them the false alarms on chips where nothing is to be
    found. The stand-in is a crowd among objects, which need not be found, and comes last among detections.
    """
    if len(one["masks"]):
        return one
    return {"masks": one["masks"].new_zeros(1, *one["masks"].shape[1:]), "labels": torch.tensor([1]), **mark}


def match_instances(predicted, truth, threshold=0.5):
    """Match masks (D, H, W) to masks (M, H, W) of one chip, one to one, at an IoU of at least threshold → Matches.

    As many pairs as possible, and of those the pairs with the largest IoU in sum (linear sum assignment): the order of
    the masks plays no part, because instances that were grown from maps have no scores. Above 0.5, and without overlap
    among the predictions, at most one mask fits an object, and every rule finds the same pairs. Raises ValueError for
    masks that are not bool or not of one size, and for a threshold outside (0, 1]. Lectures 06, 07.
    """
    from scipy.optimize import linear_sum_assignment

    check_masks(predicted, truth)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is an IoU above 0 and up to 1, not {threshold}.")
    iou = mask_iou(predicted.cpu(), truth.cpu())
    fits = iou >= threshold
    gain = torch.where(fits, 1 + iou / (1 + min(iou.shape)), 0.0)  # the IoU of all pairs weighs less than one more pair
    rows, columns = (torch.from_numpy(index) for index in linear_sum_assignment(gain.numpy(), maximize=True))
    paired = fits[rows, columns]
    rows, columns = rows[paired], columns[paired]
    return Matches(rows, columns, others(rows, len(predicted)), others(columns, len(truth)))


def others(index, number):
    free = torch.ones(number, dtype=torch.bool)
    free[index] = False
    return torch.nonzero(free).flatten()


def instance_scores(predicted, truth, threshold=0.5):
    """Count instances over N chips → {"precision", "recall", "f1", "found", "missed", "false"}.

    found: objects that a predicted mask matches (match_instances, IoU of at least threshold), missed: the other
    objects, false: the other masks; precision = found / (found + false), recall = found / (found + missed),
    f1 = 2 found / (2 found + false + missed), nan where there is nothing to divide by. Chips are pooled, so one with
    many objects counts for more; an object that chip borders cut is counted on every chip that shows a part of it.
    Maxwell et al. (2020), Remote Sensing 12(3):547, section 2.6, report these three for counts of valley fill faces;
    what makes a face found is our own rule here, the IoU. Lectures 06, 07.
    """
    check_chips(predicted, truth)
    matches = [match_instances(mine, wanted, threshold) for mine, wanted in zip(predicted, truth, strict=True)]
    found, false, missed = (sum(len(getattr(one, name)) for one in matches) for name in ("true", "false", "missed"))
    counts = {"found": found, "missed": missed, "false": false}
    return {**rates(found, found + false, found + missed), **counts}


def area_scores(predicted, truth):
    """Compare the area that all masks of a chip cover together, over N chips → {"precision", "recall", "f1", "iou"}.

    precision: share of the predicted area that is right (user's accuracy), recall: share of the true area that is found
    (producer's accuracy), f1 (the Dice coefficient), iou; nan where there is no area to divide by. Masks that overlap
    count once. Area-based accuracy of Maxwell et al. (2020), Remote Sensing 12(3):547, section 2.6; chips are pooled.
    Lecture 06.
    """
    check_chips(predicted, truth)
    shared = mine = wanted = 0
    for chip, (masks, objects) in enumerate(zip(predicted, truth, strict=True)):
        check_masks(masks, objects, chip)
        a, b = masks.any(0).cpu(), objects.any(0).cpu()
        shared, mine, wanted = shared + int((a & b).sum()), mine + int(a.sum()), wanted + int(b.sum())
    return {**rates(shared, mine, wanted), "iou": ratio(shared, mine + wanted - shared)}


def rates(right, claimed, wanted):
    return {
        "precision": ratio(right, claimed), "recall": ratio(right, wanted), "f1": ratio(2 * right, claimed + wanted)
    }


def ratio(part, whole):
    return part / whole if whole else math.nan


def check_chips(predicted, truth):
    """Raise ValueError unless predicted and truth are lists with one entry for each of the same chips."""
    if isinstance(predicted, torch.Tensor) and predicted.ndim == 3:
        raise ValueError("scores are over several chips: give lists of masks (D, H, W), [masks] for one chip.")
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} chips of predicted masks but {len(truth)} of true ones: give one entry "
                         "a chip, masks of shape (0, H, W) for a chip without any.")


def check_masks(predicted, truth, chip=None):
    """Raise ValueError unless both are bool masks (D, H, W), (M, H, W) of one size."""
    where = "" if chip is None else f"chip {chip}: "
    for name, masks in (("predicted", predicted), ("true", truth)):
        if masks.ndim != 3:
            raise ValueError(f"{where}{name} masks have the shape {tuple(masks.shape)}, not (D, H, W): "
                             "one mask an instance; of a map of ids take ids == id for each id from 1 on.")
        if masks.dtype != torch.bool:
            raise ValueError(f"{where}{name} masks are {masks.dtype}, not bool: cut probabilities first, masks > 0.5.")
    if predicted.shape[1:] != truth.shape[1:]:
        raise ValueError(f"{where}predicted masks are {tuple(predicted.shape[1:])} pixels, true ones "
                         f"{tuple(truth.shape[1:])}: bring both to the size of the chip.")
