"""KITTI: one text file an image and one line an object, boxes only.

A line holds 15 columns: class, truncated, occluded, angle, then the box as left, top, right, bottom in pixels, and
seven on the object in space, which images from above do not have. Only class and box are read; the others are written
as 0. The file says neither which image it belongs to nor its size.
"""

from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError
from geodl_course.datasets.formats.annotation import Annotation, check_area, short

NUMBERS = 14  # columns after the class, whose name may hold blanks


def read_kitti(path, file=None, size=(0, 0)):
    """Annotation of a KITTI file, for the image `file` of `size` (rows, columns), which it does not say itself.

    Raises ChipError naming file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ChipError(f"{path} is missing: an image needs its label file. Restore it.") from None
    except UnicodeDecodeError as error:
        raise ChipError(f"{path}: not a text file in UTF-8 ({error}). Save it as UTF-8.") from None
    names, boxes, told = [], [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, box = _object(line, f"{path}, line {number}")
            names.append(name)
            boxes.append(box)
            told.append(f"line {number}")
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    check_area(boxes, path, told)
    return Annotation(file or f"{Path(path).stem}.tif", size, boxes, names)


def _object(line, where):
    words = line.rsplit(None, NUMBERS)
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        numbers = []
    if len(numbers) != NUMBERS:
        raise ChipError(
            f"{where}: '{line.strip()}' is no KITTI object. It needs a class and {NUMBERS} numbers: truncated, "
            "occluded, angle, left, top, right, bottom and seven more."
        )
    return words[0].strip(), numbers[3:7]


def write_kitti(path, annotation):
    """Write an Annotation as a KITTI file; masks, image name and image size do not fit in and are left out."""
    lines = []
    for name, box in zip(annotation.names, np.asarray(annotation.boxes, np.float64).tolist(), strict=True):
        if not name.strip() or len(name.splitlines()) != 1 or name != name.strip():
            raise ChipError(f"{path}: class {name!r} cannot stand in a line of a KITTI file. Rename the class.")
        lines.append(" ".join([name, "0.00", "0", "0.00", *map(short, box), *["0.00"] * 7]) + "\n")
    Path(path).write_text("".join(lines), encoding="utf-8")
