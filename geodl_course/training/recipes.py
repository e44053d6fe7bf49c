"""How long the course trains what, by budget, and the data and models that names stand for."""

from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipDataset, ChipError

RECIPES = {  # (model, budget): the function of models/MODEL.py that builds it, settings of fit
    ("faster_rcnn", "quick"): ("faster_rcnn", {"seconds": 90}),
    ("faster_rcnn", "full"): ("faster_rcnn_resnet50_fpn", {"epochs": 12, "lr": 2e-4, "batch_size": 16}),
    ("mask_rcnn", "quick"): ("mask_rcnn", {"seconds": 120}),
    ("mask_rcnn", "full"): ("mask_rcnn_resnet50_fpn", {"epochs": 12, "lr": 2e-4, "batch_size": 8}),
    ("ssd", "quick"): ("ssd", {"seconds": 90}),
    ("ssd", "full"): ("ssd300_vgg16", {"epochs": 40, "lr": 2e-4, "batch_size": 32}),
    ("yolo_v1", "quick"): ("yolo_v1", {"seconds": 90}),
    ("yolo_v1", "full"): ("yolo_v1", {"epochs": 60, "batch_size": 16}),
    ("unet_id", "quick"): ("unet_id", {"seconds": 120}),
    ("unet_id", "full"): ("unet_id_paper", {"epochs": 40, "lr": 1e-3, "batch_size": 16}),
}
MASKED = {"mask_rcnn", "unet_id"}  # models that learn from masks


def open_chips(name, split, masks=False):
    """The chips of one split of a data set: its name, a chip folder, or an .npz of decoded chips."""
    if str(name).endswith(".npz"):
        return ChipDataset.load(name, split, masks)
    return ChipDataset(folder_of(name), split, masks)


def has_split(name, split):
    """Is there such a split in what open_chips opens by that name?"""
    if str(name).endswith(".npz"):
        with np.load(name, allow_pickle=False) as stored:
            return any(key.startswith(f"{split}/") for key in stored.files)
    return (folder_of(name) / split).is_dir()


def folder_of(name):
    """The chip folder that a path or the name of a data set stands for."""
    from geodl_course import datasets

    folder = Path(name) if Path(name, "dataset.json").exists() else datasets.find(name)
    if folder is None:
        raise ChipError(f"there is no data set {name!r}: make it with `python data_scripts/make.py {name}`, "
                         f"or fetch it with `python data_scripts/fetch.py {name}`")
    return folder


def make_model(system, function, data):
    """What `function` of models/SYSTEM.py builds for the classes, bands and, if it asks, chip size of a ChipDataset."""
    make = getattr(import_module(f"geodl_course.models.{system}"), function)
    own = {"size": data.info.chip_size} if "size" in signature(make).parameters else {}
    return make(classes=len(data.classes), bands=len(data.info.bands), **own)
