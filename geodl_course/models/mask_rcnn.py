"""Mask R-CNN (He et al. 2017, arXiv 1703.06870): Faster R-CNN that also says which pixels of a box are the object."""

import copy

import torch
from torch import nn

from geodl_course.models.backbones import make_backbone, resnet_fpn
from geodl_course.models.faster_rcnn import FasterRCNN, check_takes_over, take_over
from geodl_course.models.faster_rcnn import assemble as assemble_boxes
from geodl_course.models.mask_heads import MaskHead, MaskRoIHeads, convolutions, paste_detections
from geodl_course.models.mask_settings import full_mask_settings, small_mask_settings, torchvision_mask_settings
from geodl_course.models.settings import change
from geodl_course.models.takeover import check_kinds, copy_parameters
from geodl_course.plumbing import check_masks


class MaskRCNN(FasterRCNN):
    """Images (B, C, H, W), in training with Targets that have masks → a dict of losses; Detections with masks."""

    def __init__(self, backbone, rpn_head, box_head, mask_head, settings):
        super().__init__(backbone, rpn_head, box_head, settings)
        self.roi_heads = MaskRoIHeads(box_head, mask_head, settings)  # instead of RoIHeads; all else stays

    def forward(self, images, targets=None):
        check_masks(targets, self.training)
        result = super().forward(images, targets)
        if self.training:
            return result
        return paste_detections(result, images.shape[-2:], self.settings["mask_pool"]["aligned"])


def make_mask_head(channels, settings):
    """The untrained mask head that settings describe, for maps (B, channels, H, W)."""
    widths, between = settings["heads"]["mask"], settings["heads"]["between"]
    background = settings["mask"]["activation"] == "softmax"  # a map of its own
    return MaskHead(convolutions(channels, widths), widths[-1], between, settings["classes"] + background)


def add_masks(model, mask_head):
    """The parts of a FasterRCNN model, with a mask head, as MaskRCNN."""
    return MaskRCNN(model.backbone, model.rpn.head, model.roi_heads.head, mask_head, model.settings)


def assemble(backbone, settings):
    """A MaskRCNN around backbone (a module with out_channels) with untrained heads that fit settings."""
    return add_masks(assemble_boxes(backbone, settings), make_mask_head(backbone.out_channels, settings))


def mask_rcnn(classes, bands=3, backbone=None, **changes):
    """The quick model for K = classes on chips with bands bands; images (B, bands, H, W).

    backbone: a module (returns one map or a dict of maps, has out_channels) or settings of one; the small backbone by
    default. changes: any of small_mask_settings, nested, e.g. mask={"activation": "softmax"}. Lecture 06.
    """
    if not isinstance(backbone, nn.Module):
        backbone = make_backbone(**{"bands": bands, **(backbone or {})})
    return assemble(backbone, change(small_mask_settings(classes), changes))


def mask_rcnn_resnet50_fpn(classes, bands=3, pretrained=True, **changes):
    """The full model for K = classes: ResNet-50 with a feature pyramid, images (B, bands, H, W).

    pretrained: start from ImageNet weights where they can be had. changes: any of full_mask_settings, nested.
    """
    backbone = resnet_fpn("resnet50", pretrained, bands)
    return assemble(backbone, change(full_mask_settings(classes), changes))


def from_torchvision(module):
    """Our MaskRCNN with the weights and settings of torchvision's MaskRCNN module: same images, same detections.

    Images as torchvision takes them (0..1), but stacked (B, C, H, W). The weights are copied. Raises TypeError for
    detectors of another kind or with a predictor of one's own.
    """
    check_takes_over(module)
    check_takes_over_masks(module.roi_heads)
    settings = torchvision_mask_settings(module)
    mask_head = make_mask_head(module.backbone.out_channels, settings)
    copy_mask_weights(module.roi_heads, mask_head)
    return add_masks(take_over(module, settings), mask_head).train(module.training)


@torch.no_grad()
def copy_mask_weights(heads, mask_head):
    """The weights of the mask head and predictor of torchvision's RoIHeads, heads, into mask_head."""
    if any(isinstance(layer, nn.BatchNorm2d) for layer in heads.mask_head.modules()):  # some have: use it as it is
        mask_head.trunk = copy.deepcopy(heads.mask_head)
    theirs = [p for part in (heads.mask_head, heads.mask_predictor) for p in part.parameters()]
    # The last layer has a map for the background there, the first, unused.
    copy_parameters(theirs, mask_head.parameters(), lambda other, mine: other[-len(mine) :])


def check_takes_over_masks(heads):
    """Raise TypeError where from_torchvision cannot promise the same masks from torchvision's RoIHeads, heads."""
    if not heads.has_mask() or heads.has_keypoint():
        raise TypeError("mask_rcnn.from_torchvision takes over boxes and masks; faster_rcnn has one for boxes")
    pool, boxes = heads.mask_roi_pool, heads.box_roi_pool
    mask_head, predictor = heads.mask_head, heads.mask_predictor
    check_kinds({"MultiScaleRoIAlign": pool, "MaskRCNNHeads": mask_head, "MaskRCNNPredictor": predictor})
    if len(set(pool.output_size)) > 1:
        raise TypeError(f"from_torchvision needs square RoIs, not {pool.output_size}")
    if list(pool.featmap_names) != list(boxes.featmap_names):
        raise TypeError(f"masks are cut from maps {pool.featmap_names}, boxes from {boxes.featmap_names}: not known")
