"""The course's figures: chips with boxes, right and wrong detections, anchors, curves.

One palette (Okabe and Ito 2008, safe for colour-blind readers), one look (`course_style`), one habit: whatever differs
by colour differs by line style as well. Boxes are pixel xyxy, half-open, so a box edge lies between two pixels.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib import patheffects
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from geodl_course.diagrams import draw_pooling
from geodl_course.evaluation import match_detections

TRUE_POSITIVE, FALSE_POSITIVE, MISSED = "#009E73", "#D55E00", "#0072B2"
GROUND_TRUTH, IGNORED = "#F0E442", "#9A9A9A"
DOTTED, DASHED = (0, (1.2, 0.9)), (0, (4, 1.4))
CLASS_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#F0E442", "#BBBBBB")
CLASS_STYLES = ("-", (0, (5, 1.2)), (0, (1.6, 1)), "-.")
INK, PALE = "#333333", "#E4E4E4"
NO_DATA = 235  # the grey of pixels that hold nothing


def course_style():
    """Set matplotlib's defaults to the course's look: thin lines, left-aligned titles, no frame. Call it once."""
    plt.rcParams.update({
        "figure.dpi": 100, "savefig.dpi": 100, "figure.figsize": (6.4, 3.6), "figure.constrained_layout.use": True,
        "font.size": 10, "text.color": INK, "axes.titlesize": 11, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.labelsize": 10, "axes.labelcolor": INK, "axes.edgecolor": "#888888",
        "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "axes.grid": True, "grid.color": PALE, "grid.linewidth": 0.7, "xtick.color": "#666666",
        "ytick.color": "#666666", "xtick.labelsize": 9, "ytick.labelsize": 9, "xtick.major.size": 3,
        "ytick.major.size": 3, "lines.linewidth": 1.7, "lines.solid_capstyle": "round", "legend.frameon": False,
        "legend.fontsize": 9, "image.interpolation": "nearest",
        "axes.prop_cycle": cycler(color=["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#333333"]),
    })


def to_rgb(image, info=None, bands=None, stretch=None):
    """Image (C, H, W) of any band count and dtype → (H, W, 3) uint8 for display.

    bands: three band indices; without them the bands named red, green and blue in `info`, else the first three; with
    fewer than three bands the first is shown in grey. stretch: (low, high) percentiles of each band that become black
    and white, (2, 98) by default; uint8 images stay as they are unless it is given. NaN and `info.nodata` become grey.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"to_rgb shows one image (C, H, W), got shape {image.shape}")
    shown = image[list(bands or display_bands(len(image), info))]
    empty = empty_pixels(shown, info)
    if stretch or image.dtype != np.uint8:
        shown = np.stack([stretched(band, ~empty, *(stretch or (2, 98))) for band in shown])
    shown = shown.astype(np.uint8).transpose(1, 2, 0)
    shown[empty] = NO_DATA
    return shown


def display_bands(count, info=None):
    names = [name.lower() for name in info.bands] if info is not None else []
    if {"red", "green", "blue"} <= set(names):
        return [names.index(name) for name in ("red", "green", "blue")]
    return [0, 1, 2] if count >= 3 else [0, 0, 0]


def empty_pixels(shown, info=None):
    """Which pixels (H, W) of an image (C, H, W) hold no data: floats in any band, whole numbers in all of them.

    So a shadow that is 0 in one band is shown; `chips.valid_pixels` follows the same rule.
    """
    nodata = None if info is None else info.nodata
    empty = (shown == nodata) if nodata is not None else np.zeros(shown.shape, bool)
    return (empty | np.isnan(shown)).any(0) if shown.dtype.kind == "f" else empty.all(0)


def stretched(band, valid, low, high):
    values = band[valid & np.isfinite(band)]
    if not values.size:
        return np.full(band.shape, NO_DATA)
    bottom, top = np.percentile(values, [low, high])
    return np.nan_to_num((band - bottom) / max(top - bottom, 1e-12)).clip(0, 1) * 255


