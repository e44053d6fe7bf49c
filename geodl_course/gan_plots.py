"""Figures of lecture 08: chips in rows and sheets, the game as a drawing, how it went and how good the samples are."""

import matplotlib.pyplot as plt
import numpy as np

from geodl_course.chips.scaling import RANGE, from_signed
from geodl_course.plots import label_ends

GREY, GAP, LABEL = 205, 3, 118  # of missing pixels; pixels between chips; pixels for the names of rows
BRIGHTEST = 0.3  # reflectance shown as white: the same for all chips, so that dark ones stay dark


def signed_rgb(images, gap=None):
    """Images (N, C, S, S) in [-1, 1], gap (N, 1, S, S) bool or None → (N, S, S, 3) uint8; the first bands are RGB.

    24 steps a colour: enough for the eye, and the pictures in a notebook need half the bytes.
    """
    shown = (from_signed(images[:, :3].float(), *RANGE) / BRIGHTEST).clamp(0, 1) ** 0.8
    shown = (shown * 23).round().mul(255 / 23).byte()
    if gap is not None:
        shown[gap.expand_as(shown)] = GREY
    return shown.permute(0, 2, 3, 1).numpy()


def tiled(images, columns, gap=None):
    """Images (N, C, S, S) in [-1, 1] as one picture, columns a row → (height, width, 3) uint8, white between them."""
    chips = signed_rgb(images, gap)
    rows, (_, size, _, _) = -(-len(chips) // columns), chips.shape
    sheet = np.full((rows * (size + GAP) - GAP, columns * (size + GAP) - GAP, 3), 255, np.uint8)
    for i, chip in enumerate(chips):
        y, x = (place * (size + GAP) for place in divmod(i, columns))
        sheet[y : y + size, x : x + size] = chip
    return sheet


def show_rows(rows, gaps=None, scale=None, title=None):
    """Show {name of the row: images (N, C, S, S) in [-1, 1]}, one chip beside the other → matplotlib Figure.

    gaps: {name: (N, 1, S, S) bool}, shown in grey. scale: pixels of the screen for one of a chip's, by default so
    many that the chip is about 64 wide.
    """
    columns, size = max(len(images) for images in rows.values()), next(iter(rows.values())).shape[-1]
    scale = scale or max(1, 64 // size)
    sheets = [tiled(images, columns, (gaps or {}).get(name)) for name, images in rows.items()]
    between = np.full((GAP, sheets[0].shape[1], 3), 255, np.uint8)
    picture = np.concatenate([part for sheet in sheets for part in (sheet, between)][:-1])
    return show_sheet(picture, list(rows), scale, title)


def show_sheet(picture, names, scale=1, title=None):
    """A picture (height, width, 3) of equally high rows of chips, with the name of each row → matplotlib Figure."""
    height, width = (side * scale for side in picture.shape[:2])
    above = 26 if title else 4
    figure = plt.figure(figsize=((width + LABEL + 4) / 100, (height + above + 4) / 100), layout="none")
    ax = figure.add_axes((LABEL / (width + LABEL + 4), 4 / (height + above + 4), width / (width + LABEL + 4),
                          height / (height + above + 4)))
    ax.imshow(picture)
    each = (len(picture) + GAP) / len(names)
    ax.set_yticks([each * row + (each - GAP) / 2 for row in range(len(names))], names, color="#333333")
    ax.set(xticks=[], title=title or "")
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


def game_flow(bands=5, size=64, latent=100):
    """The two steps of the game as two rows, what moves drawn as learned → nodes and chains for draw_flow."""
    image = f"(B, {bands}, {size}, {size})"
    nodes, chains = {}, []
    for row, (learner, wanted) in enumerate((("discriminator", "real: 1\nmade: 0"), ("generator", "made: 1\n"))):
        looks = {name: ("learned", f"{name}\nmoves") if name == learner else ("fixed", f"{name}\nstands still")
                 for name in ("generator", "discriminator")}
        y = 2.1 * row
        nodes |= {
            f"codes{row}": (0, y, "data", f"codes z\n(B, {latent})"),
            f"generator{row}": (1, y, *looks["generator"]),
            f"made{row}": (2, y, "data", f"made chips\n{image}"),
            f"discriminator{row}": (3, y, *looks["discriminator"]),
            f"logits{row}": (4, y, "data", "logits\n(B,)"),
            f"loss{row}": (5, y, "loss", f"loss {row + 1}\n{wanted}".strip()),
        }
        chains.append(" ".join(f"{name}{row}" for name in ("codes", "generator", "made", "discriminator", "logits",
                                                           "loss")))
    nodes["real"] = (2, 1, "data", f"real chips\n{image}")
    return nodes, [*chains, "real discriminator0"]


def smooth(values):
    """Running mean over a twentieth of the values → (its length shorter by the window, less one)."""
    window = max(1, len(values) // 20)
    return np.convolve(values, np.ones(window) / window, "valid")


def plot_game(steps, judged=("D of real", "D of made")):
    """Losses of both networks, and what the discriminator says, over a history's steps → matplotlib Figure."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.7))
    number = np.array([row["step"] for row in steps])
    parts = (("Losses", ("discriminator", "generator"), ("discriminator", "generator")),
             ("What the discriminator says", ("real", "fake"), judged))
    for ax, (title, keys, names) in zip(axes, parts, strict=True):
        ends = []
        for k, (key, name) in enumerate(zip(keys, names, strict=True)):
            values = np.array([row[key] for row in steps])
            mean = smooth(values)
            ax.plot(number[::10], values[::10], ".", color=f"C{k}", markersize=2.5, alpha=0.35)
            ax.plot(number[-len(mean):], mean, color=f"C{k}", linestyle="-" if k == 0 else "--")
            ends.append((number[-1], mean[-1], name, f"C{k}"))
        ax.set(xlabel="step", title=title, xlim=(0, number[-1]))
        if key == "fake":
            ax.set_ylim(0, 1)
        label_ends(ax, ends, gap=0.12)
    return figure


def plot_quality(looks, floor, ceiling):
    """Frechet distance, precision and recall over the steps → matplotlib Figure.

    looks: dicts step, frechet, precision, recall; floor and ceiling of the distance are drawn as lines.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.7))
    steps = [look["step"] for look in looks]
    axes[0].plot(steps, [look["frechet"] for look in looks], "o-", markersize=4)
    lines = ((ceiling, "pixel means", "#D55E00"), (floor, "held-out chips", "#009E73"))
    for value, _, colour in lines:
        axes[0].axhline(value, color=colour, linestyle="--", linewidth=1.2)
    axes[0].set(xlabel="step", yscale="log", title="Frechet distance: lower is better")
    label_ends(axes[0], [(steps[-1], value, name, colour) for value, name, colour in lines], gap=0.12)
    for k, name in enumerate(("precision", "recall")):
        axes[1].plot(steps, [look[name] for look in looks], "os"[k] + "-", color=f"C{k}", markersize=4)
    axes[1].set(xlabel="step", ylim=(0, 1), title="Share that lies among the others")
    label_ends(axes[1], [(steps[-1], looks[-1][name], name, f"C{k}")
                         for k, name in enumerate(("precision", "recall"))], gap=0.12)
    return figure
