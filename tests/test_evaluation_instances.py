"""Instance masks judged: average precision against pycocotools and the definition, matching against all assignments."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from geodl_course import evaluation

CLASSES = ["fill", "pond"]
NONE = torch.zeros(0, 24, 24, dtype=torch.bool)


def mask(x0, y0, x1, y1, size=24):
    one = torch.zeros(size, size, dtype=torch.bool)
    one[y0:y1, x0:x1] = True
    return one


def masks(*boxes):
    return torch.stack([mask(*box) for box in boxes]) if boxes else NONE


def blobs(generator, number, size=96):
    """Ragged ellipses (number, size, size): no two alike, and no box tells their area."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    found = torch.zeros(number, size, size, dtype=torch.bool)
    for one in found:
        cy, cx, ry, rx = torch.rand(4, generator=generator) * torch.tensor([size, size, size / 3, size / 3])
        edge = 0.4 + torch.rand(size, size, generator=generator)
        one |= ((y - cy) / (ry + 2)) ** 2 + ((x - cx) / (rx + 2)) ** 2 < edge
    return found


def random_chips(seed, chips=8):
    """Objects of two classes; found: each shifted twice, and some that are not there."""
    g = torch.Generator().manual_seed(seed)
    detections, targets = [], []
    for _ in range(chips):
        number = int(torch.randint(0, 5, (1,), generator=g))
        truth, labels = blobs(g, number), torch.randint(1, 3, (number,), generator=g)
        shifts = torch.randint(-4, 5, (2 * number, 2), generator=g).tolist()
        near = [one.roll(tuple(shift), (0, 1)) for one, shift in zip(truth.repeat(2, 1, 1), shifts, strict=True)]
        found = torch.stack([*near, *blobs(g, 2)])
        detections.append({
            "masks": found, "scores": torch.rand(len(found), generator=g),
            "labels": torch.cat([labels.repeat(2), torch.randint(1, 3, (2,), generator=g)]),
        })
        targets.append({"masks": truth, "labels": labels})
    return detections, targets


def encoded(one):
    return rle.encode(np.asfortranarray(one.numpy().astype(np.uint8)))


def by_pycocotools(detections, targets):
    truth, rows = COCO(), []
    objects = [(i, m, int(k)) for i, t in enumerate(targets) for m, k in zip(t["masks"], t["labels"], strict=True)]
    truth.dataset = {
        "images": [{"id": i, "height": 96, "width": 96} for i in range(len(targets))],
        "categories": [{"id": k} for k in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "segmentation": encoded(m), "area": int(m.sum()), "category_id": k, "iscrowd": 0}
            for n, (i, m, k) in enumerate(objects, 1)
        ],
    }
    truth.createIndex()
    for i, one in enumerate(detections):
        for m, score, k in zip(one["masks"], one["scores"], one["labels"], strict=True):
            rows.append({"image_id": i, "segmentation": encoded(m), "score": float(score), "category_id": int(k)})
    judge = COCOeval(truth, truth.loadRes(rows), "segm")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return judge.stats[:5].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_mask_average_precision_equals_pycocotools(seed):
    detections, targets = random_chips(seed)
    figures = evaluation.mask_average_precision(detections, targets, CLASSES)
    ours = [figures[name] for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium")]
    theirs = [math.nan if value < 0 else value for value in by_pycocotools(detections, targets)]
    assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True)
    assert 0.05 < figures["AP"] < 0.95 and figures["AP_small"] != figures["AP"]


