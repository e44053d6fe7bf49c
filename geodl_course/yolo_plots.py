"""Drawings of lecture 05: what goes through YOLO v1, from pixels to detections."""


def yolo_v1_flow(size=128, channels=128, grid=8, boxes=2, classes=3, losses=True):
    """YOLO v1 with the shapes of its tensors → nodes and chains for diagrams.draw_flow.

    size: of a chip in pixels; channels: of the last map, which has grid x grid cells; boxes: P, of a cell; classes: K.
    The paper's network is size=448, channels=1024, grid=7, classes=20. Lecture 05.
    """
    cells = grid * grid
    nodes = {
        "chips": (0, 1, "data", f"chips\n(B, 3, {size}, {size})"),
        "convolutions": (1, 1, "learned", "convolutions"),
        "map": (2, 1, "data", f"feature map\n(B, {channels}, {grid}, {grid})"),
        "dense": (3, 1, "learned", "2 layers\nfully connected"),
        "cells": (4, 1, "data", f"5 P + K a cell\n(B, {grid}, {grid}, {5 * boxes + classes})"),
        "boxes": (5, 0, "data", f"boxes\n(B, {cells}, {boxes}, 4)"),
        "confidence": (5, 1, "data", f"confidence\n(B, {cells}, {boxes})"),
        "classes": (5, 2, "data", f"class scores\n(B, {cells}, {classes})"),
        "detect": (6, 1, "fixed", "detect\nmultiply, NMS"),
        "detections": (6, 0, "data", "detections\nbox, class, score"),
    }
    chains = ["chips convolutions map dense cells", "boxes detect detections"]
    chains += [f"cells {part}" for part in ("boxes", "confidence", "classes")] + ["confidence detect", "classes detect"]
    if losses:
        nodes |= {"objects": (2, 2, "data", "objects\n(B, M, 4)"),
                  "owners": (3, 2, "fixed", "to the cell\nof the centre"),
                  "loss": (4, 2, "loss", "YOLO losses\nfour sums")}  # fmt: skip
        chains += ["objects owners loss", "cells loss"]
    return nodes, chains
