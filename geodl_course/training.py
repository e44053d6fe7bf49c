"""Training: one visible loop for every system of the course, in a notebook, in a terminal and on several GPUs.

    python -m geodl_course.training faster_rcnn --data towns --budget quick --checkpoint runs/towns
    accelerate launch -m geodl_course.training faster_rcnn --data towns.npz --budget full

A model that `fit` can train takes `model(images (B, C, H, W), targets)` to a dict of losses. All that is random in
step s (order of the chips, augmentation, whatever the model samples) comes from (seed, s) alone, so a run that was
stopped anywhere continues to the same weights. Lecture 03 walks through the loop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from geodl_course.chips import ChipDataset, collate
from geodl_course.evaluation import evaluate
from geodl_course.models import build

OPTIMISERS = {  # name: (class, its settings, a learning rate that suits the course's models)
    "adamw": (torch.optim.AdamW, {"weight_decay": 1e-4}, 1.5e-3),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}, 2e-2),
}


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite; the message names the step, the part of the loss and the chips."""


@dataclass
class History:
    """What happened in training.

    rows: one dict an epoch: epoch, step, seconds (of training alone), lr, loss and its parts (means since the row
    before), and AP, AP50 where the model was validated. steps: one dict a step: step, lr, loss and its parts.
    """

    rows: list[dict] = field(default_factory=list)
    steps: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def step(self):
        return len(self.steps)

    def table(self):
        """The rows as a pandas DataFrame, rounded for reading."""
        import pandas

        return pandas.DataFrame(self.rows).round({"seconds": 1, "epoch": 2, "lr": 6}).round(4)


# ------------------------------------------------------------------------------------------ the loop


def fit(
    model, train, val=None, *, epochs=None, steps=None, seconds=None, batch_size=8, lr=None, optimiser="adamw",
    seed=0, augment=True, checkpoint=None, resume=False, evaluate_every=None, progress=True,
):
    """Train model on the chips of train → History; the model is changed in place and left in eval mode.

    Give one of epochs, steps, seconds (of training: validation and checkpoints are not counted). The learning rate
    warms up and then falls to zero over that length; lr None takes the optimiser's own. val is looked at after every
    `evaluate_every` epochs and at the end. With `checkpoint` (a folder) each epoch is stored, and resume=True continues
    what is stored there, on a CPU to the very weights of an uninterrupted run (not under a budget in seconds: no two
    runs are equally fast). The stop button ends training after the step at hand and keeps what was learned.
    On several processes (`accelerate launch`) each takes batch_size chips a step.
    Raises NonFiniteLoss, and ValueError for settings that contradict each other. Lecture 03.
    """
    length = one_length(epochs=epochs, steps=steps, seconds=seconds)
    recipe = {"seed": seed, "batch_size": batch_size, "optimiser": optimiser, "augment": augment, "chips": len(train)}
    run = begin(model, train, length, recipe, lr, checkpoint, resume, progress)
    with run.bar, stop_button(run.history) as stop:
        while share_done(run) < 1 and not run.history.stopped:
            train_epoch(run, stop)
            due = evaluate_every and run.history.step // run.per_epoch % evaluate_every == 0
            end_epoch(run, val if share_done(run) >= 1 or due and not stop else None)
    model.eval()
    say_if_stopped(run)
    return run.history


def train_epoch(run, stop):
    """The rest of the epoch that the run is in, or less if its length or patience ends."""
    run.model.train()
    for chips in batches(run)[run.history.step % run.per_epoch :]:
        start = time.perf_counter()
        images, targets = load_batch(run, chips)
        rate = set_rate(run.optimiser, run.lr * schedule(share_done(run, ahead=0.5)))
        losses = forward(run.model, images, targets)
        values = finite(losses, run.history.step + 1, [run.train.stems[i] for i in chips])
        descend(run.optimiser, sum(losses.values()), run.accelerator.backward)
        record(run, rate, values, time.perf_counter() - start)
        run.history.stopped = bool(stop)
        if run.history.stopped or share_done(run) >= 1:
            break


