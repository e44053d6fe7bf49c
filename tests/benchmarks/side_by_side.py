"""The three detectors on the same chips, trained for the same time in one run: accuracy, size and speed in one table.

    python -m tests.benchmarks.side_by_side

Each is trained by its quick recipe for --seconds, looked at on val, and timed on val chips, the three in turns, so that
whatever else the machine does falls on all of them. --data takes a data set's name, a chip folder or an .npz.
"""

import argparse
import statistics
import time

import torch

from geodl_course import training
from geodl_course.evaluation import SIZES, evaluate
from tests.benchmarks import results

SYSTEMS = ("faster_rcnn", "ssd", "yolo_v1")
BATCHES, SECONDS, TURNS = (1, 16), 90, 30
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def trained(system, train, seed, seconds):
    """The system after seconds of training by its quick recipe → model, its history."""
    torch.manual_seed(seed)
    function, recipe = training.RECIPES[system, "quick"]
    length = {name: value for name, value in recipe.items() if name not in ("epochs", "steps", "seconds")}
    model = training.make_model(system, function, train).to(DEVICE)
    return model, training.fit(model, train, seed=seed, seconds=seconds, **length)


def described(model, history, val):
    """AP of all objects and by their size on val, parameters, and what training was."""
    figures = evaluate(model, val)
    accuracy = {name: figures[name] for name in ("AP", "AP50", *(f"AP_{size}" for size in SIZES))}
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {**accuracy, "parameters": weights, "steps": history.step, "training_seconds": history.seconds}


@torch.no_grad()
def speeds(models, images, turns=TURNS):
    """Images a second of models {name: model} on images (B, C, H, W), detections and all → {name: median}."""
    images, times = images.to(DEVICE), {name: [] for name in models}
    for turn in range(turns + 3):  # the first ones allocate
        for name, model in models.items():
            start = time.perf_counter()
            model.eval()(images)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            times[name] += [time.perf_counter() - start] * (turn >= 3)
    return {name: len(images) / statistics.median(one) for name, one in times.items()}


def measure(train, val, seed=0, seconds=SECONDS):
    """{system: its row of the table}."""
    models, rows = {}, {}
    for system in SYSTEMS:
        models[system], history = trained(system, train, seed, seconds)
        rows[system] = described(models[system], history, val)
        print(f"{system}: AP50 {rows[system]['AP50']:.3f} after {history.step} steps", flush=True)
    for batch in BATCHES:
        images = torch.stack([val[i][0] for i in range(min(batch, len(val)))])
        for system, speed in speeds(models, images).items():
            rows[system][f"images_a_second_{batch}"] = speed
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="towns")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="training time of each")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split) for split in ("train", "val"))
    figures = measure(train, val, chosen.seed, chosen.seconds)
    results.store(f"side_by_side_{train.info.name}", figures, "python -m tests.benchmarks.side_by_side", chosen.seed)
    import pandas

    print(pandas.DataFrame(results.tidy(figures)).T.to_string())


if __name__ == "__main__":
    main()
