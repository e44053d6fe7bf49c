"""What the inspectors draw with: a picture beside a chart, and artists that later states update.

A view gives every artist that changes a `gid` and finds it again by it (`artists`), so that a move of a slider
redraws instead of building a figure anew.
"""

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from geodl_course import plots


def new_figure():
    """→ figure, left axes with the artists "image" and "objects", right axes for a chart with words beside it."""
    figure = Figure(figsize=(10, 4.6), dpi=90, layout="none")
    FigureCanvasAgg(figure)
    left = figure.add_axes((0.01, 0.09, 0.43, 0.84), xticks=[], yticks=[])
    right = figure.add_axes((0.53, 0.17, 0.30, 0.76))
    left.imshow(np.zeros((1, 1, 3)), interpolation="nearest", gid="image")
    left.spines[:].set_visible(False)
    left.grid(False)
    right.grid(False, axis="y")
    left.add_collection(outlines("objects", plots.GROUND_TRUTH, "-", 1.2))
    return figure, left, right


def artists(figure):
    """The artists of the figure by their `gid`."""
    return {artist.get_gid(): artist for artist in figure.findobj(lambda artist: artist.get_gid())}


def outlines(gid, colour, style, width):
    """One collection for a whole group of boxes; solid ones get a dark rim so that they show on bright roofs too."""
    rim = [patheffects.withStroke(linewidth=width + 1.4, foreground="black")] if style == "-" else None
    shape = {"facecolors": "none", "edgecolors": colour, "linestyles": style, "linewidths": width}
    return PolyCollection([], **shape, gid=gid, path_effects=rim)


def polygons(boxes):
    """Boxes (N, 4) → polygons (N, 4, 2)."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2).numpy()


def bars(values, chosen):
    """Horizontal bars for the chosen entries of values (N,), each at its own rank → polygons (n, 4, 2)."""
    rank = torch.nonzero(chosen).flatten().float()
    left = torch.zeros_like(rank)
    return polygons(torch.stack([left, rank - 0.4, values[chosen], rank + 0.4], 1))


def show_image(artist, image):
    """Put image (H, W, 3) into the artist, unless it is there already."""
    if artist.get_array().shape != image.shape or not np.shares_memory(artist.get_array(), image):
        artist.set_data(image)
        height, width = image.shape[:2]
        artist.set_extent((0, width, height, 0))  # a box edge lies between two pixels


def write_words(axes, words, **style):
    """Replace the words on the axes by (x, y, text) each."""
    for text in list(axes.texts):
        text.remove()
    for x, y, word in words:
        axes.text(x, y, word, **style)
