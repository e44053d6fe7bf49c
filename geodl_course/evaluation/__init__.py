"""How good are boxes, and how good are instance masks: average precision, counts, area, and who matched whom."""

from geodl_course.evaluation.detections import (
    SIZES,
    Matches,
    average_precision,
    detect,
    evaluate,
    match_detections,
    precision_recall,
    targets_of,
)
from geodl_course.evaluation.instances import area_scores, instance_scores, mask_average_precision, match_instances

__all__ = [
    "SIZES",
    "Matches",
    "area_scores",
    "average_precision",
    "detect",
    "evaluate",
    "instance_scores",
    "mask_average_precision",
    "match_detections",
    "match_instances",
    "precision_recall",
    "targets_of",
]