def test_masks_are_judged_and_not_their_boxes():
    ell = mask(0, 0, 20, 20) & ~mask(6, 0, 20, 14)  # the box of the L is the whole square
    found = {"masks": mask(0, 0, 20, 20)[None], "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.long)}
    figures = evaluation.mask_average_precision([found], [{"masks": ell[None], "labels": found["labels"]}], ["fill"])
    assert figures["AP50"] == pytest.approx(1.0) and figures["AP75"] == 0.0  # IoU: 204 of 400 pixels
    assert figures["classes"]["fill"]["AP"] == pytest.approx(0.1)


def test_nothing_to_find_is_nan_and_nothing_found_is_zero():
    nobody = {"masks": NONE, "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    one = {"masks": masks((0, 0, 9, 9)), "scores": torch.ones(1), "labels": torch.tensor([1])}
    assert evaluation.mask_average_precision([nobody], [one], CLASSES)["AP"] == 0.0
    for found in (nobody, one):
        assert math.isnan(evaluation.mask_average_precision([found], [nobody], CLASSES)["AP"])
    several = evaluation.mask_average_precision([nobody, one], [nobody, one], CLASSES)
    assert several["AP"] == pytest.approx(1.0) and math.isnan(several["classes"]["pond"]["AP"])


def test_a_false_alarm_on_a_chip_without_objects_counts():
    one = {"masks": masks((0, 0, 9, 9)), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])}
    alarm = {**one, "scores": torch.tensor([0.9])}
    nobody = {"masks": NONE, "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    assert evaluation.mask_average_precision([one, nobody], [one, nobody], CLASSES)["AP"] == pytest.approx(1.0)
    assert evaluation.mask_average_precision([one, alarm], [one, nobody], CLASSES)["AP"] == pytest.approx(0.5)


def test_a_predicted_mask_without_a_pixel_is_wrong_and_harmless():
    one = {"masks": masks((0, 0, 9, 9)), "labels": torch.tensor([1])}
    found = {"masks": masks((0, 0, 0, 0), (0, 0, 9, 9)), "scores": torch.tensor([0.5, 0.9]),
             "labels": torch.tensor([1, 1])}
    assert evaluation.mask_average_precision([found], [one], CLASSES)["AP"] == pytest.approx(1.0)
    assert evaluation.match_instances(found["masks"], one["masks"]).false.tolist() == [0]
    assert len(evaluation.match_instances(masks((0, 0, 0, 0)), masks((0, 0, 0, 0))).true) == 0


def all_pairs(iou, threshold):
    """(most pairs, and with so many the largest sum of IoU) over every one-to-one assignment of iou (D, M)."""
    if iou.shape[0] > iou.shape[1]:
        iou = iou.T
    best = (0, 0.0)
    for columns in permutations(range(iou.shape[1]), iou.shape[0]):
        fits = [iou[row, column] for row, column in enumerate(columns) if iou[row, column] >= threshold]
        best = max(best, (len(fits), float(sum(fits))))
    return best


def iou_of(a, b):
    both = int((a & b).sum())
    return both / max(int((a | b).sum()), 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.05, 0.2, 0.5, 0.75]))
def test_matching_is_the_best_of_all_assignments(seed, found, objects, threshold):
    g = torch.Generator().manual_seed(seed)
    truth = blobs(g, objects, size=20)
    predicted = torch.cat([truth.roll(2, 1), blobs(g, found, size=20)])[:found]
    iou = np.array([[iou_of(a, b) for b in truth] for a in predicted]).reshape(len(predicted), len(truth))
    matches = evaluation.match_instances(predicted, truth, threshold)
    pairs = list(zip(matches.true.tolist(), matches.objects.tolist(), strict=True))
    assert all(iou[pair] >= threshold for pair in pairs)
    most, total = all_pairs(iou, threshold)
    assert len(pairs) == most and sum(iou[pair] for pair in pairs) == pytest.approx(total)
    assert sorted([*matches.true.tolist(), *matches.false.tolist()]) == list(range(len(predicted)))
    assert sorted([*matches.objects.tolist(), *matches.missed.tolist()]) == list(range(len(truth)))


