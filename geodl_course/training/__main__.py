"""The command line: python -m geodl_course.training, or accelerate launch -m geodl_course.training."""

import argparse
import os
import sys
from pathlib import Path

import torch

from geodl_course.training.loop import NonFiniteLoss, fit
from geodl_course.training.recipes import MASKED, RECIPES, has_split, make_model, open_chips


def main(arguments=None):
    """Train a model from the command line, keep it, and print its history and its validation figures."""
    chosen = read(arguments)
    try:
        train_and_tell(chosen)
    except (ValueError, OSError, NonFiniteLoss) as error:
        print(f"geodl_course.training: {error}", file=sys.stderr)
        sys.exit(2)


def read(arguments):
    parser = argparse.ArgumentParser(prog="python -m geodl_course.training", description=main.__doc__)
    parser.add_argument("model", choices=sorted({name for name, _ in RECIPES}))
    parser.add_argument("--data", required=True, help="name of a data set, a chip folder, or an .npz of decoded chips")
    parser.add_argument("--budget", choices=["quick", "full"], default="quick")
    for name, kind in (("epochs", float), ("steps", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, help="train this long, whatever the budget says")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", help="folder to keep the model in, written after each epoch; "
                        "runs/MODEL_DATA_BUDGET if not given")
    parser.add_argument("--resume", action="store_true", help="continue what is in the checkpoint folder")
    return parser.parse_args(arguments)


def train_and_tell(chosen):
    function, recipe = RECIPES[chosen.model, chosen.budget]
    own = {name: getattr(chosen, name) for name in ("epochs", "steps", "seconds", "lr", "batch_size")}
    own = {name: value for name, value in own.items() if value is not None}
    if {"epochs", "steps", "seconds"} & set(own):
        recipe = {name: value for name, value in recipe.items() if name not in ("epochs", "steps", "seconds")}
    masks = chosen.model in MASKED
    train = open_chips(chosen.data, "train", masks)
    val = open_chips(chosen.data, "val", masks) if has_split(chosen.data, "val") else None
    folder = Path(chosen.checkpoint or f"runs/{chosen.model}_{train.info.name}_{chosen.budget}")
    if (folder / "model.safetensors").exists() and not chosen.resume:
        raise ValueError(f"{folder} keeps a model already: add --resume to go on, or --checkpoint with another folder")
    torch.manual_seed(chosen.seed)
    model = make_model(chosen.model, function, train)
    history = fit(model, train, val, **{**recipe, **own}, seed=chosen.seed, checkpoint=folder, resume=chosen.resume)
    if int(os.environ.get("RANK", 0)) == 0:  # one process speaks
        if history.rows:
            print(history.table().to_string(index=False))
        if val is None:
            print(f"{chosen.data} has no val split, so there are no validation figures.")
        if history.unwritten:
            raise OSError(history.unwritten)
        print(f"The model is kept: geodl_course.training.load_model({str(folder)!r})")


if __name__ == "__main__":
    main()
