"""Chips: the chip folder on disk, and the same chips decoded in memory as batches for training.

    towns/dataset.json               classes, bands, cell size, CRS, statistics, licence, how it was made
          train/images/000123.tif    image with CRS and transform (JPEG and PNG with world files are read too)
          train/labels/tank/000123.tif   one folder a class, 0 = background, each instance its own id
          train/boxes.json           instead of labels/ where a source has boxes only (COCO)
          train/covers.json          what is said of each whole chip, where a source says it (chips/covers.py)

One id in a chip's raster is one instance, also where its parts lie apart; the same id in another chip is another one.
Boxes are half-open pixel boxes (x0, y0, x1, y1): x1 and y1 are the first column and row outside. Labels run 1..K in
the order of `DatasetInfo.classes`; 0 is background.
"""

from geodl_course.chips.covers import covers
from geodl_course.chips.dataset import ChipDataset, all_images, save_npz
from geodl_course.chips.reading import image_files, read_chip, read_info, validate
from geodl_course.chips.record import SPLITS, Chip, ChipError, DatasetInfo, boxes_from_instances, valid_pixels
from geodl_course.chips.targets import Targets, check_targets, collate
from geodl_course.chips.writing import write_chips

__all__ = [
    "SPLITS", "Chip", "ChipDataset", "ChipError", "DatasetInfo", "Targets", "all_images", "boxes_from_instances",
    "check_targets", "collate", "covers", "image_files", "read_chip", "read_info", "save_npz", "valid_pixels",
    "validate", "write_chips",
]
