"""The inspector of non-maximum suppression: one kept box at a time, and what each suppresses."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.collections import PolyCollection

from geodl_course import plots
from geodl_course.ops.boxes import box_iou
from geodl_course.widgets.drawing import artists, bars, new_figure, outlines, polygons, show_image, write_words
from geodl_course.widgets.shell import inspector


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
    art = artists(figure)
    state = data.state
    show_image(art["image"], state.image)
    rank = torch.full((len(state.boxes),), -1)
    rank[data.order] = torch.arange(len(data.order))
    for group in _NMS_STYLE:
        members = getattr(data, group)
        chosen = torch.zeros(len(state.boxes), dtype=torch.bool)
        chosen[members] = True
        art[f"boxes {group}"].set_verts(polygons(state.boxes[members]))
        art[f"bars {group}"].set_verts(bars(state.scores[data.order], chosen[data.order]))
    art["score"].set_xdata([state.score] * 2)
    right = figure.axes[1]
    right.set_ylim(max(len(data.order), 1) - 0.4, -0.6)
    words = [(1.02, rank[i].item(), f"IoU {iou:.2f}") for i, iou in zip(data.suppressed, data.overlap, strict=True)]
    words += [(1.02, rank[i].item(), f"score {state.scores[i]:.2f}") for i in data.kept]
    crowd = len(data.order)
    write_words(right, words if crowd <= 60 else [], va="center", fontsize=9 if crowd <= 35 else 6.5)
    figure.axes[0].set_title(f"step {min(state.step, data.steps)} of {data.steps}")
    return figure


def _new_nms_figure():
    figure, left, right = new_figure()
    for group, (colour, style, width, word) in _NMS_STYLE.items():
        left.add_collection(outlines(f"boxes {group}", colour, style, width))
        ranked = PolyCollection([], facecolors=colour, edgecolors="#444444", linewidths=0.5, linestyle=style)
        ranked.set(gid=f"bars {group}", label=word)
        right.add_collection(ranked)
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

    return inspector(state, nms_compute, nms_draw, nms_words, controls, choose, [["score", "iou", "step"]])
