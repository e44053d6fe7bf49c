"""The inspector of U-Net-ID: its three maps, a threshold on each, and the instances that come out."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from geodl_course import plots
from geodl_course.evaluation import match_instances
from geodl_course.models.unet_id_instances import drop_small, flood, label_components
from geodl_course.models.unet_id_targets import MAPS
from geodl_course.widgets.drawing import artists, new_figure, show_image
from geodl_course.widgets.shell import inspector


@dataclass(frozen=True)
class MapsState:
    """What the maps inspector looks at.

    image: (H, W, 3) for display; maps: (3, H, W) in 0..1, border, segment, inner; truth: (M, H, W) bool masks of the
    objects, or None; border, segment, inner: the three thresholds; smallest: instances of fewer pixels are dropped;
    grow: from the inner map, else each connected piece of the segment map is an instance, as with a plain U-Net.
    """

    image: np.ndarray
    maps: torch.Tensor
    truth: torch.Tensor | None = None
    border: float = 0.5
    segment: float = 0.5
    inner: float = 0.5
    smallest: int = 1
    grow: bool = True


@dataclass(frozen=True)
class MapsData:
    """What the maps inspector shows.

    over (3, H, W) bool: where each map exceeds its threshold; ids (H, W): the instances, 1 to D; pieces: connected
    pieces of the inner map and of the segment map; found, false, missed: counts against the truth, None without it.
    """

    state: MapsState
    over: np.ndarray
    ids: np.ndarray
    pieces: tuple
    found: int | None = None
    false: int | None = None
    missed: int | None = None


def maps_compute(state):
    """`MapsState` → `MapsData`. Raises ValueError where maps and image are of different sizes."""
    if tuple(state.maps.shape) != (3, *state.image.shape[:2]):
        raise ValueError(f"maps are {tuple(state.maps.shape)}, for this image they must be "
                         f"{(3, *state.image.shape[:2])}: border, segment, inner")
    thresholds = [getattr(state, name) for name in MAPS]
    pieces = [label_components(state.maps[None, i : i + 1], thresholds[i])[0].numpy() for i in (2, 1)]
    grown = flood(*state.maps.numpy(), *thresholds) if state.grow else pieces[1]
    ids = drop_small(grown, state.smallest)
    over = np.stack([each.numpy() > least for each, least in zip(state.maps, thresholds, strict=True)])
    data = MapsData(state, over, ids, tuple(int(each.max()) for each in pieces))
    if state.truth is None:
        return data
    masks = torch.from_numpy(ids == np.arange(1, ids.max() + 1)[:, None, None])
    pairs = match_instances(masks, state.truth)
    return replace(data, found=len(pairs.true), false=len(pairs.false), missed=len(pairs.missed))


_PLACES = {"border": (0.47, 0.52), "segment": (0.73, 0.52), "inner": (0.47, 0.04)}  # lower left corners
_FILLS = np.array([to_rgb(colour) for colour in plots.CLASS_COLOURS[:7]]) * 255


def maps_draw(data, figure=None):
    """`MapsData` → figure; updates the artists of `figure` where one is given (made by this function)."""
    figure = figure or _new_maps_figure()
    art = artists(figure)
    state = data.state
    show_image(art["image"], _tinted(state.image, data.ids))
    art["instances"].set_segments(edges(data.ids))
    truth = [] if state.truth is None else [edges(mask.numpy()) for mask in state.truth]
    art["truth"].set_segments(np.concatenate([np.zeros((0, 2, 2)), *truth]))
    for name, chances, over in zip(MAPS, state.maps, data.over, strict=True):
        show_image(art[f"map {name}"], chances.numpy())
        art[f"edges {name}"].set_segments(edges(over))
        art[f"map {name}"].axes.set_title(f"{name} > {getattr(state, name):.2f}: {int(over.sum())} px", fontsize=9)
    way = "grown from the inner map" if state.grow else "pieces of the segment map"
    figure.axes[0].set_title(f"{count_of(data)}, {way}")
    return figure


def count_of(data):
    number = int(data.ids.max())
    return f"{number} instance{'s' * (number != 1)}"


def edges(ids):
    """Lines between pixels of different numbers in ids (H, W), and around the chip's border → segments (n, 2, 2)."""
    padded = np.pad(ids.astype(np.int64), 1)
    y, x = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = np.stack((x, y - 1, x, y), 1)
    y, x = np.nonzero(padded[1:] != padded[:-1])
    level = np.stack((x - 1, y, x, y), 1)
    return np.concatenate((upright, level)).reshape(-1, 2, 2)


