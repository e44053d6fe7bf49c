"""Chips: the chip folder on disk, and the same chips decoded in memory as batches for training.

    towns/dataset.json               classes, bands, cell size, CRS, statistics, licence, how it was made
          train/images/000123.tif    image with CRS and transform (JPEG and PNG with world files are read too)
          train/labels/tank/000123.tif   one folder a class, 0 = background, each instance its own id
          train/boxes.json           instead of labels/ where a source has boxes only (COCO)

Boxes are half-open pixel boxes (x0, y0, x1, y1): x1 and y1 are the first column and row outside. Labels run 1..K in
the order of `DatasetInfo.classes`; 0 is background.
"""

import contextlib
import errno
import json
import math
import shutil
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

DTYPES = ("uint8", "uint16", "float32")
IMAGE_SUFFIXES = (".tif", ".tiff", ".jpg", ".jpeg", ".png")
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
    """One chip: image (C, H, W), and instances {class: (H, W) ids} or boxes (M, 4) with labels (M,) in 1..K."""

    stem: str
    image: np.ndarray
    instances: dict[str, np.ndarray] | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    transform: object = None  # affine, pixel to map
    crs: object = None


# ---------------------------------------------------------------------------------------------- parts


def boxes_from_instances(raster):
    """Ids (M,) and half-open boxes (M, 4) float32 of the instances in a raster (H, W) of ids, 0 = background.

    Ids come in rising order; an id that does not occur has no box. Lecture 01 builds it.
    """
    from scipy.ndimage import find_objects

    found = [(i, s) for i, s in enumerate(find_objects(raster), start=1) if s is not None]
    ids = np.array([i for i, _ in found], dtype=np.int64)
    boxes = [(x.start, y.start, x.stop, y.stop) for _, (y, x) in found]
    return ids, np.array(boxes, dtype=np.float32).reshape(-1, 4)


def valid_pixels(image, nodata):
    """True where an image (..., C, H, W) holds data, broadcastable to its shape.

    A pixel is nodata where every band holds the nodata value (so a shadow that is 0 in one band stays data); a nodata
    value of NaN counts band by band, since NaN must never reach a network.
    """
    if nodata is None:
        return np.ones((*image.shape[:-3], 1, *image.shape[-2:]), dtype=bool)
    if math.isnan(nodata):
        return ~np.isnan(image)
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


def check_chip(chip, info, where):
    """Raise ChipError unless `chip` fits its data set; `where` is the image file that messages name."""
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
            check_instances(raster, name, info, Path(where).parents[1] / "labels" / name / f"{chip.stem}.tif")
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


def _derive_boxes(chip, info):
    parts = [boxes_from_instances(chip.instances[name]) for name in info.classes if name in chip.instances]
    labels = [k for k, name in enumerate(info.classes, start=1) if name in chip.instances]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for _, boxes in parts)])
    return replace(chip, boxes=boxes, labels=np.repeat(np.array(labels, np.int64), [len(ids) for ids, _ in parts]))


# ------------------------------------------------------------------------------------------- on disk


@contextlib.contextmanager
def _raster_env():
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    # Listing the folder at each open makes reading n chips cost n * n.
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a chip without a place on the map is still a chip
        yield


def _read_raster(path):
    import rasterio

    try:
        with rasterio.open(path) as src:
            return src.read(), src.transform, src.crs
    except rasterio.errors.RasterioIOError as error:
        raise ChipError(
            f"{path}: cannot be read as an image ({error}). The file is damaged or cut short: "
            "make or fetch the data set again."
        ) from error


def _write_raster(path, bands, transform, crs, nodata=None):
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, crs=crs, transform=transform,
            nodata=nodata, interleave="band", compress="deflate", zlevel=1,
        ) as dst:
            dst.write(bands)
        path.write_bytes(memory.getbuffer())  # Python reports a full disk here; GDAL may only log it on close


