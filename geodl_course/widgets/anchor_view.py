"""The anchor inspector: which anchors of a feature map's cell match an object, and which of the whole map do."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.collections import PolyCollection

from geodl_course import plots
from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import box_iou
from geodl_course.ops.matching import match_boxes
from geodl_course.widgets.drawing import artists, bars, new_figure, outlines, polygons, show_image, write_words
from geodl_course.widgets.shell import inspector


@dataclass(frozen=True)
class AnchorState:
    """What the anchor inspector looks at.

    image: (H, W, 3) for display; boxes: (M, 4) float pixel xyxy, half-open; stride: pixels between two cells of the
    feature map; row, col: the cell; sizes: square roots of the anchors' areas in pixels; ratios: height over width;
    cells: instead of sizes and ratios, a cell's anchors {stride: (A, 4)} in pixels from its upper left corner, for
    detectors whose maps each have their own; positive, negative: IoU thresholds; force: whether an object without a
    positive anchor gets its best one all the same (not where it may have one on another map).
    """

    image: np.ndarray
    boxes: torch.Tensor
    stride: int = 4
    row: int = 0
    col: int = 0
    sizes: tuple = (16, 32, 64)
    ratios: tuple = (0.5, 1.0, 2.0)
    cells: dict | None = None
    positive: float = 0.7
    negative: float = 0.3
    force: bool = True


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
    if state.cells is None and not (state.sizes and state.ratios):
        raise ValueError("choose at least one size and one ratio")
    rows, cols = (math.ceil(side / state.stride) for side in state.image.shape[:2])
    if not (0 <= state.row < rows and 0 <= state.col < cols):
        raise ValueError(f"cell ({state.row}, {state.col}) is not on the {rows} x {cols} feature map")
    cell = cell_anchors(state.sizes, state.ratios) if state.cells is None else state.cells[state.stride]
    every = grid_anchors(cell, (rows, cols), (state.stride, state.stride))
    iou = box_iou(every, state.boxes)
    iou = torch.cat([iou, iou.new_zeros(len(iou), 1)], 1)  # one column that is no object: a chip may have none
    valid = torch.arange(iou.shape[1])[None] < len(state.boxes)
    matched, label = match_boxes(iou[None], valid, state.positive, state.negative, state.force)
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
    art = artists(figure)
    state, size = data.state, data.state.image.shape[:2]
    show_image(art["image"], state.image)
    art["objects"].set_verts(polygons(state.boxes))
    x, y = data.centres[state.row, state.col].tolist()
    half = state.stride / 2
    art["cell"].set_verts(polygons(torch.tensor([[x - half, y - half, x + half, y + half]])))
    cell_label = data.labels.amax(2) + ((data.labels == -1).any(2) & (data.labels.amax(2) == 0)) * -1
    for label in _ANCHOR_STYLE:
        chosen = data.label == label
        art[f"anchors {label}"].set_verts(polygons(data.anchors[chosen]))
        art[f"bars {label}"].set_verts(bars(data.iou, chosen))
        art[f"centres {label}"].set_offsets(data.centres[cell_label == label])
    art["positive"].set_xdata([state.positive] * 2)
    art["negative"].set_xdata([state.negative] * 2)
    left, right = figure.axes
    sides = (data.anchors[:, 2:] - data.anchors[:, :2]).round().int().tolist()
    right.set_yticks(range(len(sides)), [f"{w} × {h}" for w, h in sides])
    right.set_ylim(len(sides) - 0.4, -0.6)
    write_words(right, [(1.02, i, _anchor_word(data, i)) for i in range(len(sides))], va="center", fontsize=9)
    corners = state.boxes[:, :2].clamp(min=0).tolist()
    rim = [patheffects.withStroke(linewidth=2, foreground="black")]
    numbers = [(x, y, str(i)) for i, (x, y) in enumerate(corners)]
    write_words(left, numbers, va="top", fontsize=10, color=plots.GROUND_TRUTH, path_effects=rim, clip_on=True)
    left.set_title(f"{data.grid[0]} × {data.grid[1]} cells on a chip of {size[0]} × {size[1]} px")
    return figure


def _anchor_word(data, i):
    if not data.iou[i]:
        return "touches no object"
    return f"{data.iou[i]:.2f}, object {int(data.matched[i])}{', forced' if data.forced[i] else ''}"


def _new_anchor_figure():
    figure, left, right = new_figure()
    for label, (colour, style, width, word) in _ANCHOR_STYLE.items():
        left.add_collection(outlines(f"anchors {label}", colour, style, width))
        right.add_collection(PolyCollection([], facecolors=colour, gid=f"bars {label}", label=word))
        dots = {"s": 14 if label else 3, "marker": ".xo"[label], "linewidths": 0.8, "alpha": 0.9}
        left.scatter([], [], color=colour, gid=f"centres {label}", **dots)
    left.add_collection(outlines("cell", "white", "-", 1.2))
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
        f"{(' and rely on their best one' if state.force else ' on this map') if low else ''}."
    )


def anchors(
    image, boxes, *, strides=(4, 8, 16, 32), sizes=(8, 16, 32, 64), ratios=(0.5, 1.0, 2.0), cells=None, info=None,
    **start,
):
    """Look at the anchors of one cell of a feature map → `Inspector`; show it by ending a cell with it.

    image: (C, H, W), any bands and dtype that `plots.to_rgb` takes (info: its data set's `DatasetInfo`); boxes: (M, 4)
    float pixel xyxy; strides, sizes, ratios: what can be chosen; cells: instead of these, each map's own anchors of a
    cell, {stride: (A, 4)} in pixels from the cell's upper left corner; start: first values of any field of
    `AnchorState` (stride, row, col, sizes, ratios, positive, negative, force). Lectures 02 and 04 use it.
    """
    import ipywidgets

    if cells is not None:
        strides, sizes, ratios = tuple(cells), (), ()
        start["cells"] = cells
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
    return inspector(state, anchors_compute, anchors_draw, anchors_words, controls, choose, rows)
