"""Checks of lecture 05, YOLO v1."""

import numpy as np
import torch

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import random_boxes, written


@exercise("05.1")
def objects_lost(answer):
    for number, size, grid in ((30, 128, 7), (60, 100, 8), (5, 64, 30), (40, 64, 1)):
        boxes, taken = random_boxes(2 * number, size=size, seed=None), set()
        if grid == 30:
            boxes[:, :2] = torch.rand(2 * number, 2)  # all upper left corners in one cell, the centres are not
        place = (boxes[:, :2] + boxes[:, 2:]) / 2 * grid / size
        boxes = boxes[((place - place.round()).abs() > 1e-4).all(1)][:number]  # a centre on a line may round either way
        for x0, y0, x1, y1 in boxes.tolist():
            taken.add((int((x0 + x1) / 2 / size * grid), int((y0 + y1) / 2 / size * grid)))
        wanted, found = number - len(taken), int(answer(boxes, size, grid))
        if found != wanted:
            return f"Of {number} objects on {size} px with {grid} x {grid} cells {wanted} are lost, yours are {found}."


@exercise("05.2")
def decode_v2(answer):
    t, corner = torch.randn(30, 4), torch.randint(0, 13, (30, 2))
    anchor, stride = torch.rand(2) * 60 + 5, int(np.random.choice([8, 16, 32]))
    found = answer(t, corner, anchor, stride)
    if found.shape != (30, 4):
        return f"30 cells have boxes (30, 4), yours are {tuple(found.shape)}."
    for (tx, ty, tw, th), (column, row), yours in zip(t.tolist(), corner.tolist(), found, strict=True):
        x, y = (column + 1 / (1 + np.exp(-tx))) * stride, (row + 1 / (1 + np.exp(-ty))) * stride
        width, height = anchor[0].item() * np.exp(tw), anchor[1].item() * np.exp(th)
        wanted = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        if not (yours - wanted).abs().max() < 1e-2:
            return (f"t {written(torch.tensor([tx, ty, tw, th]))} in column {column}, row {row} with the anchor "
                    f"{written(anchor)} and stride {stride} is {written(wanted)}, yours is {written(yours)}.")


@exercise("05.3")
def receptive_field(answer):
    tables = [[[3, 8, 1]], [[7, 8, 2], ["pool"]], [["pool"], [3, 8, 1], [1, 8, 1]], [[3, 8, 2], [3, 8, 2], [3, 8, 1]]]
    for table in tables:
        wanted = 1
        for row in reversed(table):  # what one cell of the last map sees of the map before, and so on to the image
            kernel, stride = (2, 2) if row == ["pool"] else (row[0], row[2])
            wanted = (wanted - 1) * stride + kernel
        found = answer(table)
        if found != wanted:
            return f"After {table} a cell sees {wanted} px, yours are {found}."
