"""How Faster R-CNN behaves: what it takes, what it refuses, what it gives back."""

import json

import pytest
import torch
from torch import nn

from geodl_course.chips import Targets
from geodl_course.models import backbones, build
from geodl_course.models.backbones import resnet_fpn, small_backbone
from geodl_course.models.detections import Detections
from geodl_course.models.faster_rcnn import faster_rcnn
from geodl_course.models.roi_heads import roi_levels
from geodl_course.plumbing import folded


def scene(count=2, size=64, bands=3):
    """Chips with bright boxes on noise, and their Targets; the first chip has none."""
    generator = torch.Generator().manual_seed(0)
    images, objects = 0.1 * torch.randn(count, bands, size, size, generator=generator), []
    for number, image in enumerate(images):
        boxes = torch.tensor([[8.0, 10, 24, 22], [30, 36, 52, 60]])[: 2 * bool(number)]
        for box in boxes.int().tolist():
            image[:, box[1] : box[3], box[0] : box[2]] += 2
        objects.append({"boxes": boxes, "labels": torch.arange(1, len(boxes) + 1)})
    return images, Targets.from_list(objects)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return faster_rcnn(classes=2)


def test_losses_in_training_detections_in_evaluation(model):
    images, targets = scene()
    losses = model(images, targets)
    assert list(losses) == ["objectness", "rpn_box", "classifier", "box_reg"]
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    model.settings["detect"]["score"] = 0.0
    found = model.eval()(images)
    assert isinstance(found, Detections)
    assert found.boxes.shape == (2, 100, 4)
    assert found.scores.shape == found.labels.shape == found.valid.shape == (2, 100)
    for image in found.per_image():
        assert (image["boxes"] >= 0).all() and (image["boxes"] <= 64).all()
        assert set(image["labels"].tolist()) <= {1, 2}, "background is no detection"
        assert (image["scores"].diff() <= 0).all(), "best first"


def test_learns_a_chip_by_heart(model):
    images, targets = scene()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        sum(model(images, targets).values()).backward()
        optimiser.step()
    empty, full = model.eval()(images).per_image()
    assert (empty["scores"] < 0.5).all()
    assert set(full["labels"][full["scores"] > 0.5].tolist()) == {1, 2}
    for label, expected in zip((1, 2), targets.boxes[1], strict=True):
        best = full["boxes"][full["labels"] == label][0]
        assert (best - expected).abs().max() < 3


def test_half_precision_leaves_boxes_whole(model):
    images, targets = scene()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
        sum(losses.values()).backward()
        found = model.eval()(images)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_batch_without_any_object(model):
    images, _ = scene()
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 2
    losses = model(images, Targets.from_list(nothing))
    assert losses["rpn_box"] == 0 and losses["box_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_no_proposal_survives(model):
    images, targets = scene()
    for mode in ("train", "test"):
        model.settings["proposals"][mode]["score"] = 1.0
    nothing = Targets.from_list([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 2)
    assert all(loss.isfinite() for loss in model(images, nothing).values())
    assert not model.eval()(images).valid.any()


def test_padding_of_targets_changes_nothing(model):
    images, targets = scene()
    wider = Targets(*(torch.cat((part, part[:, :1]), dim=1) for part in (targets.boxes, targets.labels)),
                    torch.cat((targets.valid, torch.zeros(2, 1, dtype=torch.bool)), dim=1))  # fmt: skip
    everything = {"rpn": {"number": 10_000}, "rois": {"number": 10_000}}
    model = faster_rcnn(2, **everything)
    first, second = model(images, targets), model(images, wider)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_same_seed_same_sample(model):
    images, targets = scene()
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(sum(model(images, targets).values()).item())
    assert runs[0] == runs[1]


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 129)])
def test_any_size_of_chip(model, size):
    assert model.eval()(torch.randn(1, 3, *size)).boxes.shape == (1, 100, 4)


def test_settings_rebuild_the_model(model):
    changed = faster_rcnn(2, bands=5, backbone={"widths": [16, 16, 32]}, detect={"score": 0.0}, heads={"hidden": 32})
    assert changed.settings["detect"]["score"] == 0.0 and changed.settings["detect"]["keep"] == 100
    for first in (model, changed):
        again = build("faster_rcnn", **json.loads(json.dumps(first.settings))).eval()
        again.load_state_dict(first.state_dict())
        images = torch.randn(1, first.settings["backbone"]["bands"], 64, 64)
        torch.testing.assert_close(again(images).boxes, first.eval()(images).boxes)
        assert again.settings == first.settings


def test_settings_of_two_models_are_their_own():
    faster_rcnn(2).settings["detect"]["score"] = 0.9
    assert faster_rcnn(2).settings["detect"]["score"] == 0.05


