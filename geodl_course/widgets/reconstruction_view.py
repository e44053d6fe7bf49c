"""The inspector of anomaly scores: a threshold on one score, what it costs, and how single chips are reconstructed."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from geodl_course import plots
from geodl_course.evaluation.anomaly import confusion_at, two_groups
from geodl_course.widgets.reconstruction_drawing import reconstruction_draw
from geodl_course.widgets.shell import inspector

SHOWN, BINS = 8, 40  # chips in the strip, bars of a histogram


@dataclass(frozen=True)
class ReconstructionState:
    """What the reconstruction inspector looks at.

    images, found: chips and their reconstructions (N, C, H, W), standardised; scores: {name: (N,)}; strange: (N,) bool;
    bands: names; groups: what known and strange chips are called; rgb: the bands shown as red, green, blue; limits:
    (C, 2) values shown as black and white; worst: (C,) absolute error shown brightest. Chosen by the user: score
    (name), band (number), place (0..1, where on the score's axis the threshold stands), pick (number in the strip),
    two costs.
    """

    images: torch.Tensor
    found: torch.Tensor
    scores: dict
    strange: np.ndarray
    bands: tuple
    groups: tuple = ("known", "strange")
    rgb: tuple = (0, 1, 2)
    limits: np.ndarray = field(default=None)
    worst: np.ndarray = field(default=None)
    score: str = ""
    band: int = 0
    place: float = 0.5
    pick: int = 0
    cost_missed: float = 1.0
    cost_false: float = 1.0


@dataclass(frozen=True)
class ReconstructionData:
    """What the reconstruction inspector shows.

    values: (N,) the chosen score; axis: (low, high, log: bool); threshold; counts: as `confusion_at` gives them; edges
    (BINS + 1,), shares (2, BINS): of known and of strange chips in each bin; strip: chips by rising score, around the
    threshold; flagged: how many of them from the right are; picked: the chip looked at; errors (C,): its mean squared
    error in each band; views: {"input", "reconstruction": (H, W, 3) uint8, "band", "band found", "error": (H, W)}.
    """

    state: ReconstructionState
    values: np.ndarray
    axis: tuple
    threshold: float
    counts: dict
    edges: np.ndarray
    shares: np.ndarray
    strip: np.ndarray
    flagged: int
    picked: int
    errors: np.ndarray
    views: dict
    tiles: np.ndarray


def reconstruction_state(images, found, scores, strange, bands=None, *, info=None, **start):
    """The state at the start: checks what is given, and finds out how bright to show it. Raises ValueError."""
    images, found = (torch.as_tensor(each).detach().float().cpu() for each in (images, found))
    strange = np.asarray(strange)
    bands = tuple(bands or (info.bands if info is not None else [f"band {i + 1}" for i in range(images.shape[1])]))
    if images.ndim != 4 or images.shape != found.shape or len(bands) != images.shape[1]:
        raise ValueError(f"images are {tuple(images.shape)}, reconstructions {tuple(found.shape)}, bands "
                         f"{len(bands)}: pass (N, C, H, W) twice and C names")
    scores = {name: np.asarray(torch.as_tensor(each).cpu(), dtype=np.float64) for name, each in scores.items()}
    if not scores:
        raise ValueError("there is no score: pass scores={name: one number a chip}")
    for name, values in scores.items():
        two_groups(values, strange)
        if len(values) != len(images) or not np.isfinite(values).all():
            raise ValueError(f"score {name!r} has {np.isfinite(values).sum()} finite values for {len(images)} chips")
    every = images.transpose(0, 1).flatten(1)[:, :: max(1, images[:, 0].numel() // 200_000)].numpy()
    limits = np.percentile(every, [2, 98], axis=1).T
    errors = (images - found).abs().transpose(0, 1).flatten(1).numpy()
    worst = np.percentile(errors[:, :: max(1, errors.shape[1] // 200_000)], 99, axis=1).clip(min=1e-9)
    shown = {"rgb": tuple(plots.display_bands(len(bands), info)), "limits": limits, "worst": worst}
    start = {"score": next(iter(scores)), **shown, **start}
    state = ReconstructionState(images, found, scores, strange, bands, **start)
    if state.score not in scores or not 0 <= state.band < len(bands):
        raise ValueError(f"score {state.score!r}, band {state.band}: choose one of {', '.join(scores)}, and a number "
                         f"below {len(bands)}")
    return state


def score_axis(values):
    """Scores (N,) → (low, high, log): where their histogram begins and ends, a little outside of all of them."""
    low, high = values.min(), values.max()
    if low > 0 and high / low > 20:  # a few chips far out would press all others into one bar
        pad = (high / low) ** 0.02
        return low / pad, high * pad, True
    pad = 0.02 * (high - low) or 0.5
    return low - pad, high + pad, False


def along(axis, shares):
    """Where on the axis (low, high, log) shares of its length (0..1) lie."""
    low, high, log = axis
    return low * (high / low) ** shares if log else low + (high - low) * shares


def reconstruction_compute(state):
    """`ReconstructionState` → `ReconstructionData`."""
    values = state.scores[state.score]
    axis = score_axis(values)
    threshold = float(along(axis, state.place))
    counts = confusion_at(values, state.strange, threshold, state.cost_missed, state.cost_false)
    edges = along(axis, np.linspace(0, 1, BINS + 1))
    groups = values[~state.strange], values[state.strange]
    shares = np.stack([np.histogram(each, edges)[0] / len(each) for each in groups])
    order = np.argsort(values, kind="stable")
    first = int((values < threshold).sum())  # the first that is flagged, by rank
    start = int(np.clip(first - SHOWN // 2, 0, max(len(order) - SHOWN, 0)))
    strip = order[start : start + SHOWN]
    picked = int(strip[min(state.pick, len(strip) - 1)])
    errors = (state.images[picked] - state.found[picked]).abs().numpy()
    views = {
        "input": displayed(state, state.images[picked]), "reconstruction": displayed(state, state.found[picked]),
        "band": state.images[picked, state.band].numpy(), "band found": state.found[picked, state.band].numpy(),
        "error": errors[state.band],
    }  # fmt: skip
    tiles = np.stack([displayed(state, state.images[i]) for i in strip.tolist()])
    flagged = len(strip) - min(max(first - start, 0), len(strip))
    return ReconstructionData(state, values, axis, threshold, counts, edges, shares, strip, flagged, picked,
                              np.square(errors).mean(axis=(1, 2)), views, tiles)


def displayed(state, image):
    """Image (C, H, W) → (H, W, 3) uint8, by the limits of all chips: a flat chip is to look flat."""
    low, high = state.limits[list(state.rgb)].T[:, :, None, None]
    shown = (image[list(state.rgb)].numpy() - low) / np.maximum(high - low, 1e-9)
    return (shown.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def reconstruction_words(data):
    """`ReconstructionData` → the read-out: one HTML paragraph with exact counts."""
    state, counts = data.state, data.counts
    known, strange = state.groups
    every = counts["found"] + counts["missed"], counts["false"] + counts["passed"]
    errors = ", ".join(f"{name} {error:.3g}" for name, error in zip(state.bands, data.errors, strict=True))
    is_strange = state.groups[int(state.strange[data.picked])]
    return (
        f"<b>{state.score} ≥ {data.threshold:.4g}: {counts['found']} of {every[0]} {strange} chips found, "
        f"{counts['false']} of {every[1]} {known} chips flagged falsely</b>; cost {state.cost_missed:g} × "
        f"{counts['missed']} + {state.cost_false:g} × {counts['false']} = {counts['cost']:g}.<br>Chip {data.picked} "
        f"({is_strange}) scores {data.values[data.picked]:.4g}; its mean squared error: {errors}."
    )


def reconstruction(images, found, scores, strange, bands=None, *, info=None, **start):
    """Choose a threshold on a score and look at the chips beside it → `Inspector`; show it by ending a cell with it.

    images, found: chips and their reconstructions (N, C, H, W), standardised; scores: {name: (N,)}, higher is
    stranger; strange: (N,) bool; bands: C names, or taken from info; start: groups (names of known and strange), first
    values of score, band, place (0..1 along the score's axis), pick (0..7), cost_missed, cost_false. Lecture 09.
    """
    import ipywidgets

    state = reconstruction_state(images, found, scores, strange, bands, info=info, **start)
    most = max(20.0, state.cost_missed, state.cost_false)
    wide = ipywidgets.Layout(width="640px")
    controls = {
        "score": ipywidgets.Dropdown(options=list(state.scores), value=state.score, description="score"),
        "band": ipywidgets.Dropdown(options=[(name, i) for i, name in enumerate(state.bands)], value=state.band,
                                    description="band"),
        "place": ipywidgets.FloatSlider(state.place, min=0, max=1, step=0.005, description="threshold", readout=False,
                                        layout=wide),
        "pick": ipywidgets.IntSlider(state.pick, 0, min(SHOWN, len(state.images)) - 1, description="chip"),
        "cost_missed": ipywidgets.FloatSlider(state.cost_missed, min=0, max=most, step=0.5, description="a miss costs"),
        "cost_false": ipywidgets.FloatSlider(state.cost_false, min=0, max=most, step=0.5, description="a false one"),
    }

    def choose(old):
        return replace(old, **{name: control.value for name, control in controls.items()})

    rows = [["place"], ["score", "band", "pick"], ["cost_missed", "cost_false"]]
    return inspector(state, reconstruction_compute, reconstruction_draw, reconstruction_words, controls, choose, rows)
