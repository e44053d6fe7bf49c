"""The systems that the course builds. `build(name, **settings)` makes one by name, as a checkpoint does."""

from importlib import import_module

TABLE = {  # name: module:function, imported when asked for
    "faster_rcnn": "faster_rcnn:faster_rcnn",
    "mask_rcnn": "mask_rcnn:mask_rcnn",
    "ssd": "ssd:ssd",
    "yolo_v1": "yolo_v1:yolo_v1",
    "unet_id": "unet_id:unet_id",
    "unet": "unet_id:unet",
    "autoencoder": "vae:autoencoder",
    "vae": "vae:vae",
    "dcgan": "dcgan:dcgan",
}


def build(name, **settings):
    """The model called name with its settings (those of model.settings, whose "system" is the name), untrained.

    Raises KeyError with the known names for any other.
    """
    if name not in TABLE:
        raise KeyError(f"no model is called {name!r}: choose one of {', '.join(TABLE)}")
    module, function = TABLE[name].split(":")
    return getattr(import_module(f"{__name__}.{module}"), function)(**settings)
