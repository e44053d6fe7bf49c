"""What YOLO v1's two fully connected layers gain and cost: 90 s of training on towns with each start, and without them.

    python -m tests.benchmarks.yolo_dense

Lecture 05 shows docs/results/yolo_dense.json.
"""

import argparse

import torch

from geodl_course import training
from geodl_course.evaluation import evaluate
from geodl_course.models.layers import FlattenBins
from geodl_course.models.yolo_v1 import yolo_v1
from tests.benchmarks import results

SECONDS = 90


def variants(classes, size):
    """{name: model}, untrained: a start as a copy, at random as in the paper, and the convolutions' own answer."""
    models = {"copy": yolo_v1(classes, size=size), "none": yolo_v1(classes, size=size)}
    units = models["copy"].dense[-1].in_features
    models["random"] = yolo_v1(classes, size=size, dense={"start": "random", "hidden": units})
    models["none"].dense = FlattenBins()
    return models


def measure(train, val, seed, seconds):
    torch.manual_seed(seed)
    figures = {}
    for name, model in variants(len(train.classes), train.info.chip_size).items():
        history = training.fit(model, train, seed=seed, seconds=seconds)
        found, learned = evaluate(model, val), evaluate(model, train.take(range(0, len(train), 4)))
        weights = sum(parameter.numel() for parameter in model.dense.parameters())
        figures[name] = {"AP50": found["AP50"], "AP": found["AP"], "AP50, training chips": learned["AP50"],
                         "weights in dense layers": weights, "steps": history.step}
        print(name, {key: round(value, 3) for key, value in figures[name].items()}, flush=True)
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.yolo_dense", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="towns")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split) for split in ("train", "val"))
    figures = measure(train, val, chosen.seed, chosen.seconds)
    results.store("yolo_dense", figures, "python -m tests.benchmarks.yolo_dense", chosen.seed)


if __name__ == "__main__":
    main()
