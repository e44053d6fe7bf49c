"""The objects of one image, whatever file they came from, and what every such file must keep."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError


@dataclass
class Annotation:
    """The objects of one image: boxes (M, 4), a class name each, and masks (M, H, W) bool where there are any."""

    file: str
    size: tuple[int, int]  # rows, columns
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    names: list[str] = field(default_factory=list)
    masks: np.ndarray | None = None
    crowd: list[bool] | None = None  # COCO's iscrowd


def check_image(annotations, image):
    """Raise ChipError where the image (a path) that the file `annotations` names does not exist."""
    if not Path(image).is_file():
        raise ChipError(
            f"{annotations} names the image {image}, which does not exist. Restore the image, or remove the entry."
        )


def check_area(boxes, path, names):
    """Raise ChipError for the first of boxes (M, 4) that is reversed or has no area; `names` says which it is."""
    bad = (boxes[:, 2:] <= boxes[:, :2]).any(1) | ~np.isfinite(boxes).all(1)
    if bad.any():
        i = int(bad.argmax())
        raise ChipError(
            f"{path}: {names[i]} has box {boxes[i].tolist()}, which has no area or is reversed. Boxes are (x0, y0, x1, "
            "y1) with x0 < x1 and y0 < y1: correct or remove it."
        )


def box_masks(boxes, size):
    """Masks (M, H, W) bool of boxes (M, 4): the pixels from the rounded corner x0, y0 up to x1, y1."""
    masks = np.zeros((len(boxes), *size), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, np.round(boxes).astype(int).clip(0), strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def short(value):
    """A number as text that reads back as the same number: 3 for 3.0."""
    return str(int(value)) if value == int(value) else repr(float(value))
