"""Figures of lecture 09: strips of chips in one stretch, data flow of the VAE, rate against loss, errors on a map."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import NullFormatter

from geodl_course.plots import display_bands

KNOWN, STRANGE = "#0072B2", "#E69F00"
LEVELS = 16  # of each colour in a small chip: enough for the eye, and the stored pictures are half as large


def common_limits(images, percentiles=(2, 98)):
    """Images (N, C, H, W) → values of each band that are shown as black and white, (C, 2): the same for all chips."""
    pixels = np.asarray(images).swapaxes(0, 1).reshape(images.shape[1], -1)
    return np.percentile(pixels[:, :: max(1, pixels.shape[1] // 200_000)], percentiles, axis=1).T


def show_strips(rows, limits, info=None, size=0.72, titles=None, title=None):
    """Rows of chips, {name: images (N, C, H, W)}, all in one stretch (C, 2) of `common_limits` → matplotlib Figure.

    So a flat chip looks flat. titles: a word over each column.
    """
    columns, label = max(len(images) for images in rows.values()), 0.3 + 0.07 * max(map(len, rows))
    figure, axes = plt.subplots(len(rows), columns, squeeze=False,
                                figsize=(size * columns + label, size * len(rows) + 0.25 + 0.25 * bool(title)))
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, image in zip(row, images, strict=False):
            ax.imshow(displayed(image, limits, info))
        row[0].text(-0.08, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    for ax, words in zip(axes[0], titles or (), strict=False):
        ax.set_title(words, fontsize=9, fontweight="normal", loc="center")
    if title:
        figure.suptitle(title, ha="left", x=0.01, fontsize=9)
    return figure


def displayed(image, limits, info=None):
    """Image (C, H, W) → (H, W, 3) in 0..1, by the limits (C, 2), in steps of 1 / (LEVELS - 1)."""
    bands = display_bands(len(image), info)
    low, high = limits[bands].T[:, :, None, None]
    shown = ((np.asarray(image)[bands] - low) / np.maximum(high - low, 1e-9)).clip(0, 1)
    return (shown * (LEVELS - 1)).round().transpose(1, 2, 0) / (LEVELS - 1)


def map_codes(places, images, limits, info=None, shown=17, ax=None):
    """Where codes lie in a plane of the code: a dot at each of places (N, 2), `shown` of the chips on theirs → Axes.

    images (N, C, H, W) in a stretch (C, 2) of `common_limits`; shown are chips far from each other. The ring holds 95 %
    of N(0, 1).
    """
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 3.6))[1]
    places = np.asarray(places)
    ax.plot(*places.T, ".", color="#777777", markersize=2, zorder=1)
    radius = (-2 * np.log(1 - 0.95)) ** 0.5  # of two normal numbers
    for colour, width in (("white", 4), (STRANGE, 2)):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color=colour, linewidth=width, zorder=4))
    ax.annotate("95% of N(0, 1)", (0, radius), (0.5, 1.03), textcoords="axes fraction", ha="center", fontsize=9,
                arrowprops={"arrowstyle": "-", "color": "#333333"}, zorder=5)
    for place in far_apart(places, shown):
        thumbnail = OffsetImage(displayed(images[place], limits, info), zoom=0.32)
        ax.add_artist(AnnotationBbox(thumbnail, places[place], frameon=False, zorder=3))
    ax.margins(0.08)
    ax.set(xlabel="direction 1", ylabel="direction 2", aspect="equal")
    return ax


def far_apart(places, number):
    """Rows of `number` of places (N, 2), each as far as can be from those before it → list."""
    chosen, distance = [], np.full(len(places), np.inf)
    for _ in range(min(number, len(places))):
        chosen.append(int(distance.argmax()) if chosen else int(np.square(places).sum(1).argmin()))
        distance = np.minimum(distance, np.square(places - places[chosen[-1]]).sum(1))
    return chosen


def vae_flow(bands=5, size=64, latent=32):
    """A VAE with the shapes of its tensors → nodes and chains for diagrams.draw_flow."""
    nodes = {
        "chips": (0, 0.5, "data", f"chips\n(B, {bands}, {size}, {size})"),
        "encoder": (1, 0.5, "learned", "encoder\n4 x half"),
        "mean": (2, 0, "data", f"mean\n(B, {latent})"),
        "spread": (2, 1, "data", f"log variance\n(B, {latent})"),
        "draw": (3, 0, "fixed", "mean + noise\n* spread"),
        "kl": (3, 1, "loss", "KL\nto N(0, 1)"),
        "decoder": (4, 0, "learned", "decoder\n4 x double"),
        "found": (5, 0, "data", f"found\n(B, {bands}, {size}, {size})"),
        "error": (5, 1, "loss", "- log likelihood\nof the chips"),
    }
    return nodes, ["chips encoder mean draw decoder found error", "encoder spread draw", "mean kl", "spread kl"]


def plot_rates(figures, ax=None, lowest=17, highest=36):
    """Loss over rate, {codec: {setting: {"bits per pixel", "PSNR"}}} as compression is stored → matplotlib Axes.

    PNG, which loses nothing but rounding, lies beyond the axes and is left out.
    """
    ax = ax or plt.subplots(figsize=(7.2, 3.6))[1]
    names = [name for name, points in figures.items() if isinstance(points, dict) and not name.startswith("PNG")]
    for name in (name for name in names if "bits per pixel" not in figures[name]):
        points = [one for key, one in figures[name].items() if isinstance(one, dict) and key != "not quantised"]
        rate, decibels = zip(*sorted((one["bits per pixel"], one["PSNR"]) for one in points), strict=True)
        ours = name.startswith("autoencoder")
        ax.plot(rate, decibels, "o-" if ours else "s--", markersize=4, label=name)
    ax.set(xscale="log", ylim=(lowest, highest), xlabel="bits per pixel, three bands together",
           ylabel="PSNR in dB: higher loses less")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_against_variance(groups, xlabel="variance of the chip", ylabel="mean squared error", ax=None):
    """Error over variance, {group: (variance (N,), error (N,))}, and the line of equality → matplotlib Axes."""
    ax = ax or plt.subplots(figsize=(4.6, 3.4))[1]
    for marker, colour, (name, (variance, error)) in zip("o^s", (KNOWN, STRANGE, "#999999"), groups.items(),
                                                         strict=False):
        ax.plot(variance, error, marker, color=colour, markersize=4, alpha=0.7, label=name, linestyle="none")
    every = np.concatenate([np.asarray(variance) for variance, _ in groups.values()])
    ends = [every.min(), every.max()]
    ax.plot(ends, ends, color="#666666", linewidth=0.9, linestyle=":", label="error = variance")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="lower right", fontsize=8)
    return ax


def compare_histograms(panels, size=(2.7, 2.0)):
    """Histograms of scores, {name: {group: values (N,)}}, a panel each, in shares of each group → matplotlib Figure."""
    figure, axes = plt.subplots(1, len(panels), figsize=(size[0] * len(panels), size[1] + 0.5), squeeze=False)
    for ax, (name, groups) in zip(axes[0], panels.items(), strict=True):
        values = [np.asarray(each, float) for each in groups.values()]
        every = np.concatenate(values)
        log = every.min() > 0 and every.max() / every.min() > 20
        edges = (np.geomspace if log else np.linspace)(every.min(), every.max(), 25)
        for colour, hatch, each in zip((KNOWN, STRANGE), (None, "////"), values, strict=False):
            ax.hist(each, edges, weights=np.full(len(each), 1 / len(each)), histtype="stepfilled", alpha=0.45,
                    facecolor=colour, edgecolor=colour, hatch=hatch)
        ax.set(title=name, xscale="log" if log else "linear", yticks=[])
        ax.title.set_size(9)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(False)
    figure.legend(list(groups), loc="outside lower center", ncols=2)
    return figure


def show_layers(layers, extent=None, size=2.6):
    """Maps side by side, {name: (H, W, 3) or (H, W)}, each single layer with its colour bar → matplotlib Figure.

    extent (left, right, bottom, top) in map units. A layer is shown from 0 to its 98th percentile, NaN left white.
    """
    shape = next(iter(layers.values())).shape
    figure, axes = plt.subplots(1, len(layers), figsize=(size * len(layers), size * shape[0] / shape[1] + 0.6),
                                squeeze=False)
    for ax, (name, layer) in zip(axes[0], layers.items(), strict=True):
        top = None if layer.ndim == 3 else np.nanpercentile(layer, 98)
        shown = ax.imshow(layer, plt.get_cmap("magma", 32), vmin=0, vmax=top, extent=extent, interpolation="nearest")
        ax.set_title(name, fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if layer.ndim == 2:
            figure.colorbar(shown, ax=ax, shrink=0.8, pad=0.02).ax.tick_params(labelsize=8)
    return figure
