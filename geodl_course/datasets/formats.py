"""Annotation files of other tools: PASCAL VOC boxes, COCO boxes and masks. A read and a write each.

Boxes are half-open pixel boxes (x0, y0, x1, y1) in float64. VOC files are read as they stand: xmin, ymin, xmax, ymax
are taken as such borders, which is how ArcGIS Pro and most aerial data sets write them (the VOC challenge itself
counted pixels from 1 and included the last one: subtract 1 from x0 and y0 of such files).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from geodl_course.chips import ChipError, boxes_from_instances
from geodl_course.chips.coco import check_reference, corners_of, load_coco


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


# ---------------------------------------------------------------------------------------- PASCAL VOC


def read_voc(path):
    """Annotation of a PASCAL VOC file. Raises ChipError naming the file and what it lacks."""
    try:
        root = ElementTree.parse(path).getroot()
        size = int(root.findtext("size/height")), int(root.findtext("size/width"))
        objects = root.findall("object")
        names = [o.findtext("name") or "" for o in objects]
        boxes = [[float(o.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")] for o in objects]
    except FileNotFoundError:
        raise ChipError(f"{path} is missing: an image needs its annotation file. Restore it.") from None
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise ChipError(
            f"{path}: not a PASCAL VOC file ({error}). It needs size/height, size/width and, for each object, name and "
            "bndbox/xmin, ymin, xmax, ymax."
        ) from error
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    _check_area(boxes, path, [f"object {i}" for i in range(len(boxes))])
    return Annotation(root.findtext("filename") or f"{Path(path).stem}.tif", size, boxes, names)


def write_voc(path, annotation, bands=3):
    """Write an Annotation (masks do not fit in and are left out) as a PASCAL VOC file."""
    root = ElementTree.Element("annotation")
    _texts(root, filename=annotation.file)
    height, width = annotation.size
    _texts(ElementTree.SubElement(root, "size"), width=width, height=height, depth=bands)
    for name, box in zip(annotation.names, np.asarray(annotation.boxes, np.float64).tolist(), strict=True):
        element = ElementTree.SubElement(root, "object")
        _texts(element, name=name)
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(_short, box), strict=True))
        _texts(ElementTree.SubElement(element, "bndbox"), **corners)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8")


def _texts(parent, **fields):
    for tag, value in fields.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def _short(value):
    return int(value) if value == int(value) else repr(value)


def _check_area(boxes, path, names):
    bad = (boxes[:, 2:] <= boxes[:, :2]).any(1) | ~np.isfinite(boxes).all(1)
    if bad.any():
        i = int(bad.argmax())
        raise ChipError(
            f"{path}: {names[i]} has box {boxes[i].tolist()}, which has no area or is reversed. Boxes are (x0, y0, x1, "
            "y1) with x0 < x1 and y0 < y1: correct or remove it."
        )


# ---------------------------------------------------------------------------------------------- COCO


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
    annotation.crowd = [bool(a.get("iscrowd", 0)) for a in objects]
    masks = [_mask(a, annotation.size, path) for a in objects]
    corners = [_corners(a, mask, path) for a, mask in zip(objects, masks, strict=True)]
    annotation.boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    _check_area(annotation.boxes, path, [f"annotation {a['id']}" for a in objects])
    if any(mask is not None for mask in masks):
        filled = [_box_mask(c, annotation.size) if m is None else m for m, c in zip(masks, corners, strict=True)]
        annotation.masks = np.stack(filled)


def _corners(a, mask, path):
    if a.get("bbox") is not None:
        return corners_of(a, path)
    if mask is None or not mask.any():
        raise ChipError(f"{path}: annotation {a['id']} has neither bbox nor segmentation. Add one or remove it.")
    return boxes_from_instances(mask.astype(np.uint8))[1][0].tolist()


def _box_mask(corners, size):
    mask = np.zeros(size, dtype=bool)
    x0, y0, x1, y1 = np.round(corners).astype(int).clip(0)
    mask[y0:y1, x0:x1] = True
    return mask


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


def write_coco(path, annotations, classes):
    """Write [Annotation, ...] as a COCO file; masks become compressed run lengths. Ids count from 1."""
    from faster_coco_eval.core import mask as rle

    images, objects = [], []
    for i, annotation in enumerate(annotations, start=1):
        height, width = annotation.size
        images.append({"id": i, "file_name": annotation.file, "width": width, "height": height})
        crowd = annotation.crowd or [False] * len(annotation.names)
        for j, (x0, y0, x1, y1) in enumerate(np.asarray(annotation.boxes, np.float64).tolist()):
            category = classes.index(annotation.names[j]) + 1
            row = {"id": len(objects) + 1, "image_id": i, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0],
                   "area": (x1 - x0) * (y1 - y0), "iscrowd": int(crowd[j])}
            if annotation.masks is not None:
                runs = rle.encode(np.asfortranarray(annotation.masks[j].astype(np.uint8)))
                row["segmentation"] = {"size": [height, width], "counts": runs["counts"].decode("ascii")}
                row["area"] = int(annotation.masks[j].sum())
            objects.append(row)
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    text = json.dumps({"images": images, "annotations": objects, "categories": categories})
    Path(path).write_text(text, encoding="utf-8")
