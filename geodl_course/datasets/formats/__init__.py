"""Annotation files of other tools: ArcGIS Pro exports, PASCAL VOC, KITTI, COCO. A read and a write each.

Boxes are half-open pixel boxes (x0, y0, x1, y1) in float64. Each module states the rules of its format.
"""

from geodl_course.datasets.formats.annotation import Annotation, check_image
from geodl_course.datasets.formats.arcgis import MODES, read_arcgis, write_arcgis
from geodl_course.datasets.formats.coco import coco_annotations, read_coco, write_coco
from geodl_course.datasets.formats.kitti import read_kitti, write_kitti
from geodl_course.datasets.formats.voc import read_voc, write_voc

__all__ = [
    "MODES", "Annotation", "check_image", "coco_annotations", "read_arcgis", "read_coco", "read_kitti", "read_voc",
    "write_arcgis", "write_coco", "write_kitti", "write_voc",
]
