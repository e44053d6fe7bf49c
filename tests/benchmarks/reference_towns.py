"""How hard are the towns? Trains the reference detector for 90 s on two cores and prints its average precision.

    python tests/benchmarks/reference_towns.py DATA [--seed 0] [--seconds 90]

DATA is the chip folder that `data_scripts/make.py towns` writes. The result fixes the generator's difficulty: AP50
between 0.80 and 0.93, AP below 0.65, the worst class at least 0.10 (AP50) below the best.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from geodl_course.chips import ChipDataset
from geodl_course.evaluation import average_precision, targets_of
from tests.benchmarks.reference import reference_faster_rcnn

BATCH, RATE, WARM_UP = 8, 1.5e-3, 0.06


def turned(image, target, turn, size):
    """One of the eight ways to lay a square chip: `turn` quarter turns, mirrored first where `turn` is 4 or more."""
    boxes = target["boxes"]
    if turn >= 4:
        image = image.flip(-1)
        boxes = torch.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1)
    for _ in range(turn % 4):  # rot90 counter-clockwise: (x, y) -> (y, size - x)
        image = image.rot90(1, (-2, -1))
        boxes = torch.stack([boxes[:, 1], size - boxes[:, 2], boxes[:, 3], size - boxes[:, 0]], 1)
    return image, {"boxes": boxes, "labels": target["labels"]}


def batches(dataset, generator):
    """Endless shuffled, turned batches: (list of images, list of targets)."""
    size = dataset.info.chip_size
    while True:
        order = torch.randperm(len(dataset), generator=generator).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            turns = torch.randint(8, (BATCH,), generator=generator).tolist()
            chips = [
                turned(*dataset[i], turn, size) for i, turn in zip(order[start : start + BATCH], turns, strict=True)
            ]
            yield [image for image, _ in chips], [target for _, target in chips]


def train(model, dataset, seconds, seed):
    """AdamW, rate warmed up and then let down by a cosine over the time; returns the steps done."""
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    stream = batches(dataset, torch.Generator().manual_seed(seed))
    start, steps = time.perf_counter(), 0
    while (progress := (time.perf_counter() - start) / seconds) < 1:
        rate = RATE * min(1, progress / WARM_UP) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * progress)).item())
        for group in optimiser.param_groups:
            group["lr"] = max(rate, RATE * 0.01)
        loss = sum(model(*next(stream)).values())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        steps += 1
    return steps


@torch.no_grad()
def find(model, dataset):
    model.eval()
    return [
        one
        for i in range(0, len(dataset), 16)
        for one in model([dataset[j][0] for j in range(i, min(i + 16, len(dataset)))])
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=90)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(options.seed)
    train_set, val_set = (ChipDataset(options.data, split) for split in ("train", "val"))
    model = reference_faster_rcnn(len(train_set.classes), len(train_set.info.bands), train_set.info.chip_size)
    steps = train(model.train(), train_set, options.seconds, options.seed)
    result = average_precision(find(model, val_set), targets_of(val_set), val_set.classes)
    classes = {name: round(value["AP50"], 4) for name, value in result["classes"].items()}
    gap = max(classes.values()) - min(classes.values())
    figures = dict(seed=options.seed, steps=steps, AP=round(result["AP"], 4), AP50=round(result["AP50"], 4))
    print(json.dumps(dict(**figures, classes=classes, gap=round(gap, 4))))


if __name__ == "__main__":
    main()
