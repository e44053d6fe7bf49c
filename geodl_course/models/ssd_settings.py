"""Settings of SSD, as plain data that a checkpoint can hold: the small one, the paper's, and those of torchvision."""

import math

from geodl_course.models.settings import check_numbers, check_padding, check_weights, nested, transform_settings


def small_settings(classes, size=128):
    """Settings of the quick model for K = classes: chips of size pixels, objects of about 5 to 90 pixels."""
    return {
        "system": "ssd",  # models.build takes it by this name, from a notebook's classes as well
        "classes": classes,
        "size": [size, size],
        "transform": None,
        "boxes": box_settings([8 / size, 16 / size, 32 / size, 64 / size, 112 / size], [[2, 3]] * 4),
        "weights": [10.0, 10.0, 5.0, 5.0],
        "loss": {"positive": 0.5, "negatives": 3.0},
        "detect": detect_settings(keep=100),
    }


def box_settings(scales, ratios, steps=None, clip=False):
    """Settings of default_boxes."""
    return {"scales": list(scales), "ratios": [list(one) for one in ratios], "steps": steps, "clip": clip}


def detect_settings(score=0.01, threshold=0.45, before=400, keep=200):
    """Settings of detect."""
    return {"score": score, "threshold": threshold, "before": before, "keep": keep}


def paper_settings(classes, bands=3):
    """Settings of the paper's SSD300 for K = classes: 8732 default boxes. Images of any size are resized to 300 x 300.

    Scales as in the authors' code for VOC: 30, 60, 111, 162, 213, 264, 315 of 300 pixels.
    """
    resize = {"min_size": [300], "max_size": 300, "fixed_size": [300, 300]}
    scales = [side / 300 for side in (30, 60, 111, 162, 213, 264, 315)]
    return {
        **small_settings(classes, 300),
        "transform": {"mean": [0.0] * bands, "std": [1.0] * bands, "resize": resize, "multiple": 1},
        "boxes": box_settings(scales, [[2], [2, 3], [2, 3], [2, 3], [2], [2]], [8, 16, 32, 64, 100, 300]),
        "detect": detect_settings(),
    }


def check_settings(settings, maps):
    """Raise ValueError where settings cannot give maps feature maps boxes with an area, or a loss or detections."""
    negatives, size = settings["loss"]["negatives"], settings["size"]
    if len(size) != 2:
        raise ValueError(f"size is {size}: give the height and the width of the chips in pixels")
    check_boxes(settings["boxes"], size, maps)
    check_padding(settings["transform"], size)
    check_numbers(settings)
    check_weights(settings["weights"])
    if negatives is not None and not 0 < negatives < math.inf:
        raise ValueError(f"{negatives} negatives a positive teach no background: 3, or None for all of them")


def check_boxes(boxes, size, maps):
    """Raise ValueError where settings of default_boxes cannot give maps feature maps boxes with an area → None."""
    counts = {"scales": maps + 1, "ratios": maps, **({"steps": maps} if boxes["steps"] else {})}
    for name, wanted in counts.items():
        if len(boxes[name]) != wanted:
            raise ValueError(f"{maps} feature maps need {wanted} {name}, these are {len(boxes[name])}: {boxes[name]}")
    sides = {"scales": boxes["scales"], "steps": boxes["steps"] or [], "size": size}
    for name, values in {**sides, "ratios": [ratio for one in boxes["ratios"] for ratio in one]}.items():
        if not all(0 < value < math.inf for value in values):
            raise ValueError(f"{name} {values} give default boxes of no area: all must be positive and finite")


def torchvision_settings(module):
    """The settings of torchvision's SSD module in our words."""
    generator, (width, height) = module.anchor_generator, module.transform.fixed_size
    boxes = box_settings(map(float, generator.scales), nested(generator.aspect_ratios), generator.steps, generator.clip)
    return {
        "system": "ssd",
        "classes": module.head.classification_head.num_columns - 1,
        "size": [height, width],
        "transform": transform_settings(module.transform),
        "boxes": boxes,
        "weights": list(module.box_coder.weights),
        "loss": {"positive": module.proposal_matcher.high_threshold, "negatives": module.neg_to_pos_ratio},
        "detect": detect_settings(
            module.score_thresh, module.nms_thresh, module.topk_candidates, module.detections_per_img
        ),
    }
