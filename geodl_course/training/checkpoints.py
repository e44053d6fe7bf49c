"""Models and unfinished runs on disk, each file replaced in one go."""

import contextlib
import json
import os
from dataclasses import is_dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from geodl_course.models import build
from geodl_course.training.progress import History


def save_model(model, folder, info=None):
    """Write model.safetensors and model.json (its settings, and with `info` what its images are like) → the folder.

    Both are data: reading them runs no code. Each file is replaced in one go, so that a kill leaves a whole one.
    Raises ValueError where settings["system"] names one that load_model could not build again with these weights.
    """
    system, folder = check_rebuilds(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    described = {"model": system, "settings": getattr(model, "settings", None)}
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
    if described["model"] is None:
        raise ValueError(f"{path} names no system: build the model yourself and load model.safetensors into it.")
    model, weights = build(described["model"], **described["settings"]), path.with_name("model.safetensors")
    with blame(weights, "is damaged or of another model: train again, or bring the whole folder"):
        model.load_state_dict(load_file(weights))
    return model.eval()


def check_rebuilds(model):
    """The name of the system that model's settings name, None if none: then only its weights can be stored.

    Raises ValueError where building it from these settings gives other weights, as for a class changed in a notebook.
    """
    settings = getattr(model, "settings", None) or {}
    if "system" not in settings:
        return None
    try:
        with torch.device("meta"):  # shapes alone: quick, and no random number is drawn
            again = build(settings["system"], **settings)
        other = shapes(model) ^ shapes(again)
    except (KeyError, TypeError, ValueError) as error:
        other = {error}
    if other:
        raise ValueError(
            f"this model could not be loaded again: its settings build another {settings['system']} "
            f"({min(other, key=str)}). Correct model.settings, or delete its 'system' to keep the weights alone."
        )
    return settings["system"]


def shapes(model):
    return {f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()}


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
    with blame(path, "is damaged: delete it to begin again"):
        state = torch.load(path, weights_only=True, map_location="cpu")
        then = state["recipe"]
    other = {name: (then.get(name), value) for name, value in recipe.items() if then.get(name) != value}
    if other:
        told = ", ".join(f"{name} {then!r}, not {now!r}" for name, (then, now) in other.items())
        raise ValueError(f"{path} was begun with {told}. Continue with the same, or choose a new checkpoint folder.")
    with blame(path, "is of another model: build the same, or choose a new checkpoint folder"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    return History(**state["history"])


@contextlib.contextmanager
def blame(path, reason):
    """Whatever goes wrong inside becomes a ValueError of one line: path, reason, and what went wrong."""
    try:
        yield
    except Exception as error:  # torch, zip and pickle each have their own kinds
        raise ValueError(f"{path} {reason} ({' '.join(str(error).split())[:120]}).") from error


def replace_file(path, write):
    """Let write(part) make a file beside path, then put it in path's place in one go."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
