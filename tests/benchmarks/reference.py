"""The reference that the course measures itself by: torchvision's Faster R-CNN on the course's small backbone."""

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

SIZES = (8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)
CHANNELS = 96


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def reference_backbone(bands: int = 3) -> nn.Sequential:
    """images (B, bands, H, W) -> (B, 96, H / 4, W / 4)."""
    body = nn.Sequential(
        block(bands, 32, 2), block(32, 32, 1), block(32, 64, 2), block(64, 64, 1), block(64, 96, 1), block(96, 96, 1)
    )
    body.out_channels = CHANNELS
    return body


def reference_faster_rcnn(
    classes: int, bands: int = 3, size: int = 128, backbone: nn.Module | None = None
) -> FasterRCNN:
    """torchvision's FasterRCNN for `classes` object classes (background comes on top) and chips of `size` px.

    Chips arrive normalised, so the module's own normalisation is the identity and its resize does nothing.
    `backbone` has `out_channels` and gives one map of stride 4; the default is `reference_backbone`.
    """
    backbone = backbone or reference_backbone(bands)
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator((SIZES,), (RATIOS,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(backbone.out_channels * 49, 256),
        box_predictor=FastRCNNPredictor(256, classes + 1),
        min_size=size,
        max_size=size,
        image_mean=[0.0] * bands,
        image_std=[1.0] * bands,
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=150,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=64,
        box_detections_per_img=100,
    )