def _tinted(image, ids):
    """The image (H, W, 3) with each instance in a colour."""
    tint = _FILLS[ids % len(_FILLS)]
    return np.where(ids[..., None] > 0, 0.5 * image + 0.5 * tint, image).astype(np.uint8)


def _new_maps_figure():
    figure, left, right = new_figure()
    right.remove()
    looks = {"truth": (plots.GROUND_TRUTH, 2.4), "instances": ("white", 1.3)}
    for name, (colour, width) in looks.items():
        left.add_collection(LineCollection([], colors=colour, linewidths=width, gid=name))
    for name, (x, y) in _PLACES.items():
        axes = figure.add_axes((x, y, 0.25, 0.41), xticks=[], yticks=[])
        axes.imshow(np.zeros((1, 1)), cmap="gray", vmin=0, vmax=1, interpolation="nearest", gid=f"map {name}")
        axes.add_collection(LineCollection([], colors=plots.CLASS_COLOURS[2], linewidths=1.1, gid=f"edges {name}"))
        axes.grid(False)
    lines = [Line2D([], [], color="#BBBBBB", linewidth=2, label="instance (a colour each)"),
             Line2D([], [], color=plots.GROUND_TRUTH, linewidth=3, label="true object"),
             Line2D([], [], color=plots.CLASS_COLOURS[2], linewidth=2, label="map over its threshold")]
    figure.legend(handles=lines, loc="lower left", bbox_to_anchor=(0.73, 0.12), frameon=False, fontsize=9)
    return figure


def maps_words(data):
    """`MapsData` → the read-out: one HTML paragraph with exact counts."""
    state = data.state
    counts = f"<b>{count_of(data)}</b>"
    if data.found is not None:
        counts += (f": {data.found} of {data.found + data.missed} objects found at an IoU of 0.5 or more, "
                   f"{data.missed} missed; false instances: {data.false}")
    return (f"{counts}.<br>The inner map has {data.pieces[0]} separate pieces over {state.inner:.2f}, "
            f"the segment map {data.pieces[1]} over {state.segment:.2f}.")


def maps(image, maps, truth=None, *, info=None, **start):
    """Look at the three maps of U-Net-ID on one chip → `Inspector`; show it by ending a cell with it.

    image: as in `anchors`; maps: (3, H, W) in 0..1, border, segment, inner, as `Instances.maps` holds them; truth:
    (M, H, W) bool masks, or None; start: first values of border, segment, inner (0..1), smallest (pixels), grow.
    Lecture 07 uses it.
    """
    import ipywidgets

    truth = None if truth is None else torch.as_tensor(truth).bool().cpu()
    state = MapsState(plots.to_rgb(image, info), torch.as_tensor(maps).detach().float().cpu(), truth, **start)
    controls = {
        name: ipywidgets.FloatSlider(getattr(state, name), min=0, max=1, step=0.05, description=f"{name} >")
        for name in MAPS
    }
    controls["smallest"] = ipywidgets.IntSlider(state.smallest, 1, max(200, state.smallest), description="pixels ≥")
    wide = ipywidgets.Layout(width="auto")
    controls["grow"] = ipywidgets.ToggleButton(state.grow, description="grow from the inner map", layout=wide)

    def choose(old):
        return replace(old, **{name: control.value for name, control in controls.items()})

    return inspector(state, maps_compute, maps_draw, maps_words, controls, choose, [MAPS, ["smallest", "grow"]])
