"""What a computation costs, what missed objects have in common, and what was measured before."""

import json
import math
import time
from pathlib import Path

import torch

from geodl_course.ops.boxes import box_iou


def cost(run, repeat=5):
    """Multiply-adds in millions and milliseconds of calling run() → (multiply-adds, milliseconds).

    Convolutions and matrix products are counted, as torch.utils.flop_counter does; the count is the same on every
    machine. The milliseconds are this one's, on the CPU: the best of `repeat` calls after one to warm up, because
    whatever else the machine does can only add to them. Lecture 03.
    """
    from torch.utils.flop_counter import FlopCounterMode

    times = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            run()
        for _ in range(repeat):
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
    return counter.get_total_flops() / 2e6, min(times)


def traits(image, target, small=8, dark=0.75, near=2):
    """What makes the M objects of a chip hard → dict of bool tensors (M,), the last one all True.

    image (C, H, W) of any dtype; target: a dict with boxes (M, 4) in pixels, labels (M,). small and near in pixels:
    the shorter side, the gap to another object of the class; dark: share of the chip's median brightness that the box
    stays under on average. Lecture 03.
    """
    boxes, labels, size = target["boxes"], target["labels"], image.shape[-1]
    pixels = torch.as_tensor(image).float().mean(dim=0)
    mean = [
        pixels[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)].mean() for x0, y0, x1, y1 in boxes.tolist()
    ]
    grown = boxes + near * boxes.new_tensor([-1, -1, 1, 1])
    close = (box_iou(grown, boxes) > 0) & (labels[:, None] == labels)
    return {
        f"shorter side under {small} px": (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < small,
        "dark: in shadow, or black": torch.tensor(mean) < dark * pixels.median(),
        "cut by the chip's border": (boxes[:, :2] <= 0).any(dim=1) | (boxes[:, 2:] >= size).any(dim=1),
        f"under {near} px from one of its class": close.sum(dim=1) > 1,  # each is close to itself
        "all objects": torch.ones(len(boxes), dtype=torch.bool),
    }


def missed_by_trait(images, targets, outcomes):
    """How many objects with each trait were missed, over N chips → pandas DataFrame (objects, missed, share).

    images (N, C, H, W); targets: N dicts; outcomes: what evaluation.match_detections returned for each. Lecture 03.
    """
    import pandas

    counts = {}
    for image, target, outcome in zip(images, targets, outcomes, strict=True):
        for name, has in traits(image, target).items():
            objects, missed = counts.get(name, (0, 0))
            counts[name] = objects + int(has.sum()), missed + int(has[outcome.missed].sum())
    table = pandas.DataFrame(counts, index=["objects", "missed"]).T
    return table.assign(share=(table["missed"] / table["objects"]).round(2))


def stored(name):
    """The figures of each stored run of the benchmark called name, from docs/results → list of dicts, one a run.

    Where nothing was measured yet a line says so, and the list is empty. Lectures draw these files, they train nothing
    for them.
    """
    path = result_file(f"{name}.json")
    return [run["figures"] for run in json.loads(path.read_text("utf-8"))["runs"]] if path else []


def result_file(name):
    """The path of a file in docs/results, which benchmarks write; None, and a line says so, where it is not there."""
    path = Path(__file__).parents[1] / "docs" / "results" / name
    if path.exists():
        return path
    print(f"docs/results/{name} is not there yet: nothing to show.")
    return None
