"""Settings of Mask R-CNN: those of Faster R-CNN and a few more."""

from geodl_course.models.two_stage_settings import full_settings, pool_settings, small_settings, torchvision_pool
from geodl_course.models.two_stage_settings import torchvision_settings as box_settings


def with_masks(settings, widths, between):
    """Settings of Faster R-CNN with a mask branch: convolutions of these widths, between channels after them."""
    return {
        **settings,
        "system": "mask_rcnn",
        "mask_pool": mask_pool_settings(**{**settings["pool"], "output_size": 14}),
        "mask": {"activation": "sigmoid"},  # or softmax, over the classes and background
        "heads": {**settings["heads"], "mask": list(widths), "between": between},
    }


def mask_pool_settings(layer="align", **pool):
    """Settings of pool_flat; layer "pool" rounds RoIs to cells as before RoIAlign."""
    return {"layer": layer, **pool_settings(**pool)}


def small_mask_settings(classes):
    """Settings of the quick model for K = classes: chips of about 128 pixels with objects from 5 pixels on."""
    return with_masks(small_settings(classes), [64, 64, 64, 64], 64)


def full_mask_settings(classes):
    """Settings of the full model for K = classes: the paper's mask branch on a pyramid of five maps."""
    return with_masks(full_settings(classes), [256, 256, 256, 256], 256)


def torchvision_mask_settings(module):
    """The settings of torchvision's MaskRCNN module in our words."""
    heads = module.roi_heads
    up, pool = heads.mask_predictor.conv5_mask, heads.mask_roi_pool
    widths = [layer.out_channels for layer in heads.mask_head.modules() if hasattr(layer, "dilation")]
    settings = with_masks(box_settings(module), widths, up.out_channels)
    return {**settings, "mask_pool": mask_pool_settings(**torchvision_pool(pool))}
