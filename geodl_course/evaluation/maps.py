"""How good is a map: objects found one to one against reference polygons, area, by class, by size, and at the seams."""

import numpy as np
import pandas as pd
import shapely

from geodl_course.datasets.map_units import metres_per_unit

SIZES = {"small": (0, 100), "medium": (100, 400), "large": (400, np.inf)}  # square metres of the reference polygon


def match_maps(layer, truth, iou=0.5):
    """Layer and reference, GeoDataFrames in one CRS with a column `class` → (pairs (P, 2) of row numbers, IoU (P,)).

    One to one, best IoU first, at an IoU of at least `iou`, only of equal class. Raises ValueError for another CRS.
    """
    if layer.crs != truth.crs:
        raise ValueError(f"the layer is in {layer.crs}, the reference in {truth.crs}: bring one to the other, to_crs()")
    found, wanted = layer.geometry.to_numpy(), truth.geometry.to_numpy()
    a, b = shapely.STRtree(wanted).query(found) if len(found) and len(wanted) else np.zeros((2, 0), int)
    same = layer["class"].to_numpy()[a] == truth["class"].to_numpy()[b]
    a, b = a[same], b[same]
    both = shapely.area(shapely.intersection(found[a], wanted[b]))
    overlap = both / (shapely.area(found[a]) + shapely.area(wanted[b]) - both)
    order = np.argsort(-overlap, kind="stable")
    pairs, taken = [], (set(), set())
    for i in order[overlap[order] >= iou].tolist():
        if a[i] not in taken[0] and b[i] not in taken[1]:
            taken[0].add(a[i])
            taken[1].add(b[i])
            pairs.append(i)
    return np.stack((a[pairs], b[pairs]), axis=1), overlap[pairs]


def map_scores(layer, truth, iou=0.5):
    """Counts and areas of a layer against reference polygons → DataFrame, a row for all, each class and each size.

    found, missed, false; precision, recall, f1 (nan where undefined); area_error: mapped area over true area, less 1. A
    found object counts for the size of the polygon that it found, a false one for its own size.
    """
    pairs, _ = match_maps(layer, truth, iou)
    hit, seen = (np.zeros(len(each), bool) for each in (layer, truth))
    hit[pairs[:, 0]], seen[pairs[:, 1]] = True, True
    area, true_area = (square_metres(each) for each in (layer, truth))
    area[pairs[:, 0]] = true_area[pairs[:, 1]]
    kinds = {"all": (np.ones(len(layer), bool), np.ones(len(truth), bool))}
    for name in sorted({*layer["class"], *truth["class"]}):
        kinds[name] = layer["class"].to_numpy() == name, truth["class"].to_numpy() == name
    for name, (low, high) in SIZES.items():
        kinds[name] = (low <= area) & (area < high), (low <= true_area) & (true_area < high)
    rows = {name: scores_of(layer[a], hit[a], truth[b], seen[b]) for name, (a, b) in kinds.items()}
    return pd.DataFrame(rows).T


def square_metres(layer):
    """Areas (N,) of a layer's polygons on the ground, as map_scene states them; without a CRS its own units'."""
    shapes = layer.geometry.to_numpy()
    return shapely.area(shapes) * (metres_per_unit(layer.crs, shapes) ** 2 if layer.crs else 1)


def scores_of(layer, hit, truth, seen):
    """One row of map_scores."""
    found, false, missed = int(seen.sum()), int((~hit).sum()), int((~seen).sum())
    parts = {"precision": (found, found + false), "recall": (found, found + missed),
             "f1": (2 * found, 2 * found + false + missed)}  # fmt: skip
    row = {"found": found, "missed": missed, "false": false}
    row |= {name: above / below if below else np.nan for name, (above, below) in parts.items()}
    return row | {"area_error": layer.area.sum() / truth.area.sum() - 1 if len(truth) else np.nan}


def in_pieces(layer, truth):
    """Which reference polygons (M,) are on the map more than once: two or more objects of their class lie in each by
    more than half of their own area?"""
    found, wanted = layer.geometry.to_numpy(), truth.geometry.to_numpy()
    a, b = shapely.STRtree(wanted).query(found) if len(found) and len(wanted) else np.zeros((2, 0), int)
    same = layer["class"].to_numpy()[a] == truth["class"].to_numpy()[b]
    a, b = a[same], b[same]
    inside = shapely.area(shapely.intersection(found[a], wanted[b])) > shapely.area(found[a]) / 2
    return np.bincount(b[inside], minlength=len(wanted)) > 1


def near_seams(layer, scene, at, size, distance=0.0):
    """Which objects (N,) of a layer lie within `distance` metres of an inner edge of the windows with corners `at`?"""
    return shapely.dwithin(layer.geometry.to_numpy(), shapely.union_all(seam_lines(scene, at, size)), distance)


def seam_lines(scene, at, size):
    """The inner edges of windows of `size` px with corners `at`, as lines on the map."""
    rows, columns = ({edge for corner in at for edge in (corner[axis], corner[axis] + size)} for axis in (0, 1))
    down = [((col, 0), (col, scene.height)) for col in sorted(columns) if 0 < col < scene.width]
    across = [((0, row), (scene.width, row)) for row in sorted(rows) if 0 < row < scene.height]
    return [shapely.LineString([scene.transform * end for end in line]) for line in down + across]


def map_average_precision(layer, truth, iou=0.5):
    """Average precision of a layer with a column `score` at one IoU, the mean over the classes of truth, 0..1.

    Pairs are those of match_maps; precision is read at 101 levels of recall, as COCO does it.
    """
    pairs, _ = match_maps(layer, truth, iou)
    hit = np.zeros(len(layer), bool)
    hit[pairs[:, 0]] = True
    each = []
    for name in truth["class"].unique():
        mine = (layer["class"] == name).to_numpy()
        order = np.argsort(-layer["score"].to_numpy()[mine], kind="stable")
        right = hit[mine][order].cumsum()
        recall = np.append(right / (truth["class"] == name).sum(), np.inf)
        precision = np.append(right / np.arange(1, len(right) + 1), 0.0)
        best = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
        each.append(best[np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-9)].mean())
    return float(np.mean(each)) if each else float("nan")