def test_resnet_settings_rebuild_without_fetching(monkeypatch):
    monkeypatch.setattr(backbones, "imagenet_weights", lambda name: pytest.fail("weights were fetched"))
    backbone = resnet_fpn("resnet18", pretrained=False)
    model = faster_rcnn(2, backbone=backbone, anchors={"sizes": [[16], [32], [64], [128], [256]],
                        "ratios": [[1.0]] * 5}, pool_from=["0", "1", "2", "3"])  # fmt: skip
    again = build("faster_rcnn", **json.loads(json.dumps(model.settings)))
    again.load_state_dict(model.state_dict())
    assert again.eval()(torch.randn(1, 3, 64, 64)).boxes.shape == (1, 100, 4)


def test_wrong_names_are_told():
    with pytest.raises(KeyError, match="there is no setting 'detekt': choose among"):
        faster_rcnn(2, detekt={"score": 0.1})
    with pytest.raises(KeyError, match="there is no setting 'scores': choose among weights, score"):
        faster_rcnn(2, detect={"scores": 0.1})
    with pytest.raises(KeyError, match="no model is called 'fast_rcnn': choose one of faster_rcnn"):
        build("fast_rcnn", classes=2)
    own = small_backbone()
    del own.settings
    with pytest.raises(ValueError, match="pass the module itself as backbone="):
        build("faster_rcnn", **faster_rcnn(2, backbone=own).settings)


def test_bad_batches_are_told(model):
    images, targets = scene()
    with pytest.raises(ValueError, match="needs targets"):
        model(images)
    with pytest.raises(ValueError, match="images have 5 bands, the backbone takes 3: build the model with bands="):
        model(torch.randn(2, 5, 64, 64), targets)
    with pytest.raises(ValueError, match="pass one float tensor"):
        model(images[0], targets)
    with pytest.raises(ValueError, match="uint8"):
        model(images.byte(), targets)
    with pytest.raises(ValueError, match="images are on meta, the model on cpu"):
        model(images.to("meta"), targets)
    with pytest.raises(ValueError, match="targets are on meta, images on cpu"):
        model(images, targets.to("meta"))


def test_bad_targets_are_told(model):
    images, targets = scene()
    beyond = Targets(targets.boxes, targets.labels + 1, targets.valid)
    with pytest.raises(ValueError, match=r"label 3.*K = 2"):
        model(images, beyond)
    reversed_box = Targets(targets.boxes.flip(-1), targets.labels, targets.valid)
    with pytest.raises(ValueError, match="no area"):
        model(images, reversed_box)


def test_folding_batch_norm_changes_nothing():
    backbone = small_backbone(4, (16, 16, 16))
    for _ in range(3):
        backbone(torch.randn(4, 4, 32, 32) * 3 + 1)  # statistics away from their defaults
    backbone.eval()
    images = torch.randn(2, 4, 32, 32)
    torch.testing.assert_close(folded(backbone, images), backbone(images), atol=1e-5, rtol=1e-5)
    other = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
    torch.testing.assert_close(folded(other, images), other(images))


def test_levels_of_the_pyramid():
    side = torch.tensor([10.0, 56, 111, 113, 223, 225, 447, 449, 5000])
    boxes = torch.stack((side * 0, side * 0, side, side), dim=-1)[None]
    level = roi_levels(boxes, [1 / 4, 1 / 8, 1 / 16, 1 / 32], canonical_size=224, canonical_level=4)
    assert level.tolist() == [[0, 0, 0, 1, 1, 2, 2, 3, 3]]


def test_pretrained_weights_that_cannot_be_had(monkeypatch, capsys):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent")
    monkeypatch.setattr("os.makedirs", lambda *_, **__: None)
    backbone = resnet_fpn("resnet18", bands=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "cannot be had" in line] == [
        "ImageNet weights of resnet18 cannot be had (no route to host): starting from scratch, so train longer."
    ]
    assert backbone.settings == {"name": "resnet18", "bands": 4, "frozen": False}
    maps = backbone(torch.randn(1, 4, 64, 64))
    assert [tuple(level.shape[1:]) for level in maps.values()] == [(256, 64 // s, 64 // s) for s in (4, 8, 16, 32, 64)]


def test_pretrained_weights_are_used(monkeypatch):
    from torchvision.models import resnet18

    weights = resnet18(weights=None).state_dict()
    monkeypatch.setattr(backbones, "imagenet_weights", lambda name: weights)
    three, five = resnet_fpn("resnet18"), resnet_fpn("resnet18", bands=5)
    assert torch.equal(three.body["layer1"][0].conv1.weight, weights["layer1.0.conv1.weight"])
    assert not three.body["conv1"].weight.requires_grad and three.body["layer4"][0].conv1.weight.requires_grad
    assert three.settings["frozen"]
    grey = torch.rand(1, 1, 32, 32)  # on an image whose bands are all the same, 3 and 5 bands must agree
    first, second = three.body["conv1"](grey.expand(1, 3, 32, 32)), five.body["conv1"](grey.expand(1, 5, 32, 32))
    torch.testing.assert_close(first, second)
