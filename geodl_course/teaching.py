"""What only a notebook needs: the budget of a lecture, proofs that two functions agree, checks of exercises.

Exercises: the check of each stands in geodl_course/exercises, see there how to add one.
"""

import os

import numpy as np
import torch

from geodl_course import __version__, exercises
from geodl_course.exercises.inputs import random_boxes as random_boxes  # lectures try functions on them too


class Budget(dict):
    """The numbers that a lecture uses, as a dict whose values are also attributes; shows itself as a table."""

    def __init__(self, name, **knobs):
        super().__init__(knobs)
        self.name = name

    def __getattr__(self, knob):
        try:
            return self[knob]
        except KeyError:
            raise AttributeError(f"this lecture's budget has no {knob!r}; it has {', '.join(self)}") from None

    def __repr__(self):
        width = max(map(len, self), default=0)
        return "\n".join([f"{self.name} budget", *(f"  {knob:<{width}}  {value}" for knob, value in self.items())])


def budget(**knobs):
    """The budget of this machine, each knob given as (quick, full) or as one value for both.

    Quick on a CPU and on Apple's GPU, full on CUDA; the environment variable GEODL_BUDGET overrides.

        budget = teaching.budget(chips=(200, 4000), epochs=(5, 30), batch_size=8)
        budget.chips
    """
    name = os.environ.get("GEODL_BUDGET") or ("full" if torch.cuda.is_available() else "quick")
    if name not in ("quick", "full"):
        raise ValueError(f"GEODL_BUDGET is {name!r}; set it to quick or full, or unset it")
    pick = ("quick", "full").index(name)
    return Budget(name, **{knob: v[pick] if isinstance(v, tuple) else v for knob, v in knobs.items()})


def device():
    """The device that the lectures compute on: CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def require(version):
    """Raise ImportError unless the installed package is the one that this notebook was written for."""
    if __version__ != version:
        raise ImportError(
            f"this notebook was written for geodl_course {version}, installed is {__version__}. Update both: "
            "git pull, then pip install -c constraints.txt -e ."
        )


def check_same(naive, real, *inputs, tolerance=1e-5):
    """Print by how much two functions differ on the same inputs; raise AssertionError beyond `tolerance`.

    Both may return a tensor, an array, a number, or a tuple of these.
    """
    ours, theirs = (_leaves(function(*inputs)) for function in (naive, real))
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        raise AssertionError(f"shapes differ: {[a.shape for a in ours]} and {[b.shape for b in theirs]}")
    worst = max((float(_difference(a, b).max(initial=0)) for a, b in zip(ours, theirs, strict=True)), default=0.0)
    if worst > tolerance:
        raise AssertionError(f"{_name(naive)} and {_name(real)} differ by {worst:.1e}, allowed is {tolerance:.0e}")
    print(f"equal to {worst:.0e} on {sum(a.size for a in ours)} values")


def check_same_detections(reference, ours, images):
    """Print whether two detectors with the same weights find the same on images (B, C, H, W); both end in float64.

    reference takes a list and returns dicts, as torchvision's detectors do; ours returns Detections, with masks if
    both find them. Best first, so that the i-th box of one is the i-th of the other. Raises AssertionError where
    numbers of boxes differ.
    """
    with torch.no_grad():
        expected = reference.double().eval()(list(images.double()))
        found = ours.double().eval()(images.double()).per_image()
    counts = [[len(one["boxes"]) for one in side] for side in (expected, found)]
    if counts[0] != counts[1]:
        raise AssertionError(f"boxes an image: {counts[0]} by the reference, {counts[1]} by ours")
    boxes, labels = (
        [torch.cat([one[part] for one in side]) for side in (expected, found)] for part in ("boxes", "labels")
    )
    near, same = bool(((boxes[0] - boxes[1]).abs() < 1e-3).all()), torch.equal(*labels)
    print(f"{sum(counts[0])} boxes; agree to 1e-3 px: {near}; same classes: {same}")
    if "masks" in found[0]:
        pairs = [(one["masks"][:, 0] > 0.5, other["masks"]) for one, other in zip(expected, found, strict=True)]
        share = torch.cat([(one == other)[one | other] for one, other in pairs]).double().mean()
        print(f"masks: 99.9 % of the pixels in either one agree: {bool(share >= 0.999)}")


def _leaves(result):
    parts = result if isinstance(result, tuple | list) else [result]
    return [p.detach().cpu().numpy() if isinstance(p, torch.Tensor) else np.asarray(p) for p in parts]


def _difference(a, b):
    same = (a == b) | (np.isnan(a.astype(float)) & np.isnan(b.astype(float)))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(a.astype(float) - b.astype(float)), nan=np.inf))


def _name(function):
    return getattr(function, "__name__", type(function).__name__)


def check(number, function):
    """Try a student's answer to an exercise on fresh random input, and print what came out of it."""
    try:
        wrong = exercises.find(number)(function)
    except NotImplementedError:
        print(f"Exercise {number}: not done yet")
    except Exception as error:
        print(f"Exercise {number}: stops with {type(error).__name__}: {error}")
    else:
        print(f"Exercise {number}: " + (f"not yet. {wrong}" if wrong else "right"))