def read_info(folder):
    """DatasetInfo of a chip folder. Raises ChipError where dataset.json is missing, broken or lacks a field."""
    path = Path(folder) / "dataset.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ChipError(
            f"{path} is missing, so {folder} is no chip folder. Make it with data_scripts/make.py, fetch.py or chip.py."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ChipError(f"{path}: not valid JSON ({error}). Repair it or make the data set again.") from None
    return _info_from_dict(fields, path)


def _info_from_dict(fields, path):
    fields = dict(fields)
    if fields.get("nodata") == "nan":  # JSON has no NaN
        fields["nodata"] = math.nan
    try:
        info = DatasetInfo(**fields)
    except TypeError as error:
        raise ChipError(f"{path}: {error}. Compare its fields with DatasetInfo in geodl_course/chips.py.") from None
    if info.dtype not in DTYPES:
        raise ChipError(f"{path}: dtype '{info.dtype}' is none of {', '.join(DTYPES)}. Convert the images.")
    if not (len(info.mean) == len(info.std) == len(info.bands)):
        raise ChipError(
            f"{path}: mean and std need one number for each of the {len(info.bands)} bands. Make the data set again."
        )
    return info


def _info_to_dict(info):
    fields = asdict(info)
    if info.nodata is not None and math.isnan(info.nodata):
        fields["nodata"] = "nan"
    return fields


def image_files(folder, split):
    """{stem: path} of the images of one split, in order. Raises ChipError where the split has none."""
    images = Path(folder) / split / "images"
    if not images.is_dir():
        have = [s for s in SPLITS if (Path(folder) / s / "images").is_dir()]
        raise ChipError(f"{images} is missing. Splits of this data set: {', '.join(have) or 'none'}.")
    files = {}
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if path.stem in files:
            raise ChipError(f"{path}: {files[path.stem].name} has the same stem. Keep one of the two.")
        files[path.stem] = path
    return files


