"""YOLO v1's data flow: its shapes are those of the networks, every box is drawn and joined."""

import pytest
import torch
from test_diagrams import patches
from test_diagrams import test_text_stays_inside_its_box as check_text

from geodl_course.diagrams import FancyBboxPatch, draw_flow
from geodl_course.models.yolo_v1 import split_cells
from geodl_course.models.yolo_v1_layers import map_of
from geodl_course.models.yolo_v1_settings import paper_settings, small_settings
from geodl_course.yolo_plots import yolo_v1_flow


@pytest.mark.parametrize(("settings", "drawn"), [
    (small_settings(3), {}),
    (paper_settings(20), {"size": 448, "channels": 1024, "grid": 7, "classes": 20}),
])  # fmt: skip
def test_the_flow_tells_the_shapes_of_the_network(settings, drawn):
    nodes, _ = yolo_v1_flow(**drawn)
    (channels, side), grid = map_of(settings["layers"], settings["size"]), settings["grid"]
    output = torch.zeros(2, grid, grid, 5 * settings["boxes"] + settings["classes"])
    shapes = dict(zip(("boxes", "confidence", "classes"), split_cells(output, settings["classes"]), strict=True))
    shapes |= {"cells": output, "map": torch.zeros(2, channels, side, side)}
    for name, tensor in shapes.items():
        assert nodes[name][3].endswith("\n(B, " + ", ".join(map(str, tensor.shape[1:])) + ")"), name
    assert f"(B, 3, {settings['size']}, {settings['size']})" in nodes["chips"][3]


def test_every_box_is_joined_and_text_fits():
    nodes, chains = yolo_v1_flow()
    assert {name for chain in chains for name in chain.split()} == set(nodes)
    ax = draw_flow(nodes, chains)
    assert len(patches(ax, FancyBboxPatch)) == len(nodes)
    check_text(ax)
    assert not {node[2] for node in yolo_v1_flow(losses=False)[0].values()} & {"loss"}
