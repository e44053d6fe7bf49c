"""Models and unfinished runs on disk, each file replaced in one go."""

import contextlib
import json
import math
import os
from dataclasses import is_dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geodl_course.models import build
from geodl_course.training.progress import History

VERSION = 1  # of model.json; one without a number is older, and read as well
IMAGES = "classes", "bands", "mean", "std", "resolution", "chip_size"  # of DatasetInfo: what a model's images are like
LARGEST, DEEPEST, LONGEST = 20_000, 100, 2000  # number, depth, count of values in settings: no system comes near


def save_model(model, folder, info=None):
    """Write model.safetensors and model.json (its settings, and with `info` what its images are like) → the folder.

    Both are data: reading them runs no code. Each file is replaced in one go, so that a kill leaves a whole one.
    Raises ValueError where settings["system"] names one that load_model could not build again with these weights.
    """
    system, folder = check_rebuilds(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    described = {"version": VERSION, "model": system, "settings": getattr(model, "settings", None)}
    if is_dataclass(info):
        described["data"] = {key: getattr(info, key) for key in IMAGES}
    replace_file(folder / "model.json", lambda path: path.write_text(json.dumps(described, indent=1), "utf-8"))
    replace_file(folder / "model.safetensors", lambda path: save_file(weights, path))
    return folder


def load_model(folder):
    """The model that save_model wrote into folder, in eval mode, on the CPU.

    Nothing in the folder is run, and no memory is taken before its settings agree with the shapes that the weights
    have. Raises FileNotFoundError where there is no model, ValueError for files that are damaged or of another version.
    """
    path = Path(folder) / "model.json"
    described, weights = read_description(folder), path.with_name("model.safetensors")
    if described["model"] is None:
        raise ValueError(f"{path} names no system: build the model yourself and load model.safetensors into it.")
    with blame(weights, "is damaged or of another model: train again, or bring the whole folder"):
        with safe_open(weights, "pt") as held:
            stored = {f"{name} {tuple(held.get_slice(name).get_shape())}" for name in held.keys()}
    with blame(path, "describes another model than its weights: train again, or bring the whole folder"):
        check_plain(described["settings"])
        with torch.device("meta"):  # shapes alone
            other = shapes(build(described["model"], **described["settings"])) ^ stored
        if other:
            raise ValueError(min(other))
        model = build(described["model"], **described["settings"])
    with blame(weights, "is damaged or of another model: train again, or bring the whole folder"):
        model.load_state_dict(load_file(weights))
    return model.eval()


def read_description(folder):
    """What model.json in folder says → dict with model and settings. Raises ValueError, FileNotFoundError."""
    path = Path(folder) / "model.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, so {folder} holds no model. Train one with checkpoint='{folder}'.")
    with blame(path, "is damaged: train again, or bring the whole folder"):
        if path.stat().st_size > 100_000:
            raise ValueError("over 100 kB, where settings have some kB")
        described = json.loads(path.read_text("utf-8"))
        version = described.get("version", 0)
    if not isinstance(version, int) or not 0 <= version <= VERSION:
        raise ValueError(f"{path} is of version {version!r}, this geodl_course reads up to {VERSION}: update it.")
    with blame(path, "is damaged: train again, or bring the whole folder"):
        return {"data": None, **described, "model": described["model"], "settings": described["settings"] or {}}


def check_plain(settings):
    """Raise ValueError for nested settings so many or so large that building what they say would not end → None."""
    found = list(leaves(settings))
    if len(found) > LONGEST:
        raise ValueError(f"{len(found)} values in its settings, more than {LONGEST}")
    for name, value in found:
        most = DEEPEST if name == "depth" else LARGEST
        if isinstance(value, int) and abs(value) > most or isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"its setting {name} is {value}")


def leaves(value, name=""):
    """Yield (name, value) of all that is neither dict nor list in nested settings."""
    if not isinstance(value, dict | list):
        yield name, value
        return
    for key, one in value.items() if isinstance(value, dict) else ((name, one) for one in value):
        yield from leaves(one, key)


def read_data(folder):
    """What model.json says of a checkpoint's images, dict of IMAGES. Raises ValueError where it does not, or absurdly.

    chip_size (pixels) is None in a checkpoint of version 0, which did not say it.
    """
    path = Path(folder) / "model.json"
    try:
        data = read_description(folder)["data"]
        data = {"chip_size": data.get("chip_size"), **{name: data[name] for name in IMAGES if name != "chip_size"}}
        check_images(**data)
        return data
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} does not say which images its model takes ({error}). Store it again with "
                         "training.save_model(model, folder, train.info)") from error


def check_images(classes, bands, mean, std, resolution, chip_size):
    """Raise ValueError where these cannot be what a model's images are like → None."""
    if not all(isinstance(name, str) for name in [*classes, *bands]) or not bands:
        raise ValueError(f"classes {classes} and bands {bands} are lists of names")
    if not len(bands) == len(mean) == len(std) or not all(map(math.isfinite, [*mean, *std])) or min(std) <= 0:
        raise ValueError(f"mean {mean} and std {std} are a number for each of {len(bands)} bands, std above 0")
    if not 0 < resolution < math.inf:
        raise ValueError(f"resolution {resolution} is metres, above 0")
    if chip_size is not None and (not isinstance(chip_size, int) or not 0 < chip_size <= LARGEST):
        raise ValueError(f"chip_size {chip_size} is pixels, from 1 to {LARGEST}")


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
