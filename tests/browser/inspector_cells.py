"""One notebook with a cell for each inspector, on data that need no training, and what its controls are called."""

import nbformat

FIRST = """
import torch
from geodl_course import widgets
from geodl_course.models.unet_id_targets import unet_id_targets
corner = torch.tensor([[9, 12], [44, 15], [80, 20], [15, 60], [52, 70], [90, 90.0]])
objects = torch.cat([corner, corner + torch.tensor([[22, 18], [9, 9], [30, 34], [12, 26], [28, 14], [20, 20]])], 1)
labels = torch.tensor([1, 2, 1, 3, 1, 2])
image = torch.linspace(0, 200, 128).expand(3, 128, 128).to(torch.uint8)
"""
CELLS = {  # inspector: its cell; the labels of its sliders
    "anchors": ("""
widgets.anchors(image, objects, strides=(4, 8, 16), stride=8, sizes=(8, 16, 32))
""", ["stride", "row", "column", "IoU bars"]),
    "nms": ("""
torch.manual_seed(0)
heap = objects.repeat(4, 1) + 2 * torch.randn(24, 4)
widgets.nms(image, heap, torch.rand(24), score=0.2, iou=0.5, step=3)
""", ["score ≥", "IoU >", "step"]),
    "grid": ("""
widgets.grid(image, objects, labels, ("a", "b", "c"), grid=7)
""", ["row", "column", "S"]),
    "grid of a network": ("""
torch.manual_seed(0)
widgets.grid(image, objects, labels, ("a", "b", "c"), torch.rand(8, 8, 13))
""", ["row", "column", "confidence"]),
    "maps": ("""
houses = torch.zeros(2, 64, 64, dtype=torch.bool)
houses[0, 10:22, 8:20] = houses[1, 10:22, 20:34] = True
maps = 0.1 + 0.8 * unet_id_targets(houses[None], torch.ones(1, 2, dtype=torch.bool))[0]
widgets.maps(torch.zeros(3, 64, 64, dtype=torch.uint8), maps, houses, smallest=20)
""", ["pixels ≥", "border >", "segment >", "inner >"]),
    "reconstruction": ("""
rank = torch.arange(20) / 20
slope = torch.linspace(-1, 1, 32).expand(20, 4, 32, 32)
images = slope * torch.arange(1, 5)[:, None, None] * (0.2 + rank)[:, None, None, None]
scores = {"error": rank, "flatness": -rank}
bands = ["red", "green", "blue", "nir"]
widgets.reconstruction(images, 0.5 * images, scores, rank > 0.72, bands, groups=("land", "water"))
""", ["threshold", "chip", "a miss costs", "a false one"]),
}  # fmt: skip


def number_of(name):
    """The place of an inspector's cell in the notebook."""
    return 1 + list(CELLS).index(name)


def write(path, metadata):
    """Write the notebook."""
    sources = [FIRST, *(source for source, _ in CELLS.values())]
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
