"""What every COCO file must hold, told entry by entry: boxes.json of a chip folder, and files of other tools."""

import json
from pathlib import Path

from geodl_course.chips.record import ChipError

FIELDS = {
    "images": ("file_name",),
    "annotations": ("image_id", "category_id"),
    "categories": ("name",),
}


def load_coco(path):
    """The content of a COCO file, in which each image, annotation and category has the fields of FIELDS and an own id.

    Raises ChipError naming the file, the entry and the next step.
    """
    try:
        coco = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        entries = {kind: list(coco[kind]) for kind in FIELDS}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, FileNotFoundError) as error:
        raise ChipError(f"{path}: not a COCO file ({error!r}). It needs images, annotations, categories.") from error
    for kind, fields in FIELDS.items():
        _check_entries(entries[kind], kind, fields, path)
    return coco


def _check_entries(entries, kind, fields, path):
    first = {}
    for number, entry in enumerate(entries):
        missing = [key for key in ("id", *fields) if not isinstance(entry, dict) or entry.get(key) is None]
        if missing:
            raise ChipError(
                f"{path}: entry {number} of {kind} (counted from 0) has no {missing[0]}. Add it, or remove the entry."
            )
        if not isinstance(entry["id"], int | str):
            raise ChipError(
                f"{path}: entry {number} of {kind} (counted from 0) has id {entry['id']!r}. Ids are whole numbers: "
                "correct it."
            )
        if entry["id"] in first:
            raise ChipError(
                f"{path}: entries {first[entry['id']]} and {number} of {kind} (counted from 0) have the same id "
                f"{entry['id']!r}. Give each its own id, or remove the copy."
            )
        first[entry["id"]] = number


def check_reference(annotation, key, known, path):
    """Raise ChipError unless annotation[key] (image_id or category_id) is one of the ids `known`."""
    if not isinstance(annotation[key], int | str) or annotation[key] not in known:
        raise ChipError(
            f"{path}: annotation {annotation['id']} has {key} {annotation[key]!r}, which is not listed in the file. "
            "Add the entry or remove the annotation."
        )


def corners_of(annotation, path):
    """x0, y0, x1, y1 of an annotation's bbox, which COCO writes as x, y, width, height."""
    try:
        x, y, width, height = (float(v) for v in annotation["bbox"])
    except (KeyError, TypeError, ValueError):
        raise ChipError(
            f"{path}: annotation {annotation['id']} has bbox {annotation.get('bbox')!r}. Write four numbers: x, y, "
            "width, height."
        ) from None
    return x, y, x + width, y + height
