"""Inspectors with sliders: anchors on a feature grid, and non-maximum suppression one kept box at a time.

Each is three things: `*_compute(state) -> data` and `*_draw(data, figure=None) -> figure`, which need neither a
notebook nor ipywidgets, and a thin shell (`anchors`, `nms`) that ties sliders to them. Lecture 02 uses both.
"""

import base64
import html
import io
import math
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from geodl_course import plots
from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import box_iou
from geodl_course.ops.matching import match_boxes

# ---------------------------------------------------------------- anchors


@dataclass(frozen=True)
class AnchorState:
    """What the anchor inspector looks at.

    image: (H, W, 3) for display; boxes: (M, 4) float pixel xyxy, half-open; stride: pixels between two cells of the
    feature map; row, col: the cell; sizes: square roots of the anchors' areas in pixels; ratios: height over width;
    positive, negative: IoU thresholds.
    """

    image: np.ndarray
    boxes: torch.Tensor
    stride: int = 4
    row: int = 0
    col: int = 0
    sizes: tuple = (16, 32, 64)
    ratios: tuple = (0.5, 1.0, 2.0)
    positive: float = 0.7
    negative: float = 0.3


@dataclass(frozen=True)
class AnchorData:
    """What the anchor inspector shows.

    grid: rows and columns of the feature map; anchors (A, 4), iou (A,) with the object that each fits best,
    matched (A,) that object's index, label (A,): 1 positive, 0 negative, -1 ignored; forced (A,): positive only
    because no anchor of the map fits its object better; centres (rows, cols, 2) in pixels; labels (rows, cols, A)
    of the whole map; reached (M,) best IoU that each object finds anywhere on the map.
    """

    state: AnchorState
    grid: tuple
    anchors: torch.Tensor
    iou: torch.Tensor
    matched: torch.Tensor
    label: torch.Tensor
    forced: torch.Tensor
    centres: torch.Tensor
    labels: torch.Tensor
    reached: torch.Tensor


def anchors_compute(state):
    """`AnchorState` → `AnchorData`: match every anchor of the map, then look at one cell.

    Raises ValueError where no size or no ratio is chosen, or the cell lies outside the feature map.
    """
    if not state.sizes or not state.ratios:
        raise ValueError("choose at least one size and one ratio")
    rows, cols = (math.ceil(side / state.stride) for side in state.image.shape[:2])
    if not (0 <= state.row < rows and 0 <= state.col < cols):
        raise ValueError(f"cell ({state.row}, {state.col}) is not on the {rows} x {cols} feature map")
    cell = cell_anchors(state.sizes, state.ratios)
    every = grid_anchors(cell, (rows, cols), (state.stride, state.stride))
    iou = box_iou(every, state.boxes)
    iou = torch.cat([iou, iou.new_zeros(len(iou), 1)], 1)  # one column that is no object: a chip may have none
    valid = torch.arange(iou.shape[1])[None] < len(state.boxes)
    matched, label = match_boxes(iou[None], valid, state.positive, state.negative, True)
    best = iou.amax(1)
    on_map = (rows, cols, len(cell))
    here = (state.row, state.col)
    return AnchorData(
        state=state,
        grid=(rows, cols),
        anchors=every.view(*on_map, 4)[here],
        iou=best.view(on_map)[here],
        matched=matched[0].view(on_map)[here],
        label=label[0].view(on_map)[here],
        forced=((label[0] == 1) & (best < state.positive)).view(on_map)[here],
        centres=every.view(*on_map, 2, 2).mean(3)[:, :, 0],
        labels=label[0].view(on_map),
        reached=iou.amax(0)[:-1],
    )


# group name: colour, line style, line width, words. Never colour alone: style or width differs too
_ANCHOR_STYLE = {
    0: (plots.FALSE_POSITIVE, ":", 2.0, "negative"),
    -1: (plots.IGNORED, "--", 2.0, "ignored"),
    1: (plots.TRUE_POSITIVE, "-", 2.4, "positive"),
}


