"""Average precision against pycocotools and against the definition written out; matching and curves by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from geodl_course import evaluation

CLASSES = ["building", "tank", "vehicle"]


def boxes_at(generator, number, sides=(4, 120)):
    corner = torch.rand(number, 2, generator=generator) * 130
    side = sides[0] + torch.rand(number, 2, generator=generator) * (sides[1] - sides[0])
    return quarters(torch.cat([corner, corner + side], 1))


def quarters(boxes):
    return (boxes * 4).round() / 4  # exact in float32, so that no area falls on the other side of a size limit


def random_chips(seed, chips=12, noise=6.0):
    """Objects of three classes, and detections that are shifted objects, duplicates and inventions."""
    g = torch.Generator().manual_seed(seed)
    detections, targets = [], []
    for _ in range(chips):
        objects = int(torch.randint(0, 9, (1,), generator=g))
        boxes, labels = boxes_at(g, objects), torch.randint(1, 4, (objects,), generator=g)
        near = quarters(boxes.repeat(2, 1) + torch.randn(2 * objects, 4, generator=g) * noise)
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
        found = torch.cat([near, boxes_at(g, 3)])
        detections.append({
            "boxes": found,
            "scores": torch.rand(len(found), generator=g),
            "labels": torch.cat([labels.repeat(2), torch.randint(1, 4, (3,), generator=g)]),
        })
        targets.append({"boxes": boxes, "labels": labels})
    return detections, targets


def iou_of(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def ap_by_definition(detections, targets, label, threshold):
    """One class, one IoU, from the definition: sort, match greedily, precision envelope read at 101 recalls."""
    ranked = sorted(
        ((float(s), i, b.tolist()) for i, d in enumerate(detections)
         for s, b, k in zip(d["scores"], d["boxes"], d["labels"], strict=True) if k == label), key=lambda row: -row[0])
    objects = [[b.tolist() for b, k in zip(t["boxes"], t["labels"], strict=True) if k == label] for t in targets]
    total = sum(map(len, objects))
    if not total:
        return math.nan
    taken, right, curve = set(), 0, []
    for number, (_, chip, box) in enumerate(ranked, 1):
        free = [(iou_of(box, other), j) for j, other in enumerate(objects[chip]) if (chip, j) not in taken]
        best, j = max(free, default=(0, None))
        if best >= threshold:
            taken.add((chip, j))
            right += 1
        curve.append((right / total, right / number))
    points = [max((p for r, p in curve if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return sum(points) / 101


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_its_definition(seed):
    detections, targets = random_chips(seed)
    figures = evaluation.average_precision(detections, targets, CLASSES)
    by_iou = [[ap_by_definition(detections, targets, k, t) for k in (1, 2, 3)] for t in np.arange(0.5, 1, 0.05)]
    assert figures["AP"] == pytest.approx(np.mean(by_iou), abs=1e-6)
    assert figures["AP50"] == pytest.approx(np.mean(by_iou[0]), abs=1e-6)
    assert figures["AP75"] == pytest.approx(np.mean(by_iou[5]), abs=1e-6)
    for k, name in enumerate(CLASSES):
        assert figures["classes"][name]["AP50"] == pytest.approx(by_iou[0][k], abs=1e-6)


@pytest.mark.parametrize("noise", [2.0, 8.0])
def test_average_precision_equals_pycocotools(noise):
    detections, targets = random_chips(7, chips=20, noise=noise)

    def wide(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    truth = COCO()
    objects = [
        (i, b.tolist(), int(k)) for i, t in enumerate(targets) for b, k in zip(t["boxes"], t["labels"], strict=True)
    ]
    truth.dataset = {
        "images": [{"id": i} for i in range(len(targets))],
        "categories": [{"id": k} for k in (1, 2, 3)],
        "annotations": [
            {"id": n, "image_id": i, "bbox": wide(b), "area": wide(b)[2] * wide(b)[3], "category_id": k, "iscrowd": 0}
            for n, (i, b, k) in enumerate(objects, 1)
        ],
    }
    truth.createIndex()
    rows = [
        {"image_id": i, "bbox": wide(b.tolist()), "score": float(s), "category_id": int(k)}
        for i, d in enumerate(detections) for b, s, k in zip(d["boxes"], d["scores"], d["labels"], strict=True)
    ]
    judge = COCOeval(truth, truth.loadRes(rows), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    figures = evaluation.average_precision(detections, targets, CLASSES)
    ours = [figures[name] for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")]
    assert ours == pytest.approx(judge.stats[:6].tolist(), abs=1e-6)


def test_perfect_detections_of_large_objects_only():
    box = torch.tensor([[0, 0, 100, 100.0]])
    found = [{"boxes": box, "scores": torch.ones(1), "labels": torch.tensor([2])}]
    figures = evaluation.average_precision(found, [{"boxes": box, "labels": torch.tensor([2])}], CLASSES)
    assert figures["AP"] == figures["AP_large"] == figures["classes"]["tank"]["AP"] == pytest.approx(1.0)
    assert math.isnan(figures["AP_small"]) and math.isnan(figures["classes"]["building"]["AP50"])
    assert all(type(figures[name]) is float for name in figures if name != "classes")


def empty():
    return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}


def test_objects_that_nobody_found_count_zero():
    target = {"boxes": torch.tensor([[0, 0, 9, 9.0]]), "labels": torch.tensor([1])}
    figures = evaluation.average_precision([empty()], [target], CLASSES)
    assert figures["AP"] == figures["AP50"] == figures["classes"]["building"]["AP50"] == 0.0
    assert math.isnan(figures["classes"]["vehicle"]["AP"])


def test_nothing_to_find_is_nan_and_not_a_score():
    found = {"boxes": torch.tensor([[0, 0, 9, 9.0]]), "scores": torch.ones(1), "labels": torch.tensor([1])}
    for detections in (empty(), found):
        figures = evaluation.average_precision([detections], [empty()], CLASSES)
        assert all(math.isnan(figures[name]) for name in ("AP", "AP50", "AP75", "AP_small"))


def test_more_than_a_hundred_objects_on_one_chip():
    corner = torch.stack(torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij"), -1).reshape(-1, 2) * 8
    boxes, labels = torch.cat([corner, corner + 6], 1), torch.ones(225, dtype=torch.long)
    found = [{"boxes": boxes, "scores": torch.linspace(0.1, 1, 225), "labels": labels}]
    target = [{"boxes": boxes, "labels": labels}]
    assert evaluation.average_precision(found, target, ["tree"], most=300)["AP"] == pytest.approx(1.0)
    assert evaluation.average_precision(found, target, ["tree"])["AP"] < 0.5


def test_chips_of_detections_and_targets_must_agree():
    with pytest.raises(ValueError, match="2 chips of detections but 1 of targets"):
        evaluation.average_precision([empty(), empty()], [empty()], CLASSES)


def test_matching_by_hand():
    boxes = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 1, 2])}
    detections = {
        "boxes": torch.tensor([[0, 0, 10, 9], [0, 0, 10, 10], [40, 40, 50, 50], [20, 20, 30, 26], [20, 20, 30, 30.0]]),
        "scores": torch.tensor([0.9, 0.8, 0.95, 0.7, 0.3]),
        "labels": torch.tensor([1, 1, 1, 1, 1]),
    }
    matches = evaluation.match_detections(detections, target, iou=0.5, score=0.5)
    assert matches.true.tolist() == [0, 3] and matches.objects.tolist() == [0, 1]
    assert matches.false.tolist() == [2, 1]  # the wrong class, and the second box on an object that was found already
    assert matches.missed.tolist() == [2]
    assert evaluation.match_detections(detections, target, iou=0.7).missed.tolist() == [1, 2]
    assert evaluation.match_detections(detections, target, score=0.0).false.tolist() == [2, 1, 4]


def test_matching_without_objects_or_detections():
    found = {"boxes": torch.tensor([[0, 0, 9, 9.0]]), "scores": torch.ones(1), "labels": torch.tensor([1])}
    assert evaluation.match_detections(found, empty()).false.tolist() == [0]
    assert evaluation.match_detections(empty(), found).missed.tolist() == [0]
    assert [len(part) for part in evaluation.match_detections(empty(), empty())] == [0, 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 0.8), st.floats(0, 1))
def test_every_detection_and_object_is_counted_once(seed, iou, score):
    for detections, target in zip(*random_chips(seed, chips=3), strict=True):
        true, objects, false, missed = evaluation.match_detections(detections, target, iou, score)
        kept = torch.nonzero(detections["scores"] >= score).flatten()
        assert sorted(torch.cat([true, false]).tolist()) == kept.tolist()
        assert sorted(torch.cat([objects, missed]).tolist()) == list(range(len(target["boxes"])))
        assert (detections["labels"][true] == target["labels"][objects]).all()


def test_curve_by_hand():
    target = {"boxes": torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30.0]]), "labels": torch.tensor([1, 1])}
    found = {
        "boxes": torch.tensor([[0, 0, 10, 10], [60, 60, 70, 70], [20, 20, 30, 30.0]]),
        "scores": torch.tensor([0.9, 0.6, 0.3]), "labels": torch.tensor([1, 1, 1]),
    }
    recall, precision, score = evaluation.precision_recall([found, empty()], [target, empty()], label=1)
    assert recall.tolist() == [0.5, 0.5, 1.0]
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert score.tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert len(evaluation.precision_recall([found], [target], label=2)[0]) == 0
    assert evaluation.precision_recall([found], [empty()], label=1)[0].isnan().all()


@pytest.mark.parametrize("label", [1, 2, 3])
def test_area_under_the_curve_is_the_class_ap(label):
    detections, targets = random_chips(3, chips=20)
    recall, precision, _ = evaluation.precision_recall(detections, targets, label)
    levels = np.linspace(0, 1, 101)
    envelope = [max(precision[recall.double() >= level - 1e-7].tolist(), default=0) for level in levels]
    figures = evaluation.average_precision(detections, targets, CLASSES)
    assert np.mean(envelope) == pytest.approx(figures["classes"][CLASSES[label - 1]]["AP50"], abs=1e-6)


class Everywhere(torch.nn.Module):
    """Finds one object of class 1 on every chip, at the left half; remembers the modes it was called in."""

    def __init__(self):
        super().__init__()
        self.weight, self.modes = torch.nn.Parameter(torch.ones(1)), []

    def forward(self, images):
        self.modes.append((self.training, len(images)))
        return self

    def per_image(self):
        one = {"boxes": torch.tensor([[0, 0, 8, 16.0]]), "scores": self.weight * 0.5, "labels": torch.tensor([1])}
        return [dict(one) for _ in range(self.modes[-1][1])]


class Halves:
    classes = ["left"]

    def __len__(self):
        return 5

    def __getitem__(self, i):
        boxes = torch.tensor([[0, 0, 8, 16.0]]) if i % 2 else torch.zeros(0, 4)
        return torch.zeros(3, 16, 16), {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.long)}


def test_evaluate_runs_all_chips_in_eval_mode_and_gives_the_mode_back():
    model = Everywhere().train()
    figures = evaluation.evaluate(model, Halves(), batch_size=2)
    assert model.modes == [(False, 2), (False, 2), (False, 1)] and model.training
    assert 0 < figures["AP50"] < 1  # right on two chips, wrong on the three empty ones
    assert not evaluation.detect(model, Halves())[0]["scores"].requires_grad