def _read_boxes(folder, split, info, stems):
    path = Path(folder) / split / "boxes.json"
    if not path.exists():
        return None
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        names = {c["id"]: c["name"] for c in coco["categories"]}
        images = {i["id"]: i["file_name"] for i in coco["images"]}
        found = [(a["image_id"], a["category_id"], a["bbox"]) for a in coco["annotations"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ChipError(f"{path}: not a COCO file ({error!r}). It needs images, annotations and categories.") from None
    for name in images.values():
        if Path(name).stem not in stems:
            raise ChipError(f"{path} names image '{name}', which is not in {path.parent / 'images'}. Restore the "
                            "image, or take its entry out of boxes.json.")
    boxes = {stem: ([], []) for stem in stems}
    for image, category, (x, y, w, h) in found:
        if image not in images or names.get(category) not in info.classes:
            raise ChipError(
                f"{path}: an annotation has image_id {image} and category_id {category} ('{names.get(category)}'), "
                "but one of them is not listed in this file or in dataset.json. Correct the id or remove it."
            )
        rows, labels = boxes[Path(images[image]).stem]
        rows.append((x, y, x + w, y + h))
        labels.append(info.classes.index(names[category]) + 1)
    return {
        stem: (np.array(rows, np.float32).reshape(-1, 4), np.array(labels, np.int64))
        for stem, (rows, labels) in boxes.items()
    }


def _class_folders(folder, split, info, stems):
    labels = Path(folder) / split / "labels"
    names = sorted(p.name for p in labels.iterdir() if p.is_dir()) if labels.is_dir() else []
    for name in names:
        if name not in info.classes:
            check_instances(np.zeros((1, 1), np.uint8), name, info, labels / name)
        for path in sorted((labels / name).iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg"):
                raise ChipError(f"{path}: JPEG changes pixel values, so the ids are lost. Write labels as GeoTIFF.")
            if path.suffix == ".tif" and path.stem not in stems:
                raise ChipError(f"{path}: no image of this name in {labels.parent / 'images'}. Restore the image, or "
                                "remove the label raster.")
    return names


def _read_split(folder, split, stems=None):
    """Yield the chips of a split one by one; the reading side of everything."""
    folder, info = Path(folder), read_info(folder)
    files = image_files(folder, split)
    boxes = _read_boxes(folder, split, info, files)
    names = _class_folders(folder, split, info, files)
    if boxes is not None and names:
        raise ChipError(f"{folder / split} has both boxes.json and labels/. Keep the one that is right.")
    with _raster_env():
        for stem in files if stems is None else stems:
            if stem not in files:
                raise ChipError(f"{folder / split / 'images'}: no image '{stem}'. Choose one of its {len(files)}.")
            image, transform, crs = _read_raster(files[stem])
            chip = Chip(stem, image, transform=transform, crs=crs or info.crs)
            if boxes is None:
                rasters = {n: folder / split / "labels" / n / f"{stem}.tif" for n in names}
                chip.instances = {n: _read_ids(path) for n, path in rasters.items() if path.exists()}
            else:
                chip.boxes, chip.labels = boxes[stem]
            check_chip(chip, info, files[stem])
            yield chip if boxes is not None else _derive_boxes(chip, info)


def _read_ids(path):
    bands, _, _ = _read_raster(path)
    if len(bands) != 1:
        raise ChipError(f"{path}: a label raster has one band, this one {len(bands)}. Write one raster a class.")
    return bands[0]


def read_chip(folder, split, stem):
    """The Chip `stem` of a split, with boxes derived from its instance rasters or taken from boxes.json."""
    return next(_read_split(folder, split, [stem]))


def validate(folder):
    """Read every chip of a folder and raise ChipError for the first that breaks the rules, naming file and next step.

    Chips without objects and splits that a data set does not have are legal.
    """
    info = read_info(folder)
    splits = [s for s in SPLITS if (Path(folder) / s).is_dir()]
    if not splits:
        raise ChipError(f"{folder} has none of the folders train, val, test. Make the data set again.")
    for split in splits:
        found = sum(1 for _ in _read_split(folder, split))
        expected = info.counts.get(split, {}).get("chips", found)
        if found != expected:
            raise ChipError(
                f"{Path(folder) / split / 'images'} holds {found} chips, dataset.json counts {expected}. "
                "Make the data set again, or correct counts in dataset.json."
            )


def write_chips(folder, info, chips):
    """Write an iterable of (split, Chip) as chip folder `folder`, and return its path.

    Everything is written beside the target as `<name>.part` and renamed when it is whole, so a kill or a full disk
    never leaves a folder that looks finished. Statistics (over valid pixels of train, or of all chips where there is
    no train) and counts are filled into dataset.json. Each chip is checked before it is written. Raises ChipError.
    """
    folder = Path(folder)
    if folder.exists():
        raise ChipError(f"{folder} exists already and is kept as it is. Remove it or choose another name.")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # left behind by a kill
    try:
        part.mkdir(parents=True)
        _write_all(part, info, chips)
        part.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ChipError(
            f"{folder}: the disk is full, so nothing was kept. Free some space or choose another place, then run again."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _write_all(part, info, chips):
    sums, counts, boxes, kinds = {}, {}, {}, set()
    with _raster_env():
        for split, chip in chips:
            where = part.with_suffix("") / split / "images" / f"{chip.stem}.tif"
            if split not in SPLITS:
                raise ChipError(f"{where}: split '{split}' is none of {', '.join(SPLITS)}. Choose one of them.")
            check_chip(chip, info, where)
            kinds.add(chip.instances is None)
            if len(kinds) > 1:
                raise ChipError(f"{where}: some chips have instance rasters, some boxes only. Choose one kind.")
            if chip.instances is not None:
                chip = _derive_boxes(chip, info)
            _write_chip(part / split, chip, info)
            _count(counts.setdefault(split, {"chips": 0, **dict.fromkeys(info.classes, 0)}), chip, info)
            sums[split] = sums.get(split, 0) + _moments(chip.image, info.nodata)
            if chip.instances is None:
                boxes.setdefault(split, []).append(replace(chip, image=None))
    if not counts:
        raise ChipError(f"{part.with_suffix('')}: no chip to write. Check that the scene holds valid pixels.")
    for split, rows in boxes.items():
        (part / split / "boxes.json").write_text(json.dumps(_coco(rows, info)), encoding="utf-8")
    mean, std = _mean_std(sums.get("train", sum(sums.values())))
    done = replace(info, mean=mean, std=std, counts=counts)
    (part / "dataset.json").write_text(json.dumps(_info_to_dict(done), indent=1) + "\n", encoding="utf-8")


def _write_chip(folder, chip, info):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    _write_raster(folder / "images" / f"{chip.stem}.tif", chip.image, chip.transform, chip.crs, info.nodata)
    for name, raster in (chip.instances or {}).items():
        if raster.any():
            (folder / "labels" / name).mkdir(parents=True, exist_ok=True)
            path = folder / "labels" / name / f"{chip.stem}.tif"
            _write_raster(path, raster[None].astype(np.uint16), chip.transform, chip.crs)


def _count(counts, chip, info):
    counts["chips"] += 1
    for name, number in zip(info.classes, np.bincount(chip.labels, minlength=len(info.classes) + 1)[1:], strict=True):
        counts[name] += int(number)


def _moments(image, nodata):
    """Number, sum and sum of squares per band (3, C) over valid pixels."""
    valid = np.broadcast_to(valid_pixels(image, nodata), image.shape)
    values = np.where(valid, image, 0).astype(np.float64)
    return np.stack([valid.sum((1, 2)), values.sum((1, 2)), np.square(values).sum((1, 2))])


def _mean_std(moments):
    number, total, squares = moments
    mean = total / np.maximum(number, 1)
    variance = np.maximum(squares / np.maximum(number, 1) - mean**2, 0)
    std = np.where(variance > 1e-12, np.sqrt(variance), 1.0)  # a constant band must not divide by zero
    return mean.round(6).tolist(), std.round(6).tolist()


def _coco(chips, info):
    annotations = [
        {"image_id": i, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0),
         "iscrowd": 0}
        for i, chip in enumerate(chips, start=1)
        for label, (x0, y0, x1, y1) in zip(chip.labels, np.asarray(chip.boxes, np.float64).tolist(), strict=True)
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{chip.stem}.tif", "width": info.chip_size, "height": info.chip_size}
            for i, chip in enumerate(chips, start=1)
        ],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations, start=1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(info.classes, start=1)],
    }


# ----------------------------------------------------------------------------------------- in memory


@dataclass
class Targets:
    """Objects of a batch, padded: boxes (B, M, 4), labels (B, M), valid (B, M), masks (B, M, H, W) or None.

    M is the largest number of objects in the batch, at least 1. Padding has valid False, label 0 and the unit box
    (0, 0, 1, 1), which can be coded without dividing by zero. Lecture 01 builds it.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    masks: torch.Tensor | None = None

    @classmethod
    def from_list(cls, targets):
        """Targets from a list of B dicts boxes (M, 4), labels (M,) and, if all have it, masks (M, H, W) bool."""
        counts = torch.tensor([len(t["boxes"]) for t in targets])
        most = max(int(counts.max()), 1)
        valid = torch.arange(most) < counts[:, None]
        boxes = torch.tensor([0, 0, 1, 1.0]).repeat(len(targets), most, 1)
        labels = torch.zeros(len(targets), most, dtype=torch.int64)
        boxes[valid] = torch.cat([t["boxes"].reshape(-1, 4) for t in targets]).float()
        labels[valid] = torch.cat([t["labels"].reshape(-1) for t in targets]).long()
        masks = None
        if all("masks" in t for t in targets):
            masks = torch.zeros(len(targets), most, *targets[0]["masks"].shape[-2:], dtype=torch.bool)
            masks[valid] = torch.cat([t["masks"].bool() for t in targets])
        return check_targets(cls(boxes, labels, valid, masks))

    def to(self, device, **settings):
        """The same targets on `device`."""
        parts = (self.boxes, self.labels, self.valid, self.masks)
        return Targets(*(None if p is None else p.to(device, **settings) for p in parts))

    def to_list(self):
        """B dicts boxes (M, 4), labels (M,) and masks (M, H, W) if there are any, without padding."""
        rows = []
        for i, valid in enumerate(self.valid):
            rows.append({"boxes": self.boxes[i, valid], "labels": self.labels[i, valid]})
            if self.masks is not None:
                rows[-1]["masks"] = self.masks[i, valid]
        return rows


def check_targets(targets, size=None, classes=None):
    """Return `targets`; raise ChipError, naming image and box, for one that no model can learn from.

    Refused are boxes without area or reversed, boxes outside images of `size` (H, W), labels beyond K = `classes`.
    """
    boxes, labels = targets.boxes, targets.labels
    flat = (boxes[..., 2:] <= boxes[..., :2]).any(-1) | ~boxes.isfinite().all(-1)
    wrong = {"has no area (x1 <= x0 or y1 <= y0): swap reversed corners or remove it": flat}
    if size is not None:
        corner = torch.tensor([size[1], size[0]], device=boxes.device) + 1e-3
        outside = (boxes[..., :2] < -1e-3).any(-1) | (boxes[..., 2:] > corner).any(-1)
        wrong[f"reaches outside the image of {size[1]} x {size[0]} pixels: clip it"] = outside
    if classes is not None:
        beyond = (labels < 1) | (labels > classes)
        wrong[f"has a label outside 1..K with K = {classes}: build the model with more classes"] = beyond
    for reason, bad in wrong.items():
        if (bad & targets.valid).any():
            image, box = (bad & targets.valid).nonzero()[0].tolist()
            what = f"box {box} {boxes[image, box].tolist()} (label {int(labels[image, box])})"
            raise ChipError(f"image {image} of the batch: {what} {reason}.")
    return targets


def collate(samples):
    """Images (B, C, H, W) and Targets of a list of B samples (image (C, H, W), target dict)."""
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), Targets.from_list(targets)


class ChipDataset(torch.utils.data.Dataset):
    """Decoded chips of one split: item i is (image (C, H, W) float32, target dict boxes (M, 4), labels (M,), [masks]).

    All chips are decoded once and kept as they are on disk (`images` (N, C, H, W), uint8, uint16 or float32), so an
    epoch never waits for decoding. With `normalise`, bands are (x - mean) / std of dataset.json, and nodata is 0; else
    images are the stored values. `masks=True` adds masks (M, H, W) bool. `limit` takes that many chips, spread evenly
    over the split. Raises ChipError for a folder that breaks the rules. Lecture 01 builds it.
    """

    def __init__(self, folder, split, masks=False, normalise=True, limit=None):
        info = read_info(folder)
        stems = _spread(list(image_files(folder, split)), limit)
        size = (len(info.bands), info.chip_size, info.chip_size)
        arrays = {"stems": np.array(stems, dtype=str), "images": np.empty((len(stems), *size), info.dtype)}
        objects, rasters, keys = [], [], []
        for i, chip in enumerate(_read_split(folder, split, stems)):
            arrays["images"][i] = chip.image
            objects.append((chip.boxes, chip.labels))
            if masks and chip.instances is None:
                raise ChipError(f"{folder}: this data set has boxes only, no masks. Leave out masks=True.")
            for k, name in enumerate(info.classes if masks else (), start=1):
                if name in chip.instances:
                    rasters.append(chip.instances[name].astype(np.uint16))
                    keys.append((i, k))
        arrays["counts"] = np.array([len(labels) for _, labels in objects], np.int64)
        arrays["boxes"] = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in objects)])
        arrays["labels"] = np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in objects)])
        if masks:
            arrays["rasters"] = np.array(rasters, np.uint16).reshape(-1, *size[1:])
            arrays["raster_keys"] = np.array(keys, np.int64).reshape(-1, 2)
        self._set(info, split, arrays, masks, normalise)

    def _set(self, info, split, arrays, masks, normalise):
        self.info, self.split, self.arrays, self.masks, self.normalise = info, split, arrays, masks, normalise
        self.classes, self.stems, self.images = info.classes, arrays["stems"].tolist(), arrays["images"]
        self._ends = np.cumsum(arrays["counts"])

    def __len__(self):
        return len(self.stems)

    def __getitem__(self, i):
        i = range(len(self))[i]
        rows = slice(self._ends[i] - self.arrays["counts"][i], self._ends[i])
        target = {
            "boxes": torch.from_numpy(self.arrays["boxes"][rows].copy()),
            "labels": torch.from_numpy(self.arrays["labels"][rows].copy()),
        }
        if self.masks:
            target["masks"] = torch.from_numpy(self._masks(i))
        return torch.from_numpy(self._image(i)), target

    def _image(self, i):
        image = self.images[i].astype(np.float32)
        if not self.normalise:
            return image
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.info.mean, self.info.std))
        scaled = (image - mean) / std
        if self.info.nodata is not None:
            scaled = np.where(valid_pixels(self.images[i], self.info.nodata), scaled, np.float32(0))
        return scaled

    def _masks(self, i):
        low, high = np.searchsorted(self.arrays["raster_keys"][:, 0], [i, i + 1])
        masks = [r == boxes_from_instances(r)[0][:, None, None] for r in self.arrays["rasters"][low:high]]
        return np.concatenate([np.zeros((0, *self.images.shape[-2:]), bool), *masks])

    def save(self, path):
        """Write the decoded chips as .npz; `load` needs numpy and torch only."""
        return save_npz(path, self)

    @classmethod
    def load(cls, path, split=None, masks=False, normalise=True, limit=None):
        """Chips of one split from an .npz of `save` or `save_npz`; `split` may be left out where there is only one."""
        with np.load(path, allow_pickle=False) as stored:
            splits = sorted({key.split("/")[0] for key in stored.files if "/" in key})
            if split is None and len(splits) == 1:
                split = splits[0]
            if split not in splits:
                raise ChipError(f"{path} holds the splits {', '.join(splits) or 'none'}, not '{split}'. Choose one.")
            info = _info_from_dict(json.loads(str(stored["info"])), path)
            arrays = {key.split("/")[1]: stored[key] for key in stored.files if key.startswith(f"{split}/")}
        if masks and "rasters" not in arrays:
            raise ChipError(f"{path} was saved without masks. Save it again from ChipDataset(..., masks=True).")
        dataset = cls.__new__(cls)
        dataset._set(info, split, arrays, masks, normalise)
        return dataset if limit is None else dataset.take(_spread(range(len(dataset)), limit))

    def take(self, indices):
        """The same data set with the chips `indices` only, in their order."""
        indices = np.asarray(indices, dtype=np.int64)
        counts, ends = self.arrays["counts"], self._ends
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(ends[i] - counts[i], ends[i]) for i in indices)])
        arrays = {key: self.arrays[key][indices] for key in ("stems", "images", "counts")}
        arrays |= {key: self.arrays[key][rows] for key in ("boxes", "labels")}
        if "rasters" in self.arrays:
            keys = self.arrays["raster_keys"]
            chosen = [(n, r) for n, i in enumerate(indices) for r in np.flatnonzero(keys[:, 0] == i)]
            arrays["rasters"] = self.arrays["rasters"][[r for _, r in chosen]]
            arrays["raster_keys"] = np.array([(n, keys[r, 1]) for n, r in chosen], np.int64).reshape(-1, 2)
        dataset = type(self).__new__(type(self))
        dataset._set(self.info, self.split, arrays, self.masks, self.normalise)
        return dataset


def _spread(items, limit):
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def save_npz(path, *datasets):
    """Write the decoded chips of several splits of one data set into one .npz, atomically, and return its path."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    arrays = {f"{d.split}/{key}": value for d in datasets for key, value in d.arrays.items()}
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, info=json.dumps(_info_to_dict(datasets[0].info)), **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
