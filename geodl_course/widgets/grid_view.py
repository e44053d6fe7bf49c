"""The grid inspector of YOLO v1: which cell answers for which object, and what one cell says against what it should."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.collections import PolyCollection

from geodl_course import plots
from geodl_course.chips import Targets
from geodl_course.models.yolo_v1 import assign_cells, choose_boxes, decode_cells, encode_cells, split_cells
from geodl_course.ops.boxes import box_iou
from geodl_course.widgets.drawing import artists, bars, new_figure, outlines, polygons, show_image, write_words
from geodl_course.widgets.shell import inspector


@dataclass(frozen=True)
class GridState:
    """What the grid inspector looks at.

    image: (H, W, 3) for display; boxes: (M, 4) float pixel xyxy, half-open; labels: (M,) 1..K; classes: K names;
    output: (S, S, 5 P + K) of the network for this chip, or None: then cells are shown without a network; grid: S,
    which an output decides; row, col: the cell; confidence: boxes of at least that are shown for all cells.
    """

    image: np.ndarray
    boxes: torch.Tensor
    labels: torch.Tensor
    classes: tuple
    output: torch.Tensor | None = None
    grid: int = 7
    row: int = 0
    col: int = 0
    confidence: float = 0.5


@dataclass(frozen=True)
class GridData:
    """What the grid inspector shows.

    answers (S, S): the object that each cell answers for, -1 for none; lost: objects that no cell answers for;
    names: of the cell's numbers; said, wanted: these numbers as the network says them and as it should, NaN where
    there is none; boxes (P, 4) of the cell and iou (P,) with its object; responsible: index of a box, -1 for none;
    sure (n, 4): boxes of all cells with at least the confidence asked for.
    """

    state: GridState
    answers: torch.Tensor
    lost: list
    names: list
    said: torch.Tensor
    wanted: torch.Tensor
    boxes: torch.Tensor
    iou: torch.Tensor
    responsible: int
    sure: torch.Tensor


def grid_compute(state):
    """`GridState` → `GridData`. Raises ValueError where the cell lies outside the grid or the output has no such K."""
    size, grid = state.image.shape[:2], state.grid if state.output is None else len(state.output)
    if not (0 <= state.row < grid and 0 <= state.col < grid):
        raise ValueError(f"cell ({state.row}, {state.col}) is not on the {grid} x {grid} grid")
    targets = Targets.from_list([{"boxes": state.boxes, "labels": state.labels}])
    index, has = assign_cells(targets, size, grid)  # (1, S²)
    answers = torch.where(has[0], index[0], -1)
    here = state.row * grid + state.col
    wanted, goal = targets.boxes[0, index[0]], None
    goal = encode_cells(wanted[None], size, grid)
    if state.output is None:
        coded, confidence, scores = goal[:, :, None], has.float()[..., None], None
    else:
        coded, confidence, scores = split_cells(state.output[None], len(state.classes))
    boxes = decode_cells(coded, size, grid)[0]  # (S², P, 4)
    iou = box_iou(boxes, wanted[:, None])[..., 0] * has[0, :, None]
    chosen = choose_boxes(coded, goal, iou[None], has)[0, here]
    responsible = int(chosen.int().argmax()) if has[0, here] else -1
    shown = _numbers(coded[0, here], confidence[0, here], None if scores is None else scores[0, here], state)
    should = _goals(goal[0, here], iou[here], responsible, int(answers[here]), state)
    return GridData(
        state=state,
        answers=answers.view(grid, grid),
        lost=sorted(set(range(len(state.boxes))) - set(answers.tolist())),
        names=_names(coded.shape[2], state),
        said=shown,
        wanted=should,
        boxes=boxes[here] if state.output is not None or responsible >= 0 else boxes[:0, 0],
        iou=iou[here],
        responsible=responsible,
        sure=boxes[confidence[0] >= state.confidence] if state.output is not None else boxes[:0, 0],
    )


def _names(boxes, state):
    each = [f"box {i + 1}: {name}" for i in range(boxes) for name in ("x", "y", "√w", "√h", "confidence")]
    return [*each, *state.classes]


def _numbers(coded, confidence, scores, state):
    """The numbers of one cell in the order of their names, NaN without a network."""
    numbers = torch.cat((coded, confidence[:, None]), dim=1).flatten()
    if scores is None:
        return torch.full((len(numbers) + len(state.classes),), torch.nan)
    return torch.cat((numbers, scores))


def _goals(goal, iou, responsible, label_of, state):
    """What the numbers of one cell should be; NaN where the loss does not look."""
    each = torch.full((len(iou), 5), torch.nan)
    each[:, 4] = 0  # whoever is not responsible says: nothing here
    classes = torch.full((len(state.classes),), torch.nan)
    if responsible >= 0:
        each[responsible] = torch.cat((goal, iou[responsible, None]))
        classes = torch.nn.functional.one_hot(state.labels[label_of] - 1, len(state.classes)).float()
    return torch.cat((each.flatten(), classes))


_BOX_STYLE = {
    "responsible": (plots.TRUE_POSITIVE, "-", 2.4, "responsible box"),
    "other": (plots.FALSE_POSITIVE, "--", 2.0, "other box of the cell"),
    "sure": ("#CC79A7", "-.", 1.8, "sure boxes of all cells"),
    "lost": (plots.MISSED, "--", 1.8, "object that no cell answers for"),
}


def grid_draw(data, figure=None):
    """`GridData` → figure; updates the artists of `figure` where one is given (made by this function)."""
    figure = figure or _new_grid_figure(network=data.state.output is not None)
    art = artists(figure)
    state, grid = data.state, len(data.answers)
    show_image(art["image"], state.image)
    height, width = state.image.shape[:2]
    cells = _cell_boxes(grid, height, width)
    art["grid"].set_verts(polygons(cells))
    art["answering"].set_verts(polygons(cells[data.answers.flatten() >= 0]))
    art["cell"].set_verts(polygons(cells[state.row * grid + state.col][None]))
    art["objects"].set_verts(polygons(state.boxes))
    mine = torch.arange(len(data.boxes)) == data.responsible
    groups = {"responsible": data.boxes[mine], "other": data.boxes[~mine], "sure": data.sure}
    for name, boxes in (groups | {"lost": state.boxes[data.lost]}).items():
        art[f"boxes {name}"].set_verts(polygons(boxes))
    art["centres"].set_offsets((state.boxes[:, :2] + state.boxes[:, 2:]) / 2)
    said, wanted = data.said.clamp(-0.2, 1.2), data.wanted.clamp(-0.2, 1.2)
    art["said"].set_verts(bars(said, ~said.isnan()))
    known = torch.nonzero(~wanted.isnan()).flatten()
    art["wanted"].set_offsets(torch.stack((wanted[known], known.float()), 1))
    left, right = figure.axes
    right.set_yticks(range(len(data.names)), data.names, fontsize=8)
    right.set_ylim(len(data.names) - 0.4, -0.6)
    words = [(1.27, i, _number_word(data, i)) for i in range(len(data.names))]
    write_words(right, words, va="center", fontsize=8)
    left.set_title(f"{grid} × {grid} cells of {height / grid:.1f} px")
    return figure


def _cell_boxes(grid, height, width):
    """All cells as boxes (S², 4), row by row."""
    row, column = torch.arange(grid).repeat_interleave(grid), torch.arange(grid).repeat(grid)
    step = torch.tensor([width, height, width, height]) / grid
    return torch.stack((column, row, column + 1, row + 1), dim=1) * step


def _number_word(data, i):
    said, wanted = (round(float(numbers[i]), 2) + 0.0 for numbers in (data.said, data.wanted))  # no -0.00
    return " ".join([f"{said:.2f}"] * (said == said) + [f"→ {wanted:.2f}"] * (wanted == wanted))  # NaN equals nothing


def _new_grid_figure(network):
    """The artists; without a network the legend leaves out what only a network has."""
    figure, left, right = new_figure()
    lines = {"facecolors": "none", "edgecolors": "white", "linewidths": 0.5, "alpha": 0.6}
    left.add_collection(PolyCollection([], **lines, gid="grid"))
    answering = {"facecolors": plots.GROUND_TRUTH, "edgecolors": "none", "alpha": 0.3, "label": "cell that answers"}
    left.add_collection(PolyCollection([], **answering, gid="answering"))
    for name, (colour, style, width, word) in _BOX_STYLE.items():
        left.add_collection(outlines(f"boxes {name}", colour, style, width))
        if network or name in ("responsible", "lost"):
            label = word if network else word.replace("responsible box", "its object")
            left.plot([], [], color=colour, linestyle=style, linewidth=width, label=label)
    left.add_collection(outlines("cell", "white", "-", 1.6))
    left.scatter([], [], color=plots.GROUND_TRUTH, s=9, gid="centres", label="centre of an object")
    words = "the network says" if network else None
    right.add_collection(PolyCollection([], facecolors="#0072B2", gid="said", label=words))
    right.scatter([], [], marker="D", s=26, facecolors="none", edgecolors="black", gid="wanted", label="it should say")
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlim=(-0.2, 1.25), title="the numbers of the cell")
    entries = zip(left.get_legend_handles_labels(), right.get_legend_handles_labels(), strict=True)
    look = {"ncols": 4, "frameon": False, "fontsize": 8, "columnspacing": 1.2}
    figure.legend(*[one + other for one, other in entries], loc="lower left", **look)
    return figure


def grid_words(data):
    """`GridData` → the read-out: one HTML paragraph with exact counts."""
    state, grid = data.state, len(data.answers)
    answer = int(data.answers[state.row, state.col])
    here = f"<b>Cell ({state.row}, {state.col}) of {grid} × {grid}"
    if answer < 0:
        here += " answers for no object</b>: only its confidences are taught, towards 0."
    elif state.output is None:
        here += f" answers for object {answer}</b>, a {state.classes[int(state.labels[answer]) - 1]}."
    else:
        here += (f" answers for object {answer}</b>, a {state.classes[int(state.labels[answer]) - 1]}; box "
                 f"{data.responsible + 1} is responsible: IoU {data.iou[data.responsible]:.2f}.")
    taught = int((data.answers >= 0).sum())
    sure = "" if state.output is None else f" Boxes with confidence {state.confidence:.2f} or more: {len(data.sure)}."
    return (f"{here}<br>{taught} of {grid * grid} cells answer for an object each; {len(data.lost)} of "
            f"{len(state.boxes)} objects share a cell with an earlier one and are lost.{sure}")


def grid(image, boxes, labels, classes, output=None, *, grids=(4, 7, 8, 16, 28), info=None, **start):
    """Look at the grid of YOLO v1 on one chip → `Inspector`; show it by ending a cell with it.

    image: as in `anchors`; boxes (M, 4) float pixel xyxy, labels (M,) 1..K, classes: K names; output: what
    `YOLOv1.cells` says of this chip, (S, S, 5 P + K), or None to choose S among grids and see cells and objects alone;
    start: first values of grid, row, col and confidence. Lecture 05 uses it.
    """
    import ipywidgets

    boxes, labels = torch.as_tensor(boxes, dtype=torch.float32), torch.as_tensor(labels)
    output = None if output is None else torch.as_tensor(output).detach().float().cpu()
    side = start.get("grid", grids[0]) if output is None else len(output)
    middle = {"row": side // 2, "col": side // 2}
    fixed = {"output": output, "grid": side}
    state = GridState(plots.to_rgb(image, info), boxes, labels, tuple(classes), **middle | start | fixed)
    controls = {
        "row": ipywidgets.IntSlider(state.row, 0, side - 1, description="row"),
        "col": ipywidgets.IntSlider(state.col, 0, side - 1, description="column"),
    }
    if output is None:
        controls["grid"] = ipywidgets.SelectionSlider(options=sorted({*grids, side}), value=side, description="S")
    else:
        controls["confidence"] = ipywidgets.FloatSlider(state.confidence, min=0, max=1, step=0.05,
                                                        description="confidence")

    def choose(old):
        new = replace(old, **{name: control.value for name, control in controls.items()})
        for name in ("row", "col"):
            value = getattr(new, name)
            if new.grid != old.grid:
                value = int((getattr(old, name) + 0.5) / old.grid * new.grid)  # the same place on the chip
            controls[name].max = new.grid - 1
            controls[name].value = min(value, new.grid - 1)
        return replace(new, row=controls["row"].value, col=controls["col"].value)

    return inspector(state, grid_compute, grid_draw, grid_words, controls, choose, [list(controls)])