def anchors_draw(data, figure=None):
    """`AnchorData` → figure; updates the artists of `figure` where one is given (made by this function)."""
    figure = figure or _new_anchor_figure()
    art = _artists(figure)
    state, size = data.state, data.state.image.shape[:2]
    _show_image(art["image"], state.image)
    art["objects"].set_verts(_corners(state.boxes))
    x, y = data.centres[state.row, state.col].tolist()
    half = state.stride / 2
    art["cell"].set_verts(_corners(torch.tensor([[x - half, y - half, x + half, y + half]])))
    cell_label = data.labels.amax(2) + ((data.labels == -1).any(2) & (data.labels.amax(2) == 0)) * -1
    for label in _ANCHOR_STYLE:
        chosen = data.label == label
        art[f"anchors {label}"].set_verts(_corners(data.anchors[chosen]))
        art[f"bars {label}"].set_verts(_bars(data.iou, chosen))
        art[f"centres {label}"].set_offsets(data.centres[cell_label == label])
    art["positive"].set_xdata([state.positive] * 2)
    art["negative"].set_xdata([state.negative] * 2)
    left, right = figure.axes
    sides = (data.anchors[:, 2:] - data.anchors[:, :2]).round().int().tolist()
    right.set_yticks(range(len(sides)), [f"{w} × {h}" for w, h in sides])
    right.set_ylim(len(sides) - 0.4, -0.6)
    _words(right, [(1.02, i, _anchor_word(data, i)) for i in range(len(sides))], va="center", fontsize=9)
    corners = state.boxes[:, :2].clamp(min=0).tolist()
    rim = [patheffects.withStroke(linewidth=2, foreground="black")]
    numbers = [(x, y, str(i)) for i, (x, y) in enumerate(corners)]
    _words(left, numbers, va="top", fontsize=10, color=plots.GROUND_TRUTH, path_effects=rim, clip_on=True)
    left.set_title(f"{data.grid[0]} × {data.grid[1]} cells on a chip of {size[0]} × {size[1]} px")
    return figure


def _anchor_word(data, i):
    if not data.iou[i]:
        return "touches no object"
    return f"{data.iou[i]:.2f}, object {int(data.matched[i])}{', forced' if data.forced[i] else ''}"


def _new_anchor_figure():
    figure, left, right = _new_figure()
    for label, (colour, style, width, word) in _ANCHOR_STYLE.items():
        left.add_collection(_outlines(f"anchors {label}", colour, style, width))
        right.add_collection(PolyCollection([], facecolors=colour, gid=f"bars {label}", label=word))
        dots = {"s": 14 if label else 3, "marker": ".xo"[label], "linewidths": 0.8, "alpha": 0.9}
        left.scatter([], [], color=colour, gid=f"centres {label}", **dots)
    left.add_collection(_outlines("cell", "white", "-", 1.2))
    right.axvline(0.7, color="black", linestyle="-", linewidth=1, gid="positive")
    right.axvline(0.3, color="black", linestyle="--", linewidth=1, gid="negative")
    right.set(xlim=(0, 1), title="anchors of the cell: IoU with their best object", ylabel="width × height (px)")
    figure.legend(*right.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False)
    return figure


def anchors_words(data):
    """`AnchorData` → the read-out: one HTML paragraph with exact counts."""
    state = data.state
    here = {label: int((data.label == label).sum()) for label in (1, -1, 0)}
    total = {label: int((data.labels == label).sum()) for label in (1, -1, 0)}
    low = int((data.reached < state.positive).sum())
    return (
        f"Cell ({state.row}, {state.col}) of {data.grid[0]} × {data.grid[1]}, stride {state.stride} px: "
        f"<b>{here[1]} positive, {here[-1]} ignored, {here[0]} negative</b> of {len(data.anchors)} anchors.<br>"
        f"Whole map: {total[1]} positive, {total[-1]} ignored, {total[0]} negative of {data.labels.numel()}. "
        f"{low} of {len(state.boxes)} objects have no anchor with IoU {state.positive:.2f} or more"
        f"{' and rely on their best one' if low else ''}."
    )


# ---------------------------------------------------------------- non-maximum suppression


@dataclass(frozen=True)
class NmsState:
    """What the NMS inspector looks at.

    image: (H, W, 3) for display; boxes: (N, 4) float pixel xyxy, half-open; scores: (N,); groups: (N,) integers or
    None, boxes of different groups (classes) never suppress each other; score, iou: the two thresholds;
    step: how many boxes have been kept so far.
    """

    image: np.ndarray
    boxes: torch.Tensor
    scores: torch.Tensor
    groups: torch.Tensor | None = None
    score: float = 0.05
    iou: float = 0.5
    step: int = 0


@dataclass(frozen=True)
class NmsData:
    """What the NMS inspector shows.

    order: candidates from high to low score; kept, kept_before, suppressed, suppressed_before, waiting: indices into
    the boxes, which together are `order`; below: boxes under the score threshold; overlap: IoU of each box in
    `suppressed` with the box kept now; steps: how many boxes the whole walk keeps.
    """

    state: NmsState
    order: list
    kept: list
    kept_before: list
    suppressed: list
    suppressed_before: list
    waiting: list
    below: list
    overlap: list
    steps: int


