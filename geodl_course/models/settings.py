"""What the settings of all systems share: changing some values, and torchvision's values as plain data."""

import copy


def change(settings, changes):
    """Nested settings with some values changed, the rest kept, as a copy that shares no list with either.

    Raises KeyError naming a setting that does not exist.
    """
    settings = copy.deepcopy(settings)
    for name, value in changes.items():
        if name not in settings:
            raise KeyError(f"there is no setting {name!r}: choose among {', '.join(settings)}")
        deeper = isinstance(value, dict) and isinstance(settings[name], dict)
        settings[name] = change(settings[name], value) if deeper else copy.deepcopy(value)
    return settings


def nested(values):
    """Tuples of tuples as lists of lists of plain numbers, which JSON can hold."""
    return [[float(value) for value in level] for level in values]


def transform_settings(transform):
    """Normalisation, resizing and padding of torchvision's detector, in our words."""
    fixed = None if transform.fixed_size is None else list(transform.fixed_size)
    sizes = {"min_size": list(transform.min_size), "max_size": transform.max_size, "fixed_size": fixed}
    normalisation = {"mean": list(transform.image_mean), "std": list(transform.image_std)}
    return {**normalisation, "resize": sizes, "multiple": transform.size_divisible}
