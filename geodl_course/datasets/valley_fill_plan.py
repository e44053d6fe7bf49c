"""Where mining changes a relief: mines on the highest ground, strip benches, valley fills at their heads, roads."""

import numpy as np

from geodl_course.datasets import valley_fill_works as works
from geodl_course.datasets.valley_fill_relief import smooth_noise

THIN = 4  # cells between the rows and columns of the coarse raster on which plans are tried first


def plan_mines(rng, relief, most=10):
    """Mines on the highest ground, with room between them; each starts at a seam 15 to 60 m below its top."""
    shape = relief.dem.shape
    extent = shape[0] * works.CELL
    tops = np.flatnonzero(((relief.points > 0) & (relief.points < extent)).all(1))
    tops = tops[relief.height[tops] > np.quantile(relief.height[tops], 0.75)]
    fields = [smooth_noise(rng, shape, sigma) for sigma in (25, 40, 9)]
    mines = []
    for node in rng.permutation(tops):
        centre, radius = relief.points[node], rng.uniform(350, 650)
        if any(np.hypot(*(centre - mine.centre)) < 0.8 * (mine.radius + radius) for mine in mines):
            continue
        level = relief.height[node] - rng.uniform(15, 60)
        mines.append(works.plan_mine(rng, shape, centre, radius, level, fields))
        if len(mines) == most:
            break
    return mines


def strip(rng, dem, mines):
    """Contour benches along two to four seams, on slopes away from the mines, each in some stretches only."""
    from scipy.ndimage import gaussian_filter, zoom

    x, y = works.places(dem.shape)
    north, east = np.gradient(gaussian_filter(dem[::THIN, ::THIN], 3), THIN * works.CELL)
    steep = np.clip((np.hypot(north, east) - 0.25) / 0.12, 0, 1)
    ground = zoom(steep, THIN, order=1, grid_mode=True, mode="nearest")
    ground *= np.clip(-np.max([mine.inside for mine in mines], 0) / 60, 0, 1)
    heights = dem[::THIN, ::THIN].copy()
    for _ in range(rng.integers(2, 5)):
        tilt = rng.normal(0, 0.004, 2).astype(np.float32)
        seam = np.float32(np.quantile(heights, rng.uniform(0.3, 0.75))) + tilt[0] * x + tilt[1] * y
        amount = np.clip(3 * (smooth_noise(rng, dem.shape, 110) - 0.5), 0, 1) * ground
        works.strip_bench(dem, seam, amount, rng.uniform(6, 11))


def plan_fills(rng, relief, mines, least=4):
    """Fills of `least` to 8 steps to try: toes on streams of 4 to 80 ha below a mine, most of the wide valleys first,
    high fills first.
    """
    nodes = np.flatnonzero((relief.area > 4e4) & (relief.area < 8e5) & (rng.random(len(relief.area)) < 0.6))
    nodes = nodes[np.argsort(rng.normal(0, 0.5, len(nodes)) - np.log(relief.area[nodes]))]
    far = nodes
    for _ in range(10):
        far = relief.stem[far]
    axes = relief.points[far] - relief.points[nodes]
    lengths = np.hypot(*axes.T)
    extent = relief.dem.shape[0] * works.CELL
    inner = ((relief.points[nodes] > 60) & (relief.points[nodes] < extent - 60)).all(1) & (lengths > 60)
    for node, axis in zip(nodes[inner], axes[inner] / lengths[inner, None], strict=True):
        toe = relief.points[node]
        row, col = np.clip(((toe + 350 * axis)[::-1] / works.CELL).astype(int), 0, relief.dem.shape[0] - 1)
        mine = max(mines, key=lambda one: one.inside[row, col])
        for share in (1, rng.uniform(0.6, 0.85)):  # where no fill up to the mine fits, a lower one may
            total = (mine.level - relief.height[node]) * share - rng.uniform(1, 5)
            steps = round(total / rng.uniform(13, 18))
            if mine.inside[row, col] > -800 and least <= steps <= 8:
                rises = total / steps * rng.uniform(0.85, 1.15, steps)
                yield works.Fill(
                    toe, relief.height[node], axis, rng.normal(3e-4, 6e-4), rises, rng.uniform(0.44, 0.54),
                    rng.uniform(7, 13), mine.level, "groins" if rng.random() < 0.65 else "centre",
                )  # fmt: skip


def fill_valleys(rng, dem, relief, mines, least=4):
    """Lay all fills that fit; returns [(Fill, rows, cols, face), ...] and the ground (H, W) bool that they cover."""
    taken, faces = np.zeros(dem.shape, bool), []
    few = (slice(THIN // 2, None, THIN),) * 2
    for fill in plan_fills(rng, relief, mines, least):
        row, col = (fill.toe[::-1] / works.CELL).astype(int)
        if taken[row, col] or works.lay_fill(dem[few], fill, taken[few], THIN * works.CELL) is None:
            continue
        found = works.lay_fill(dem, fill, taken)
        if found is None:
            continue
        rows, cols, face, covered = found
        taken[rows, cols] |= covered
        works.build_fill(dem, fill, found, rng)
        if rng.random() < 0.5:
            works.pond(dem, fill, rng)
        faces.append((fill, rows, cols, face))
    return faces, taken


def roads(rng, dem, taken, hauls=6, tracks=18):
    """Haul roads of 12 to 18 m and tracks of 4 to 6 m that wind down the hills; fills are spared."""
    from scipy.ndimage import gaussian_filter

    heights = gaussian_filter(dem[::THIN, ::THIN], 1.5)
    north, east = np.gradient(heights, THIN * works.CELL)
    slopes, extent = (heights, -east, -north, THIN * works.CELL), dem.shape[0] * works.CELL
    for index in range(hauls + tracks):
        grade, width = ((0.06, 0.10), (12, 18)) if index < hauls else ((0.02, 0.10), (4, 6))
        start, turn = rng.uniform(0.05, 0.95, 2) * extent, rng.choice([-1, 1])
        way = works.walk(slopes, start, rng.uniform(*grade), turn, rng.uniform(600, 2200))
        if len(way) > 30:
            works.cut_road(dem, way, rng.uniform(*width), taken)
