"""The command line: python -m geodl_course.training, or accelerate launch -m geodl_course.training."""

import argparse
import os

import torch

from geodl_course.training.loop import fit
from geodl_course.training.recipes import RECIPES, make_model, open_chips


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
