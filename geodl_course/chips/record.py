"""What one chip and its data set are, and the rules that they keep."""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

DTYPES = ("uint8", "uint16", "float32")
SPLITS = ("train", "val", "test")


class ChipError(ValueError):
    """Bad data: the message names the file or field and the next step."""


@dataclass
class DatasetInfo:
    """What dataset.json says of a chip folder. `mean`, `std`, `counts` are filled in by `write_chips`."""

    name: str
    classes: list[str]
    bands: list[str]
    dtype: str  # uint8, uint16 or float32
    chip_size: int  # pixels
    resolution: float  # metres
    crs: str
    nodata: float | None = None
    mean: list[float] = field(default_factory=list)  # per band, over the valid pixels of train
    std: list[float] = field(default_factory=list)
    licence: str = ""
    citation: str = ""
    recipe: dict = field(default_factory=dict)
    counts: dict = field(default_factory=dict)


@dataclass
class Chip:
    """One chip: image (C, H, W), and instances {class: (H, W) ids} or boxes (M, 4) with labels (M,) in 1..K.

    `cover` is what covers.json says of the whole chip.
    """

    stem: str
    image: np.ndarray
    instances: dict[str, np.ndarray] | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    transform: object = None  # affine, pixel to map
    crs: object = None
    cover: dict | None = None


def boxes_from_instances(raster):
    """Ids (M,) and half-open boxes (M, 4) float32 of the instances in a raster (H, W) of ids, 0 = background.

    Ids come in rising order; an id that does not occur has no box. Lecture 01 builds it.
    """
    from scipy.ndimage import find_objects

    found = [(i, s) for i, s in enumerate(find_objects(raster), start=1) if s is not None]
    ids = np.array([i for i, _ in found], dtype=np.int64)
    boxes = [(x.start, y.start, x.stop, y.stop) for _, (y, x) in found]
    return ids, np.array(boxes, dtype=np.float32).reshape(-1, 4)


def derive_boxes(chip, info):
    """The chip with boxes and labels of its instance rasters, class by class in the order of the data set."""
    parts = [boxes_from_instances(chip.instances[name]) for name in info.classes if name in chip.instances]
    labels = [k for k, name in enumerate(info.classes, start=1) if name in chip.instances]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for _, boxes in parts)])
    return replace(chip, boxes=boxes, labels=np.repeat(np.array(labels, np.int64), [len(ids) for ids, _ in parts]))


def count_objects(counts, chip, info):
    """Add a chip with its objects to `counts`: {"chips": chips, class: objects, ...}, as dataset.json holds them."""
    numbers = np.bincount(chip.labels, minlength=len(info.classes) + 1)[1:].tolist()
    for name, number in [("chips", 1), *zip(info.classes, numbers, strict=True)]:
        counts[name] = counts.get(name, 0) + number


def valid_pixels(image, nodata):
    """True where an image (..., C, H, W) holds data, broadcastable to its shape.

    A pixel of whole numbers is nodata where every band holds the nodata value, so a shadow that is 0 in one band stays
    data. Floats count band by band: NaN or -9999 must never reach a network, and no measured value equals them.
    """
    if nodata is None:
        return np.ones((*image.shape[:-3], 1, *image.shape[-2:]), dtype=bool)
    if image.dtype.kind == "f":
        return ~np.isnan(image) if math.isnan(nodata) else image != nodata
    return (image != nodata).any(axis=-3, keepdims=True)


def check_boxes(boxes, labels, where, size, classes):
    """Raise ChipError for the first of boxes (M, 4) that is degenerate, reversed or outside an image `size` (H, W)."""
    boxes, labels = np.asarray(boxes), np.asarray(labels)
    if len(boxes) != len(labels):
        raise ChipError(f"{where}: {len(boxes)} boxes but {len(labels)} labels. Give each box one label.")
    bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] <= boxes[:, :2]).any(1)
    slack = 1e-3  # float32 rounding of a box that ends on the border
    outside = (boxes[:, :2] < -slack).any(1) | (boxes[:, 2:] > np.array([size[1], size[0]]) + slack).any(1)
    if bad.any():
        i = int(bad.argmax())
        raise ChipError(
            f"{where}: box {i} {boxes[i].tolist()} has no area (x1 <= x0 or y1 <= y0, or not a number). "
            "Boxes are (x0, y0, x1, y1): swap the corners if they are reversed, or remove the box."
        )
    if outside.any():
        i = int(outside.argmax())
        raise ChipError(
            f"{where}: box {i} {boxes[i].tolist()} reaches outside the image of {size[1]} x {size[0]} pixels. "
            "Clip it to the image, or check that its coordinates are pixels."
        )
    wrong = (labels < 1) | (labels > len(classes))
    if wrong.any():
        raise ChipError(
            f"{where}: label {int(labels[wrong.argmax()])} is not in 1..K with K = {len(classes)} "
            f"({', '.join(classes)}). Add the class to the data set or remove the object; 0 is background."
        )


