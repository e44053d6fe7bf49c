"""COCO: one JSON file for all images; boxes, and masks as polygons or run lengths.

Rules: masks are read as pycocotools reads them, and several rings of one object are united: COCO's polygons know no
hole. Masks are written as run lengths, which keep every pixel, or as polygons along the edges of their pixels, which
keep every pixel too; one with a hole is written as run lengths even then. iscrowd (0 or 1) is kept. Ids count anew.
"""

import json
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError, boxes_from_instances
from geodl_course.chips.coco import check_reference, corners_of, load_coco
from geodl_course.datasets.formats.annotation import Annotation, box_masks, check_area, check_image


def read_coco(path, images=None):
    """([Annotation, ...], class names) of a COCO file, one Annotation for each image entry, in the file's order.

    Masks come from polygons, from uncompressed and from compressed run lengths; where only some objects have one, the
    others' masks are their boxes. Classes are in the order of their category ids. With `images`, a folder, each
    image must exist in it. Raises ChipError naming the file, the annotation and the next step.
    """
    return coco_annotations(load_coco(path), path, images)


def coco_annotations(coco, path, images=None):
    """What read_coco returns, of the content `coco` of the file `path` (which only messages name)."""
    categories = {c["id"]: c["name"] for c in sorted(coco["categories"], key=_id_order)}
    entries = {i["id"]: Annotation(i["file_name"], _size(i, path)) for i in coco["images"]}
    objects = {key: [] for key in entries}
    for a in coco["annotations"]:
        check_reference(a, "image_id", objects, path)
        check_reference(a, "category_id", categories, path)
        objects[a["image_id"]].append(a)
    for key, annotation in entries.items():
        if images is not None:
            check_image(path, Path(images) / annotation.file)
        _fill_objects(annotation, objects[key], categories, path)
    return list(entries.values()), list(categories.values())


def _id_order(entry):
    return isinstance(entry["id"], str), entry["id"]


def _size(image, path):
    size = image.get("height"), image.get("width")
    if not all(isinstance(n, int) and n > 0 for n in size):
        raise ChipError(
            f"{path}: image {image['id']} has height {size[0]!r} and width {size[1]!r}. Both must be whole numbers "
            "above 0: correct them."
        )
    return size


def _fill_objects(annotation, objects, categories, path):
    annotation.names = [categories[a["category_id"]] for a in objects]
    annotation.crowd = [_crowd(a, path) for a in objects]
    masks = [_mask(a, annotation.size, path) for a in objects]
    corners = [_corners(a, mask, path) for a, mask in zip(objects, masks, strict=True)]
    annotation.boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    check_area(annotation.boxes, path, [f"annotation {a['id']}" for a in objects])
    if any(mask is not None for mask in masks):
        drawn = box_masks(annotation.boxes, annotation.size)
        annotation.masks = np.stack([d if m is None else m for m, d in zip(masks, drawn, strict=True)])


def _crowd(a, path):
    if a.get("iscrowd", 0) not in (0, 1):
        raise ChipError(f"{path}: annotation {a['id']} has iscrowd {a['iscrowd']!r}. It is 0 or 1: correct it.")
    return bool(a.get("iscrowd", 0))


def _corners(a, mask, path):
    if a.get("bbox") is not None:
        return corners_of(a, path)
    if mask is None or not mask.any():
        raise ChipError(f"{path}: annotation {a['id']} has neither bbox nor segmentation. Add one or remove it.")
    return boxes_from_instances(mask.astype(np.uint8))[1][0].tolist()


def _mask(a, size, path):
    """Mask (H, W) bool of an annotation's segmentation, or None where it has none."""
    from faster_coco_eval.core import mask as rle

    shape = a.get("segmentation")
    if not shape:
        return None
    try:
        if isinstance(shape, list):
            if any(len(ring) < 6 or len(ring) % 2 for ring in shape):
                raise ValueError("a ring needs x and y of at least 3 corners")
            runs = rle.merge(rle.frPyObjects(shape, *size))  # several rings of one object
        else:
            if tuple(shape["size"]) != tuple(size):
                raise ValueError(f"its run lengths are for an image of {shape['size']}, the image is {list(size)}")
            if isinstance(shape["counts"], list):
                _check_runs(shape["counts"], size)
                shape = rle.frPyObjects(shape, *size)
            runs = shape
        return rle.decode(runs).astype(bool)
    except Exception as error:  # the mask library raises many kinds
        raise ChipError(
            f"{path}: segmentation of annotation {a['id']} cannot be read ({error}). Write polygons or run lengths "
            "of the image's size."
        ) from error


def _check_runs(counts, size):
    if not all(isinstance(n, int) and n >= 0 for n in counts):
        raise ValueError("run lengths must be whole numbers from 0 on")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"its run lengths add up to {sum(counts)}, the image has {size[0] * size[1]} pixels")


def write_coco(path, annotations, classes, masks="compressed"):
    """Write [Annotation, ...] as a COCO file; ids count from 1, categories in the order of `classes`.

    masks: "compressed" run lengths, "uncompressed" ones, or "polygons" (see the rules above). Raises ChipError for
    another word, for a box without an area (NaN is none either) and for an object of no class.
    """
    if masks not in SHAPES:
        raise ChipError(f"{path}: masks '{masks}' is none of {', '.join(SHAPES)}. Choose one of them.")
    images, objects = [], []
    for i, annotation in enumerate(annotations, start=1):
        height, width = annotation.size
        images.append({"id": i, "file_name": annotation.file, "width": width, "height": height})
        crowd = annotation.crowd or [False] * len(annotation.names)
        boxes = np.asarray(annotation.boxes, np.float64).reshape(-1, 4)
        check_area(boxes, path, [f"object {j} of {annotation.file}" for j in range(1, len(boxes) + 1)])
        for j, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            if annotation.names[j] not in classes:
                raise ChipError(
                    f"{path}: an object of {annotation.file} is of class '{annotation.names[j]}', which is none of "
                    f"{', '.join(classes)}. Add the class."
                )
            category = classes.index(annotation.names[j]) + 1
            row = {"id": len(objects) + 1, "image_id": i, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0],
                   "area": (x1 - x0) * (y1 - y0), "iscrowd": int(crowd[j])}
            if annotation.masks is not None:
                row["segmentation"] = SHAPES[masks](np.asarray(annotation.masks[j], bool))
                row["area"] = int(annotation.masks[j].sum())
            objects.append(row)
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    text = json.dumps({"images": images, "annotations": objects, "categories": categories})
    Path(path).write_text(text, encoding="utf-8")


def _compressed(mask):
    from faster_coco_eval.core import mask as rle

    runs = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def _uncompressed(mask):
    """Lengths of runs, column by column, beginning with a run of 0 (which may be empty)."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def _polygons(mask):
    """Rings [x, y, x, y, ...] along the pixels' edges, or run lengths where the mask is empty or has a hole."""
    from rasterio.features import shapes

    rings = [shape["coordinates"] for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]
    if not rings or any(len(rings_of_part) > 1 for rings_of_part in rings):
        return _compressed(mask)
    return [[value for corner in outer[:-1] for value in corner] for (outer,) in rings]


SHAPES = {"compressed": _compressed, "uncompressed": _uncompressed, "polygons": _polygons}
