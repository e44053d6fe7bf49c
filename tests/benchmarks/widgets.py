"""How long a move of a slider takes, per inspector: compute, draw and PNG, medians over 40 moves.

    python tests/benchmarks/widgets.py
"""

import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from geodl_course import widgets

LIMIT = 0.1  # seconds for compute and draw


def moves():
    """(name, compute, draw, states) of both inspectors at the sizes that lecture 02 uses."""
    generator = torch.Generator().manual_seed(0)
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    corner = torch.rand(20, 2, generator=generator) * 90
    objects = torch.cat([corner, corner + 6 + torch.rand(20, 2, generator=generator) * 30], 1)
    boxes = objects.repeat(5, 1) + torch.randn(100, 4, generator=generator)
    anchor = widgets.AnchorState(image, objects, sizes=(8, 16, 32, 64))
    nms = widgets.NmsState(image, boxes, torch.rand(100, generator=generator))
    yield "anchors", widgets.anchors_compute, widgets.anchors_draw, [replace(anchor, row=i % 32) for i in range(40)]
    yield "nms", widgets.nms_compute, widgets.nms_draw, [replace(nms, step=i % 20) for i in range(40)]


def main():
    print(f"medians in ms; compute + draw may take {LIMIT * 1e3:.0f}")
    print(f"{'inspector':10} {'compute':>8} {'draw':>8} {'png':>8} {'compute + draw':>15}")
    for name, compute, draw, states in moves():
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
        compute_ms, draw_ms, png_ms = (statistics.median(column) for column in zip(*rows, strict=True))
        total = statistics.median(row[0] + row[1] for row in rows)
        print(f"{name:10} {compute_ms:8.1f} {draw_ms:8.1f} {png_ms:8.1f} {total:15.1f}")


if __name__ == "__main__":
    main()
