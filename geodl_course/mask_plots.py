"""Figures of instance masks: each instance in its own colour, right and wrong ones, and a mask from head to chip.

Palette, look and habits are those of `plots`: what differs by colour differs by line style as well, and every mask has
an outline. Masks are bool (D, H, W), pixel (0, 0) at the upper left.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import patheffects
from matplotlib.colors import to_rgba

from geodl_course.evaluation import match_instances
from geodl_course.plots import (
    DASHED,
    DOTTED,
    FALSE_POSITIVE,
    GROUND_TRUTH,
    INK,
    MISSED,
    TRUE_POSITIVE,
    draw_boxes,
    grid,
    halo_of,
    name_below,
    outcome_lines,
    show_image,
    to_rgb,
)

INSTANCE_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73", "#0072B2", "#D55E00", "#000000")
HEAT = "cividis"  # reads the same for colour-blind eyes, and in grey


def draw_masks(ax, masks, colours, style="-", fill=0.4, width=1.4):
    """Draw masks (D, H, W) bool on ax: filled, and with an outline on the pixels' edges.

    colours: one for all, or one a mask. fill: opacity of the inside, 0 for the outline alone.
    """
    masks = np.asarray(masks).reshape(-1, *np.shape(masks)[-2:]).astype(bool)
    colours = [colours] * len(masks) if isinstance(colours, str) else colours
    for mask, colour in zip(masks, colours, strict=True):
        height, width_px = mask.shape
        if fill:
            layer = np.zeros((height, width_px, 4))
            layer[mask] = (*to_rgba(colour)[:3], fill)
            ax.imshow(layer, extent=(0, width_px, height, 0))
        if mask.any():
            padded = np.pad(mask, 1).astype(float)  # so that the outline closes where the chip cuts the mask
            at = np.arange(-1, max(mask.shape) + 1) + 0.5
            lines = ax.contour(at[: width_px + 2], at[: height + 2], padded, [0.5], colors=[colour],
                               linestyles=[style], linewidths=width)
            halo = patheffects.Stroke(linewidth=width + 1.2, foreground=halo_of(colour), alpha=0.45)
            lines.set_path_effects([halo, patheffects.Normal()])
    ax.set(xlim=(0, masks.shape[2]), ylim=(masks.shape[1], 0))


def instance_colours(masks, apart=3):
    """A colour for each of masks (D, H, W) → list; masks within `apart` pixels differ while there are colours left."""
    masks = torch.as_tensor(np.asarray(masks)).bool()
    grown = F.max_pool2d(masks[:, None].float(), 2 * apart + 1, 1, apart)[:, 0].flatten(1)
    near = (grown @ masks.flatten(1).float().T > 0) if len(masks) else grown
    chosen = []
    for i in range(len(masks)):
        taken = [chosen[j] for j in range(i) if near[i, j]]
        free = [k for k in range(len(INSTANCE_COLOURS)) if k not in taken] or range(len(INSTANCE_COLOURS))
        chosen.append(min(free, key=chosen.count))
    return [INSTANCE_COLOURS[k] for k in chosen]


def show_masks(image, masks, boxes=None, ax=None, info=None, title=None, fill=0.4, **display):
    """Show a chip (C, H, W) with masks (M, H, W), a colour for each instance, and boxes (M, 4) if given → Axes."""
    ax = show_image(image, info, ax, title, **display)
    colours = instance_colours(masks)
    draw_masks(ax, masks, colours, fill=fill)
    if boxes is not None and len(masks):
        for box, colour in zip(np.asarray(boxes).reshape(-1, 1, 4), colours, strict=True):
            draw_boxes(ax, box, colour, DASHED, width=1.1)
    return ax


def show_mask_outcome(image, predicted, truth, threshold=0.5, ax=None, info=None, title=None, **display):
    """Show which masks (D, H, W) find one of truth (M, H, W) on a chip → matplotlib Axes.

    Solid and filled: a mask that found an object (IoU of at least threshold, one to one); dotted: a false alarm;
    dashed: an object that nobody found. image None: a plain ground, for imagery that may not be shown.
    """
    legend = ax is None
    ax = show_image(blank(truth) if image is None else image, info, ax, title, **display)
    true, _, false, missed = match_instances(predicted, truth, threshold)
    draw_masks(ax, truth[missed], MISSED, DASHED, fill=0.15)
    draw_masks(ax, predicted[true], TRUE_POSITIVE, fill=0.35)
    draw_masks(ax, predicted[false], FALSE_POSITIVE, DOTTED, fill=0.15, width=1.9)
    if legend:
        name_below(ax.figure, outcome_lines(len(true), len(false), len(missed)))
    return ax


def blank(masks):
    return np.full((3, *masks.shape[-2:]), 245, np.uint8)


def show_mask_results(images, predicted, truth, info=None, titles=None, threshold=0.5, size=1.9, **display):
    """Truth above, prediction with hits, misses and false alarms below, for N chips → matplotlib Figure.

    images: N chips (C, H, W), or N times None for imagery that may not be shown; predicted, truth: N times masks
    (D, H, W), (M, H, W) bool; titles: N strings.
    """
    number = len(truth)
    figure, axes = grid(2 * number, number, size, truth[0].shape[-2:])
    for i, (image, mine, wanted) in enumerate(zip(images, predicted, truth, strict=True)):
        title = titles[i] if titles else None
        shown = blank(wanted) if image is None else image
        show_masks(shown, wanted, ax=axes[i], info=info, title=f"truth: {title}" if title else "truth", **display)
        show_mask_outcome(image, mine, wanted, threshold, axes[number + i], info, "prediction", **display)
    name_below(figure, outcome_lines())
    return figure


def show_heat(heat, ax, title=None, extent=None, bar=False):
    """Show probabilities (h, w) in 0..1 → the matplotlib image. extent: (0, W, H, 0) to lie over a chip's pixels."""
    shown = ax.imshow(np.asarray(heat), cmap=HEAT, vmin=0, vmax=1, extent=extent)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title, fontsize=8.5, fontweight="normal", pad=3)
    if bar:
        ax.figure.colorbar(shown, ax=ax, shrink=0.75, label="probability")
    return shown


def show_paste(image, box, heat, pasted, truth=None, info=None, size=2.0, **display):
    """How one mask comes to its place: RoI on the chip, its map (n, n), the map stretched over the box, the cut.

    box (4,) in pixels; heat (n, n) and pasted (H, W): probabilities; truth (H, W): the object's mask → Figure.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    figure, axes = grid(4, 4, size, legend=False)
    show_image(image, info, axes[0], "the region", **display)
    draw_boxes(axes[0], [[x0, y0, x1, y1]], GROUND_TRUTH)
    show_heat(heat, axes[1], f"its map, {len(heat)} x {len(heat)}")
    ground = to_rgb(image, info, **display)
    whole = (0, ground.shape[1], ground.shape[0], 0)
    axes[2].imshow(ground, extent=whole)
    show_heat(np.where(np.asarray(pasted) > 0, pasted, np.nan), axes[2], "pasted into the box", whole)
    show_image(image, info, axes[3], "cut at 0.5", **display)
    draw_masks(axes[3], np.asarray(pasted)[None] > 0.5, TRUE_POSITIVE)
    if truth is not None:
        draw_masks(axes[3], np.asarray(truth)[None], INK, DASHED, fill=0)
    margin = 0.35 * max(x1 - x0, y1 - y0)
    for ax in (axes[0], axes[2], axes[3]):
        ax.set(xlim=(x0 - margin, x1 + margin), ylim=(y1 + margin, y0 - margin), aspect="equal")
    return figure
