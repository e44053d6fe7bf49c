"""A chip folder, read: everything found in it is checked, and a ChipError names file and next step."""

import json
from pathlib import Path

import numpy as np

from geodl_course.chips.coco import check_reference, corners_of, load_coco
from geodl_course.chips.covers import read_covers
from geodl_course.chips.rasters import raster_env, read_raster
from geodl_course.chips.record import (
    SPLITS,
    Chip,
    ChipError,
    check_chip,
    check_instances,
    count_objects,
    derive_boxes,
    info_from_dict,
)

LABEL_SUFFIXES = (".tif", ".tiff", ".png")
IMAGE_SUFFIXES = (*LABEL_SUFFIXES, ".jpg", ".jpeg")
SIDECARS = (  # what GIS programs leave beside a raster
    ".xml", ".ovr", ".tfw", ".tfwx", ".pgw", ".jgw", ".wld", ".dbf", ".cpg",
)


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
    return info_from_dict(fields, path)


def image_files(folder, split):
    """{stem: path} of the images of one split, in order. Raises ChipError where the split has none."""
    images = Path(folder) / split / "images"
    if not images.is_dir():
        have = [s for s in SPLITS if (Path(folder) / s / "images").is_dir()]
        raise ChipError(f"{images} is missing. Splits of this data set: {', '.join(have) or 'none'}.")
    return by_stem(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def by_stem(paths):
    """{stem: path} in order; raises ChipError where two files have one stem."""
    files = {}
    for path in sorted(paths):
        if path.stem in files:
            raise ChipError(f"{path}: {files[path.stem].name} has the same stem. Keep one of the two.")
        files[path.stem] = path
    return files


def _read_boxes(folder, split, info, stems):
    path = Path(folder) / split / "boxes.json"
    if not path.exists():
        return None
    coco = load_coco(path)
    names = {c["id"]: c["name"] for c in coco["categories"]}
    images = {i["id"]: i["file_name"] for i in coco["images"]}
    for name in images.values():
        if Path(name).stem not in stems:
            raise ChipError(f"{path} names image '{name}', which is not in {path.parent / 'images'}. Restore the "
                            "image, or take its entry out of boxes.json.")
    boxes = {stem: ([], []) for stem in stems}
    for a in coco["annotations"]:
        check_reference(a, "image_id", images, path)
        check_reference(a, "category_id", names, path)
        if names[a["category_id"]] not in info.classes:
            raise ChipError(
                f"{path}: annotation {a['id']} has category_id {a['category_id']} ('{names[a['category_id']]}'), which "
                "is no class of dataset.json. Correct the id or remove it."
            )
        rows, labels = boxes[Path(images[a["image_id"]]).stem]
        rows.append(corners_of(a, path))
        labels.append(info.classes.index(names[a["category_id"]]) + 1)
    return {
        stem: (np.array(rows, np.float32).reshape(-1, 4), np.array(labels, np.int64))
        for stem, (rows, labels) in boxes.items()
    }


def _label_files(folder, split, info, stems):
    """{class: {stem: path}} of the label rasters of a split; whatever else lies among them is refused."""
    labels = Path(folder) / split / "labels"
    names = sorted(p.name for p in labels.iterdir() if p.is_dir()) if labels.is_dir() else []
    for name in names:
        if name not in info.classes:
            check_instances(np.zeros((1, 1), np.uint8), name, info, labels / name)
    files = {name: by_stem(label_rasters(labels / name)) for name in names}
    for path in (path for rasters in files.values() for path in rasters.values()):
        if path.stem not in stems:
            raise ChipError(f"{path}: no image of this name in {labels.parent / 'images'}. Restore the image, or "
                            "remove the label raster.")
    return files


def label_rasters(folder):
    """The label rasters in a folder of one class; raises ChipError for whatever else lies there."""
    paths = [p for p in folder.iterdir() if not p.name.startswith(".") and p.suffix.lower() not in SIDECARS]
    for path in sorted(paths):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            raise ChipError(f"{path}: JPEG changes pixel values, so the ids are lost. Write labels as GeoTIFF.")
        if path.suffix.lower() not in LABEL_SUFFIXES:
            raise ChipError(f"{path} is no label raster ({', '.join(LABEL_SUFFIXES)}). Convert or remove it.")
    return paths


def read_split(folder, split, stems=None):
    """Yield the chips of a split one by one; the reading side of everything."""
    folder, info = Path(folder), read_info(folder)
    files = image_files(folder, split)
    boxes = _read_boxes(folder, split, info, files)
    labels = _label_files(folder, split, info, files)
    covers = read_covers(folder, split, files) or {}
    if boxes is not None and labels:
        raise ChipError(f"{folder / split} has both boxes.json and labels/. Keep the one that is right.")
    with raster_env():
        for stem in files if stems is None else stems:
            if stem not in files:
                raise ChipError(f"{folder / split / 'images'}: no image '{stem}'. Choose one of its {len(files)}.")
            image, transform, crs = read_raster(files[stem])
            chip = Chip(stem, image, transform=transform, crs=crs or _known_crs(info.crs), cover=covers.get(stem))
            if boxes is None:
                rasters = {name: paths[stem] for name, paths in labels.items() if stem in paths}
                place = (files[stem], (transform, crs))
                chip.instances = {name: _read_ids(path, *place) for name, path in rasters.items()}
                check_chip(chip, info, files[stem], rasters)
            else:
                chip.boxes, chip.labels = boxes[stem]
                check_chip(chip, info, files[stem])
            yield chip if boxes is not None else derive_boxes(chip, info)


def _known_crs(text):
    """The CRS that dataset.json names, or None where it names none, or several of which the chip has one."""
    from rasterio.crs import CRS

    try:
        return CRS.from_user_input(text) if text else None
    except ValueError:  # rasterio's CRSError is one
        return None


def _read_ids(path, image, place):
    bands, *where = read_raster(path)
    if len(bands) != 1:
        raise ChipError(f"{path}: a label raster has one band, this one {len(bands)}. Write one raster a class.")
    check_same_place(path, where, image, place)
    return bands[0]


def check_same_place(path, place, image, image_place):
    """Raise ChipError where the label raster `path` says that it lies elsewhere than its image.

    `place` and `image_place` are (transform, CRS). What a raster does not say (no CRS, no transform) is not compared.
    """
    (transform, crs), (image_transform, image_crs) = place, image_place
    if crs and image_crs and crs != image_crs and (crs.to_epsg() or crs) != (image_crs.to_epsg() or image_crs):
        raise ChipError(
            f"{path}: the label raster is in {crs.to_string()}, its image {image} in {image_crs.to_string()}. Make the "
            "labels again on the image's grid, or assign the right CRS, for example with gdal_edit.py -a_srs."
        )
    if transform.is_identity or image_transform.is_identity:
        return
    shift = ~image_transform * transform  # identity where both have one grid
    if not shift.almost_equals(type(shift).identity(), 1e-3):
        raise ChipError(
            f"{path}: the label raster lies elsewhere than its image {image}: its corner is at column {shift.c:.2f}, "
            f"row {shift.f:.2f} of the image, its cells are {shift.a:.3g} times as wide. Cut both with the same window."
        )


def read_chip(folder, split, stem):
    """The Chip `stem` of a split, with boxes derived from its instance rasters or taken from boxes.json."""
    return next(read_split(folder, split, [stem]))


def validate(folder):
    """Read every chip of a folder and raise ChipError for the first that breaks the rules, naming file and next step.

    Chips without objects and splits that a data set does not have are legal.
    """
    info = read_info(folder)
    splits = [s for s in SPLITS if (Path(folder) / s).is_dir() or s in info.counts]
    if not splits:
        raise ChipError(f"{folder} has none of the folders train, val, test. Make the data set again.")
    for split in splits:
        found = dict.fromkeys(("chips", *info.classes), 0)
        for chip in read_split(folder, split):
            count_objects(found, chip, info)
        for name, expected in info.counts.get(split, {}).items():
            if found.get(name) != expected:
                raise ChipError(
                    f"{Path(folder) / split} holds {found.get(name)} {'chips' if name == 'chips' else f'of {name}'}, "
                    f"dataset.json counts {expected}. Make the data set again, or correct counts in dataset.json."
                )
