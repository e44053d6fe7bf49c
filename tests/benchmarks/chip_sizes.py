"""What does a larger chip cost? Seconds and peak memory of a training step of the quick Faster R-CNN, batch 8.

    python -m tests.benchmarks.chip_sizes

The training scenes of towns are cut anew at each size. Each size is measured in a process of its own, for peak memory
never falls again within one. Lecture 01 draws docs/results/01_chip_sizes.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil  # comes with accelerate
import torch

from geodl_course import datasets
from geodl_course.chips import ChipDataset, collate
from geodl_course.datasets.chipping import chip_scenes
from geodl_course.datasets.towns import CLASSES
from geodl_course.models.faster_rcnn import faster_rcnn
from tests.benchmarks import results

SIZES, BATCH, WARM, STEPS = (128, 256, 512), 8, 1, 7
COMMAND = "python -m tests.benchmarks.chip_sizes"


def cut(size, out):
    """The training scenes of towns as chips of `size` px → chip folder."""
    scenes = sorted(Path(f"{datasets.make('towns')}_scenes").glob("*.tif"))[:2]
    sources = [(scene, scene.with_suffix(".gpkg"), "train") for scene in scenes]
    return chip_scenes(sources, out, class_field="type", classes=CLASSES, size=size, progress=False)


def measure(folder):
    """Median seconds of a training step on the chips of `folder`, and the megabytes that training adds at its peak."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chips = ChipDataset(folder, "train", limit=BATCH * 3)
    model = faster_rcnn(classes=len(chips.classes)).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    before, seconds = held(device), []
    for step in range(WARM + STEPS):
        images, targets = collate([chips[(step * BATCH + i) % len(chips)] for i in range(BATCH)])
        start = time.perf_counter()
        loss = sum(model(images.to(device), targets.to(device)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()  # a GPU works on in the background until somebody asks for a number
        seconds.append(time.perf_counter() - start)
    return {"step_seconds": median(seconds[WARM:]), "megabytes": (peak(device) - before) / 1e6}


def held(device):
    """Bytes in use now: by the GPU's tensors, else by this process."""
    return torch.cuda.memory_allocated() if device.type == "cuda" else psutil.Process().memory_info().rss


def peak(device):
    """The most bytes in use so far, counted as in `held`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes on macOS, else KiB


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", metavar="FOLDER", help="measure one chip folder and print the figures")
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    figures = {"batch": BATCH, "sizes": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for size in SIZES:
            folder = cut(size, Path(scratch) / str(size))
            command = [sys.executable, "-m", "tests.benchmarks.chip_sizes", "--measure", str(folder)]
            found = subprocess.run(command, cwd=results.ROOT, capture_output=True, text=True, check=True).stdout
            figures["sizes"][size] = json.loads(found.splitlines()[-1])
            print(f"{size} px: {figures['sizes'][size]}", flush=True)
    print(results.store("01_chip_sizes", figures, COMMAND))


if __name__ == "__main__":
    main()
