"""A chip folder, written: it appears when it is whole, with its statistics, or not at all."""

import contextlib
import errno
import glob
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from geodl_course.chips.covers import write_covers
from geodl_course.chips.rasters import raster_env, write_raster
from geodl_course.chips.record import (
    SPLITS,
    ChipError,
    check_chip,
    count_objects,
    derive_boxes,
    info_to_dict,
    valid_pixels,
)


@contextlib.contextmanager
def whole_or_nothing(folder):
    """A new folder to write in, which becomes `folder` when the block ends and is gone when it fails.

    It stands beside its target as `<name>.<process>.part`, so a kill or a full disk never leaves a folder that looks
    finished. What a kill left is moved out of the way and removed; a run that still writes there finds nothing to
    write into and ends, so two never fill one folder. Raises ChipError.
    """
    refuse_existing(folder)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.part"):
            shutil.rmtree(left.replace(left.with_suffix(".gone")), ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        refuse_existing(folder)
        part.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ChipError(
                f"{folder}: the disk is full, so nothing was kept. Free some space or choose another place, then run "
                "again."
            ) from error
        if isinstance(error, FileNotFoundError) and not part.exists():
            raise ChipError(
                f"{folder}: another run has begun to make it, so this one ended. Wait for the other."
            ) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_existing(folder):
    """Raise ChipError where `folder` exists: what is there is never overwritten."""
    if folder.exists():
        raise ChipError(f"{folder} exists already and is kept as it is. Remove it or choose another name.")


def write_chips(folder, info, chips):
    """Write an iterable of (split, Chip) as chip folder `folder`, and return its path.

    The folder appears when it is whole, or not at all. Statistics (over valid pixels of train, or of all chips where
    there is no train) and counts are filled into dataset.json. Each chip is checked before it is written. Raises
    ChipError.
    """
    folder = Path(folder)
    with whole_or_nothing(folder) as part:
        _write_all(part, folder, info, chips)
    return folder


def _write_all(part, folder, info, chips):
    sums, counts, boxes, covers, kinds = {}, {}, {}, {}, set()
    with raster_env():
        for split, chip in chips:
            where = folder / split / "images" / f"{chip.stem}.tif"
            if split not in SPLITS:
                raise ChipError(f"{where}: split '{split}' is none of {', '.join(SPLITS)}. Choose one of them.")
            check_chip(chip, info, where)
            kinds.add(chip.instances is None)
            if len(kinds) > 1:
                raise ChipError(f"{where}: some chips have instance rasters, some boxes only. Choose one kind.")
            if chip.instances is not None:
                chip = derive_boxes(chip, info)
            _write_chip(part, split, chip, info)
            count_objects(counts.setdefault(split, {}), chip, info)
            sums[split] = sums.get(split, 0) + _moments(chip.image, info.nodata)
            covers.setdefault(split, {})[chip.stem] = chip.cover
            if chip.instances is None:
                boxes.setdefault(split, []).append(replace(chip, image=None))
    if not counts:
        raise ChipError(f"{folder}: no chip to write. Check that the scene holds valid pixels.")
    for split, rows in boxes.items():
        (part / split / "boxes.json").write_text(json.dumps(_coco(rows, info)), encoding="utf-8")
    for split, entries in covers.items():
        write_covers(part, split, entries, folder)
    mean, std = _mean_std(sums.get("train", sum(sums.values())))
    done = replace(info, mean=mean, std=std, counts=counts)
    (part / "dataset.json").write_text(json.dumps(info_to_dict(done), indent=1) + "\n", encoding="utf-8")


def _write_chip(part, split, chip, info):
    path = _inside(part, split, "images") / f"{chip.stem}.tif"
    write_raster(path, chip.image, chip.transform, chip.crs, info.nodata, info.bands)
    for name, raster in (chip.instances or {}).items():
        if raster.any():
            path = _inside(part, split, "labels", name) / f"{chip.stem}.tif"
            write_raster(path, raster[None].astype(np.uint16), chip.transform, chip.crs)


def _inside(part, *names):
    """The folder part/names, made where it is not there; `part` itself must be there (see whole_or_nothing)."""
    for name in names:
        part = part / name
        part.mkdir(exist_ok=True)
    return part


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
