"""How accurate are the course's detectors? Figures go to docs/results; each seed can be measured by itself.

    python -m tests.benchmarks.accuracy quick --data towns --seeds 0 1 2
    python -m tests.benchmarks.accuracy quick --model yolo_v1 --data towns --seeds 0 1 2
    python -m tests.benchmarks.accuracy parity --data towns --seeds 0 1 2 3 4
    python -m tests.benchmarks.accuracy parity --data neon_trees --seeds 0 1 2 3 4
    python -m tests.benchmarks.accuracy parity --model ssd --data sen2ships --bands red green blue --seeds 0 1 2 3 4
    python -m tests.benchmarks.accuracy quick --model mask_rcnn --data valley_fills --seeds 0 1 2
    python -m tests.benchmarks.accuracy parity --model mask_rcnn --data buildings --seeds 0 1 2 3 4

quick: the quick recipe, 90 s of training (Mask R-CNN 120 s), AP50 on val, by masks where there are some. parity:
torchvision's detector and ours from the same initial weights, through the same loop, on the same batches; Faster R-CNN
on neon_trees also with a backbone from towns.
--data takes a data set's name, a chip folder or an .npz, which needs neither rasterio nor Jupyter.
"""

import argparse
import time
from importlib import import_module

import torch
from safetensors.torch import load_file
from torch import nn

from geodl_course import training
from geodl_course.evaluation import average_precision, detect, mask_average_precision, targets_of
from tests.benchmarks import results
from tests.benchmarks.reference import REFERENCES

STEPS = {"towns": 300, "neon_trees": 300, "sen2ships": 600, "valley_fills": 300, "buildings": 300}
EMPTY = {"sen2ships": 0.1}  # where most chips hold no object: this share of those is trained on, evenly spread
KEPT = results.ROOT / "build" / "parity"  # what towns taught, for the trees' turn


class Reference(nn.Module):
    """torchvision's detector behind the interface that fit and evaluate know."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images, targets=None):
        if self.training:
            return self.module(list(images), targets.to_list())
        return Found(self.module(list(images)))


class Found(list):
    def per_image(self):
        return [{**one, "masks": one["masks"][:, 0] > 0.5} if "masks" in one else one for one in self]


def fewer_empty(data, share):
    """The chips of data with objects, and this share of those without."""
    counts = torch.from_numpy(data.arrays["counts"])
    empty = (counts == 0).nonzero().flatten()
    kept = torch.cat(((counts > 0).nonzero().flatten(), empty[:: round(1 / share)])).sort().values
    return data.take(kept.numpy())


def figures_of(model, val):
    """AP, AP50 and AP50 by class on val: of masks, and the boxes' beside, where val has masks."""
    found, truth = detect(model, val), targets_of(val)
    boxes = average_precision(found, truth, val.classes)
    figures = mask_average_precision(found, truth, val.classes) if val.masks else boxes
    classes = {name: one["AP50"] for name, one in figures["classes"].items()}
    beside = {"boxes_AP": boxes["AP"], "boxes_AP50": boxes["AP50"]} if val.masks else {}
    return {"AP": figures["AP"], "AP50": figures["AP50"], "classes": classes, **beside}


def trained(name, model, train, val, seed, **length):
    """Train model with the course's loop and its default recipe → its figures on val, and how long it took."""
    start = time.perf_counter()
    history = training.fit(model, train, seed=seed, **length)
    figures = {**figures_of(model, val), "steps": history.step, "training_seconds": history.seconds}
    print(f"seed {seed} {name}: AP {figures['AP']:.3f} AP50 {figures['AP50']:.3f} after {history.step} steps "
          f"({time.perf_counter() - start:.0f} s)", flush=True)
    return figures


def reference(system, data, seed):
    torch.manual_seed(seed)
    return REFERENCES[system](len(data.classes), len(data.info.bands), data.info.chip_size)


def takeover(system, module):
    """torchvision's module as our system, with the same weights."""
    return import_module(f"geodl_course.models.{system}").from_torchvision(module)


def quick(system, train, val, seed):
    """The quick recipe as the command line runs it, under the clock."""
    torch.manual_seed(seed)
    function, recipe = training.RECIPES[system, "quick"]
    model = training.make_model(system, function, train)
    return trained("quick", model, train, val, seed, **recipe)


