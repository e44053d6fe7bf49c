"""Three ways to make one map of overlapping windows: plain suppression, each window's core, and merging of parts.

Two objects are compared only if they have one label and come from different windows: within a window the model has
settled it. Lecture 10 builds them in this order.
"""

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geodl_course.scenes.objects import Objects


def suppress(objects, threshold=0.5):
    """Non-maximum suppression over the whole scene → the objects that are left.

    Best score first, each drops those it overlaps with an IoU above threshold. Parts of an object that two windows cut
    share too little for that: they stay, or a better part drops the whole.
    """
    a, b, both = overlaps(objects)
    area = shapely.area(objects.shapes)
    double = both / (area[a] + area[b] - both) > threshold
    return objects[best_first(objects.scores, a[double], b[double])]


def keep_core(objects, seams):
    """Only objects whose box's centre lies in the core of their window → the objects that are left.

    seams: {start of a window: (start, end) of its core} of rows and of columns, as `cores` gives them. Cores share
    no pixel, so no object is kept twice, unless two windows disagree where its centre is.
    """
    rows, columns = seams
    box = shapely.bounds(objects.shapes)
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    across = np.array([columns[start] for start in objects.windows[:, 0]]).reshape(-1, 2)
    down = np.array([rows[start] for start in objects.windows[:, 1]]).reshape(-1, 2)
    return objects[(across[:, 0] <= x) & (x < across[:, 1]) & (down[:, 0] <= y) & (y < down[:, 1])]


def cores(starts, size, end):
    """Starts of windows of `size` px over 0..end → {start: (first, last) pixel border of its core}.

    Between two windows the border is the middle of what they share; the outermost cores reach the scene's edge.
    """
    starts = sorted(set(starts))
    middles = [(a + size + b) / 2 for a, b in zip(starts, starts[1:], strict=False)]
    edges = [0, *middles, max(end, starts[-1] + size) + 1]
    return {start: (edges[i], edges[i + 1]) for i, start in enumerate(starts)}


def merge_parts(objects, share=0.5):
    """Whole objects once, cut ones put together → the objects of the map.

    First the whole ones, best score first: each drops what lies in it by at least `share` of the smaller one's area
    (intersection over the smaller, as in greedy merging; SAHI, Akyon et al. 2022). Of what is cut and still there, two
    parts belong together if they agree on what both windows saw: their intersection is at least `share` of the smaller
    one's area within the other's window. All parts that hang together become one object: their union, or of rectangles
    the box around them, with the best part's score.
    """
    a, b, both = overlaps(objects)
    area = shapely.area(objects.shapes)
    whole = ~objects.cut
    small = np.where(whole[a] == whole[b], np.minimum(area[a], area[b]), np.where(whole[a], area[b], area[a]))
    first = (both >= share * small) & (whole[a] | whole[b])  # of a whole one and a part, the part counts as the smaller
    kept = best_first(objects.scores + 2 * whole, a[first], b[first])  # any whole one goes before any part
    left = np.zeros(len(objects), bool)
    left[kept] = True
    parts = left[a] & left[b] & objects.cut[a] & objects.cut[b]
    a, b, both = a[parts], b[parts], both[parts]
    seen = np.minimum(*(shapely.area(clipped(objects.shapes[i], objects.windows[j])) for i, j in ((a, b), (b, a))))
    same = both >= share * seen
    return put_together(objects, left, a[same], b[same])


def overlaps(objects):
    """Pairs a (P,), b (P,) of objects of one label from different windows that overlap, and by what area (P,)."""
    tree = shapely.STRtree(objects.shapes)
    a, b = tree.query(objects.shapes)
    pair = (a < b) & (objects.labels[a] == objects.labels[b]) & (objects.windows[a] != objects.windows[b]).any(axis=1)
    a, b = a[pair], b[pair]
    both = shapely.area(shapely.intersection(objects.shapes[a], objects.shapes[b]))
    return a[both > 0], b[both > 0], both[both > 0]


def best_first(scores, a, b):
    """Which of N objects stay when the best drop the others of their pairs (a, b) → their numbers, in rising order."""
    order = scores[a] >= scores[b]
    better, worse = np.where(order, a, b), np.where(order, b, a)
    drop = np.zeros(len(scores), bool)
    rows = np.lexsort((worse, better, -scores[better]))
    for i, j in zip(better[rows].tolist(), worse[rows].tolist(), strict=True):
        if not drop[i]:
            drop[j] = True
    return np.flatnonzero(~drop)


def clipped(shapes, windows):
    """The parts of shapes (P,) that lie in windows (P, 4)."""
    return shapely.intersection(shapes, shapely.box(*windows.T))


def put_together(objects, left, a, b):
    """Objects that are left, those of pairs (a, b) as one → Objects, each group in the place of its best part."""
    links = coo_array((np.ones(len(a)), (a, b)), shape=(len(objects),) * 2)
    group = connected_components(links, directed=False)[1]
    order = np.flatnonzero(left)
    order = order[np.lexsort((-objects.scores[order], group[order]))]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    best = objects[order[starts]]
    many = np.diff([*starts, len(order)]) > 1
    groups = np.split(objects.shapes[order], starts[1:])
    best.shapes[many] = [unite(groups[i]) for i in np.flatnonzero(many)]
    return Objects(best.shapes, best.scores, best.labels, best.windows, best.cut & ~many)


def unite(shapes):
    """One shape of several: the box around them if all are boxes, else their union."""
    boxes = np.isclose(shapely.area(shapes), shapely.area(shapely.envelope(shapes))).all()
    return shapely.envelope(shapely.union_all(shapes)) if boxes else shapely.union_all(shapes)
