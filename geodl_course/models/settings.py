"""What the settings of all systems share: changing some values, and torchvision's values as plain data."""

import copy
import math

COUNTS = "classes", "before", "after", "keep", "number", "output_size", "depth", "hidden", "between"
SHARES = "positive", "negative", "fraction", "score", "threshold"


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


def check_numbers(settings):
    """Raise ValueError for a count below 1 or a share outside 0..1 anywhere in nested settings → None."""
    check_range({name: settings[name] for name in COUNTS if name in settings}, 1, math.inf, "at least 1")
    check_range({name: settings[name] for name in SHARES if name in settings}, 0, 1, "a share from 0 to 1")
    for value in settings.values():
        if isinstance(value, dict):
            check_numbers(value)


def check_weights(weights):
    """Raise ValueError unless the four weights of coded boxes are positive and finite → None."""
    if len(weights) != 4 or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"weights are {weights}: all four must be positive and finite, as 10, 10, 5, 5")


def check_range(values, low, high, wanted):
    """Raise ValueError for the first of values {name: number} that is not within low..high, NaN included → None."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: choose {wanted}")


def check_padding(transform, size):
    """Raise ValueError where transform pads images of size (H, W): boxes that are shares of the image would move."""
    if transform and any(side % transform["multiple"] for side in size):
        raise ValueError(
            f"multiple is {transform['multiple']}, which pads images of {size[0]} x {size[1]} px, and boxes here are "
            "shares of the image: choose 1"
        )


def nested(values):
    """Tuples of tuples as lists of lists of plain numbers, which JSON can hold."""
    return [[float(value) for value in level] for level in values]


def transform_settings(transform):
    """Normalisation, resizing and padding of torchvision's detector, in our words."""
    fixed = None if transform.fixed_size is None else list(transform.fixed_size)
    sizes = {"min_size": list(transform.min_size), "max_size": transform.max_size, "fixed_size": fixed}
    normalisation = {"mean": list(transform.image_mean), "std": list(transform.image_std)}
    return {**normalisation, "resize": sizes, "multiple": transform.size_divisible}
