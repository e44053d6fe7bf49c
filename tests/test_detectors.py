"""What holds for every detector, whichever way it works."""

import json

import pytest
import torch

from geodl_course.chips import Targets
from geodl_course.models import build
from geodl_course.models.detections import Detections
from geodl_course.models.faster_rcnn import faster_rcnn
from geodl_course.models.mask_rcnn import mask_rcnn
from geodl_course.models.ssd import ssd
from geodl_course.models.yolo_v1 import yolo_v1
from tests.bright_boxes import NOTHING, learn, scene

TINY = {"size": 64, "grid": 4, "layers": [[3, 16, 4], [3, 16, 4]]}
DETECTORS = {  # for two classes on chips of 64 px
    "faster_rcnn": lambda **changes: faster_rcnn(2, **changes),
    "ssd": lambda **changes: ssd(2, size=64, **changes),
    "yolo_v1": lambda **changes: yolo_v1(2, **TINY | changes),
    "yolo_v1 from a random start": lambda: yolo_v1(2, **TINY, dense={"start": "random", "hidden": 64}),
}
LOSSES = {
    "faster_rcnn": ["objectness", "rpn_box", "classifier", "box_reg"],
    "ssd": ["classifier", "box_reg"],
    "yolo_v1": ["coordinates", "object", "no_object", "classes"],
}


@pytest.fixture(params=DETECTORS)
def model(request):
    torch.manual_seed(0)
    return DETECTORS[request.param]()


def test_losses_in_training_detections_in_evaluation(model):
    images, targets = scene()
    losses = model(images, targets)
    assert list(losses) == LOSSES[model.settings["system"]]
    assert all(loss.ndim == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    model.settings["detect"]["score"] = 0.0
    found = model.eval()(images)
    assert isinstance(found, Detections) and found.valid.any()
    assert found.boxes.shape == (2, 100, 4)
    assert found.scores.shape == found.labels.shape == found.valid.shape == (2, 100)
    for image in found.per_image():
        assert (image["boxes"] >= 0).all() and (image["boxes"] <= 64).all()
        assert set(image["labels"].tolist()) <= {1, 2}, "background is no detection"
        assert (image["scores"].diff() <= 0).all() and (image["scores"] <= 1).all(), "best first"


def test_learns_a_chip_by_heart(model):
    images, targets = scene()
    yolo = model.settings["system"] == "yolo_v1"  # its scores are a product of two, and it learns more slowly
    empty, full = learn(model, images, targets, steps=150 if yolo else 60)
    assert (empty["scores"] < (0.3 if yolo else 0.5)).all()
    assert yolo or set(full["labels"][full["scores"] > 0.5].tolist()) == {1, 2}
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
    losses = model(images, Targets.from_list([NOTHING] * 2))
    assert all(losses[name] == 0 for name in losses if name in ("rpn_box", "box_reg", "coordinates", "object"))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_padding_of_targets_changes_nothing(model):
    images, targets = scene()
    for stage in {"rpn", "rois"} & model.settings.keys():
        model.settings[stage]["number"] = 10_000  # all of them: which ones a sample takes is chance
    wider = Targets(*(torch.cat((part, part[:, :1]), dim=1) for part in (targets.boxes, targets.labels)),
                    torch.cat((targets.valid, torch.zeros(2, 1, dtype=torch.bool)), dim=1))  # fmt: skip
    first, second = model(images, targets), model(images, wider)
    for name in first:
        torch.testing.assert_close(first[name], second[name])


@pytest.mark.parametrize("name", LOSSES)
def test_settings_of_two_models_are_their_own(name):
    first = DETECTORS[name]()
    stored = json.dumps(first.settings)
    change_all(first.settings)
    assert json.dumps(DETECTORS[name]().settings) == stored


def change_all(settings):
    """Put something else into every list and every dict of settings."""
    for value in list(settings.values() if isinstance(settings, dict) else settings):
        if isinstance(value, (dict, list)):
            change_all(value)
    settings.update(changed=True) if isinstance(settings, dict) else settings.append("changed")


@pytest.mark.parametrize("name", LOSSES)
def test_settings_that_went_through_json_rebuild_the_model(name):
    first = DETECTORS[name](detect={"score": 0.0})
    assert first.settings["detect"]["score"] == 0.0 and first.settings["detect"]["keep"] == 100
    again = build(name, **json.loads(json.dumps(first.settings))).eval()
    again.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again(images).boxes, first.eval()(images).boxes)
    assert again.settings == first.settings


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
    with pytest.raises(ValueError, match=r"no place for an object \(M = 0\): Targets.from_list"):
        model(images, Targets(targets.boxes[:, :0], targets.labels[:, :0], targets.valid[:, :0]))
    with pytest.raises(ValueError, match=r"label 3.*K = 2"):
        model(images, Targets(targets.boxes, targets.labels + 1, targets.valid))
    with pytest.raises(ValueError, match="no area"):
        model(images, Targets(targets.boxes.flip(-1), targets.labels, targets.valid))


@pytest.mark.parametrize("name", LOSSES)
def test_a_setting_that_does_not_exist_is_told(name):
    with pytest.raises(KeyError, match="there is no setting 'detekt': choose among"):
        DETECTORS[name](detekt={"score": 0.1})
    with pytest.raises(KeyError, match="there is no setting 'scores': choose among .*score"):
        DETECTORS[name](detect={"scores": 0.1})


@pytest.mark.parametrize("name", [*LOSSES, "mask_rcnn"])
@pytest.mark.parametrize("wrong", [{"score": 1.5}, {"threshold": -1}, {"score": float("nan")}, {"keep": -3}])
def test_senseless_settings_are_told(name, wrong):
    [(setting, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{setting} is {value}: choose a(t least 1| share from 0 to 1)"):
        (DETECTORS | {"mask_rcnn": lambda **changes: mask_rcnn(2, **changes)})[name](detect=wrong)


@pytest.mark.parametrize("make", [faster_rcnn, mask_rcnn, ssd, yolo_v1])
def test_a_model_of_no_class_is_refused(make):
    with pytest.raises(ValueError, match="classes is 0: choose at least 1"):
        make(0)