def draw_boxes(ax, boxes, colour, style="-", text=None, width=1.6):
    """Draw boxes (M, 4) on ax as one collection, with a halo that keeps them readable on any image.

    text: None, or M short strings, written at the boxes' upper left corners.
    """
    x0, y0, x1, y1 = np.asarray(boxes, dtype=float).reshape(-1, 4).T
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2)
    lines = PolyCollection(corners, facecolors="none", edgecolors=colour, linestyles=[style], linewidths=width)
    halo = patheffects.Stroke(linewidth=width + 1.4, foreground=halo_of(colour), alpha=0.55)
    lines.set_path_effects([halo, patheffects.Normal()])
    ax.add_collection(lines, autolim=False)
    for x, y, words in zip(x0, y0, [] if text is None else text, strict=text is not None):
        tag(ax, x, y, words, colour)
    return lines


def halo_of(colour):
    red, green, blue = to_rgba(colour)[:3]
    return "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"


def tag(ax, x, y, words, colour):
    """Words on a small coloured plate above the point (x, y), or below it where the image ends."""
    above = y > 0.08 * abs(np.subtract(*ax.get_ylim()))
    plate = {"boxstyle": "square,pad=0.12", "facecolor": colour, "edgecolor": "none"}
    return ax.annotate(
        words, (x, y), (1, 2 if above else -2), textcoords="offset points", color="white", fontsize=6.5,
        va="bottom" if above else "top", bbox=plate, clip_on=True, annotation_clip=True,
    )


def show_image(image, info=None, ax=None, title=None, **display):
    """Show an image (C, H, W) without axes, pixel (0, 0) at the upper left → matplotlib Axes."""
    shown = to_rgb(image, info, **display)
    height, width = shown.shape[:2]
    if ax is None:
        ax = plt.subplots(figsize=(3.4, 3.4 * height / width + 0.35))[1]
    ax.imshow(shown, extent=(0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title, fontsize=8.5, fontweight="normal", pad=3)
    return ax


def show_chip(image, boxes=None, labels=None, classes=None, ax=None, info=None, title=None, **display):
    """Show a chip (C, H, W) with its objects, boxes (M, 4) in the colours of their classes → matplotlib Axes.

    labels (M,) 1..K and classes (K names) go together; without them the boxes have the colour of ground truth.
    """
    legend = ax is None
    ax = show_image(image, info, ax, title, **display)
    if boxes is None or labels is None:
        draw_boxes(ax, [] if boxes is None else boxes, GROUND_TRUTH)
        return ax
    draw_classes(ax, boxes, labels)
    if legend:
        name_below(ax.figure, class_lines(sorted(set(np.asarray(labels).tolist())), classes), columns=3)
    return ax


def draw_classes(ax, boxes, labels):
    boxes, labels = np.asarray(boxes), np.asarray(labels)
    for label in np.unique(labels):
        draw_boxes(ax, boxes[labels == label], *class_look(label))


def class_look(label):
    """Colour and line style of class `label` (1..K)."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)], CLASS_STYLES[(label - 1) % len(CLASS_STYLES)]


def class_lines(labels, classes):
    looks = [class_look(label) for label in labels]
    return [line(*look, name=classes[label - 1]) for label, look in zip(labels, looks, strict=True)]


def line(colour, style, name):
    return Line2D([], [], color=colour, linestyle=style, linewidth=2, label=name)


def name_below(figure, lines, columns=4):
    """One legend below a figure's panels."""
    if lines:
        columns = min(columns, len(lines))
        figure.legend(handles=lines, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.4)


def grid(number, columns=4, size=1.75, shape=(1, 1), legend=True):
    """A figure with `number` panels for images of `shape` (H, W), `size` inches wide → figure, list of Axes."""
    columns = min(columns, number)
    rows = -(-number // columns)
    height = (size * shape[0] / shape[1] + 0.22) * rows + 0.3 * legend
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, height), squeeze=False)
    for ax in axes.flat[number:]:
        ax.axis("off")
    return figure, list(axes.flat[:number])


def show_chips(dataset, indices, columns=4, size=1.75, **display):
    """Show chips of a data set in a grid with their objects and one legend → matplotlib Figure."""
    indices = list(indices)
    figure, axes = grid(len(indices), columns, size, dataset.images.shape[-2:])
    seen = set()
    for ax, i in zip(axes, indices, strict=True):
        target = dataset[i][1]
        show_chip(dataset.images[i], target["boxes"], target["labels"], ax=ax, info=dataset.info,
                  title=dataset.stems[i], **display)
        seen |= set(target["labels"].tolist())
    name_below(figure, class_lines(sorted(seen), dataset.classes))
    return figure


