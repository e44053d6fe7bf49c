"""What is said of a whole chip: SPLIT/covers.json, one entry an image, beside the folders of its objects.

    {"000123": {"cover": "forest", "water": 0.03, "kind": "land"}, ...}

An entry holds texts and finite numbers; all entries of a split have the same fields, and each image has one entry.
`cover` and `kind` are texts, `water` is the share of the chip's pixels that are water, 0 to 1. A split without the file
says nothing of its chips. What the chips show may be said here alone: a data set whose `classes` are [] has no objects.
"""

import json
import math
from pathlib import Path

from geodl_course.chips.record import ChipError

TEXTS = ("cover", "kind")  # fields that are texts wherever they stand


def covers(dataset):
    """What covers.json says of each chip of a ChipDataset, in its order: N dicts. Raises ChipError where it has none.

    Lectures 08 and 09 choose chips by it.
    """
    if "covers" not in dataset.arrays:
        raise ChipError(f"{dataset.info.name}, {dataset.split}: nothing is said of whole chips (no covers.json). Data "
                        "sets that have it: coast, sentinel_coast, camera_trap, eurosat.")
    return [json.loads(text) for text in dataset.arrays["covers"]]


def check_covers(entries, stems, path):
    """Raise ChipError unless entries {stem: dict} say the same fields of each of stems; `path` is the file named."""
    if not isinstance(entries, dict):
        raise ChipError(f"{path}: holds a {type(entries).__name__}, not one entry for each image. Make the data set "
                        "again.")
    stems = set(stems)
    for wrong, told in ((stems - set(entries), "has no entry for image"), (set(entries) - stems, "names image")):
        if wrong:
            raise ChipError(f"{path} {told} '{min(wrong)}' ({len(wrong)} such in all); images and entries must be the "
                            "same. Restore what is missing or make the data set again.")
    first = next(iter(entries.values()), {})
    for stem, entry in entries.items():
        if not isinstance(entry, dict) or not entry:
            raise ChipError(f"{path}: '{stem}' is {entry!r}; it must be an object of texts and numbers. Correct it.")
        if set(entry) != set(first):
            raise ChipError(f"{path}: '{stem}' has the fields {', '.join(entry)}, the first entry has "
                            f"{', '.join(first)}. Give all the same.")
        for key, value in entry.items():
            if not _fits(key, value):
                wanted = {"water": "a share from 0 to 1", **dict.fromkeys(TEXTS, "text")}
                raise ChipError(f"{path}: {key} of '{stem}' is {value!r}; it must be "
                                f"{wanted.get(key, 'text or a number')}. Correct it.")


def _fits(key, value):
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if key == "water":
        return number and 0 <= value <= 1
    return isinstance(value, str) or (number and key not in TEXTS)


def read_covers(folder, split, stems):
    """{stem: dict} of a split's covers.json, checked against its images `stems`, or None where there is no file."""
    path = Path(folder) / split / "covers.json"
    if not path.exists():
        return None
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ChipError(f"{path}: not valid JSON ({error}). Repair it or make the data set again.") from None
    check_covers(entries, stems, path)
    return entries


def write_covers(folder, split, entries, where):
    """Write {stem: dict or None} as a split's covers.json in `folder`, or nothing where no chip has one.

    `where` is the folder that a ChipError names: the one that `folder` becomes.
    """
    if all(entry is None for entry in entries.values()):
        return
    check_covers(entries, entries, Path(where) / split / "covers.json")
    (Path(folder) / split / "covers.json").write_text(json.dumps(entries, indent=0) + "\n", encoding="utf-8")
