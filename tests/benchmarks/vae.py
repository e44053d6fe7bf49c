"""Does a VAE trained on land tell water from land at ports it never saw? Every score, and two that need no model.

    python -m tests.benchmarks.vae --seeds 0 1 2                # about five minutes on two cores
    python -m tests.benchmarks.vae --data coast --seeds 0 1 2   # the same on generated coasts

Trained on the land chips of the training split for STEPS each, once on red, green, blue and once on all bands; scored
on the validation split: land against water, and land against mixed chips, which are not smooth. Lecture 09 shows
docs/results/vae_sentinel_coast.json and vae_coast.json.
"""

import argparse

import numpy as np
import torch

from geodl_course import training
from geodl_course.chips import all_images, covers
from geodl_course.evaluation.anomaly import auroc, average_precision_of_scores, false_alarms_at_recall
from geodl_course.models.vae import vae
from geodl_course.models.vae_scores import plain_error, score_chips, scores_for
from tests.benchmarks import results

STEPS, RECALL = 300, 0.9  # of 16 chips: about twelve times each of the 413
COLOURS = ["red", "green", "blue"]


def of_kind(dataset, kind):
    """The chips of a data set that its covers call land, water or mixed."""
    return dataset.take([i for i, said in enumerate(covers(dataset)) if said["kind"] == kind])


def judged(land, other):
    """Scores of both groups (N,) → how well they are told apart."""
    scores, strange = torch.cat((land, other)).numpy(), np.arange(len(land) + len(other)) >= len(land)
    share, threshold = false_alarms_at_recall(scores, strange, RECALL)
    return {"AUROC": auroc(scores, strange), "AUPRC": average_precision_of_scores(scores, strange),
            f"false alarms at recall {RECALL}": share, "threshold": threshold}


def measure(train, val, seed, steps):
    """One VAE → {score: {"water": ..., "mixed": ...}} on val, and how it was trained."""
    torch.manual_seed(seed)
    model, land = vae(len(train.info.bands)), of_kind(train, "land")
    history = training.fit(model, land, steps=steps, batch_size=16, seed=seed)
    groups = {kind: all_images(of_kind(val, kind)) for kind in ("land", "water", "mixed")}
    found = {}
    for name, score in scores_for(train.info.bands).items():
        values = {kind: score_chips(score, images, model) for kind, images in groups.items()}
        found[name] = {kind: judged(values["land"], values[kind]) for kind in ("water", "mixed")}
        print(f"  {name:28}", *(f"{kind} AUROC {one['AUROC']:.3f}" for kind, one in found[name].items()), flush=True)
    seen = score_chips(plain_error, all_images(land), model).mean().item()
    circumstances = {"steps": history.step, "seconds": history.seconds, "error on land it learned from": seen,
                     "chips": {kind: len(images) for kind, images in groups.items()}, "trained on": len(land)}
    circumstances |= {f"error on {kind}": score_chips(plain_error, images, model).mean().item()
                      for kind, images in groups.items()}  # fmt: skip
    return {"scores": found, **circumstances}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.vae", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="sentinel_coast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split) for split in ("train", "val"))
    for seed in chosen.seeds:
        figures = {}
        for name, bands in (("red, green, blue", COLOURS), ("five bands", train.info.bands)):
            print(f"seed {seed}, {name}", flush=True)
            figures[name] = measure(train.pick_bands(bands), val.pick_bands(bands), seed, chosen.steps)
        data = "" if chosen.data == "sentinel_coast" else f" --data {chosen.data}"
        results.store(f"vae_{train.info.name}", figures, f"python -m tests.benchmarks.vae{data} --seeds ", seed)


if __name__ == "__main__":
    main()
