"""Checks of lecture 01, geospatial chips."""

import numpy as np

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import random_boxes, written


@exercise("01.1")
def boxes_to_map(answer):
    from affine import Affine

    cell, west, north = np.random.uniform(0.1, 30), *np.random.randint(1000, 9000, 2)
    boxes = random_boxes(8, seed=None).numpy().astype(float)
    wanted = boxes * [cell, -cell, cell, -cell] + [west, north, west, north]
    wanted = wanted[:, [0, 3, 2, 1]]
    found = np.asarray(answer(boxes, Affine(cell, 0, west, 0, -cell, north)))
    if found.shape != wanted.shape:
        return f"8 boxes make an array (8, 4), yours is {found.shape}."
    worst = np.abs(found - wanted).max(1).argmax()
    if not np.abs(found[worst] - wanted[worst]).max() < 1e-3:
        return (f"With pixels of {cell:.2f} m and the corner at ({west}, {north}), the box {written(boxes[worst])} is "
                f"{written(wanted[worst])} on the map, yours is {written(found[worst])}.")


@exercise("01.2")
def leaking(answer):
    size = int(np.random.randint(20, 60))
    grid = np.indices((3, 3)).reshape(2, -1).T * 4 * size  # far apart, so that what touches one overlaps no other
    train = np.random.permutation(grid + np.random.randint(0, size, (9, 2)))
    near = train[:3] + np.array([(size, 0), (size - 1, 1 - size), (0, -size)])  # touch, overlap, touch
    val = np.concatenate([near, np.random.randint(0, 12 * size, (12, 2))])
    found = np.asarray(answer(val, train, size))
    if found.shape != (len(val),) or found.dtype != bool:
        return f"{len(val)} validation chips make a bool array ({len(val)},), yours is {found.dtype} {found.shape}."
    for corner, yours in zip(val, found, strict=True):
        if yours != any(abs(r - corner[0]) < size and abs(c - corner[1]) < size for r, c in train):
            does = "does not" if yours else "does"
            return f"The chip of {size} px at {written(corner)} {does} share pixels with a training chip."


@exercise("01.3")
def visible_share(answer):
    size = int(np.random.randint(40, 90))
    boxes = random_boxes(20, size=3 * size, seed=None).numpy().astype(float) - size
    boxes = np.concatenate([boxes, [[-9, -9, -4, -4], [size, 2, size + 5, 8], [-5, 10, 5, 20], [3, 3, 9, 9]]])
    found = np.asarray(answer(boxes, size))
    if found.shape != boxes.shape[:1]:
        return f"{len(boxes)} boxes make an array ({len(boxes)},), yours is {found.shape}."
    for (x0, y0, x1, y1), yours in zip(boxes, found, strict=True):
        width, height = min(x1, size) - max(x0, 0), min(y1, size) - max(y0, 0)
        wanted = max(width, 0) * max(height, 0) / ((x1 - x0) * (y1 - y0))
        if not abs(yours - wanted) < 1e-6:
            box = written((x0, y0, x1, y1))
            return f"A chip of {size} px sees {wanted:.3f} of the box {box}, yours is {yours:.3f}."
