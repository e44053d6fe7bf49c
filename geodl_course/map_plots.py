"""Pictures of maps: a layer over its raster, what windows do to one object, where the errors are, systems compared."""

from pathlib import Path

import geopandas
import matplotlib.pyplot as plt
import numpy as np
import rasterio
import shapely
from matplotlib.collections import LineCollection
from rasterio.enums import Resampling
from rasterio.windows import from_bounds

from geodl_course import plots
from geodl_course.evaluation.maps import match_maps, seam_lines

SHOWN = 600  # pixels along the longer side of a raster as it is drawn: more would only fill the notebook
STEP = 16  # of each colour: enough for the eye, and the stored pictures are half as large


def show_one_object(raster, scene, layers, truth, which, at, size, margin=14):
    """Reference polygon `which` (a row number) under each layer of {name: layer} → figure.

    Dashed, yellow: the reference; thin, white: the inner edges of windows of `size` px with corners `at`; a colour for
    each object of the layer. margin: metres shown around the polygon.
    """
    left, bottom, right, top = truth.geometry.iloc[which].bounds
    middle, half = ((left + right) / 2, (bottom + top) / 2), max(right - left, top - bottom) / 2 + margin
    bounds = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    edges = [np.asarray(line.coords) for line in seam_lines(scene, at, size)]
    figure, axes = plots.grid(len(layers), columns=4, size=2.6, legend=False)
    for ax, (name, layer) in zip(axes, layers.items(), strict=True):
        draw_raster(ax, raster, bounds)
        ax.add_collection(LineCollection(edges, colors="white", linewidths=0.9))
        draw_shapes(ax, truth.geometry, plots.GROUND_TRUTH, plots.DASHED)
        here = layer.geometry[layer.intersects(truth.geometry.iloc[which])]
        for i, shape in enumerate(here):
            draw_shapes(ax, [shape], plots.CLASS_COLOURS[i % 6], plots.CLASS_STYLES[i % 4], 2)
        ax.set_title(f"{name}: {len(here)}", loc="left", fontsize=9, fontweight="normal")
    return figure


def show_layer(raster, layer, truth, size=None, title=None):
    """A layer over its raster: found (solid), false (dotted) and missed (dashed) → figure.

    The piece of `size` px with most reference polygons, or all of the raster.
    """
    figure, ax = plt.subplots()
    draw_raster(ax, raster, busiest(raster, truth, size) if size else None)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    figure.set_size_inches(6.2, 0.7 + 6.2 * (top - bottom) / (right - left))
    draw_outcomes(ax, layer, truth, 1.5)
    ax.set_title(title or "", loc="left", fontsize=9)
    plots.name_below(figure, plots.outcome_lines())
    return figure


def show_map(raster, layer, truth, size):
    """Left a piece of `size` px of a raster with the layer over it, right where the whole layer errs → figure."""
    figure, (near, far) = plt.subplots(1, 2, figsize=(10, 4.9))
    draw_raster(near, raster, busiest(raster, truth, size))
    draw_outcomes(near, layer, truth, 1.3)
    counts = draw_outcomes(far, layer, truth, 0.7, filled=True)
    with rasterio.open(raster) as source:
        left, bottom, right, top = source.bounds
    far.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal")
    far.grid(False)
    plots.name_below(figure, plots.outcome_lines(*counts))
    return figure


def draw_outcomes(ax, layer, truth, width, filled=False):
    """Draw what a layer found, made up and missed, in colours and styles of their own → (found, false, missed)."""
    pairs, _ = match_maps(layer, truth)
    false, missed = layer.drop(index=layer.index[pairs[:, 0]]), truth.drop(index=truth.index[pairs[:, 1]])
    found = layer.iloc[pairs[:, 0]]
    looks = ((missed, plots.MISSED, plots.DASHED), (found, plots.TRUE_POSITIVE, "-"),
             (false, plots.FALSE_POSITIVE, plots.DOTTED))  # fmt: skip
    for each, colour, style in looks:
        draw_shapes(ax, each.geometry, colour, style, width)
        if filled and len(each):
            each.plot(ax=ax, facecolor=colour, edgecolor="none", aspect=None)
    return len(found), len(false), len(missed)


def draw_shapes(ax, shapes, colour, style="-", width=1.4):
    """Draw the outlines of polygons (N,), with their holes, on map coordinates."""
    parts = shapely.get_parts(np.asarray(shapes, object))
    rings = [np.asarray(ring.coords) for part in parts for ring in (part.exterior, *part.interiors)]
    ax.add_collection(LineCollection(rings, colors=colour, linestyles=[style], linewidths=width), autolim=False)


def draw_raster(ax, raster, bounds=None):
    """Show a raster, or what of it lies within map bounds (left, bottom, right, top), without a frame."""
    with rasterio.open(raster) as source:
        left, bottom, right, top = bounds or source.bounds
        inner = (max(left, source.bounds.left), max(bottom, source.bounds.bottom),
                 min(right, source.bounds.right), min(top, source.bounds.top))  # fmt: skip
        window = from_bounds(*inner, source.transform)
        less = max(1, max(window.height, window.width) / SHOWN)
        shape = (source.count, round(window.height / less), round(window.width / less))
        image = source.read(window=window, out_shape=shape, resampling=Resampling.average)
    ax.imshow(plots.to_rgb(image) // STEP * STEP + STEP // 2, extent=(inner[0], inner[2], inner[1], inner[3]))
    ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def busiest(raster, truth, size):
    """Map bounds of the tile of `size` px of a raster that holds most reference polygons' centres."""
    with rasterio.open(raster) as source:
        metres = size * source.res[0]
        left, bottom, right, top = source.bounds
    x, y = truth.geometry.centroid.x, truth.geometry.centroid.y
    edges = (np.arange(start, end - metres / 2, metres) for start, end in ((left, right), (bottom, top)))
    counts, xs, ys = np.histogram2d(x, y, bins=[np.append(edge, edge[-1] + metres) for edge in edges])
    i, j = np.unravel_index(counts.argmax(), counts.shape)
    return xs[i], ys[j], xs[i] + metres, ys[j] + metres


def stored_layer(name):
    """The layer docs/results/NAME.geojson that a benchmark left → GeoDataFrame in EPSG:4326; None, said in a line."""
    path = Path(__file__).parents[1] / "docs" / "results" / f"{name}.geojson"
    if path.exists():
        return geopandas.read_file(path)
    print(f"docs/results/{name}.geojson is not there yet: nothing to show.")
    return None


def plot_systems(models, across="megapixels_per_second", ax=None):
    """F1 of buildings over speed, a point a system: {name: figures} as tests/benchmarks/scene_models stores → Axes."""
    ax = ax or plt.subplots(figsize=(6, 3))[1]
    for number, (name, one) in enumerate(models.items()):
        for kind, marker in (("boxes", "o"), ("outlines", "s")):
            if kind in one:
                ax.plot(one[across], one[kind]["f1"], marker, color=plots.CLASS_COLOURS[number], markersize=7)
        ax.annotate(name, (one[across], one["boxes"]["f1"]), (7, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel="megapixels a second", ylabel="F1 at IoU 0.5", ylim=(0, 1))
    ax.margins(x=0.2)
    for kind, marker in (("boxes", "o"), ("outlines", "s")):
        ax.plot([], [], marker, color=plots.INK, label=kind)
    ax.legend(loc="lower right")
    return ax