def test_two_fits_are_better_than_one_good_one():
    truth = masks((0, 0, 12, 4), (6, 0, 18, 4))
    predicted = masks((3, 0, 13, 4), (0, 0, 9, 4))  # the first fits both objects, the second only the first object
    matches = evaluation.match_instances(predicted, truth, threshold=0.4)
    assert dict(zip(matches.true.tolist(), matches.objects.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_double_is_a_false_alarm_and_one_mask_over_two_objects_finds_one_at_most():
    truth = masks((0, 0, 10, 10), (10, 0, 16, 10))
    double = evaluation.match_instances(masks((0, 0, 10, 10), (0, 0, 10, 9)), truth)
    assert double.true.tolist() == [0] and double.false.tolist() == [1] and double.missed.tolist() == [1]
    merged = evaluation.match_instances(masks((0, 0, 16, 10)), truth)  # IoU 100 / 160 with the first
    assert merged.objects.tolist() == [0] and merged.missed.tolist() == [1]
    assert len(evaluation.match_instances(masks((0, 0, 10, 10)), masks((0, 0, 10, 5))).true) == 1  # exactly 0.5 counts


def test_scores_by_hand():
    truth = [masks((0, 0, 10, 10), (12, 12, 20, 20)), NONE, masks((0, 0, 5, 5))]
    predicted = [masks((0, 0, 10, 9)), masks((3, 3, 9, 9)), NONE]
    scores = evaluation.instance_scores(predicted, truth)
    assert scores == {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "found": 1, "missed": 2, "false": 1}
    area = evaluation.area_scores(predicted, truth)
    assert area["precision"] == 90 / (90 + 36) and area["recall"] == 90 / (100 + 64 + 25)
    assert area["f1"] == pytest.approx(2 * 90 / (126 + 189)) and area["iou"] == 90 / (126 + 189 - 90)


def test_scores_where_there_is_nothing():
    nothing = evaluation.instance_scores([NONE], [NONE])
    assert (nothing["found"], nothing["missed"], nothing["false"]) == (0, 0, 0)
    assert all(math.isnan(nothing[name]) for name in ("precision", "recall", "f1"))
    assert all(math.isnan(value) for value in evaluation.area_scores([NONE], [NONE]).values())
    assert all(math.isnan(value) for value in evaluation.area_scores([], []).values())
    unseen = evaluation.instance_scores([NONE], [masks((0, 0, 4, 4))])
    assert math.isnan(unseen["precision"]) and unseen["recall"] == unseen["f1"] == 0


def test_area_counts_overlapping_masks_once():
    truth = [masks((0, 0, 10, 10))]
    area = evaluation.area_scores([masks((0, 0, 10, 8), (0, 2, 10, 10), (0, 0, 10, 10))], truth)
    assert area == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "iou": 1.0}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 0.9))
def test_scores_do_not_depend_on_the_order_of_masks_or_chips(seed, threshold):
    detections, targets = random_chips(seed, chips=3)
    predicted, truth = ([one["masks"] for one in part] for part in (detections, targets))
    g = torch.Generator().manual_seed(seed)
    mixed = [one[torch.randperm(len(one), generator=g)] for one in predicted][::-1], truth[::-1]
    scores = evaluation.instance_scores(predicted, truth, threshold)
    assert evaluation.instance_scores(*mixed, threshold) == pytest.approx(scores, nan_ok=True)
    assert evaluation.area_scores(*mixed) == pytest.approx(evaluation.area_scores(predicted, truth), nan_ok=True)
    swapped = evaluation.instance_scores(truth, predicted, threshold)
    assert (swapped["found"], swapped["false"]) == (scores["found"], scores["missed"])


@pytest.mark.parametrize(("predicted", "truth", "message"), [
    (NONE.float(), NONE, "not bool: cut probabilities first"),
    (mask(0, 0, 4, 4), NONE, "one mask an instance"),
    (NONE, torch.zeros(1, 12, 24, dtype=torch.bool), "bring both to the size of the chip"),
])
def test_masks_that_are_no_masks(predicted, truth, message):
    for judge in (evaluation.instance_scores, evaluation.area_scores):
        with pytest.raises(ValueError, match=message):
            judge([predicted], [truth])


def test_lists_that_do_not_agree():
    with pytest.raises(ValueError, match="2 chips of predicted masks but 1 of true ones"):
        evaluation.instance_scores([NONE, NONE], [NONE])
    with pytest.raises(ValueError, match="scores are over several chips"):
        evaluation.area_scores(NONE, NONE)
    with pytest.raises(ValueError, match="threshold is an IoU above 0"):
        evaluation.match_instances(NONE, NONE, 0.0)
    boxes = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    with pytest.raises(ValueError, match="chip 0: the detections have no masks"):
        evaluation.mask_average_precision([boxes], [{**boxes, "masks": NONE}], CLASSES)
    with pytest.raises(ValueError, match="chip 0: the targets have no masks"):
        evaluation.mask_average_precision([{**boxes, "masks": NONE}], [boxes], CLASSES)