def nms_walk(iou, scores, threshold, groups=None):
    """Greedy NMS as its story: iou (N, N), scores (N,) → list of (kept index, indices that it suppresses).

    A box is suppressed by the first kept box of its group whose IoU with it exceeds `threshold` (0..1). The kept
    indices are those of `torchvision.ops.nms`, in the same order. Lecture 02 writes the loop out.
    """
    waiting = scores.argsort(descending=True, stable=True)
    rival = iou > threshold
    if groups is not None:
        rival &= groups[:, None] == groups[None]
    events = []
    while len(waiting):
        kept, rest = waiting[0], waiting[1:]
        hit = rival[kept, rest]
        events.append((int(kept), rest[hit].tolist()))
        waiting = rest[~hit]
    return events


def nms_compute(state):
    """`NmsState` → `NmsData`: walk as far as `state.step` kept boxes (a larger step counts as the last)."""
    candidates = torch.nonzero(state.scores >= state.score).flatten()
    groups = None if state.groups is None else state.groups[candidates]
    iou = box_iou(state.boxes[candidates], state.boxes[candidates])
    scores = state.scores[candidates]
    events = nms_walk(iou, scores, state.iou, groups)
    done = events[: state.step]
    order = scores.argsort(descending=True, stable=True)
    kept, suppressed = done[-1] if done else (None, [])
    before = [i for _, gone in done[:-1] for i in gone]
    decided = {kept, *suppressed, *before, *(i for i, _ in done)}

    def names(local):
        return candidates[list(local)].tolist()

    return NmsData(
        state=state,
        order=candidates[order].tolist(),
        kept=names([] if kept is None else [kept]),
        kept_before=names(i for i, _ in done[:-1]),
        suppressed=names(suppressed),
        suppressed_before=names(before),
        waiting=names(i for i in order.tolist() if i not in decided),
        below=torch.nonzero(state.scores < state.score).flatten().tolist(),
        overlap=[] if kept is None else iou[kept, suppressed].tolist(),
        steps=len(events),
    )


_NMS_STYLE = {
    "waiting": ("#FFFFFF", "-", 0.8, "waiting"),
    "suppressed_before": (plots.IGNORED, ":", 1.0, "suppressed before"),
    "kept_before": (plots.MISSED, "-", 1.6, "kept before"),
    "suppressed": (plots.FALSE_POSITIVE, "--", 1.8, "suppressed now"),
    "kept": (plots.TRUE_POSITIVE, "-", 2.8, "kept now"),
}


def nms_draw(data, figure=None):
    """`NmsData` → figure; updates the artists of `figure` where one is given (made by this function)."""
    figure = figure or _new_nms_figure()
    art = _artists(figure)
    state = data.state
    _show_image(art["image"], state.image)
    rank = torch.full((len(state.boxes),), -1)
    rank[data.order] = torch.arange(len(data.order))
    for group in _NMS_STYLE:
        members = getattr(data, group)
        chosen = torch.zeros(len(state.boxes), dtype=torch.bool)
        chosen[members] = True
        art[f"boxes {group}"].set_verts(_corners(state.boxes[members]))
        art[f"bars {group}"].set_verts(_bars(state.scores[data.order], chosen[data.order]))
    art["score"].set_xdata([state.score] * 2)
    right = figure.axes[1]
    right.set_ylim(max(len(data.order), 1) - 0.4, -0.6)
    words = [(1.02, rank[i].item(), f"IoU {iou:.2f}") for i, iou in zip(data.suppressed, data.overlap, strict=True)]
    words += [(1.02, rank[i].item(), f"score {state.scores[i]:.2f}") for i in data.kept]
    crowd = len(data.order)
    _words(right, words if crowd <= 60 else [], va="center", fontsize=9 if crowd <= 35 else 6.5)
    figure.axes[0].set_title(f"step {min(state.step, data.steps)} of {data.steps}")
    return figure


def _new_nms_figure():
    figure, left, right = _new_figure()
    for group, (colour, style, width, word) in _NMS_STYLE.items():
        left.add_collection(_outlines(f"boxes {group}", colour, style, width))
        bars = PolyCollection([], facecolors=colour, edgecolors="#444444", linewidths=0.5, linestyle=style)
        bars.set(gid=f"bars {group}", label=word)
        right.add_collection(bars)
    right.axvline(0, color="black", linestyle="--", linewidth=1, gid="score")
    right.set(xlim=(0, 1), title="scores, best first", ylabel="rank", yticks=[])
    figure.legend(*right.get_legend_handles_labels(), loc="lower right", ncols=5, frameon=False, columnspacing=1.2)
    return figure


