"""How SSD behaves, beside what test_detectors says of all: its default boxes, its sizes, its settings."""

import json

import pytest
import torch
from torch import nn

from geodl_course.chips import Targets
from geodl_course.models import build, ssd_backbones
from geodl_course.models.ssd import ssd, ssd300_vgg16
from geodl_course.models.ssd_backbones import SmallStages
from geodl_course.ops.default_boxes import default_boxes, default_shapes
from tests.bright_boxes import NOTHING, scene


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ssd(classes=2, size=64)


@pytest.mark.parametrize("negatives", [3.0, None])
def test_batch_without_any_object(negatives):
    images, _ = scene()
    model = ssd(classes=2, size=64, loss={"negatives": negatives})
    losses = model(images, Targets.from_list([NOTHING] * 2))
    assert (losses["classifier"] == 0) == (negatives is not None), "3 negatives for each of no positives are none"
    assert losses["box_reg"] == 0 and losses["classifier"].isfinite()


def test_nothing_is_sure_enough(model):
    model.settings["detect"]["score"] = 1.0
    found = model.eval()(scene()[0])
    assert not found.valid.any() and not found.boxes.any()
    assert [len(one["boxes"]) for one in found.per_image()] == [0, 0]


def test_a_batch_is_its_images_one_by_one(model):
    images = scene(4)[0].double()  # untrained scores are nearly ties, which rounding in float32 could reorder
    together = model.double().eval()(images).per_image()
    for image, found in zip(images, together, strict=True):
        [alone] = model(image[None]).per_image()
        for part in alone:
            torch.testing.assert_close(alone[part], found[part], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 129)])
def test_any_size_that_it_was_built_for(size):
    found = ssd(classes=2, size=size, detect={"score": 0.0}).eval()(torch.randn(1, 3, *size))
    assert (found.boxes[..., 2] <= size[1]).all() and (found.boxes[..., 3] <= size[0]).all() and found.valid.any()


def test_chips_of_another_size_are_told(model):
    with pytest.raises(ValueError, match=r"images are 64 x 96 px .height.*this network was built for 64 x 64.*size="):
        model.eval()(torch.randn(1, 3, 64, 96))


def test_padding_that_would_move_boxes_is_refused():
    resize = {"min_size": [48], "max_size": 64, "fixed_size": None}
    with pytest.raises(ValueError, match="multiple is 32, which pads images of 48 x 64 px.*choose 1"):
        ssd(2, size=(48, 64), transform={"mean": [0.0], "std": [1.0], "resize": resize, "multiple": 32})


def test_the_papers_network():
    model = ssd300_vgg16(20, pretrained=False, detect={"score": 0.0, "before": 20}).eval()
    sizes = []
    model.head.register_forward_pre_hook(lambda _, maps: sizes.extend(level.shape[-1] for level in maps[0]))
    boxes = []
    model.head.register_forward_hook(lambda _, __, told: boxes.append(told[0].shape[1]))
    found = model(torch.rand(1, 3, 90, 120))  # resized to 300 x 300, boxes back
    assert sizes == [38, 19, 10, 5, 3, 1]
    assert boxes == [8732]
    assert (found.boxes[..., 2] <= 120).all() and (found.boxes[..., 3] <= 90).all()
    # Trained VOC weights of the authors' code hold 26.3 million parameters for 20 classes (26,285,486).
    assert sum(p.numel() for p in model.parameters()) == 26_285_486
    assert (model.backbone.scale == 20).all()


def test_default_boxes_of_the_paper():
    """By hand: the middle cell of SSD300's 3 x 3 map has its centre at 150 px; scale 213, next 264, ratio 2."""
    boxes = default_boxes([(3, 3)], (300, 300), [213 / 300, 264 / 300], [[2]], steps=[100])
    assert boxes.shape == (9 * 4, 4)
    middle = boxes.view(3, 3, 4, 4)[1, 1]
    root = 2**0.5
    sides = [(213, 213), ((213 * 264) ** 0.5,) * 2, (213 * root, 213 / root), (213 / root, 213 * root)]
    for box, (width, height) in zip(middle.tolist(), sides, strict=True):
        assert box == pytest.approx([150 - width / 2, 150 - height / 2, 150 + width / 2, 150 + height / 2], abs=1e-3)
    assert boxes.view(3, 3, 4, 4)[0, 2, 0, ::2].mean() == pytest.approx(250), "rows first, x runs along them"
    shapes = default_shapes(0.2, 0.4, [3])
    assert (shapes[:, 0] * shapes[:, 1]).tolist() == pytest.approx([0.04, 0.08, 0.04, 0.04])