def load_batch(run, chips):
    """Images (B, C, H, W) and Targets of the chips with these indices, augmented, on the run's device."""
    torch.manual_seed(seed_of(run.recipe["seed"], run.history.step, run.accelerator.process_index))
    images, targets = collate([run.train[i] for i in chips])
    if run.recipe["augment"]:
        images, targets = flip_and_turn(images, targets, torch.randint(8, (len(images),)))
    return images.to(run.accelerator.device), targets.to(run.accelerator.device)


def forward(model, images, targets):
    """Losses {name: scalar} of a batch; in bfloat16 where a GPU is quicker with it."""
    check_devices(model, images)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        return model(images, targets)


def descend(optimiser, loss, backward=torch.Tensor.backward, longest=10.0):
    """One step of gradient descent on a scalar loss; a gradient longer than `longest` is shortened to that."""
    optimiser.zero_grad()
    backward(loss)
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], longest)
    optimiser.step()


def schedule(share, warmup=0.06):
    """Learning rate as a share of its top, when `share` (0..1) of the training is done: a ramp, then half a cosine.

    The ramp keeps the first steps, whose gradients are wild, from spoiling the start. Source: Goyal et al. 2017
    (arXiv 1706.02677) for the ramp, Loshchilov and Hutter 2017 (arXiv 1608.03983) for the cosine.
    """
    if share < warmup:
        return share / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (share - warmup) / (1 - warmup))


def flip_and_turn(images, targets, element):
    """One of the 8 flips and quarter turns of a square for each image (B, C, H, W) and its boxes → both, turned.

    element (B,) 0..7: bit 0 mirrors left-right, bit 1 upside down, bit 2 then swaps rows and columns (square chips
    only: on others that bit is ignored). A chip seen from above has no up and down, so all 8 are as real as the chip.
    """
    boxes, masks = targets.boxes, targets.masks
    height, width = images.shape[-2:]
    across, down, swap = ((element & bit > 0)[:, None, None, None].to(images.device) for bit in (1, 2, 4))
    x0, y0, x1, y1 = boxes.unbind(-1)
    boxes = torch.where(across[..., 0], torch.stack((width - x1, y0, width - x0, y1), -1), boxes)
    x0, y0, x1, y1 = boxes.unbind(-1)
    boxes = torch.where(down[..., 0], torch.stack((x0, height - y1, x1, height - y0), -1), boxes)
    if height == width:
        boxes = torch.where(swap[..., 0], boxes[..., [1, 0, 3, 2]], boxes)
    turned = [None if maps is None else turn_maps(maps, across, down, swap) for maps in (images, masks)]
    return turned[0], replace(targets, boxes=boxes, masks=turned[1])


def turn_maps(maps, across, down, swap):
    """Flip and turn maps (B, C, H, W) where across, down, swap (B, 1, 1, 1) say so."""
    maps = torch.where(across, maps.flip(-1), maps)
    maps = torch.where(down, maps.flip(-2), maps)
    return torch.where(swap, maps.mT, maps) if maps.shape[-1] == maps.shape[-2] else maps


# ------------------------------------------------------------------------------- what the loop stands on


def begin(model, train, length, recipe, lr, checkpoint, resume, progress):
    """Everything that a run holds: the prepared model and optimiser, the history so far, the progress bar."""
    from accelerate import Accelerator

    if recipe["optimiser"] not in OPTIMISERS:
        raise ValueError(f"optimiser {recipe['optimiser']!r} is unknown: choose one of {', '.join(OPTIMISERS)}")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs the folder to continue from: fit(..., checkpoint=FOLDER, resume=True)")
    kind, settings, default = OPTIMISERS[recipe["optimiser"]]
    accelerator = Accelerator()
    prepared, optimiser = accelerator.prepare(model, kind(model.parameters(), lr=lr or default, **settings))
    history = read_state(checkpoint, model, optimiser, recipe) if resume else History()
    run = SimpleNamespace(
        model=prepared, plain=model, optimiser=optimiser, accelerator=accelerator, train=train, length=length,
        recipe=recipe, lr=lr or default, checkpoint=checkpoint, history=history, row_from=history.step,
    )
    run.per_epoch = steps_per_epoch(len(train), recipe["batch_size"] * accelerator.num_processes)
    run.bar = progress_bar(run, progress and accelerator.is_main_process)
    return run


