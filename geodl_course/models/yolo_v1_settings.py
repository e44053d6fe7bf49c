"""Settings of YOLO v1, as plain data that a checkpoint can hold: the small one and the paper's."""

import math

from geodl_course.models.settings import check_numbers, check_padding, check_range
from geodl_course.models.yolo_v1_layers import PAPER_LAYERS, SMALL_LAYERS


def small_settings(classes, size=128):
    """Settings of the quick model for K = classes: chips of size pixels, cells of 16.

    Not as in the paper: cells of 16 px (S = 8, which 128 px fill evenly), fewer and narrower layers with batch norm
    (they learn from scratch, fast), fully connected layers that start as a copy and have no dropout (some hundred chips
    teach a random start nothing). `fit` trains it with AdamW in batches of 8, not with SGD in batches of 64 over 135
    epochs, which a laptop has no time for. Lecture 05, part 7.
    """
    return {
        "system": "yolo_v1",  # models.build takes it by this name, from a notebook's classes as well
        "classes": classes,
        "bands": 3,
        "transform": None,
        "size": size,
        "grid": -(-size // 16),
        "boxes": 2,
        "layers": SMALL_LAYERS,
        "norm": True,
        "dense": {"start": "copy", "hidden": 512, "dropout": 0.0},  # the last two for a random start, as the paper's
        "loss": {"coordinates": 5.0, "empty": 0.5},
        "detect": {"score": 0.01, "threshold": 0.5, "keep": 100, "smallest": 1.0},
    }


def paper_settings(classes):
    """Settings of the paper's network for K = classes (20 in the paper); images of any size are made 448 x 448."""
    resize = {"min_size": [448], "max_size": 448, "fixed_size": [448, 448]}
    transform = {"mean": [0.0], "std": [1.0], "resize": resize, "multiple": 1}
    dense = {"start": "random", "hidden": 4096, "dropout": 0.5}
    paper = {"transform": transform, "grid": 7, "layers": PAPER_LAYERS, "norm": False, "dense": dense}
    return {**small_settings(classes, 448), **paper}


def check_settings(settings):
    """Raise ValueError where settings make no network, no loss or no detections → None."""
    check_numbers(settings)
    check_range({name: settings[name] for name in ("bands", "size", "grid", "boxes")}, 1, math.inf, "at least 1")
    check_range(settings["loss"], 0, math.inf, "a weight of 0 or more")
    start = settings["dense"]["start"]
    if start not in ("copy", "random"):
        raise ValueError(f"start is {start!r}: fully connected layers start as a copy or random")
    check_padding(settings["transform"], [settings["size"]] * 2)
    check_layers(settings["layers"])


def check_layers(table):
    """Raise ValueError for a table of layers with a row that is none, or without a convolution → None."""
    rows = [row for row in table if row != ["pool"]]
    for row in rows:
        if len(row) != 3 or not all(isinstance(number, int) and number > 0 for number in row):
            raise ValueError(f'layers hold {row}: a row is [kernel, channels, stride] or ["pool"]')
    if not rows:
        raise ValueError("layers hold no convolution: add a row [kernel, channels, stride]")
