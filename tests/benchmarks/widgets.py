"""How long a move of a slider takes, per inspector: compute, draw and PNG, medians over 40 moves.

    python -m tests.benchmarks.widgets
"""

import statistics
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from geodl_course import widgets
from geodl_course.models.unet_id_targets import unet_id_targets
from tests.benchmarks import results

COMMAND = "python -m tests.benchmarks.widgets"
LIMIT = 0.1  # seconds for compute and draw


def moves():
    """(name, compute, draw, states) of each inspector at the sizes that the lectures use."""
    generator = torch.Generator().manual_seed(0)
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    corner = torch.rand(20, 2, generator=generator) * 90
    objects = torch.cat([corner, corner + 6 + torch.rand(20, 2, generator=generator) * 30], 1)
    boxes = objects.repeat(5, 1) + torch.randn(100, 4, generator=generator)
    anchor = widgets.AnchorState(image, objects, sizes=(8, 16, 32, 64))
    nms = widgets.NmsState(image, boxes, torch.rand(100, generator=generator))
    grid = widgets.GridState(image, objects, torch.ones(20, dtype=torch.long), ("a", "b", "c"), torch.rand(8, 8, 13))
    houses = torch.zeros(12, 128, 128, dtype=torch.bool)
    for i in range(12):  # four rows of three that share walls
        houses[i, 6 + 32 * (i // 3) : 28 + 32 * (i // 3), 10 + 34 * (i % 3) : 44 + 34 * (i % 3)] = True
    blurred = F.avg_pool2d(unet_id_targets(houses[None], torch.ones(1, 12, dtype=torch.bool)), 5, 1, 2)[0]
    chances = (blurred + 0.3 * torch.rand(3, 128, 128, generator=generator)).clamp(0, 1)
    maps = widgets.MapsState(image, chances, houses, smallest=20)
    chips = torch.randn(600, 5, 64, 64, generator=generator)
    scores = {"error": torch.rand(600, generator=generator), "KL": torch.rand(600, generator=generator).exp() ** 4}
    strange = np.arange(600) % 4 == 0
    errors = widgets.reconstruction_state(chips, 0.5 * chips, scores, strange)
    places = [replace(errors, place=0.02 + 0.024 * i, pick=i % 8, score=["error", "KL"][i % 2]) for i in range(40)]
    yield "reconstruction", widgets.reconstruction_compute, widgets.reconstruction_draw, places
    yield "maps", widgets.maps_compute, widgets.maps_draw, [replace(maps, inner=0.2 + 0.015 * i) for i in range(40)]
    yield "anchors", widgets.anchors_compute, widgets.anchors_draw, [replace(anchor, row=i % 32) for i in range(40)]
    yield "grid", widgets.grid_compute, widgets.grid_draw, [replace(grid, row=i % 8, col=i // 8) for i in range(40)]
    yield "nms", widgets.nms_compute, widgets.nms_draw, [replace(nms, step=i % 20) for i in range(40)]


def measure(compute, draw, states):
    """Median milliseconds of one inspector's parts, and of compute and draw together."""
    figure, rows = draw(compute(states[0])), []
    for state in states:
        ticks = [time.perf_counter()]
        data = compute(state)
        ticks.append(time.perf_counter())
        draw(data, figure)
        figure.canvas.draw()
        ticks.append(time.perf_counter())
        widgets.png(figure)
        ticks.append(time.perf_counter())
        rows.append(np.diff(ticks) * 1e3)
    parts = dict(zip(("compute", "draw", "png"), (statistics.median(column) for column in zip(*rows, strict=True)),
                     strict=True))
    return {**parts, "compute_and_draw": statistics.median(row[0] + row[1] for row in rows)}


def main():
    figures = {}
    for name, *inspector in moves():
        figures[name] = measure(*inspector)
        print(name, ", ".join(f"{part} {value:.1f} ms" for part, value in figures[name].items()), flush=True)
    print(f"compute + draw may take {LIMIT * 1e3:.0f} ms")
    results.store("widgets", figures, COMMAND)


if __name__ == "__main__":
    main()
