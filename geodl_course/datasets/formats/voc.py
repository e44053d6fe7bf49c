"""PASCAL VOC: one XML file an image, boxes only.

xmin, ymin, xmax, ymax are taken as half-open borders, which is how ArcGIS Pro and most aerial data sets write them (the
VOC challenge itself counted pixels from 1 and included the last one: subtract 1 from x0 and y0 of such files).
"""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from geodl_course.chips import ChipError
from geodl_course.datasets.formats.annotation import Annotation, check_area, short

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path):
    """Annotation of a PASCAL VOC file. Raises ChipError naming the file and what it lacks."""
    try:
        root = ElementTree.parse(path).getroot()
        size = int(root.findtext("size/height")), int(root.findtext("size/width"))
        objects = root.findall("object")
        names = [o.findtext("name") or "" for o in objects]
        boxes = [[float(o.findtext(f"bndbox/{k}")) for k in CORNERS] for o in objects]
    except FileNotFoundError:
        raise ChipError(f"{path} is missing: an image needs its annotation file. Restore it.") from None
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise ChipError(
            f"{path}: not a PASCAL VOC file ({error}). It needs size/height, size/width and, for each object, name and "
            "bndbox/xmin, ymin, xmax, ymax."
        ) from error
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    check_area(boxes, path, [f"object {i}" for i in range(len(boxes))])
    return Annotation(root.findtext("filename") or f"{Path(path).stem}.tif", size, boxes, names)


def write_voc(path, annotation, bands=3, source=None):
    """Write an Annotation (masks do not fit in and are left out) as a PASCAL VOC file; `source` says who made it."""
    root = ElementTree.Element("annotation")
    _texts(root, filename=annotation.file)
    if source:
        _texts(ElementTree.SubElement(root, "source"), annotation=source)
    height, width = annotation.size
    _texts(ElementTree.SubElement(root, "size"), width=width, height=height, depth=bands)
    for name, box in zip(annotation.names, np.asarray(annotation.boxes, np.float64).tolist(), strict=True):
        element = ElementTree.SubElement(root, "object")
        _texts(element, name=name)
        _texts(ElementTree.SubElement(element, "bndbox"), **dict(zip(CORNERS, map(short, box), strict=True)))
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8")


def _texts(parent, **fields):
    for tag, value in fields.items():
        ElementTree.SubElement(parent, tag).text = str(value)