def show_detections(image, detections, target, classes, score=0.5, iou=0.5, ax=None, info=None, title=None, **display):
    """Show what a detector got right and wrong on one chip → matplotlib Axes.

    Solid: detections that found an object; dotted: false ones, with class and score; dashed: objects that were missed,
    with their class if they are few. Only detections of at least `score` count; an object is found at `iou` or more.
    """
    legend = ax is None
    ax = show_image(image, info, ax, title, **display)
    true, _, false, missed = match_detections(detections, target, iou, score)
    wrong = [f"{classes[detections['labels'][i] - 1]} {detections['scores'][i]:.2f}" for i in false.tolist()]
    names = [classes[k - 1] for k in target["labels"][missed]] if len(missed) <= 8 else None  # more would hide the chip
    draw_boxes(ax, target["boxes"][missed], MISSED, DASHED, names)
    draw_boxes(ax, detections["boxes"][true], TRUE_POSITIVE)
    draw_boxes(ax, detections["boxes"][false], FALSE_POSITIVE, DOTTED, wrong, width=1.9)
    if legend:
        name_below(ax.figure, outcome_lines(len(true), len(false), len(missed)))
    return ax


def outcome_lines(true="", false="", missed=""):
    looks = ((TRUE_POSITIVE, "-", "found"), (FALSE_POSITIVE, DOTTED, "false"), (MISSED, DASHED, "missed"))
    return [
        line(colour, style, f"{count} {name}".strip())
        for (colour, style, name), count in zip(looks, (true, false, missed), strict=True)
    ]


def show_results(dataset, detections, indices, score=0.5, columns=4, size=1.75, **display):
    """Show right and wrong detections on several chips of a data set, one legend below → matplotlib Figure."""
    indices = list(indices)
    figure, axes = grid(len(indices), columns, size, dataset.images.shape[-2:])
    for ax, i in zip(axes, indices, strict=True):
        show_detections(dataset.images[i], detections[i], dataset[i][1], dataset.classes, score, ax=ax,
                        info=dataset.info, title=dataset.stems[i], **display)
    name_below(figure, outcome_lines())
    return figure


def show_anchors(image, anchors, state=None, boxes=None, ax=None, info=None, title=None, **display):
    """Show anchors (N, 4) over a chip, and the objects' boxes → matplotlib Axes.

    state (N,), as match_boxes gives it: 1 positive (solid), 0 negative (thin, dotted), -1 ignored (grey, dashed).
    """
    legend = ax is None
    ax = show_image(image, info, ax, title, **display)
    anchors = np.asarray(anchors)
    state = np.ones(len(anchors), int) if state is None else np.asarray(state)
    looks = ((0, FALSE_POSITIVE, DOTTED, 0.9), (-1, IGNORED, DASHED, 1.1), (1, TRUE_POSITIVE, "-", 1.7))
    for value, colour, style, width in looks:
        draw_boxes(ax, anchors[state == value], colour, style, width=width)
    lines = [
        line(colour, style, name)
        for (value, colour, style, _), name in zip(looks, ("negative", "ignored", "positive"), strict=True)
        if (state == value).any()
    ]
    if boxes is not None:
        draw_boxes(ax, boxes, GROUND_TRUTH, width=2)
        lines.append(line(GROUND_TRUTH, "-", "object"))
    if legend:
        name_below(ax.figure, lines, columns=2)
    return ax


def show_pooling(image, box, stride, bins, margin=10):
    """RoIPool and RoIAlign side by side, on a box (4,) in pixels of a chip (C, H, W) → matplotlib Figure.

    stride: pixels a cell of the map; bins: along a side; margin: pixels shown around the box. Lecture 03.
    """
    figure, axes = grid(2, columns=2, size=3.2)
    titles = ("RoIPool pools the white cells\nfor the yellow box", "RoIAlign: four samples a bin,\nwhere the box is")
    for ax, title, rounded in zip(axes, titles, (True, False), strict=True):
        show_image(image, ax=ax, title=title)
        draw_pooling(ax, box, stride, bins, rounded)
        ax.set(xlim=(box[0] - margin, box[2] + margin), ylim=(box[3] + margin, box[1] - margin))
    return figure


