"""Natural relief for the valley fills: dendritic ridges and hollows in a steady state of stream erosion.

Rivers run on a mesh of scattered points, so that no valley follows the raster. Each point drains to one neighbour. A
stream falls the less steeply the more ground it drains, slope = k area^-theta (Flint's law), and no slope is steeper
than its rock stands. Heights follow from the outlets upwards, each point then drains to its steepest neighbour, and so
on until the divides rest. A point always lies above the one it drains to: there is no closed basin on the mesh.
Lengths are metres, the frame is the raster's (x to the right, y down).
"""

from dataclasses import dataclass

import numpy as np

SPACING, MARGIN, GRID, STEPS = 20.0, 400.0, 8, 40


@dataclass
class Relief:
    """dem (H, W) float32 in 2-m cells; of the N points of the mesh: place (x, y), height, area that drains through it,
    and the next point up the main stem."""

    dem: np.ndarray
    points: np.ndarray
    height: np.ndarray
    area: np.ndarray
    stem: np.ndarray


def smooth_noise(rng, shape, sigma):
    """Noise (H, W) float32, mean 0, deviation 1, correlated over `sigma` cells."""
    from scipy.ndimage import gaussian_filter, zoom

    step = max(int(sigma / 3), 1)
    coarse = rng.standard_normal([-(-n // step) + 8 for n in shape]).astype(np.float32)
    coarse = gaussian_filter(coarse, sigma / step)
    fine = zoom(coarse, step, order=2 if step > 1 else 0)[: shape[0], : shape[1]]
    return (fine - fine.mean()) / fine.std()


def steady_relief(rng, side):
    """Mesh, heights (N,), area (N,) and receivers (N,) of a square of `side` metres that drains over one edge."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import Delaunay

    count = round(side / SPACING)
    corners = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1)
    points = ((corners + 0.5 + rng.uniform(-0.42, 0.42, (count, count, 2))) * SPACING).reshape(-1, 2)
    mesh = Delaunay(points)
    ends, to = mesh.vertex_neighbor_vertices
    start = np.repeat(np.arange(len(points)), np.diff(ends))
    length = np.hypot(*(points[start] - points[to]).T)
    sides = np.stack([points[:, 0], points[:, 1], side - points[:, 0], side - points[:, 1]])
    outlets = np.flatnonzero(sides[rng.integers(4)] < SPACING)
    rough = 0.5 * smooth_noise(rng, (count, count), 12).ravel() + 0.6 * rng.standard_normal(len(points))
    graph = csr_matrix((length * np.exp(0.5 * (rough[start] + rough[to])), to, ends), shape=(len(points),) * 2)
    height, receiver, _ = dijkstra(graph, indices=outlets, return_predecessors=True, min_only=True)
    receiver[outlets] = outlets
    rock = 1 + 0.1 * smooth_noise(rng, (count, count), 15).ravel()
    layers = 1 + 0.2 * smooth_noise(rng, (1, 400), 2.0)[0]  # strata lie flat: one value for 4 m of height
    steep, source, theta = rng.uniform(0.48, 0.55), rng.uniform(0.007, 0.012), 0.5
    for _ in range(STEPS):
        run = np.hypot(*(points - points[receiver]).T)
        area = drained(receiver) * SPACING**2
        limit = steep * rock * layers[np.clip(height / 4, 0, 399).astype(int)]
        fall = np.minimum(limit, steep * rock * (area / 1e6 / source) ** -theta) * run
        height = climb(receiver, fall)
        for _ in range(3):  # no slope is steeper than its rock stands, also across a stream's divide
            height = np.minimum(height, np.minimum.reduceat(height[to] + limit[start] * length, ends[:-1]))
        receiver = steepest(height, ends, to, start, length)
        receiver[outlets] = outlets
    return mesh, points, height, drained(receiver) * SPACING**2, receiver


def steepest(height, ends, to, start, length):
    """The neighbour (N,) to which each point falls most steeply."""
    slope = (height[start] - height[to]) / length
    best = np.flatnonzero(slope == np.maximum.reduceat(slope, ends[:-1])[start])
    receiver = np.empty(len(height), dtype=np.intp)
    receiver[start[best]] = to[best]
    return receiver


def climb(receiver, fall):
    """Sum of `fall` (N,) over the way from each point to its outlet, by doubling the jump."""
    total, jump = np.where(receiver == np.arange(len(fall)), 0.0, fall), receiver
    while (jump[jump] != jump).any():
        total = total + total[jump]
        jump = jump[jump]
    return total


def drained(receiver):
    """How many points (N,) drain through each, itself included: level by level from the farthest."""
    depth = climb(receiver, np.ones(len(receiver))).astype(int)
    order = np.argsort(-depth, kind="stable")
    count = np.ones(len(receiver))
    for level in np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)[:-1]:
        np.add.at(count, receiver[level], count[level])
    return count


def make_relief(rng, size, base=260.0):
    """Relief of `size` 2-m cells a side without a closed basin; `base` is the height of the outlets."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.ndimage import gaussian_filter, zoom

    extent = 2.0 * size
    mesh, points, height, area, receiver = steady_relief(rng, extent + 2 * MARGIN)
    place = np.arange(-4 * GRID, extent + 4 * GRID, GRID) + GRID / 2 + MARGIN
    coarse = LinearNDInterpolator(mesh, height)(*np.meshgrid(place, place))
    coarse = gaussian_filter(coarse.astype(np.float32), 1.5)
    fine = zoom(coarse, GRID // 2, order=3, grid_mode=True, mode="nearest")
    pad = 4 * GRID // 2
    dem = fine[pad : pad + size, pad : pad + size] + np.float32(base)
    for sigma, metres in ((12, 0.7), (3, 0.2), (1, 0.025)):
        dem += np.float32(metres) * smooth_noise(rng, dem.shape, sigma)
    stem = np.arange(len(area))
    order = np.argsort(area, kind="stable")
    order = order[receiver[order] != order]
    stem[receiver[order]] = order  # of all that drain to a point the one with most ground comes last and stays
    return Relief(fill_basins(dem), points - MARGIN, height + base, area, stem)


def fill_basins(dem):
    """The DEM (H, W) with every closed basin filled to its outlet; water leaves over the raster's edge."""
    from skimage.morphology import reconstruction

    seed = np.full_like(dem, dem.max())
    seed[[0, -1]], seed[:, [0, -1]] = dem[[0, -1]], dem[:, [0, -1]]
    return reconstruction(seed, dem, method="erosion").astype(np.float32)
