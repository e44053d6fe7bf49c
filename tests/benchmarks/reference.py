"""The references that the course measures itself by: torchvision's detectors on the course's small backbones."""

from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from geodl_course.models.backbones import SmallBackbone
from geodl_course.models.mask_settings import small_mask_settings
from geodl_course.models.ssd_backbones import SmallStages
from geodl_course.models.ssd_settings import small_settings

SIZES = (8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)


def reference_faster_rcnn(
    classes: int, bands: int = 3, size: int = 128, backbone: nn.Module | None = None
) -> FasterRCNN:
    """torchvision's FasterRCNN for `classes` object classes (background comes on top) and chips of `size` px.

    Chips arrive normalised, so the module's own normalisation is the identity and its resize does nothing.
    `backbone` has `out_channels` and gives one map of stride 4; the default is the course's small one.
    """
    return FasterRCNN(**two_stages(classes, bands, size, backbone or SmallBackbone(bands)))


def reference_mask_rcnn(classes: int, bands: int = 3, size: int = 128) -> MaskRCNN:
    """torchvision's MaskRCNN with the backbone, box branch, mask branch and samples of the course's small one."""
    backbone, ours = SmallBackbone(bands), small_mask_settings(classes)
    heads = ours["heads"]
    return MaskRCNN(
        **{**two_stages(classes, bands, size, backbone), "box_batch_size_per_image": ours["rois"]["number"]},
        mask_roi_pool=MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(backbone.out_channels, heads["mask"], 1),
        mask_predictor=MaskRCNNPredictor(heads["mask"][-1], heads["between"], classes + 1),
    )


def two_stages(classes, bands, size, backbone):
    """What both of torchvision's two-stage detectors are told."""
    return {
        "backbone": backbone,
        "rpn_anchor_generator": AnchorGenerator((SIZES,), (RATIOS,)),
        "box_roi_pool": MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(backbone.out_channels * 49, 256),
        "box_predictor": FastRCNNPredictor(256, classes + 1),
        "min_size": size,
        "max_size": size,
        "image_mean": [0.0] * bands,
        "image_std": [1.0] * bands,
        "rpn_pre_nms_top_n_train": 500,
        "rpn_post_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 300,
        "rpn_post_nms_top_n_test": 150,
        "rpn_batch_size_per_image": 128,
        "box_batch_size_per_image": 32,
        "box_detections_per_img": 100,
    }


def reference_ssd(classes: int, bands: int = 3, size: int = 128) -> SSD:
    """torchvision's SSD with the backbone and default boxes of the course's small one; chips arrive normalised."""
    ours = small_settings(classes, size)
    boxes, found = ours["boxes"], ours["detect"]
    return SSD(
        SmallStages(bands),
        DefaultBoxGenerator(boxes["ratios"], scales=boxes["scales"], clip=boxes["clip"]),
        (size, size),
        classes + 1,
        image_mean=[0.0] * bands,
        image_std=[1.0] * bands,
        score_thresh=found["score"],
        nms_thresh=found["threshold"],
        topk_candidates=found["before"],
        detections_per_img=found["keep"],
    )


REFERENCES = {"faster_rcnn": reference_faster_rcnn, "mask_rcnn": reference_mask_rcnn, "ssd": reference_ssd}
