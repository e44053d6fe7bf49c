"""How Mask R-CNN behaves: what it takes, what it refuses, what it gives back."""

import json

import pytest
import torch

from geodl_course.chips import ChipError, Targets
from geodl_course.evaluation import detect, mask_average_precision
from geodl_course.models import backbones, build
from geodl_course.models.faster_rcnn import faster_rcnn
from geodl_course.models.mask_heads import MaskHead, convolutions, mask_goals, mask_loss, pick_maps
from geodl_course.models.mask_rcnn import mask_rcnn, mask_rcnn_resnet50_fpn
from geodl_course.models.roi_heads import sample_rois
from geodl_course.ops.boxes import batched_nms
from geodl_course.ops.masks import mask_nms
from geodl_course.training import load_model, save_model


def scene(count=2, size=64, bands=3):
    """Chips with a bright triangle and a bright box each on noise, and their Targets; the first chip has none."""
    generator = torch.Generator().manual_seed(0)
    images, objects = 0.1 * torch.randn(count, bands, size, size, generator=generator), []
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    triangle = (x >= 8) & (x < 32) & (y >= 10) & (y < 34) & (x - 8 <= y - 10)
    block = (x >= 36) & (x < 56) & (y >= 40) & (y < 60)
    for number, image in enumerate(images):
        masks = torch.stack((triangle, block))[: 2 * bool(number)]
        boxes = torch.tensor([[8.0, 10, 32, 34], [36, 40, 56, 60]])[: 2 * bool(number)]
        image += 2 * masks.any(dim=0)
        objects.append({"boxes": boxes, "labels": torch.arange(1, len(boxes) + 1), "masks": masks})
    return images, Targets.from_list(objects)


def empty(count=2, size=64):
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    return Targets.from_list([{**nothing, "masks": torch.zeros(0, size, size, dtype=torch.bool)}] * count)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return mask_rcnn(classes=2)


def test_losses_in_training_masks_in_evaluation(model):
    images, targets = scene()
    losses = model(images, targets)
    assert list(losses) == ["objectness", "rpn_box", "classifier", "box_reg", "mask"]
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.roi_heads.mask_head.parameters())
    model.settings["detect"]["score"] = 0.0
    found = model.eval()(images)
    assert found.masks.dtype == torch.bool and found.masks.shape == (*found.valid.shape, 64, 64)
    for one in found.per_image():
        assert set(one) == {"boxes", "scores", "labels", "masks"} and len(one["masks"]) == len(one["boxes"]) > 0
        rows, columns = one["masks"].any(dim=2), one["masks"].any(dim=1)
        pixel = torch.arange(64) + 0.5
        for side, low, high in ((rows, 1, 3), (columns, 0, 2)):
            outside = (pixel < one["boxes"][:, low, None]) | (pixel >= one["boxes"][:, high, None])
            assert not (side & outside).any(), "a mask leaves its box"


def test_learns_a_chip_by_heart(model):
    images, targets = scene()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(80):
        optimiser.zero_grad()
        sum(model(images, targets).values()).backward()
        optimiser.step()
    nothing, full = model.eval()(images).per_image()
    assert (nothing["scores"] < 0.5).all()
    for label, truth in zip((1, 2), targets.masks[1], strict=True):
        mask = full["masks"][full["labels"] == label][0]
        iou = (mask & truth).sum() / (mask | truth).sum()
        assert iou > 0.8, f"class {label}: IoU {iou:.2f}; the triangle's box alone would reach 0.5"


def test_boxes_are_those_of_faster_rcnn(model):
    images, _ = scene()
    boxes = faster_rcnn(2, detect={"score": 0.0}).eval()
    model.settings["detect"]["score"] = 0.0
    boxes.load_state_dict({k: v for k, v in model.state_dict().items() if "mask_head" not in k})
    expected, found = boxes(images).per_image(), model.eval()(images).per_image()
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)
        assert "masks" not in other


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_half_precision_leaves_losses_whole(activation):
    torch.manual_seed(0)
    model = mask_rcnn(2, mask={"activation": activation})
    images, targets = scene()
    expected = model(images, targets)["mask"]
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
        sum(losses.values()).backward()
        found = model.eval()(images)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert losses["mask"].item() == pytest.approx(expected.item(), rel=0.05)
    assert found.boxes.dtype == torch.float32 and found.masks.dtype == torch.bool