def check_chip(chip, info, where, rasters=None):
    """Raise ChipError unless `chip` fits its data set; messages name the image file `where`, or one of `rasters`.

    rasters: {class: label file}; without it, the names that `write_chips` gives them.
    """
    shape = (len(info.bands), info.chip_size, info.chip_size)
    if chip.image.shape != shape:
        raise ChipError(
            f"{where}: image is {chip.image.shape} (bands, rows, columns), dataset.json says {shape}. "
            "Cut all chips of a data set to one size with data_scripts/chip.py."
        )
    if chip.image.dtype != info.dtype:
        raise ChipError(
            f"{where}: pixels are {chip.image.dtype}, dataset.json says dtype {info.dtype}. Convert the image."
        )
    if chip.image.dtype.kind == "f":
        bad = ~np.isfinite(chip.image) & valid_pixels(chip.image, info.nodata)
        if bad.any():
            raise ChipError(
                f"{where}: {int(bad.sum())} NaN or infinite pixels that are not declared as nodata. "
                'Fill them, or set "nodata" in dataset.json ("nan" for NaN).'
            )
    if chip.instances is not None:
        for name, raster in chip.instances.items():
            path = Path(where).parents[1] / "labels" / name / f"{chip.stem}.tif"
            check_instances(raster, name, info, (rasters or {}).get(name, path))
    elif chip.boxes is not None:
        check_boxes(chip.boxes, chip.labels, where, chip.image.shape[1:], info.classes)


def check_instances(raster, name, info, where):
    """Raise ChipError unless `raster` (H, W) holds the instance ids of class `name`; `where` is its file."""
    if name not in info.classes:
        raise ChipError(
            f"{where}: class folder '{name}' is unknown to dataset.json (classes: {', '.join(info.classes)}). "
            "Rename the folder or add the class to dataset.json."
        )
    if raster.shape != (info.chip_size, info.chip_size):
        raise ChipError(
            f"{where}: label raster is {raster.shape} (rows, columns), its image {info.chip_size} x {info.chip_size}. "
            "Cut both with the same window."
        )
    if raster.dtype.kind not in "ui":
        raise ChipError(f"{where}: ids are {raster.dtype}; they must be whole numbers. Write the raster as uint16.")
    low, high = int(raster.min()), int(raster.max())
    if low < 0 or high > 65535:
        raise ChipError(
            f"{where}: ids run from {low} to {high}; they must lie in 0..65535 with 0 for background. "
            "Renumber the instances 1, 2, 3 ... in each chip."
        )


def _text(value):
    return isinstance(value, str)


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _each(value, fits):
    return isinstance(value, list) and all(map(fits, value))


KINDS = {  # what JSON may hold: the field's check, and the same in words
    **dict.fromkeys(("name", "dtype", "crs", "licence", "citation"), (_text, "text")),
    **dict.fromkeys(("classes", "bands"), (lambda value: _each(value, _text), "a list of texts")),
    "chip_size": (lambda value: type(value) is int and value > 0, "a whole number of pixels"),
    "resolution": (lambda value: _number(value) and value > 0, "a number of metres above 0"),
    "nodata": (lambda value: value is None or _number(value), 'a number, "nan" or null'),
    "mean": (lambda value: _each(value, lambda v: _number(v) and math.isfinite(v)), "a list of numbers"),
    "std": (lambda value: _each(value, lambda v: _number(v) and 0 < v < math.inf), "a list of numbers above 0"),
    "recipe": (lambda value: isinstance(value, dict), "an object of fields"),
    "counts": (
        lambda value: isinstance(value, dict)
        and all(isinstance(counts, dict) and _each(list(counts.values()), _number) for counts in value.values()),
        "an object that counts chips and objects for each split",
    ),
}


def info_from_dict(fields, path):
    """DatasetInfo of the fields of a dataset.json; `path` is the file that a ChipError names."""
    if not isinstance(fields, dict):
        raise ChipError(f"{path}: holds a {type(fields).__name__}, not the fields of a data set. Make it again.")
    fields = dict(fields)
    if fields.get("nodata") == "nan":  # JSON has no NaN
        fields["nodata"] = math.nan
    try:
        info = DatasetInfo(**fields)
    except TypeError as error:
        raise ChipError(
            f"{path}: {error}. Compare its fields with DatasetInfo in geodl_course/chips/record.py."
        ) from None
    for key, (fits, words) in KINDS.items():
        if not fits(getattr(info, key)):
            raise ChipError(
                f"{path}: {key} is {getattr(info, key)!r}; it must be {words}. Correct it or make the data set again."
            )
    if info.dtype not in DTYPES:
        raise ChipError(f"{path}: dtype '{info.dtype}' is none of {', '.join(DTYPES)}. Convert the images.")
    if not (len(info.mean) == len(info.std) == len(info.bands)):
        raise ChipError(
            f"{path}: mean and std need one number for each of the {len(info.bands)} bands. Make the data set again."
        )
    return info


def info_to_dict(info):
    """The fields of dataset.json, such that JSON can hold them."""
    fields = asdict(info)
    if info.nodata is not None and math.isnan(info.nodata):
        fields["nodata"] = "nan"
    return fields
