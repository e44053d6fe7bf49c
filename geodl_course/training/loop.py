"""The loop: `fit` and the steps that it repeats, then what these stand on."""

import contextlib
import math
import signal
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors import SafetensorError

from geodl_course.chips import ChipError, collate
from geodl_course.evaluation import evaluate
from geodl_course.training.augmentation import flip_and_turn
from geodl_course.training.checkpoints import check_rebuilds, read_state, write_checkpoint
from geodl_course.training.progress import History, progress_bar, say_if_stopped

OPTIMISERS = {  # name: (class, its settings, a learning rate that suits the course's models)
    "adamw": (torch.optim.AdamW, {"weight_decay": 1e-4}, 1.5e-3),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}, 2e-2),
}


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite; the message names the step, the part of the loss and the chips."""


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
    recipe = {"seed": seed, "batch_size": batch_size, "optimiser": optimiser, "augment": augment}
    recipe |= {"lr": rate_of(optimiser, lr), "data": name_of(train)}
    recipe |= {"length": one_length(epochs=epochs, steps=steps, seconds=seconds)}
    run = begin(model, train, recipe, checkpoint, resume, progress)
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
        stems = [run.train.stems[i] for i in chips]
        rate = set_rate(run.optimiser, run.recipe["lr"] * schedule(share_done(run, ahead=0.5)))
        with chips_named(stems):
            images, targets = load_batch(run, chips)
            losses = forward(run.model, images, targets)
        values = finite(losses, run.history.step + 1, stems)
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


def begin(model, train, recipe, checkpoint, resume, progress):
    """Everything that a run holds: the prepared model and optimiser, the history so far, the progress bar."""
    from accelerate import Accelerator

    if recipe["batch_size"] < 1:
        raise ValueError(f"batch_size {recipe['batch_size']}: a step needs at least one chip")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs the folder to continue from: fit(..., checkpoint=FOLDER, resume=True)")
    if checkpoint is not None:  # what cannot be kept is better refused now than after an epoch
        check_rebuilds(model)
        Path(checkpoint).mkdir(parents=True, exist_ok=True)
    kind, settings, _ = OPTIMISERS[recipe["optimiser"]]
    accelerator = Accelerator()
    prepared, optimiser = accelerator.prepare(model, kind(model.parameters(), lr=recipe["lr"], **settings))
    history = read_state(checkpoint, model, optimiser, recipe) if resume else History()
    run = SimpleNamespace(
        model=prepared, plain=model, optimiser=optimiser, accelerator=accelerator, train=train, recipe=recipe,
        length=recipe["length"], checkpoint=checkpoint, history=history, row_from=history.step,
    )
    run.per_epoch = steps_per_epoch(len(train), recipe["batch_size"] * accelerator.num_processes)
    run.bar = progress_bar(run, progress and accelerator.is_main_process)
    return run


def one_length(**lengths):
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) != 1 or not min(given.values()) > 0:
        raise ValueError(f"give exactly one of epochs, steps or seconds, more than 0; got {given or 'none'}")
    return next(iter(given.items()))


def rate_of(optimiser, lr):
    """The top learning rate: lr, or the optimiser's own for None."""
    if optimiser not in OPTIMISERS:
        raise ValueError(f"optimiser {optimiser!r} is unknown: choose one of {', '.join(OPTIMISERS)}")
    if lr is not None and not lr > 0:
        raise ValueError(f"lr {lr}: a learning rate is more than 0; None takes the optimiser's own")
    return OPTIMISERS[optimiser][2] if lr is None else lr


def name_of(train):
    """The training set in a few words that no other has: its name, how many chips, a checksum of their names."""
    name = getattr(getattr(train, "info", None), "name", type(train).__name__)
    return f"{name}, {len(train)} chips ({zlib.crc32(' '.join(train.stems).encode()):08x})"


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


@contextlib.contextmanager
def chips_named(stems):
    """A ChipError about an image of the batch also names the batch's chips, whose order and views are drawn."""
    try:
        yield
    except ChipError as error:
        raise ChipError(f"{error} The batch, in its order (augment flips and turns): {', '.join(stems)}.") from None


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
            keep(run)
    run.accelerator.wait_for_everyone()


def keep(run):
    """Store the run; where the disk does not take it, say so once and go on: what is learned stays in memory."""
    before, run.history.unwritten = run.history.unwritten, ""
    try:
        write_checkpoint(run)
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer has its own kind
        run.history.unwritten = f"{run.checkpoint} could not be written after step {run.history.step}: {error}"
        if not before:
            print(f"{run.history.unwritten}. Training goes on and tries again after each epoch: free some space.")


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
