"""YOLO v1: its layers, which cell answers for what, the loss against literal loops, what it gives back and refuses."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geodl_course.chips import Targets
from geodl_course.models import build
from geodl_course.models import yolo_v1 as yolo_v1_module
from geodl_course.models.backbones import SmallBackbone
from geodl_course.models.yolo_v1 import (
    assign_cells,
    choose_boxes,
    decode_cells,
    detect_cells,
    encode_cells,
    split_cells,
    yolo_losses,
    yolo_v1,
    yolo_v1_paper,
)  # fmt: skip
from geodl_course.models.yolo_v1_layers import convolutions, map_of
from geodl_course.teaching import random_boxes
from geodl_course.training import load_model, save_model
from tests.bright_boxes import NOTHING, scene

TINY = {"size": 64, "grid": 4, "layers": [[3, 16, 4], [3, 16, 4]]}
RANDOM = {"dense": {"start": "random", "hidden": 64}}
WEIGHTS = {"coordinates": 5.0, "empty": 0.5}


def one_chip(boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.ones(len(boxes), dtype=torch.long) if labels is None else torch.tensor(labels)
    return Targets.from_list([{"boxes": boxes, "labels": labels}])


# ---- the paper's network, counted by hand and never allocated


def test_paper_network_has_its_layers_and_weights():
    with torch.device("meta"):
        model = yolo_v1_paper().eval()
        maps = model.features(torch.empty(1, 3, 448, 448))
        output = model.dense(maps)
    convolutions = [layer for layer in model.features.modules() if isinstance(layer, nn.Conv2d)]
    dense = [layer for layer in model.dense if isinstance(layer, nn.Linear)]
    assert len(convolutions) == 24 and len(dense) == 2
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.features) == 4
    assert maps.shape == (1, 1024, 7, 7)
    assert output.shape == (1, 7 * 7 * 30) and model.settings["grid"] == 7
    by_hand = (49 * 3 + 1) * 64 + (9 * 64 + 1) * 192  # the groups of figure 3
    by_hand += (192 + 1) * 128 + (9 * 128 + 1) * 256 + (256 + 1) * 256 + (9 * 256 + 1) * 512
    by_hand += 4 * ((512 + 1) * 256 + (9 * 256 + 1) * 512) + (512 + 1) * 512 + (9 * 512 + 1) * 1024
    by_hand += 2 * ((1024 + 1) * 512 + (9 * 512 + 1) * 1024) + 4 * (9 * 1024 + 1) * 1024
    by_hand += (7 * 7 * 1024 + 1) * 4096 + (4096 + 1) * 1470
    assert sum(p.numel() for p in model.parameters()) == by_hand
    assert round(by_hand / 1e6, 1) == 271.7
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert {layer.negative_slope for layer in model.modules() if isinstance(layer, nn.LeakyReLU)} == {0.1}
    assert [layer.p for layer in model.dense if isinstance(layer, nn.Dropout)] == [0.5]
    assert isinstance(model.dense[-1], nn.Linear), "the last layer is linear"


def test_small_network_begins_with_the_small_backbone():
    model, backbone = yolo_v1(3), SmallBackbone()
    ours = list(model.features.state_dict().items())
    for (_, mine), other in zip(ours, backbone.state_dict().values(), strict=False):
        assert mine.shape == other.shape
    images = torch.randn(1, 3, 128, 128)
    model.features.load_state_dict(backbone.state_dict(), strict=False)
    torch.testing.assert_close(model.eval().features[:6](images), backbone.eval()(images))


def test_dense_layers_start_as_a_copy_and_are_fully_connected():
    model = yolo_v1(2, **TINY)
    maps = torch.rand(2, 12, 4, 4, requires_grad=True)  # 5 * 2 + 2 numbers for each of 4 x 4 cells
    torch.testing.assert_close(model.dense(maps), maps.permute(0, 2, 3, 1).flatten(1))
    with torch.no_grad():
        for layer in model.dense:
            if isinstance(layer, nn.Linear):
                assert layer.weight.shape == (12 * 16, 12 * 16)
                layer.weight += 1
    model.dense(maps)[0, 0].backward()
    assert (maps.grad[0] != 0).all() and (maps.grad[1] == 0).all(), "every number of a chip may look at every cell"
    with pytest.raises(ValueError, match="a map of 7 x 7 cells, these layers make 4 x 4"):
        yolo_v1(2, **TINY | {"grid": 7})


def test_dense_layers_of_the_paper_free_the_grid_from_the_map():
    model = yolo_v1(2, **TINY | {"grid": 7}, **RANDOM)
    assert model.eval().cells(torch.randn(1, 3, 64, 64)).shape == (1, 7, 7, 12)


# ---- cells, coding, the responsible box


def test_the_cell_of_the_centre_answers():
    targets = one_chip([[8, 10, 24, 22], [30, 36, 52, 60], [60, 60, 64, 64]])
    index, has = assign_cells(targets, (64, 64), grid=4)  # centres (16, 16), (41, 48), (62, 62); cells of 16 px
    assert has.view(4, 4).nonzero().tolist() == [[1, 1], [3, 2], [3, 3]]
    assert index.view(4, 4)[has.view(4, 4)].tolist() == [0, 1, 2]


def test_images_need_not_be_square_for_the_assignment():
    _, has = assign_cells(one_chip([[80, 2, 90, 8]]), (32, 96), grid=2)
    assert has.view(2, 2).nonzero().tolist() == [[0, 1]]


def test_of_two_objects_in_one_cell_the_first_stays():
    targets = one_chip([[2, 2, 8, 8], [4, 4, 10, 10], [40, 40, 50, 50]], [2, 1, 1])
    index, has = assign_cells(targets, (64, 64), grid=4)
    assert has.sum() == 2 and index[0, 0] == 0
    output = torch.zeros(1, 4, 4, 12)
    alone = yolo_losses(output, one_chip([[2, 2, 8, 8], [40, 40, 50, 50]], [2, 1]), (64, 64), 2, **WEIGHTS)
    both = yolo_losses(output, targets, (64, 64), 2, **WEIGHTS)
    assert alone == both, "the second teaches nothing"


def test_more_objects_than_cells():
    boxes = random_boxes(30, size=64)
    targets = one_chip(boxes.tolist())
    index, has = assign_cells(targets, (64, 64), grid=2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    taken = {(int(y // 32), int(x // 32)) for x, y in centres.tolist()}
    assert has.sum() == len(taken) <= 4
    losses = yolo_losses(torch.rand(1, 2, 2, 11), targets, (64, 64), 1, **WEIGHTS)
    assert all(loss.isfinite() for loss in losses.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 10**6), st.sampled_from([(64, 64), (32, 96)]))
def test_coding_and_back(grid, seed, size):
    boxes = random_boxes(grid**2, size=min(size), seed=seed)[None]
    coded = encode_cells(boxes, size, grid)
    torch.testing.assert_close(decode_cells(coded[:, :, None], size, grid)[:, :, 0], boxes, atol=1e-3, rtol=1e-4)


def test_offsets_and_roots_as_the_paper_says():
    coded = encode_cells(torch.tensor([[[8.0, 10, 24, 26]]]).repeat(1, 16, 1), (64, 64), 4)
    assert coded[0, 5].tolist() == [0.0, 0.125, 0.5, 0.5]  # cell (1, 1) begins at 16 px; √(16 / 64) = 0.5


def test_a_negative_root_is_still_a_box():
    assert decode_cells(torch.tensor([[[[0.5, 0.5, -0.5, 0.5]]]]), (64, 64), 1).tolist() == [[[[24, 24, 40, 40]]]]


def test_responsible_is_the_overlap_then_the_nearest():
    goal, has = torch.tensor([[[0.5, 0.5, 0.3, 0.3]]]), torch.tensor([[True]])
    near, far = torch.tensor([0.5, 0.5, 0.35, 0.3]), torch.tensor([9.0, 0.5, 0.3, 0.3])
    coded = torch.stack((near, far)).view(1, 1, 2, 4)
    assert choose_boxes(coded, goal, torch.tensor([[[0.1, 0.2]]]), has).tolist() == [[[False, True]]]
    assert choose_boxes(coded.flip(2), goal, torch.zeros(1, 1, 2), has).tolist() == [[[False, True]]]
    assert not choose_boxes(coded, goal, torch.ones(1, 1, 2), ~has).any()


# ---- the loss


def loss_with_loops(output, objects, size, classes):
    """Equation 3 of the paper, image by image, cell by cell, box by box → four sums."""
    images, grid, count = len(output), output.shape[1], (output.shape[-1] - classes) // 5
    total = {"coordinates": 0.0, "object": 0.0, "no_object": 0.0, "classes": 0.0}
    for image in range(images):
        owner = {}
        for number, (x0, y0, x1, y1) in enumerate(objects[image]["boxes"].tolist()):
            cell = int((y0 + y1) / 2 / size * grid), int((x0 + x1) / 2 / size * grid)
            owner.setdefault(cell, number)
        for row in range(grid):
            for column in range(grid):
                said = output[image, row, column].tolist()
                boxes = [said[5 * j : 5 * j + 5] for j in range(count)]
                number = owner.get((row, column))
                best = -1
                if number is not None:
                    x0, y0, x1, y1 = objects[image]["boxes"][number].tolist()
                    goal = [(x0 + x1) / 2 / size * grid - column, (y0 + y1) / 2 / size * grid - row]
                    goal += [((x1 - x0) / size) ** 0.5, ((y1 - y0) / size) ** 0.5]
                    overlaps = []
                    for x, y, w, h, _ in boxes:
                        x, y = (column + x) / grid * size, (row + y) / grid * size
                        w, h = w * w * size, h * h * size
                        wide = max(min(x1, x + w / 2) - max(x0, x - w / 2), 0)
                        high = max(min(y1, y + h / 2) - max(y0, y - h / 2), 0)
                        overlaps.append(wide * high / (w * h + (x1 - x0) * (y1 - y0) - wide * high))
                    errors = [sum((a - b) ** 2 for a, b in zip(box[:4], goal, strict=True)) for box in boxes]
                    best = overlaps.index(max(overlaps)) if max(overlaps) > 0 else errors.index(min(errors))
                    total["coordinates"] += 5 * errors[best]
                    total["object"] += (boxes[best][4] - overlaps[best]) ** 2
                    label = int(objects[image]["labels"][number])
                    total["classes"] += sum((p - (k + 1 == label)) ** 2 for k, p in enumerate(said[5 * count :]))
                total["no_object"] += 0.5 * sum(box[4] ** 2 for j, box in enumerate(boxes) if j != best)
    return {name: value / images for name, value in total.items()}


def compare_losses(seed, grid, count, classes, most):
    generator = torch.Generator().manual_seed(seed)
    objects = []
    for image in range(3):
        boxes = random_boxes(most * image // 2, size=64, seed=seed + image)
        labels = torch.randint(1, classes + 1, (len(boxes),), generator=generator)
        objects.append({"boxes": boxes, "labels": labels})
    output = torch.randn(3, grid, grid, 5 * count + classes, generator=generator)
    found = yolo_losses(output.double(), Targets.from_list(objects), (64, 64), classes, **WEIGHTS)
    wanted = loss_with_loops(output, objects, 64, classes)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4, abs=1e-4), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(0, 12))
def test_loss_equals_the_loops(seed, grid, count, classes, most):
    compare_losses(seed, grid, count, classes, most)


def last_of_a_cell(targets, size, grid):
    index, has = assign_cells(Targets(*(part.flip(1) for part in (targets.boxes, targets.labels, targets.valid))),
                              size, grid)  # fmt: skip
    return targets.valid.shape[1] - 1 - index, has


BROKEN = {
    "no roots": ("encode_cells", lambda *a: torch.cat((encode_cells(*a)[..., :2], encode_cells(*a)[..., 2:] ** 2), -1)),
    "x and y swapped": ("encode_cells", lambda *a: encode_cells(*a)[..., [1, 0, 2, 3]]),
    "boxes twice as large": ("decode_cells", lambda coded, *a: decode_cells(coded * 2**0.5, *a)),
    "first box always": ("choose_boxes", lambda c, g, iou, has: choose_boxes(c, g, torch.ones_like(iou), has)),
    "no fallback": ("choose_boxes", lambda c, g, iou, has: choose_boxes(c, g, iou + 1e-9, has)),
    "last object stays": ("assign_cells", last_of_a_cell),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_parts_are_noticed(monkeypatch, name):
    for seed in range(3):
        compare_losses(seed, 3, 2, 3, 12)
    monkeypatch.setattr(yolo_v1_module, *BROKEN[name])
    with pytest.raises(AssertionError):
        for seed in range(20):
            compare_losses(seed, 3, 2, 3, 12)


def perfect(targets, size=64, grid=4, boxes=2, classes=2):
    """The output that says exactly what stands in the targets of one chip."""
    index, has = assign_cells(targets, (size, size), grid)
    output = torch.zeros(1, grid**2, 5 * boxes + classes)
    goal = encode_cells(targets.boxes[0, index[0]][None], (size, size), grid)
    output[..., :4][has], output[..., 4][has] = goal[has], 1.0
    output[..., 5 * boxes :][has] = nn.functional.one_hot(targets.labels[0, index[0]][None] - 1, classes)[has].float()
    return output.view(1, grid, grid, -1)


def test_perfect_output_costs_nothing_and_detects_the_objects():
    targets = one_chip([[8, 10, 24, 22], [30, 36, 52, 60]], [2, 1])
    output = perfect(targets)
    assert sum(yolo_losses(output, targets, (64, 64), 2, **WEIGHTS).values()) < 1e-9
    [found] = detect_cells(output, (64, 64), 2, score=0.5, threshold=0.5, keep=9, smallest=1.0).per_image()
    order = found["labels"].argsort(descending=True)
    torch.testing.assert_close(found["boxes"][order], targets.boxes[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(found["scores"], torch.ones(2), atol=1e-4, rtol=0)


def test_confidence_target_teaches_no_box():
    _, targets = scene()
    output = torch.rand(2, 4, 4, 12, requires_grad=True)
    yolo_losses(output, targets, (64, 64), 2, **WEIGHTS)["object"].backward()
    moved = output.grad.flatten(0, 2).abs().sum(0) > 0
    assert set(moved.nonzero().flatten().tolist()) <= {4, 9}, "only confidences learn from it"


def test_batch_without_any_object():
    losses = yolo_v1(2, **TINY)(scene()[0], Targets.from_list([NOTHING] * 2))
    assert losses["coordinates"] == losses["object"] == losses["classes"] == 0 < losses["no_object"]


# ---- detections


def test_score_is_class_times_confidence_and_classes_do_not_suppress_each_other():
    output = torch.zeros(1, 2, 2, 12)
    output[0, 0, 0] = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.8, 0.5, 0.5, 0.5, 0.5, 0.6, 0.9, 0.5])
    [found] = detect_cells(output, (64, 64), 2, score=0.01, threshold=0.5, keep=9, smallest=1.0).per_image()
    torch.testing.assert_close(found["scores"], torch.tensor([0.72, 0.4]))  # the second box gave way in both classes
    assert found["labels"].tolist() == [1, 2]
    assert found["boxes"].tolist() == [[8, 8, 24, 24]] * 2


# ---- settings and refusals


def test_settings_rebuild_the_model():
    for model in (yolo_v1(3), yolo_v1(2, bands=5, boxes=3, detect={"score": 0.0}, **TINY, **RANDOM)):
        again = build("yolo_v1", **json.loads(json.dumps(model.settings))).eval()
        again.load_state_dict(model.state_dict())
        side = model.settings["size"]
        images = torch.randn(1, model.settings["bands"], side, side)
        torch.testing.assert_close(again(images).boxes, model.eval()(images).boxes)
        assert again.settings == model.settings


@pytest.mark.parametrize("start", [{}, RANDOM])
def test_stored_model_is_the_same_model(tmp_path, start):
    model = yolo_v1(2, **TINY, **start).eval()
    again, images = load_model(save_model(model, tmp_path)), torch.randn(2, 3, 64, 64)
    assert torch.equal(again.cells(images), model.cells(images))


def test_chips_of_another_size_are_refused():
    _, targets = scene()
    with pytest.raises(ValueError, match=r"images are 64 x 96 px .height.*this network was built for 64 x 64.*size="):
        yolo_v1(2, **TINY).eval()(torch.randn(1, 3, 64, 96))
    with pytest.raises(ValueError, match="images are 128 x 128 px"):
        yolo_v1(2, **TINY)(torch.randn(2, 3, 128, 128), targets)


def test_resized_images_get_boxes_in_their_own_pixels():
    resize = {"min_size": [64], "max_size": 64, "fixed_size": [64, 64]}
    transform = {"mean": [0.0], "std": [1.0], "resize": resize, "multiple": 1}
    plain, resizing = yolo_v1(2, **TINY, detect={"score": 0.0}), yolo_v1(2, **TINY, transform=transform)
    resizing.load_state_dict(plain.state_dict())
    resizing.settings["detect"]["score"] = 0.0
    images, _ = scene()
    wide = images.repeat_interleave(2, dim=3)  # twice as wide
    small, large = plain.eval()(images), resizing.eval()(wide)
    assert large.boxes[..., 2].max() > 64, "pixels of the wide image"
    torch.testing.assert_close(large.scores.sort().values, small.scores.sort().values, atol=0.1, rtol=0)
    assert yolo_v1_paper.__module__ and resizing.settings["transform"]["resize"]["fixed_size"] == [64, 64]


@pytest.mark.parametrize(
    "shape, classes", [((1, 4, 4, 12), 3), ((1, 4, 4, 3), 3), ((1, 4, 5, 13), 3), ((1, 4, 4, 7), 8)]
)
def test_numbers_that_make_no_grid_are_refused(shape, classes):
    with pytest.raises(ValueError, match=rf"is not \(B, S, S, 5 P \+ K\) for K = {classes}"):
        split_cells(torch.zeros(shape), classes)


@pytest.mark.parametrize("name", ["bands", "size", "grid", "boxes"])
def test_settings_that_make_no_network_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0: choose at least 1"):
        yolo_v1(**{"classes": 2, **TINY, name: 0})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dense": {"hidden": 0}}, "hidden is 0: choose at least 1"),
        ({"loss": {"coordinates": -5.0}}, "coordinates is -5.0: choose a weight of 0 or more"),
        ({"dense": {"start": "cpy"}}, "start is 'cpy': fully connected layers start as a copy or random"),
        ({"layers": [[3, 16]]}, r"layers hold \[3, 16\]: a row is \[kernel, channels, stride\]"),
        ({"layers": [[3, 16, 0]]}, r"layers hold \[3, 16, 0\]: a row is"),
        ({"layers": [("pool",)]}, r"layers hold \('pool',\): a row is"),
        ({"layers": [["pool"]] * 4}, "layers hold no convolution"),
    ],
)
def test_senseless_settings_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        yolo_v1(2, **TINY | changes)


def test_images_that_a_transform_pads_are_refused():
    resize = {"min_size": [48], "max_size": 64, "fixed_size": None}
    transform = {"mean": [0.0], "std": [1.0], "resize": resize, "multiple": 32}
    with pytest.raises(ValueError, match="images are 48 x 64 px"):  # 64 x 64 with padding, and boxes would move
        yolo_v1(2, **TINY, transform=transform).eval()(torch.randn(1, 3, 48, 64))
    with pytest.raises(ValueError, match="multiple is 48, which pads images of 64 x 64 px.*choose 1"):
        yolo_v1(2, **TINY, transform=transform | {"multiple": 48})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.just(["pool"]), st.tuples(*[st.integers(1, 6)] * 3).map(list)), min_size=1, max_size=4),
       st.integers(20, 60))  # fmt: skip
def test_the_map_is_as_large_as_the_layers_make_it(table, size):
    table = [[2, 3, 1], *table]  # kernels of even sides, too
    try:
        made = convolutions(1, table, norm=False)(torch.zeros(1, 1, size, size)).shape[1:]
    except RuntimeError:  # nothing is left of it
        with pytest.raises(ValueError, match="leave nothing"):
            map_of(table, size)
    else:
        assert map_of(table, size) == (made[0], made[1]) and made[1] == made[2]


def test_layers_that_leave_no_map_are_refused():
    with pytest.raises(ValueError, match="leave nothing of 4 px"):
        yolo_v1(2, size=4, layers=[[3, 8, 2], ["pool"], ["pool"]])