def plot_seeds(rows, xlabel, ax=None):
    """How far seeds scatter: {row: {who: values}}, a point a seed, a colour and a marker for each who → Axes."""
    ax = ax or plt.subplots(figsize=(7, 0.7 + 0.6 * len(rows)))[1]
    names = list(dict.fromkeys(who for row in rows.values() for who in row))
    for k, who in enumerate(names):
        for place, row in enumerate(rows.values()):
            values, height = row.get(who, []), place + 0.2 * (k - (len(names) - 1) / 2)  # or they would hide each other
            ax.plot(values, [height] * len(values), "os^D"[k % 4], color=f"C{k}", label=None if place else who)
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    if len(names) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_precision_recall(curves, ax=None, title=None):
    """Precision over recall, {name: (recall, precision, score)} as precision_recall gives it → matplotlib Axes."""
    ax = ax or plt.subplots(figsize=(5.2, 3.6))[1]
    ends = []
    for i, (name, (recall, precision, _)) in enumerate(curves.items()):
        recall, precision = np.asarray(recall), np.asarray(precision)
        colour, style = class_look(i + 1)
        start = precision[:1] if len(precision) else [np.nan]
        ax.plot(np.r_[0, recall], np.r_[start, precision], color=colour, linestyle=style)
        if len(recall) and not np.isnan(recall[-1]):
            ends.append((recall[-1], precision[-1], name, colour))
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall: share of the objects found",
           ylabel="precision: share of the boxes right", title=title or "")
    label_ends(ax, ends)
    return ax


def label_ends(ax, ends, gap=0.075):
    """Write each line's name at its end (x, y, name, colour), beside the axes, spread so that no two overlap."""
    in_axes = ax.transData + ax.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[1])
    heights = spread([in_axes.transform((x, y))[1] for x, y, _, _ in ends], gap)
    for (_, _, name, colour), height in zip(ends, heights, strict=True):
        ax.annotate(name, (1.015, height), xycoords="axes fraction", color=colour, va="center", fontweight="bold")


def spread(heights, gap, top=1.0):
    """Move sorted heights up, and from the top down again, until neighbours are at least `gap` apart."""
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], top - gap * (len(heights) - 1 - i))
    return heights


def plot_history(history, title=None):
    """Losses over the steps, and validation AP50 and AP where there are any → matplotlib Figure.

    history: what training.fit returns. Thin: every step; thick: the running mean of a twentieth of the run.
    """
    scores = [row for row in history.rows if "AP50" in row]
    figure, axes = plt.subplots(1, 2 if scores else 1, figsize=(8.6 if scores else 5.4, 3.2), squeeze=False)
    plot_losses(axes[0, 0], history.steps)
    axes[0, 0].set_title(title or "Training loss")
    if scores:
        plot_scores(axes[0, 1], scores)
    return figure


def plot_losses(ax, steps):
    names = [name for name in steps[0] if name not in ("step", "lr", "loss")]
    number, ends = np.array([row["step"] for row in steps]), []
    window = max(1, len(steps) // 20)
    for i, name in enumerate([*names, "loss"]):
        values = np.array([row[name] for row in steps])
        colour, style = ("#333333", "-") if name == "loss" else class_look(i + 1)
        smooth = np.convolve(values, np.ones(window) / window, "valid")
        ax.plot(number, values, color=colour, linewidth=0.5, alpha=0.2)
        ax.plot(number[window - 1 :], smooth, color=colour, linestyle=style)
        ends.append((number[-1], smooth[-1], name.replace("_", " ") if name != "loss" else "sum", colour))
    ax.set(xlabel="step", yscale="log", xlim=(0, number[-1]))
    ax.set_ylim(*np.quantile([[row[name] for name in [*names, "loss"]] for row in steps], [0.02, 1]))
    ax.yaxis.set_major_formatter("{x:g}")
    label_ends(ax, ends)


def plot_scores(ax, rows):
    ends = []
    for name, colour, marker in (("AP50", "#0072B2", "o"), ("AP", "#E69F00", "s")):
        ax.plot([row["step"] for row in rows], [row[name] for row in rows], color=colour, marker=marker, markersize=4)
        ends.append((rows[-1]["step"], rows[-1][name], f"{name} {rows[-1][name]:.2f}", colour))
    ax.set(xlabel="step", ylim=(0, 1), title="Validation")
    label_ends(ax, ends)
