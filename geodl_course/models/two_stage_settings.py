"""Settings of two-stage detectors, as plain data that a checkpoint can hold: quick, full, and those of torchvision."""

from geodl_course.models.settings import check_numbers, check_weights, nested, transform_settings


def small_settings(classes):
    """Settings of the quick model for K = classes: chips of about 128 pixels with objects from 5 pixels on."""
    return {
        "system": "faster_rcnn",  # models.build takes it by this name, from a notebook's classes as well
        "classes": classes,
        "transform": None,
        "anchors": {"sizes": [[8, 16, 32, 64]], "ratios": [[0.5, 1.0, 2.0]]},
        "rpn": {"positive": 0.7, "negative": 0.3, "number": 128, "fraction": 0.5},
        "proposals": {"train": proposal_settings(500, 200), "test": proposal_settings(300, 150)},
        "rois": {"positive": 0.5, "negative": 0.5, "number": 64, "fraction": 0.25},
        "pool_from": ["0"],
        "pool": pool_settings(aligned=True),
        "detect": detect_settings(),
        "heads": {"depth": 1, "hidden": 256},
    }


def proposal_settings(before, after, threshold=0.7, score=0.0, smallest=1e-3):
    """Settings of propose."""
    return {"before": before, "after": after, "threshold": threshold, "score": score, "smallest": smallest}


def pool_settings(output_size=7, sampling_ratio=2, aligned=True, canonical_size=224, canonical_level=4):
    """Settings of pool_rois."""
    canonical = {"canonical_size": canonical_size, "canonical_level": canonical_level}
    return {"output_size": output_size, "sampling_ratio": sampling_ratio, "aligned": aligned, **canonical}


def detect_settings(weights=(10.0, 10.0, 5.0, 5.0), score=0.05, threshold=0.5, keep=100):
    """Settings of detect."""
    return {"weights": list(weights), "score": score, "threshold": threshold, "keep": keep, "smallest": 1e-2}


def full_settings(classes):
    """Settings of the full model for K = classes: a pyramid of five maps, for chips of 256 pixels or more."""
    sizes, levels = [[size] for size in (16, 32, 64, 128, 256)], ["0", "1", "2", "3"]
    return {
        **small_settings(classes),
        "anchors": {"sizes": sizes, "ratios": [[0.5, 1.0, 2.0]] * len(sizes)},
        "rpn": {"positive": 0.7, "negative": 0.3, "number": 256, "fraction": 0.5},
        "proposals": {"train": proposal_settings(1000, 1000), "test": proposal_settings(1000, 500)},
        "rois": {"positive": 0.5, "negative": 0.5, "number": 256, "fraction": 0.25},
        "pool_from": levels,
        "heads": {"depth": 1, "hidden": 1024},
    }


def check_settings(settings):
    """Raise ValueError where settings cannot give a network, a loss or detections → None."""
    check_numbers(settings)
    check_weights(settings["detect"]["weights"])


def torchvision_settings(module):
    """The settings of torchvision's FasterRCNN module in our words."""
    rpn, heads, classes = module.rpn, module.roi_heads, module.roi_heads.box_predictor.cls_score.out_features - 1
    anchors, pool = rpn.anchor_generator, heads.box_roi_pool
    modes = {"train": "training", "test": "testing"}
    limits = {ours: (rpn._pre_nms_top_n[mode], rpn._post_nms_top_n[mode]) for ours, mode in modes.items()}
    rest = rpn.nms_thresh, rpn.score_thresh, rpn.min_size
    last = heads.score_thresh, heads.nms_thresh, heads.detections_per_img
    return {
        **small_settings(classes),  # system and classes; all else follows
        "transform": transform_settings(module.transform),
        "anchors": {"sizes": nested(anchors.sizes), "ratios": nested(anchors.aspect_ratios)},
        "rpn": sampling_settings(rpn),
        "proposals": {mode: proposal_settings(*limit, *rest) for mode, limit in limits.items()},
        "rois": sampling_settings(heads),
        "pool_from": list(pool.featmap_names),
        "pool": torchvision_pool(pool),
        "detect": detect_settings(heads.box_coder.weights, *last),
        "heads": {"depth": len(rpn.head.conv), "hidden": heads.box_predictor.cls_score.in_features},
    }


def torchvision_pool(pool):
    """Settings of pool_rois that do what torchvision's MultiScaleRoIAlign pool does."""
    canonical = pool.canonical_scale, pool.canonical_level
    return pool_settings(pool.output_size[0], pool.sampling_ratio, False, *canonical)


def sampling_settings(stage):
    """Thresholds and sample sizes of one stage of torchvision's detector, in our words."""
    matcher, sampler = stage.proposal_matcher, stage.fg_bg_sampler
    limits = {"positive": matcher.high_threshold, "negative": matcher.low_threshold}
    return {**limits, "number": sampler.batch_size_per_image, "fraction": sampler.positive_fraction}
