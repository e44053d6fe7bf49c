"""The oracles can fail: parts are broken on purpose, and the comparison with torchvision must notice each time.

Mirrored code imports names, so a part is replaced in all modules that may use it.
"""

import pytest
import torch
from torch.nn import functional

from geodl_course.models import detections, mask_heads, roi_heads, rpn
from geodl_course.ops import boxes, masks, matching, roi_align
from tests.oracles import test_mask_rcnn_oracles as mask_oracles
from tests.oracles.test_faster_rcnn_oracles import compare_detections, compare_losses


def swap(call):
    """The same function with x0 and x1 of its result exchanged."""
    return lambda *a, **k: call(*a, **k)[..., [2, 1, 0, 3]]


def without_exp(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    x, y, width, height = boxes.to_centres(anchors)
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas.unbind(-1), weights, strict=True))
    x, y, width, height = x + dx * width, y + dy * height, width * (1 + dw), height * (1 + dh)
    return torch.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), dim=-1)


def one_off(*arguments, **settings):
    return [level + 1 for level in pyramid_anchors(*arguments, **settings)]


def wrong_beta(*a, beta, **k):
    return smooth_l1(*a, beta=1.0, **k)


def background_kept(logits, *rest, **settings):
    return detect(logits.roll(1, dims=-1), *rest, **settings)


def shifted(*a, **k):
    return cut(*a[:-1], True)


def forgetful(iou, valid, positive, negative, force_best):
    return match_boxes(iou, valid, positive, negative, False)


def unweighted(values, anchors, weights=None):
    return encode(values, anchors)


def greedy(*arguments):
    *rest, threshold, keep = arguments
    return batched_nms(*rest, 0.95, keep)


pyramid_anchors, detect, match_boxes = rpn.pyramid_anchors, roi_heads.detect, matching.match_boxes
cut, encode, batched_nms = roi_align.roi_align, boxes.encode_boxes, boxes.batched_nms
smooth_l1 = functional.smooth_l1_loss

DETECTION = {
    "x0 and x1 swapped": ("decode_boxes", swap(boxes.decode_boxes)),
    "decoder without exp": ("decode_boxes", without_exp),
    "anchors off by one": ("pyramid_anchors", one_off),
    "background not dropped": ("detect", background_kept),
    "half a cell off": ("roi_align", shifted),
    "suppression too lenient": ("batched_nms", greedy),
    "boxes not clipped": ("clip_boxes", lambda values, size: values),
}
LOSSES = {
    "no forced matches": ("match_boxes", forgetful),
    "box weights forgotten": ("encode_boxes", unweighted),
    "anchors off by one": ("pyramid_anchors", one_off),
    "half a cell off": ("roi_align", shifted),
}


def replace_part(monkeypatch, name, broken):
    for module in (rpn, roi_heads, detections):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, broken)


def test_nothing_broken():
    compare_detections("one level")
    compare_losses("one level")


@pytest.mark.parametrize("name", DETECTION)
def test_broken_detection_is_noticed(monkeypatch, name):
    replace_part(monkeypatch, *DETECTION[name])
    with pytest.raises(AssertionError):
        compare_detections("one level")


@pytest.mark.parametrize("name", LOSSES)
def test_broken_training_is_noticed(monkeypatch, name):
    replace_part(monkeypatch, *LOSSES[name])
    with pytest.raises(AssertionError):
        compare_losses("one level")


def test_wrong_beta_is_noticed(monkeypatch):
    class Broken:
        def __getattr__(self, name):
            return wrong_beta if name == "smooth_l1_loss" else getattr(functional, name)

    replace_part(monkeypatch, "F", Broken())
    with pytest.raises(AssertionError):
        compare_losses("one level")


def next_class(logits, labels, activation="sigmoid"):
    return pick(logits.roll(1, dims=1), labels, activation)


def turned(*arguments):
    return paste(*arguments).mT


def not_rounded(small, found, size, aligned):
    return paste(small, found, size, True)


def half_a_pixel_off(*arguments):
    return cut_out(*arguments[:-1], True)


def any_object(found, masks, *rest):
    return goals(found, masks.roll(1, dims=0), *rest)


pick, paste, cut_out, goals = mask_heads.pick_maps, masks.paste_masks, masks.cut_masks, mask_heads.mask_goals
MASKS = {"the next class's mask": ("pick_maps", next_class), "rows and columns exchanged": ("paste_masks", turned),
         "boxes not rounded as there": ("paste_masks", not_rounded)}  # fmt: skip
GOALS = {"half a pixel off": ("cut_masks", half_a_pixel_off), "another object's mask": ("mask_goals", any_object)}


@pytest.mark.parametrize("name", MASKS)
def test_broken_masks_are_noticed(monkeypatch, name):
    monkeypatch.setattr(mask_heads, *MASKS[name])
    with pytest.raises(AssertionError, match="pixels of"):
        mask_oracles.compare_masks(mask_oracles.small_reference().eval())


@pytest.mark.parametrize("name", GOALS)
def test_broken_goals_are_noticed(monkeypatch, name):
    monkeypatch.setattr(mask_heads, *GOALS[name])
    with pytest.raises(AssertionError):
        mask_oracles.compare_losses("one level")