def test_pieces_of_regions_give_the_loss_and_gradients_of_all_at_once(model, monkeypatch):
    images, targets = scene(4)
    head, sizes, results = model.roi_heads.mask_head, [], []
    head.register_forward_hook(lambda *of: sizes.append(len(of[2])))
    for number in (1000, 3):
        monkeypatch.setattr("geodl_course.models.mask_heads.ROIS", number)
        torch.manual_seed(0)
        loss = model.double()(images.double(), targets)["mask"]
        results.append((loss, *torch.autograd.grad(loss, list(head.parameters()))))
    assert sizes[0] == sum(sizes[1:]) > max(sizes[1:]) == 3
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole)


def test_batch_without_any_object(model):
    images, _ = scene()
    losses = model(images, empty())
    assert losses["mask"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_nothing_found(model):
    model.settings["detect"]["score"] = 1.0
    found = model.eval()(scene()[0])
    assert not found.valid.any()
    assert [one["masks"].shape for one in found.per_image()] == [(0, 64, 64)] * 2


@pytest.mark.parametrize("height, width", [(1, 1), (1, 12), (9, 1)])
def test_an_instance_of_one_row(model, height, width):
    images, _ = scene()
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 20 : 20 + height, 30 : 30 + width] = True
    one = {"boxes": torch.tensor([[30.0, 20, 30 + width, 20 + height]]), "labels": torch.tensor([1]), "masks": mask}
    losses = model(images, Targets.from_list([one] * 2))
    assert losses["mask"] > 0 and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_overlapping_instances_keep_their_own_masks():
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[0, 0:20, 0:20], masks[1, 10:30, 10:30] = True, True
    boxes = torch.tensor([[0.0, 0, 20, 20], [10, 10, 30, 30]])
    targets = Targets.from_list([{"boxes": boxes, "labels": torch.tensor([1, 1]), "masks": masks}])
    rois = torch.tensor([[0.0, 0, 20, 20], [10, 10, 30, 30], [12, 12, 30, 30]])
    one_row = torch.ones(1, 3, dtype=torch.bool)
    sampled, valid, labels, matched = sample_rois(rois[None], one_row, targets, 0.5, 0.5, number=5, fraction=1)
    assert valid.all() and (labels == 1).all()  # the objects join
    goals = mask_goals(sampled[0], targets.masks[0, matched[0]], (40, 40), 20, aligned=True)
    assert (goals > 0.9).all(), "each RoI is full of the object that it fits, whatever else lies there"


def test_goals_of_masks_in_another_size():
    """Images may be resized on their way in; masks stay as they are."""
    _, targets = scene()
    goals = []
    for factor in (1, 2):
        boxes = torch.tensor([[8.0, 10, 32, 34], [36, 40, 56, 60]]) * factor
        goals.append(mask_goals(boxes, targets.masks[1, :2], (64 * factor,) * 2, 28, True))
    torch.testing.assert_close(*goals)


def test_head_keeps_places():
    torch.manual_seed(0)
    head = MaskHead(convolutions(16, [8, 8, 8, 8]), 8, 12, 5)
    assert head(torch.randn(3, 16, 14, 14)).shape == (3, 5, 28, 28)
    assert head(torch.randn(0, 16, 14, 14)).shape == (0, 5, 28, 28)
    pooled = torch.zeros(1, 16, 14, 14)
    pooled[0, :, 2, 11] = 1
    moved = (head(pooled) - head(torch.zeros_like(pooled))).abs().amax(dim=(0, 1))
    rows, columns = moved.amax(dim=1).nonzero()[:, 0], moved.amax(dim=0).nonzero()[:, 0]
    assert rows.max() < 2 * (2 + 5) and columns.min() >= 2 * (11 - 4), "four 3x3 convolutions see four cells far"