def one_length(**lengths):
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) != 1 or not min(given.values()) > 0:
        raise ValueError(f"give exactly one of epochs, steps or seconds, more than 0; got {given or 'none'}")
    return next(iter(given.items()))


def share_done(run, ahead=0):
    """How much of the run is done, 0..1, counting `ahead` steps more."""
    kind, length = run.length
    steps, seconds = run.history.step, run.history.seconds
    if kind == "seconds":
        return min(1.0, (seconds + ahead * seconds / max(steps, 1)) / length)
    return min(1.0, (steps + ahead) / (length * run.per_epoch if kind == "epochs" else length))


def steps_per_epoch(chips, batch):
    """Whole batches in an epoch; a data set smaller than one batch is one batch."""
    if not chips:
        raise ValueError("the training set has no chips")
    return max(1, chips // batch)


def batches(run):
    """This process's part of the epoch that the run is in: a list of lists of chip indices, whole batches only."""
    size, process = run.recipe["batch_size"], run.accelerator.process_index
    order = np.random.default_rng([run.recipe["seed"], run.history.step // run.per_epoch]).permutation(len(run.train))
    whole = [order[i * size * run.accelerator.num_processes :] for i in range(run.per_epoch)]
    return [rest[process * size : (process + 1) * size].tolist() for rest in whole]


def seed_of(*numbers):
    """One seed from several numbers, such that neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def set_rate(optimiser, rate):
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def check_devices(model, images):
    """Raise ValueError where images and model are on different devices."""
    device = next(model.parameters()).device
    if device != images.device:
        raise ValueError(
            f"the images are on {images.device}, the model is on {device}: move one of them, for example "
            f"images.to('{device}') and targets.to('{device}')"
        )


def finite(losses, step, stems):
    """The losses as floats, {name: value}; raises NonFiniteLoss if one is NaN or infinite."""
    values = dict(zip(losses, torch.stack([loss.detach().float() for loss in losses.values()]).tolist(), strict=True))
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteLoss(
            f"step {step}: {', '.join(bad)}, on chips {', '.join(stems)}. Nothing was learned from this step. "
            "Look at these chips, or train with a smaller lr."
        )
    return values


def record(run, rate, values, seconds):
    """Write one step into the history and onto the progress bar."""
    history = run.history
    history.steps.append({"step": history.step + 1, "lr": rate, "loss": sum(values.values()), **values})
    history.seconds += seconds
    if run.accelerator.num_processes > 1:  # all must agree on when a budget in seconds is spent
        from accelerate.utils import broadcast

        history.seconds = float(broadcast(torch.tensor(history.seconds, device=run.accelerator.device)))
    run.bar.set_description_str(" · ".join(f"{name} {value:.3f}" for name, value in values.items()), refresh=False)
    done = history.seconds if run.length[0] == "seconds" else history.step
    run.bar.update(min(done, run.bar.total) - run.bar.n)


def end_epoch(run, val):
    """Add a row to the history, validated on val if there is one, and store the checkpoint."""
    history = run.history
    recent = history.steps[run.row_from :]
    means = {name: sum(step[name] for step in recent) / len(recent) for name in recent[0] if name not in ("step", "lr")}
    row = {"epoch": history.step / run.per_epoch, "step": history.step, "seconds": history.seconds}
    row |= {"lr": recent[-1]["lr"], **means}
    run.row_from = history.step
    if run.accelerator.is_main_process:
        if val is not None:
            figures = evaluate(run.plain, val)
            row |= {"AP": figures["AP"], "AP50": figures["AP50"]}
        history.rows.append(row)
        if run.checkpoint is not None:
            write_checkpoint(run)
    run.accelerator.wait_for_everyone()


@contextlib.contextmanager
def stop_button(history):
    """Take the first Ctrl-C, or stop button of a notebook, as a wish → list, empty until then; the second interrupts.

    So no step is cut in half. Where wishes cannot be taken (only a program's main thread can), the first interrupts.
    An interruption ends the block, and training with it: what was learned stays.
    """
    wishes = []

    def wish(number, frame):
        if wishes:
            raise KeyboardInterrupt
        wishes.append(number)

    main = threading.current_thread() is threading.main_thread()
    usual = signal.signal(signal.SIGINT, wish) if main else None
    try:
        yield wishes
    except KeyboardInterrupt:
        history.stopped = True
    finally:
        if main:
            signal.signal(signal.SIGINT, usual)


def say_if_stopped(run):
    if run.history.stopped and run.accelerator.is_main_process:
        done = f"step {run.history.step} ({run.history.step / run.per_epoch:.1f} epochs)"
        more = f" resume=True continues from {run.checkpoint}." if run.checkpoint is not None else ""
        print(f"Stopped after {done}. The model keeps what it learned.{more}")


# -------------------------------------------------------------------------------------- the progress bar


def progress_bar(run, shown):
    """A tqdm bar with losses and time left; in a notebook one line that is overwritten, so one line is stored."""
    kind, length = run.length
    total = length * run.per_epoch if kind == "epochs" else length
    count = "{n:.0f}/{total:.0f} " + ("s" if kind == "seconds" else "steps")
    return tqdm(
        total=total, initial=min(total, run.history.seconds if kind == "seconds" else run.history.step),
        disable=not shown, file=OneLine() if in_notebook() else sys.stderr, mininterval=0.5, ncols=None,
        bar_format="{percentage:3.0f}% {bar:20} " + count + " · {elapsed} (left {remaining}) · {desc}",
    )


def in_notebook():
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class OneLine:
    """A file that shows the last line written to it and forgets the others, as a notebook's display."""

    handle = None

    def write(self, text):
        from IPython.display import display

        line = {"text/plain": text.strip()}
        if line["text/plain"] and self.handle:
            self.handle.update(line, raw=True)
        elif line["text/plain"]:
            self.handle = display(line, raw=True, display_id=True)

    def flush(self):
        pass


# ------------------------------------------------------------------------------------------ checkpoints


def save_model(model, folder, info=None):
    """Write model.safetensors and model.json (its settings, and with `info` what its images are like) → the folder.

    Both are data: reading them runs no code. Each file is replaced in one go, so that a kill leaves a whole one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    name = type(model).__module__.rpartition(".")[2]  # models/NAME.py holds the system called NAME
    described = {"model": name, "settings": getattr(model, "settings", None)}
    if is_dataclass(info):
        described["data"] = {key: getattr(info, key) for key in ("classes", "bands", "mean", "std", "resolution")}
    replace_file(folder / "model.json", lambda path: path.write_text(json.dumps(described, indent=1), "utf-8"))
    replace_file(folder / "model.safetensors", lambda path: save_file(weights, path))
    return folder


def load_model(folder):
    """The model that save_model wrote into folder, in eval mode, on the CPU."""
    path = Path(folder) / "model.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, so {folder} holds no model. Train one with checkpoint='{folder}'.")
    described = json.loads(path.read_text("utf-8"))
    if described["settings"] is None:
        raise ValueError(f"{path} has no settings: build the model yourself and load model.safetensors into it.")
    model = build(described["model"], **described["settings"])
    model.load_state_dict(load_file(path.with_name("model.safetensors")))
    return model.eval()


def write_checkpoint(run):
    """Store the run: resume.pt with all that is needed to continue, and the model for whoever only wants to use it."""
    folder = save_model(run.plain, run.checkpoint, getattr(run.train, "info", None))
    state = {"model": run.plain.state_dict(), "optimiser": run.optimiser.state_dict(), "recipe": run.recipe}
    history = {"rows": run.history.rows, "steps": run.history.steps, "seconds": run.history.seconds}
    replace_file(folder / "resume.pt", lambda path: torch.save({**state, "history": history}, path))


def read_state(folder, model, optimiser, recipe):
    """Load resume.pt of folder into model and optimiser → the History so far (empty if there is no such file).

    Raises ValueError if that run had another recipe: it could not be continued to the same weights.
    """
    path = Path(folder) / "resume.pt"
    if not path.exists():
        return History()
    state = torch.load(path, weights_only=True, map_location="cpu")
    other = {name: (value, recipe[name]) for name, value in state["recipe"].items() if value != recipe[name]}
    if other:
        told = ", ".join(f"{name} {then!r}, not {now!r}" for name, (then, now) in other.items())
        raise ValueError(f"{path} was begun with {told}. Continue with the same, or choose a new checkpoint folder.")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return History(**state["history"])


def replace_file(path, write):
    """Let write(part) make a file beside path, then put it in path's place in one go."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------- the command line


RECIPES = {  # (model, budget): the function of models/MODEL.py that builds it, settings of fit
    ("faster_rcnn", "quick"): ("faster_rcnn", {"seconds": 90}),
    ("faster_rcnn", "full"): ("faster_rcnn_resnet50_fpn", {"epochs": 12, "lr": 2e-4, "batch_size": 16}),
}


def open_chips(name, split):
    """The chips of one split of a data set: its name, a chip folder, or an .npz of decoded chips."""
    if str(name).endswith(".npz"):
        return ChipDataset.load(name, split)
    from geodl_course import datasets

    folder = Path(name) if Path(name, "dataset.json").exists() else datasets.find(name)
    if folder is None:
        raise SystemExit(f"there is no data set {name!r}: make it with `python data_scripts/make.py {name}`, "
                         f"or fetch it with `python data_scripts/fetch.py {name}`")
    return ChipDataset(folder, split)


def make_model(system, function, data):
    """What `function` of models/SYSTEM.py builds for the classes and bands of a ChipDataset."""
    make = getattr(import_module(f"geodl_course.models.{system}"), function)
    return make(classes=len(data.classes), bands=len(data.info.bands))


def main(arguments=None):
    """Train a model from the command line and print its history and its validation figures."""
    parser = argparse.ArgumentParser(prog="python -m geodl_course.training", description=main.__doc__)
    parser.add_argument("model", choices=sorted({name for name, _ in RECIPES}))
    parser.add_argument("--data", required=True, help="name of a data set, a chip folder, or an .npz of decoded chips")
    parser.add_argument("--budget", choices=["quick", "full"], default="quick")
    for name, kind in (("epochs", float), ("steps", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, help="train this long, whatever the budget says")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", help="folder to keep the model in, written after each epoch")
    parser.add_argument("--resume", action="store_true", help="continue what is in the checkpoint folder")
    chosen = parser.parse_args(arguments)
    function, recipe = RECIPES[chosen.model, chosen.budget]
    own = {n: getattr(chosen, n) for n in ("epochs", "steps", "seconds", "lr", "batch_size") if getattr(chosen, n)}
    if {"epochs", "steps", "seconds"} & set(own):
        recipe = {name: value for name, value in recipe.items() if name not in ("epochs", "steps", "seconds")}
    train, val = open_chips(chosen.data, "train"), open_chips(chosen.data, "val")
    torch.manual_seed(chosen.seed)
    model = make_model(chosen.model, function, train)
    history = fit(model, train, val, **{**recipe, **own}, seed=chosen.seed, checkpoint=chosen.checkpoint,
                  resume=chosen.resume)
    if history.rows and int(os.environ.get("RANK", 0)) == 0:
        print(history.table().to_string(index=False))


if __name__ == "__main__":
    main()