def nms_words(data):
    """`NmsData` → the read-out: one HTML paragraph with exact counts."""
    state = data.state
    step = min(state.step, data.steps)
    if data.kept:
        i = data.kept[0]
        now = (
            f"<b>Step {step} of {data.steps}: box {i} (score {state.scores[i]:.2f}) is kept and suppresses "
            f"{len(data.suppressed)}</b> whose IoU with it is over {state.iou:.2f}."
        )
    else:
        now = f"<b>Step 0 of {data.steps}: nothing decided yet.</b>"
    kept, gone = len(data.kept + data.kept_before), len(data.suppressed + data.suppressed_before)
    return (
        f"{now}<br>Kept {kept}, suppressed {gone}, waiting {len(data.waiting)}; "
        f"{len(data.below)} of {len(state.boxes)} boxes lie below the score threshold {state.score:.2f}."
    )


# ---------------------------------------------------------------- drawing, shared


def _new_figure():
    figure = Figure(figsize=(10, 4.6), dpi=90, layout="none")
    FigureCanvasAgg(figure)
    left = figure.add_axes((0.01, 0.09, 0.43, 0.84), xticks=[], yticks=[])
    right = figure.add_axes((0.53, 0.17, 0.30, 0.76))
    left.imshow(np.zeros((1, 1, 3)), interpolation="nearest", gid="image")
    left.spines[:].set_visible(False)
    left.grid(False)
    right.grid(False, axis="y")
    left.add_collection(_outlines("objects", plots.GROUND_TRUTH, "-", 1.2))
    return figure, left, right


def _artists(figure):
    return {artist.get_gid(): artist for artist in figure.findobj(lambda artist: artist.get_gid())}


def _outlines(gid, colour, style, width):
    """One collection for a whole group of boxes; solid ones get a dark rim so that they show on bright roofs too."""
    rim = [patheffects.withStroke(linewidth=width + 1.4, foreground="black")] if style == "-" else None
    shape = {"facecolors": "none", "edgecolors": colour, "linestyles": style, "linewidths": width}
    return PolyCollection([], **shape, gid=gid, path_effects=rim)


