"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on whole batches: no loop over images, anchors or boxes."""

import copy
from dataclasses import replace

import torch
from torch import nn

from geodl_course.models.backbones import make_backbone, resnet_fpn
from geodl_course.models.layers import FlattenBins
from geodl_course.models.roi_heads import BoxHead, RoIHeads, two_layers
from geodl_course.models.rpn import RPN, RPNHead
from geodl_course.models.settings import change
from geodl_course.models.takeover import check_kinds, copy_parameters
from geodl_course.models.two_stage_settings import (
    check_settings,
    full_settings,
    small_settings,
    torchvision_settings,
)
from geodl_course.plumbing import check_batch, feature_maps, prepare, resize_boxes


class FasterRCNN(nn.Module):
    """Images (B, C, H, W), in training with Targets → a dict of losses in training, Detections in evaluation."""

    def __init__(self, backbone, rpn_head, box_head, settings):
        super().__init__()
        self.backbone, self.settings = backbone, settings
        self.rpn = RPN(rpn_head, settings)
        self.roi_heads = RoIHeads(box_head, settings)

    def forward(self, images, targets=None):
        check_batch(images, targets, self.backbone, self.settings["classes"], self.training)
        inputs, size = prepare(images, self.settings["transform"], self.training)
        if self.training:
            boxes = resize_boxes(targets.boxes.to(images.dtype), images.shape[-2:], size)
            targets = replace(targets, boxes=boxes)
        maps = feature_maps(self.backbone, inputs, self.training)  # {"0": (B, C, H, W), ...}
        proposals, valid, losses = self.rpn(list(maps.values()), inputs.shape[-2:], size, targets)
        pooled = [maps[name] for name in self.settings["pool_from"]]
        result = self.roi_heads(pooled, size, proposals, valid, targets)
        if self.training:
            return {**losses, **result}
        return replace(result, boxes=resize_boxes(result.boxes, size, images.shape[-2:]))


def assemble(backbone, settings):
    """A FasterRCNN around backbone (a module with out_channels) with untrained heads that fit settings."""
    check_settings(settings)
    channels, bins, heads = backbone.out_channels, settings["pool"]["output_size"], settings["heads"]
    anchors = len(settings["anchors"]["sizes"][0]) * len(settings["anchors"]["ratios"][0])
    rpn_head = RPNHead(channels, anchors, heads["depth"])
    box_head = BoxHead(two_layers(channels * bins**2, heads["hidden"]), heads["hidden"], settings["classes"])
    recipe = getattr(backbone, "settings", {"name": "own"})  # what a checkpoint needs to build it again
    return FasterRCNN(backbone, rpn_head, box_head, {**settings, "backbone": recipe})


def faster_rcnn(classes, bands=3, backbone=None, **changes):
    """The quick model for K = classes on chips with bands bands; images (B, bands, H, W).

    backbone: a module (returns one map or a dict of maps, has out_channels) or settings of one; the small backbone by
    default. changes: any of small_settings, nested, e.g. detect={"score": 0.3}. Lecture 03.
    """
    if not isinstance(backbone, nn.Module):
        backbone = make_backbone(**{"bands": bands, **(backbone or {})})
    return assemble(backbone, change(small_settings(classes), changes))


def faster_rcnn_resnet50_fpn(classes, bands=3, pretrained=True, **changes):
    """The full model for K = classes: ResNet-50 with a feature pyramid, images (B, bands, H, W).

    pretrained: start from ImageNet weights where they can be had. changes: any of full_settings, nested.
    """
    backbone = resnet_fpn("resnet50", pretrained, bands)
    return assemble(backbone, change(full_settings(classes), changes))


def from_torchvision(module):
    """Our FasterRCNN with the weights and settings of torchvision's FasterRCNN module: same images, same detections.

    Images as torchvision takes them (0..1), but stacked (B, C, H, W). The weights are copied. Raises TypeError for
    detectors of another kind or with a box predictor of one's own.
    """
    if module.roi_heads.has_mask() or module.roi_heads.has_keypoint():
        other = "mask_rcnn.from_torchvision takes over masks" if module.roi_heads.has_mask() else "keypoints stay there"
        raise TypeError(f"this takes over boxes only, and {type(module).__name__} predicts more: {other}")
    check_takes_over(module)
    return take_over(module, torchvision_settings(module))


def take_over(module, settings):
    """A FasterRCNN with settings and the weights of the parts of torchvision's module that find boxes."""
    model = assemble(copy.deepcopy(module.backbone), settings)
    if type(module.roi_heads.box_head).__name__ != "TwoMLPHead":  # some have convolutions: use that part as it is
        trunk, hidden = copy.deepcopy(module.roi_heads.box_head), module.roi_heads.box_predictor.cls_score.in_features
        model.roi_heads.head = BoxHead(trunk, hidden, settings["classes"])
    copy_weights(module, model)
    return model.train(module.training)


@torch.no_grad()
def copy_weights(module, model):
    """The weights of the heads of torchvision's FasterRCNN module, arranged as ours, into model."""
    parts = [module.rpn.head, module.roi_heads.box_head, module.roi_heads.box_predictor]
    theirs = [parameter for part in parts for parameter in part.parameters()]
    # 1 x 1 convolutions (A, C, 1, 1) are linear here, (A, C).
    copy_parameters(theirs, [*model.rpn.parameters(), *model.roi_heads.parameters()])
    flatten, first, *_ = model.roi_heads.head.trunk
    if isinstance(flatten, FlattenBins):  # (hidden, C * n * n) there, (hidden, n * n * C) here
        bins = first.weight.unflatten(1, (model.backbone.out_channels, -1))
        first.weight.data = bins.transpose(1, 2).flatten(1)


def check_takes_over(module):
    """Raise TypeError where from_torchvision cannot promise the same detections from module."""
    rpn, heads = module.rpn, module.roi_heads
    known = {"RPNHead": rpn.head, "AnchorGenerator": rpn.anchor_generator}
    known |= {"MultiScaleRoIAlign": heads.box_roi_pool, "FastRCNNPredictor": heads.box_predictor}
    check_kinds(known)
    if len(set(heads.box_roi_pool.output_size)) > 1:
        raise TypeError(f"from_torchvision needs square RoIs, not {heads.box_roi_pool.output_size}")
