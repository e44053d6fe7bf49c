"""How real the terrain of the valley fills is, measured on the DEM alone: slopes, relief, drainage, basins, faces."""

import heapq

import numpy as np

from geodl_course.datasets.terrain import slope
from geodl_course.datasets.valley_fill_relief import fill_basins
from geodl_course.datasets.valley_fill_works import CELL


def figures(scene):
    """Figures of a Scene: shares, metres and counts, each with the name by which the course quotes it."""
    natural = ~scene.made
    degrees = slope(scene.dem, CELL)[natural]
    relief = relief_per_kilometre(scene.dem)
    streams = stream_counts(scene.dem)
    spans = np.array([np.ptp(np.reshape(face.bounds, (2, 2)), 0).max() * CELL for face in scene.faces])
    return {
        "natural share": float(natural.mean()),
        "slopes of 15 to 35 degrees": float(((degrees > 15) & (degrees < 35)).mean()),
        "median slope": float(np.median(degrees)),
        "relief in 1 km, median": float(np.median(relief)),
        "relief in 1 km, 10 and 90 %": np.quantile(relief, (0.1, 0.9)).round().tolist(),
        "closed basins outside the works": closed_basins(scene.dem, scene.made),
        "streams of order 1, 2, 3 ...": streams,
        "bifurcation ratio": float((streams[0] / streams[-1]) ** (1 / (len(streams) - 1))),
        "faces": len(spans),
        "median span of a face": float(np.median(spans)),
    }


def relief_per_kilometre(dem):
    """Highest less lowest height (n, n) within windows of 1 km, in metres."""
    count = max(int(dem.shape[0] * CELL / 1000), 1)
    side = min(int(1000 / CELL), dem.shape[0])
    starts = np.linspace(0, dem.shape[0] - side, max(2 * count - 1, 1)).astype(int)
    return np.array([[np.ptp(dem[r : r + side, c : c + side]) for c in starts] for r in starts])


def closed_basins(dem, made, depth=0.1):
    """How many basins deeper than `depth` metres touch nothing that mining made."""
    from scipy.ndimage import binary_dilation, label

    parts, count = label(fill_basins(dem) - dem > depth, np.ones((3, 3)))
    spoilt = np.unique(parts[binary_dilation(made, iterations=3)])
    return int(count - len(spoilt[spoilt > 0]))


def stream_counts(dem, thin=8, channel=4e4):
    """How many streams of Strahler's order 1, 2, 3 ... the DEM has: cells that drain `channel` square metres or more.

    Water flows to the neighbour from which a flood from the raster's edge reaches the cell first (Barnes et al. 2014).
    """
    side = dem.shape[0] // thin
    low = dem[: side * thin, : side * thin].reshape(side, thin, side, thin).min((1, 3))
    receiver, order = flood(low)
    area = np.full(side * side, (thin * CELL) ** 2)
    for cell in order[::-1]:
        if receiver[cell] >= 0:
            area[receiver[cell]] += area[cell]
    rank, twins = np.zeros(side * side, int), np.zeros(side * side, int)
    counts = [0] * 20
    for cell in order[::-1]:
        if area[cell] < channel:
            continue
        own = rank[cell] = max(rank[cell] + (twins[cell] > 1), 1)
        if own > 1 and twins[cell] > 1 or own == 1 and twins[cell] == 0:
            counts[own - 1] += 1  # a stream of this order begins here
        below = receiver[cell]
        if below >= 0:
            twins[below] = twins[below] + 1 if own == rank[below] else 1 if own > rank[below] else twins[below]
            rank[below] = max(rank[below], own)
    return counts[: max(i for i, count in enumerate(counts) if count) + 1]


def flood(dem):
    """Receiver of each cell (-1 at the edge) and the cells in the order in which a rising flood reaches them."""
    size = dem.shape[0]
    heights = dem.ravel().tolist()
    receiver = np.full(size * size, -1)
    seen = np.zeros(size * size, bool)
    edge = np.zeros(dem.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    queue = [(heights[cell], int(cell)) for cell in np.flatnonzero(edge)]
    seen[edge.ravel()] = True
    heapq.heapify(queue)
    order = []
    while queue:
        level, cell = heapq.heappop(queue)
        order.append(cell)
        row, col = divmod(cell, size)
        for r in range(max(row - 1, 0), min(row + 2, size)):
            for c in range(max(col - 1, 0), min(col + 2, size)):
                near = r * size + c
                if not seen[near]:
                    seen[near] = True
                    receiver[near] = cell
                    heapq.heappush(queue, (max(level, heights[near]), near))
    return receiver, np.array(order)
