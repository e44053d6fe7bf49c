"""Settings of YOLO v1, as plain data that a checkpoint can hold: the small one and the paper's."""

from geodl_course.models.yolo_v1_layers import PAPER_LAYERS, SMALL_LAYERS


def small_settings(classes, size=128):
    """Settings of the quick model for K = classes: chips of size pixels, cells of 16, objects from 5 pixels on."""
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
    """Raise ValueError where settings ask for no classes, bands, pixels, cells or boxes → None."""
    for name in ("classes", "bands", "size", "grid", "boxes"):
        if settings[name] < 1:
            raise ValueError(f"{name}={settings[name]}: a YOLO needs at least 1")
