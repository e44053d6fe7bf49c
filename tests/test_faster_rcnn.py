"""How Faster R-CNN behaves, beside what test_detectors says of all: its parts, its sizes, its backbones."""

import json

import pytest
import torch
from torch import nn

from geodl_course.chips import Targets
from geodl_course.models import backbones, build
from geodl_course.models.backbones import SmallBackbone, resnet_fpn
from geodl_course.models.faster_rcnn import faster_rcnn
from geodl_course.models.roi_heads import roi_levels
from geodl_course.plumbing import folded
from tests.bright_boxes import NOTHING, scene


@pytest.fixture
def model():
    torch.manual_seed(0)
    return faster_rcnn(classes=2)


def test_no_proposal_survives(model):
    images, targets = scene()
    for mode in ("train", "test"):
        model.settings["proposals"][mode]["score"] = 1.0
    nothing = Targets.from_list([NOTHING] * 2)
    assert all(loss.isfinite() for loss in model(images, nothing).values())
    assert not model.eval()(images).valid.any()


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


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rpn": {"fraction": 1.5}}, "fraction is 1.5: choose a share"),
        ({"rois": {"number": 0}}, "number is 0: choose at least 1"),
        ({"proposals": {"train": {"after": -1}}}, "after is -1: choose at least 1"),
        ({"pool": {"output_size": 0}}, "output_size is 0: choose at least 1"),
        ({"heads": {"hidden": 0}}, "hidden is 0: choose at least 1"),
        ({"detect": {"weights": [10, 10, 5]}}, r"weights are \[10, 10, 5\]: all four must be positive"),
    ],
)
def test_senseless_settings_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        faster_rcnn(2, **changes)


def test_resnet_settings_rebuild_without_fetching(monkeypatch):
    monkeypatch.setattr(backbones, "imagenet_weights", lambda name: pytest.fail("weights were fetched"))
    backbone = resnet_fpn("resnet18", pretrained=False)
    model = faster_rcnn(2, backbone=backbone, anchors={"sizes": [[16], [32], [64], [128], [256]],
                        "ratios": [[1.0]] * 5}, pool_from=["0", "1", "2", "3"])  # fmt: skip
    again = build("faster_rcnn", **json.loads(json.dumps(model.settings)))
    again.load_state_dict(model.state_dict())
    assert again.eval()(torch.randn(1, 3, 64, 64)).boxes.shape == (1, 100, 4)


def test_wrong_names_are_told():
    with pytest.raises(KeyError, match="no model is called 'fast_rcnn': choose one of faster_rcnn"):
        build("fast_rcnn", classes=2)
    own = SmallBackbone()
    del own.settings
    with pytest.raises(ValueError, match="pass the module itself as backbone="):
        build("faster_rcnn", **faster_rcnn(2, backbone=own).settings)


def test_folding_batch_norm_changes_nothing():
    backbone = SmallBackbone(4, (16, 16, 16))
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