def test_settings_rebuild_the_model(model):
    changed = ssd(2, bands=5, size=(48, 64), backbone={"widths": [16, 16, 32], "extra": [16, 16, 16]},
                  detect={"score": 0.0}, loss={"negatives": None})  # fmt: skip
    assert changed.settings["detect"]["score"] == 0.0 and changed.settings["detect"]["keep"] == 100
    for first in (model, changed):
        again = build("ssd", **json.loads(json.dumps(first.settings))).eval()
        again.load_state_dict(first.state_dict())
        images = torch.randn(1, first.settings["backbone"]["bands"], *first.settings["size"])
        torch.testing.assert_close(again(images).boxes, first.eval()(images).boxes)
        assert again.settings == first.settings


def test_the_papers_settings_rebuild_without_fetching(monkeypatch):
    model = ssd300_vgg16(2, bands=4, pretrained=False)
    monkeypatch.setattr(ssd_backbones, "imagenet_weights", lambda name: pytest.fail("weights were fetched"))
    again = build("ssd", **json.loads(json.dumps(model.settings)))
    again.load_state_dict(model.state_dict())
    assert again.settings == model.settings


def test_pretrained_weights_are_used(monkeypatch):
    from torchvision.models import vgg16

    weights = vgg16(weights=None).state_dict()
    monkeypatch.setattr(ssd_backbones, "imagenet_weights", lambda name: weights)
    three, five = ssd_backbones.vgg_stages(3), ssd_backbones.vgg_stages(5)
    assert torch.equal(three.stages[0][0].weight, weights["features.0.weight"])
    assert torch.equal(three.stages[1][5].weight, weights["features.28.weight"]), "the thirteenth convolution"
    assert torch.equal(five.stages[0][2].weight, weights["features.2.weight"]) and five.stages[0][0].in_channels == 5


def test_bad_settings_are_told():
    good = ssd(2).settings["boxes"]
    with pytest.raises(ValueError, match="4 feature maps need 5 scales, these are 4"):
        ssd(2, boxes={"scales": good["scales"][:4]})
    with pytest.raises(ValueError, match="4 feature maps need 4 ratios, these are 1"):
        ssd(2, boxes={"ratios": [[2]]})
    with pytest.raises(ValueError, match="4 feature maps need 4 steps, these are 1"):
        ssd(2, boxes={"steps": [4]})
    for scales in ([0, 0.1, 0.2, 0.4, 0.8], [0.1, 0.2, 0.4, 0.8, float("nan")]):
        with pytest.raises(ValueError, match=r"scales .* give default boxes of no area"):
            ssd(2, boxes={"scales": scales})
    with pytest.raises(ValueError, match=r"ratios .* give default boxes of no area"):
        ssd(2, boxes={"ratios": [[2], [-2], [2], [2]]})
    with pytest.raises(ValueError, match=r"size \[0, 64\] give default boxes of no area"):
        ssd(2, size=(0, 64))
    with pytest.raises(ValueError, match="positive is 1.5: choose a share"):
        ssd(2, loss={"positive": 1.5})
    with pytest.raises(ValueError, match="0 negatives a positive teach no background"):
        ssd(2, loss={"negatives": 0})
    for negatives in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="negatives a positive teach no background: 3, or None for all"):
            ssd(2, loss={"negatives": negatives})
    with pytest.raises(ValueError, match=r"weights are \[10, 10, 5, 0\]: all four must be positive"):
        ssd(2, weights=[10, 10, 5, 0])
    with pytest.raises(ValueError, match="before is 0: choose at least 1"):
        ssd(2, detect={"before": 0})
    with pytest.raises(ValueError, match=r"size is \[64\]: give the height and the width"):
        ssd(2, size=(64,))
    own = SmallStages()
    del own.settings
    with pytest.raises(ValueError, match="pass the module itself as backbone="):
        build("ssd", **ssd(2, backbone=own).settings)


def test_folding_batch_norm_changes_nothing():
    torch.manual_seed(0)
    backbone = SmallStages(4, (16, 16, 16), (16, 16))
    for _ in range(3):
        backbone(torch.randn(4, 4, 32, 32) * 3 + 1)  # statistics away from their defaults
    from geodl_course.plumbing import feature_maps

    images = torch.randn(2, 4, 32, 32)
    plain, quick = backbone.eval()(images), feature_maps(backbone, images, training=False)
    assert list(plain) == list(quick) == ["0", "1", "2"]
    assert [tuple(level.shape[-2:]) for level in quick.values()] == [(8, 8), (4, 4), (2, 2)]
    for name in plain:
        torch.testing.assert_close(quick[name], plain[name], atol=1e-5, rtol=1e-5)
    assert all(isinstance(layer, nn.Module) for layer in backbone.stages)