def parity(system, train, val, seed, steps):
    """Reference and ours from the same weights on the same batches → the figures of both."""
    theirs, ours = reference(system, train, seed), takeover(system, reference(system, train, seed))
    figures = {"ours": trained("ours", ours, train, val, seed, steps=steps)}
    if system == "faster_rcnn":
        training.save_model(ours, KEPT / train.info.name / str(seed))
    figures["torchvision"] = trained("torchvision", Reference(theirs), train, val, seed, steps=steps)
    return figures


def pretrained(train, val, seed, steps, towns):
    """Our Faster R-CNN on train with the backbone that the same seed's had after its turn on towns (a data set)."""
    stored = KEPT / "towns" / str(seed) / "model.safetensors"
    if not stored.exists():
        data = training.open_chips(towns, "train")
        model = takeover("faster_rcnn", reference("faster_rcnn", data, seed))
        training.fit(model, data, seed=seed, steps=STEPS["towns"])
        training.save_model(model, stored.parent)
    weights = {name.removeprefix("backbone."): value for name, value in load_file(stored).items() if "backbone" in name}
    model = takeover("faster_rcnn", reference("faster_rcnn", train, seed))
    model.backbone.load_state_dict(weights)
    return trained("ours, backbone from towns", model, train, val, seed, steps=steps)


def summary(name):
    """The stored pairs of one parity benchmark in words."""
    pairs = [run["figures"] for run in results.runs(name)]
    seeds = ", ".join(str(run["seed"]) for run in results.runs(name))
    lines = [f"{name}, seeds {seeds}"]
    for metric in ("AP", "AP50"):
        mean, low, high = results.interval([pair["ours"][metric] - pair["torchvision"][metric] for pair in pairs])
        lines.append(f"  {metric}: ours - torchvision = {mean:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}]")
    for who in ("ours", "torchvision", "pretrained"):
        if all(who in pair for pair in pairs):
            lines.append(f"  AP50 of {who}: {sum(pair[who]['AP50'] for pair in pairs) / len(pairs):.3f}")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quick", "parity"])
    systems = sorted({system for system, _ in training.RECIPES})
    parser.add_argument("--model", choices=systems, default="faster_rcnn", help="parity: those that torchvision has")
    parser.add_argument("--data", required=True)
    parser.add_argument("--bands", nargs="+", help="only these bands; the results then bear their number")
    parser.add_argument("--towns", default="towns", help="where parity on neon_trees takes its backbone from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    chosen = parser.parse_args(arguments)
    if chosen.what == "parity" and chosen.model not in REFERENCES:
        parser.error(f"torchvision has no {chosen.model} to compare with: {', '.join(REFERENCES)}")
    masks = chosen.model in training.MASKED
    train, val = (training.open_chips(chosen.data, split, masks) for split in ("train", "val"))
    if chosen.bands:
        train, val = train.pick_bands(chosen.bands), val.pick_bands(chosen.bands)
    name, system = train.info.name, chosen.model
    train = fewer_empty(train, EMPTY.get(name, 1))
    which = "" if system == "faster_rcnn" else f" --model {system}"  # the first system's results bear no name
    stored = "_".join([chosen.what, *([] if system == "faster_rcnn" else [system]), name])
    command = f"python -m tests.benchmarks.accuracy {chosen.what}{which} --data {name}"
    if chosen.bands:
        stored, command = f"{stored}_{len(chosen.bands)}_bands", f"{command} --bands {' '.join(chosen.bands)}"
    command += " --seeds " + " ".join(map(str, chosen.seeds))
    for seed in chosen.seeds:
        if chosen.what == "quick":
            figures = quick(system, train, val, seed)
        else:
            steps = chosen.steps or STEPS[name]
            figures = parity(system, train, val, seed, steps)
            if system == "faster_rcnn" and name != "towns":
                figures["pretrained"] = pretrained(train, val, seed, steps, chosen.towns)
        results.store(stored, figures, command, seed)
    if chosen.what == "parity":
        print(summary(stored))


if __name__ == "__main__":
    main()