def _corners(boxes):
    """Boxes (N, 4) → polygons (N, 4, 2)."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2).numpy()


def _bars(values, chosen):
    """Horizontal bars for the chosen entries of values (N,), each at its own rank → polygons (n, 4, 2)."""
    rank = torch.nonzero(chosen).flatten().float()
    left = torch.zeros_like(rank)
    return _corners(torch.stack([left, rank - 0.4, values[chosen], rank + 0.4], 1))


def _show_image(artist, image):
    if artist.get_array().shape != image.shape or not np.shares_memory(artist.get_array(), image):
        artist.set_data(image)
        height, width = image.shape[:2]
        artist.set_extent((0, width, height, 0))  # a box edge lies between two pixels


def _words(axes, words, **style):
    """Replace the words on the axes by (x, y, text) each."""
    for text in list(axes.texts):
        text.remove()
    for x, y, word in words:
        axes.text(x, y, word, **style)


# ---------------------------------------------------------------- the shells


@dataclass(frozen=True)
class Inspector:
    """A live inspector: `controls` by name, `read_out` (HTML), `picture`, `box` that holds them, and the `figure`.

    Where the notebook is read without a kernel, its first picture shows in its place.
    """

    box: object
    controls: dict
    read_out: object
    picture: object
    figure: Figure

    def _repr_mimebundle_(self, **_):
        still = base64.b64encode(self.picture.value).decode()
        view = self.box._repr_mimebundle_()
        return view | {"image/png": still, "text/plain": "Run this cell in JupyterLab to move the sliders."}


def _inspector(state, compute, draw, words, controls, choose, rows):
    """Tie controls (by name) to one picture and its words.

    choose(state) -> state reads the controls and settles them; rows: names of controls that stand side by side.
    """
    import ipywidgets

    figure = draw(compute(state))
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", width="900px"))
    read_out = ipywidgets.HTML()
    working = threading.Lock()

    def update(_=None):
        nonlocal state
        if not working.acquire(blocking=False):  # a slider that `choose` has moved calls back: one update is enough
            return
        try:
            state = choose(state)
            data = compute(state)
            draw(data, figure)
            picture.value, read_out.value = _png(figure), words(data)
        except ValueError as error:
            read_out.value = html.escape(str(error))
        finally:
            working.release()

    update()
    for control in controls.values():
        control.observe(update, "value")
    wrap = ipywidgets.Layout(flex_flow="row wrap")
    lines = [ipywidgets.HBox([controls[name] for name in names], layout=wrap) for names in rows]
    return Inspector(ipywidgets.VBox([*lines, picture, read_out]), controls, read_out, picture, figure)


def anchors(image, boxes, *, strides=(4, 8, 16, 32), sizes=(8, 16, 32, 64), ratios=(0.5, 1.0, 2.0), info=None, **start):
    """Look at the anchors of one cell of a feature map → `Inspector`; show it by ending a cell with it.

    image: (C, H, W), any bands and dtype that `plots.to_rgb` takes (info: its data set's `DatasetInfo`); boxes: (M, 4)
    float pixel xyxy; strides, sizes, ratios: what can be chosen; start: first values of any field of `AnchorState`
    (stride, row, col, sizes, ratios, positive, negative). Lecture 02 uses it.
    """
    import ipywidgets

    shown = plots.to_rgb(image, info)
    start = {"stride": strides[0], "sizes": tuple(sizes), "ratios": tuple(ratios)} | start
    middle = {"row": shown.shape[0] // start["stride"] // 2, "col": shown.shape[1] // start["stride"] // 2}
    state = AnchorState(shown, torch.as_tensor(boxes, dtype=torch.float32), **middle | start)

    controls = {
        "stride": ipywidgets.SelectionSlider(options=strides, value=state.stride, description="stride"),
        "row": ipywidgets.IntSlider(state.row, 0, max(state.row, 1), description="row"),
        "col": ipywidgets.IntSlider(state.col, 0, max(state.col, 1), description="column"),
        "iou": ipywidgets.FloatRangeSlider(value=(state.negative, state.positive), min=0, max=1, step=0.05,
                                           description="IoU bars"),
    }
    narrow = ipywidgets.Layout(width="6.5em")
    size_of = {f"size {s}": s for s in sizes}
    ratio_of = {f"ratio {r:g}": r for r in ratios}
    for name, value in (size_of | ratio_of).items():
        on = value in (state.sizes if name in size_of else state.ratios)
        controls[name] = ipywidgets.ToggleButton(on, description=name, layout=narrow)

    def choose(old):
        new = replace(
            old,
            stride=controls["stride"].value,
            row=controls["row"].value,
            col=controls["col"].value,
            sizes=tuple(s for name, s in size_of.items() if controls[name].value),
            ratios=tuple(r for name, r in ratio_of.items() if controls[name].value),
            negative=controls["iou"].value[0],
            positive=controls["iou"].value[1],
        )
        counts = {"row": math.ceil(shown.shape[0] / new.stride), "col": math.ceil(shown.shape[1] / new.stride)}
        for name, count in counts.items():
            place = (getattr(old, name) + 0.5) * old.stride if new.stride != old.stride else None
            value = getattr(new, name) if place is None else int(place / new.stride)
            controls[name].max = count - 1
            controls[name].value = min(value, count - 1)
        return replace(new, row=controls["row"].value, col=controls["col"].value)

    rows = [["stride", "row", "col"], [*size_of, *ratio_of, "iou"]]
    return _inspector(state, anchors_compute, anchors_draw, anchors_words, controls, choose, rows)


def nms(image, boxes, scores, groups=None, *, info=None, **start):
    """Walk through non-maximum suppression one kept box at a time → `Inspector`; show it by ending a cell with it.

    image: as in `anchors`; boxes (N, 4) float pixel xyxy, scores (N,) in 0..1, groups (N,) classes or None; start:
    first values of score, iou and step. Lecture 02 uses it.
    """
    import ipywidgets

    boxes, scores = torch.as_tensor(boxes, dtype=torch.float32), torch.as_tensor(scores, dtype=torch.float32)
    groups = None if groups is None else torch.as_tensor(groups)
    state = NmsState(plots.to_rgb(image, info), boxes, scores, groups, **start)
    controls = {
        "score": ipywidgets.FloatSlider(state.score, min=0, max=1, step=0.05, description="score ≥"),
        "iou": ipywidgets.FloatSlider(state.iou, min=0, max=1, step=0.05, description="IoU >"),
        "step": ipywidgets.IntSlider(state.step, 0, max(nms_compute(state).steps, 1), description="step"),
    }

    def choose(old):
        new = replace(old, **{name: control.value for name, control in controls.items()})
        controls["step"].max = nms_compute(new).steps
        return replace(new, step=controls["step"].value)

    return _inspector(state, nms_compute, nms_draw, nms_words, controls, choose, [["score", "iou", "step"]])


def _png(figure):
    """The figure as PNG bytes; compression 1, because the student waits for it."""
    buffer = io.BytesIO()
    figure.canvas.print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
