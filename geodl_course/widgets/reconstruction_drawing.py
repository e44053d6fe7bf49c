"""How the inspector of anomaly scores is drawn: histogram, counts, a strip of chips, one chip and its errors."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from geodl_course import plots
from geodl_course.widgets.drawing import artists, write_words

KNOWN, STRANGE = "#0072B2", "#E69F00"
GAP, SIDE = 12, 64  # pixels between the chips of the strip; a chip in it, whatever its own size
PANELS = {  # name: what stands above it
    "input": "chip {picked}, {group}", "reconstruction": "its reconstruction", "band": "{band}",
    "band found": "{band}, reconstructed", "error": "|error| in {band}, mean square {error:.2g}",
}  # fmt: skip
COUNTS = {  # name: column and row in the table, colour, what it says
    "found": (0, 1, plots.TRUE_POSITIVE, "found"), "missed": (1, 1, plots.MISSED, "missed"),
    "false": (0, 0, plots.FALSE_POSITIVE, "false alarms"), "passed": (1, 0, "#BBBBBB", "passed"),
}  # fmt: skip


def reconstruction_draw(data, figure=None):
    """`ReconstructionData` → figure; updates the artists of `figure` where one is given (made by this function)."""
    figure = figure or _new_figure()
    art = artists(figure)
    _draw_histogram(data, art)
    _draw_counts(data, art)
    _draw_strip(data, art)
    state = data.state
    said = {"picked": data.picked, "group": state.groups[int(state.strange[data.picked])],
            "band": state.bands[state.band], "error": data.errors[state.band]}  # fmt: skip
    for name, words in PANELS.items():
        art[name].set_data(data.views[name])
        height, width = data.views[name].shape[:2]
        art[name].set_extent((0, width, height, 0))
        art[name].axes.set_title(words.format(**said), fontsize=9, fontweight="normal", pad=4)
    for name in ("band", "band found"):
        art[name].set_clim(*state.limits[state.band])
    art["error"].set_clim(0, state.worst[state.band])
    return figure


def _draw_histogram(data, art):
    state, axes = data.state, art["threshold"].axes
    axes.set_xscale("log" if data.axis[2] else "linear")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8) if data.axis[2] else MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter("{:g}".format) if data.axis[2] else ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlim=data.axis[:2], ylim=(0, 1.12 * data.shares.max()), xlabel=state.score)
    for name, shares in zip(("known", "strange"), data.shares, strict=True):
        art[f"bars {name}"].set_verts([steps(data.edges, shares)])
    art["threshold"].set_xdata([data.threshold] * 2)
    label = art["flagged from here"]
    right = state.place < 0.8  # the words stand where there is room
    label.set(position=(data.threshold, 1.06 * data.shares.max()), ha="left" if right else "right",
              text="  flagged →" if right else "flagged →  ")
    for name, text in zip(("known", "strange"), axes.get_legend().get_texts(), strict=True):
        group = int(name == "strange")
        text.set_text(f"{state.groups[group]}, {int((state.strange == group).sum())} chips")


def steps(edges, shares):
    """A histogram with edges (n + 1,) and heights (n,) as one outline (2 n + 2, 2)."""
    x, y = np.repeat(edges, 2), np.concatenate(([0], np.repeat(shares, 2), [0]))
    return np.stack((x, y), 1)


def _draw_counts(data, art):
    for name in COUNTS:
        art[f"count {name}"].set_text(str(data.counts[name]))
    state, counts = data.state, data.counts
    for group, name in enumerate(("known", "strange")):
        art[f"row {name}"].set_text(state.groups[group])
    art["cost"].set_text(f"cost  {state.cost_missed:g} × {counts['missed']} missed + {state.cost_false:g} × "
                         f"{counts['false']} false = {counts['cost']:g}")


def _draw_strip(data, art):
    number, axes = len(data.strip), art["strip"].axes
    picture = np.full((SIDE, number * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for i, tile in enumerate(data.tiles):
        rows, columns = (np.arange(SIDE) * side // SIDE for side in tile.shape[:2])
        picture[:, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = tile[rows][:, columns]
    art["strip"].set_data(picture)
    art["strip"].set_extent((0, picture.shape[1], SIDE, 0))
    left = np.arange(number) * (SIDE + GAP)
    frames = np.stack([left, 0 * left, left + SIDE, 0 * left + SIDE], 1)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    strange = data.state.strange[data.strip]
    art["frames known"].set_verts(frames[~strange])
    art["frames strange"].set_verts(frames[strange])
    chosen = int(np.flatnonzero(data.strip == data.picked)[0])
    art["picked"].set_data([left[chosen] + SIDE / 2], [-5])
    art["border"].set_xdata([(number - data.flagged) * (SIDE + GAP) - GAP / 2] * 2)
    verdicts = {(False, False): "", (True, True): "found", (True, False): "missed", (False, True): "false alarm"}
    words = []
    for i, (chip, odd) in enumerate(zip(data.strip, strange, strict=True)):
        verdict = verdicts[bool(odd), i >= number - data.flagged]
        words.append((left[i] + SIDE / 2, SIDE + 4, f"{data.values[chip]:.3g}\n{verdict or 'passed'}"))
    write_words(axes, words, ha="center", va="top", fontsize=8, linespacing=1.3)


def _new_figure():
    figure = Figure(figsize=(10, 6.9), dpi=90, layout="none", facecolor="white")
    FigureCanvasAgg(figure)
    _histogram_axes(figure)
    _count_axes(figure)
    _strip_axes(figure)
    for i, name in enumerate(PANELS):
        axes = figure.add_axes((0.02 + 0.186 * i, 0.025, 0.17, 0.17 * 10 / 6.9))
        look = {"input": None, "reconstruction": None, "error": "magma"}.get(name, "gray")
        shown = axes.imshow(np.zeros((1, 1)), cmap=look, vmin=0, vmax=1, interpolation="nearest", gid=name)
        axes.set_axis_off()  # as in the strip: an axis without ticks takes time as well
    bar = figure.add_axes((0.942, 0.025, 0.011, 0.17 * 10 / 6.9))
    figure.colorbar(shown, cax=bar)
    bar.tick_params(labelsize=7, length=2)
    bar.grid(False)
    bar.yaxis.set_major_locator(MaxNLocator(3))
    return figure


def _histogram_axes(figure):
    axes = figure.add_axes((0.06, 0.705, 0.575, 0.255))
    for name, colour, hatch in (("known", KNOWN, None), ("strange", STRANGE, "////")):
        axes.add_collection(PolyCollection([], facecolors=to_rgba(colour, 0.45), edgecolors=colour, linewidths=1.3,
                                           hatch=hatch, label=name, gid=f"bars {name}"), autolim=False)
    axes.axvline(1, color="black", linewidth=1.6, gid="threshold")
    axes.text(1, 1, "", fontsize=9, va="top", gid="flagged from here")
    axes.set_ylabel("share of the group", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(False)
    axes.xaxis.label.set_size(9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, frameon=False, fontsize=9)


def _count_axes(figure):
    axes = figure.add_axes((0.74, 0.66, 0.24, 0.31), xlim=(0, 2), ylim=(-0.3, 2.3))
    axes.axis("off")
    for name, (column, row, colour, words) in COUNTS.items():
        axes.add_patch(Rectangle((column + 0.02, row + 0.02), 0.96, 0.96, facecolor=to_rgba(colour, 0.28),
                                 edgecolor=colour, linewidth=1.2))
        axes.text(column + 0.5, row + 0.58, "", ha="center", va="center", fontsize=19, gid=f"count {name}")
        axes.text(column + 0.5, row + 0.2, words, ha="center", va="center", fontsize=9)
    for column, words in enumerate(("flagged", "not flagged")):
        axes.text(column + 0.5, 2.12, words, ha="center", va="center", fontsize=9, color="#666666")
    for row, name in enumerate(("known", "strange")):
        axes.text(-0.06, row + 0.5, "", ha="right", va="center", fontsize=9, color="#666666", gid=f"row {name}")
    axes.text(2, -0.17, "", ha="right", va="center", fontsize=9, gid="cost")


def _strip_axes(figure):
    axes = figure.add_axes((0.02, 0.42, 0.96, 0.152))
    axes.imshow(np.zeros((1, 1, 3)), interpolation="nearest", gid="strip")
    for name, colour, style in (("known", KNOWN, "-"), ("strange", STRANGE, (0, (3, 1)))):
        axes.add_collection(PolyCollection([], facecolors="none", edgecolors=colour, linewidths=3, linestyles=[style],
                                           clip_on=False, gid=f"frames {name}"), autolim=False)
    axes.axvline(0, -0.12, 1.12, color="black", linewidth=1.6, clip_on=False, gid="border")
    axes.plot([0], [0], marker="v", color="black", markersize=8, clip_on=False, linestyle="none", gid="picked")
    axes.set_title("chips nearest to the threshold, by score; right of the line they are flagged", fontsize=9,
                   fontweight="normal", loc="left", pad=14)
    axes.set_axis_off()