def test_loss_is_of_the_true_class_alone():
    logits, goals = torch.zeros(1, 3, 2, 2, requires_grad=True), torch.tensor([[[1.0, 0], [0, 0.25]]])
    loss = mask_loss(logits, torch.tensor([2]), goals)
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)  # ln 2: a logit of 0 is undecided whatever the truth
    loss.backward()
    expected = torch.tensor([[-0.5, 0.5], [0.5, 0.25]]) / 4
    torch.testing.assert_close(logits.grad[0, 1], expected)
    assert logits.grad[0, [0, 2]].abs().sum() == 0


def test_softmax_lets_classes_compete():
    logits, goals = torch.zeros(1, 3, 1, 1, requires_grad=True), torch.ones(1, 1, 1)
    loss = mask_loss(logits, torch.tensor([2]), goals, "softmax")
    assert loss.item() == pytest.approx(1.0986, abs=1e-4)  # ln 3
    loss.backward()
    torch.testing.assert_close(logits.grad[0, :, 0, 0], torch.tensor([1 / 3, 1 / 3, -2 / 3]))
    shares = torch.tensor([0.2, 0.5, 0.3]).log()[None, :, None, None]
    assert pick_maps(shares, torch.tensor([1]), "softmax").item() == pytest.approx(0.5)
    assert pick_maps(shares, torch.tensor([2]), "softmax").item() == pytest.approx(0.3)


def test_pick_maps_takes_the_class():
    logits = torch.randn(4, 3, 5, 5)
    labels = torch.tensor([1, 3, 2, 1])
    expected = torch.stack([logits[i, k - 1].sigmoid() for i, k in enumerate(labels.tolist())])
    torch.testing.assert_close(pick_maps(logits, labels), expected)


@pytest.mark.parametrize("changes", [{"mask": {"activation": "softmax"}}, {"mask_pool": {"layer": "pool"}}])
def test_variants_learn(changes):
    torch.manual_seed(0)
    model = mask_rcnn(2, **changes)
    images, targets = scene()
    optimiser = torch.optim.AdamW(model.roi_heads.mask_head.parameters(), 2e-3)
    steps = []
    for _ in range(12):
        optimiser.zero_grad()
        steps.append(model(images, targets)["mask"])
        steps[-1].backward()
        optimiser.step()
    assert steps[-1] < 0.8 * steps[0]
    assert model.eval()(images).masks.dtype == torch.bool


def test_settings_and_checkpoint_rebuild_the_model(model, tmp_path):
    changed = mask_rcnn(2, bands=5, backbone={"widths": [16, 16, 32]}, heads={"mask": [16, 16]},
                        mask={"activation": "softmax"}, mask_pool={"layer": "pool"}, detect={"score": 0.0})  # fmt: skip
    for number, first in enumerate((model, changed)):
        again = build("mask_rcnn", **json.loads(json.dumps(first.settings)))
        assert again.settings == first.settings and first.settings["system"] == "mask_rcnn"
        stored = load_model(save_model(first, tmp_path / str(number)))
        images = torch.randn(1, first.settings["backbone"]["bands"], 64, 64)
        expected, found = first.eval()(images), stored(images)
        assert torch.equal(found.boxes, expected.boxes) and torch.equal(found.masks, expected.masks)


def test_full_model_takes_a_step(monkeypatch):
    monkeypatch.setattr(backbones, "imagenet_weights", lambda name: None)
    model = mask_rcnn_resnet50_fpn(2, bands=1, rois={"number": 8}, heads={"hidden": 16}, proposals={
        "train": {"before": 20, "after": 20}, "test": {"before": 20, "after": 10}})  # fmt: skip
    assert model.settings["heads"]["mask"] == [256] * 4 and model.settings["mask_pool"]["output_size"] == 14
    images, targets = scene(size=64, bands=1)
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert model.roi_heads.mask_head.up.weight.grad.abs().sum() > 0


def test_padding_of_targets_changes_nothing():
    torch.manual_seed(0)
    model = mask_rcnn(2, rpn={"number": 10_000}, rois={"number": 10_000})
    images, targets = scene()
    parts = (targets.boxes, targets.labels, torch.zeros_like(targets.valid), torch.ones_like(targets.masks))
    given = (targets.boxes, targets.labels, targets.valid, targets.masks)
    wider = Targets(*(torch.cat(pair, dim=1) for pair in zip(given, parts, strict=True)))
    first, second = model(images, targets), model(images, wider)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_bad_targets_are_told(model):
    images, targets = scene()
    without = Targets(targets.boxes, targets.labels, targets.valid)
    with pytest.raises(ValueError, match="the targets have none: open the chips with masks=True"):
        model(images, without)
    small = Targets(targets.boxes, targets.labels, targets.valid, targets.masks[..., :32])
    with pytest.raises(ChipError, match="masks are of 32 x 64 pixels, images of 64 x 64"):
        model(images, small)
    gone = Targets(targets.boxes, targets.labels, targets.valid, targets.masks & (torch.arange(64) < 35))
    with pytest.raises(ChipError, match=r"image 1 of the batch: box 1 .* has a mask without a pixel"):
        model(images, gone)
    swapped = Targets(targets.boxes, targets.labels, targets.valid, targets.masks.flip(1))
    with pytest.raises(ChipError, match=r"box 0 .* has a mask that reaches beyond the box"):
        model(images, swapped)
    shifted = Targets(targets.boxes, targets.labels, targets.valid, targets.masks.roll(1, -1))
    assert model(images, shifted)["mask"].isfinite(), "a pixel's difference is rounding"
    shifted = Targets(targets.boxes, targets.labels, targets.valid, targets.masks.roll(2, -2))
    with pytest.raises(ChipError, match="reaches beyond"):
        model(images, shifted)


def test_masks_that_are_not_one_a_box_are_told():
    one = {"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([1])}
    for shape in ((2, 8, 8), (8, 8)):
        with pytest.raises(ChipError, match=r"image 0 of the batch: masks are .* one mask \(H, W\) for each box"):
            Targets.from_list([{**one, "masks": torch.ones(shape, dtype=torch.bool)}])
    pair = [{**one, "masks": torch.ones(1, size, size, dtype=torch.bool)} for size in (8, 9)]
    with pytest.raises(ChipError, match=r"image 1 of the batch: masks are \(1, 9, 9\), expected \(1, 8, 8\)"):
        Targets.from_list(pair)


def test_wrong_settings_are_told():
    with pytest.raises(KeyError, match="there is no setting 'masks': choose among"):
        mask_rcnn(2, masks={"activation": "softmax"})


def test_evaluation_takes_masks(model):
    images, targets = scene(4)

    class Chips:
        classes = ["a", "b"]

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return images[i], targets.to_list()[i]

    found = detect(model, Chips(), batch_size=3)
    assert all(one["masks"].dtype == torch.bool and one["masks"].shape[1:] == (64, 64) for one in found)
    perfect = [{**one, "scores": torch.ones(len(one["labels"]))} for one in targets.to_list()]
    assert mask_average_precision(perfect, targets.to_list(), Chips.classes)["AP"] == 1


def test_suppression_by_masks_keeps_the_building_inside_the_l():
    """An L and the small building in its corner: boxes say they are one, masks know better."""
    masks = torch.zeros(1, 3, 40, 40, dtype=torch.bool)
    masks[0, 0, 0:40, 0:6] = masks[0, 0, 34:40, 0:40] = True  # an L along two sides of the chip
    masks[0, 1, 0:33, 7:40] = True  # what fills its corner
    masks[0, 2] = masks[0, 0]
    masks[0, 2, 0, 0] = False  # the L again, a pixel different
    boxes = torch.tensor([[[0.0, 0, 40, 40], [7, 0, 40, 33], [0, 0, 40, 40]]])
    scores, valid = torch.tensor([[0.9, 0.8, 0.7]]), torch.ones(1, 3, dtype=torch.bool)
    index, kept = batched_nms(boxes, scores, None, valid, 0.5, 3)
    assert index[kept].tolist() == [0]
    index, kept = mask_nms(masks, scores, None, valid, 0.5, 3)
    assert index[kept].tolist() == [0, 1]
