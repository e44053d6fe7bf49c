"""What mining makes of the relief: levelled tops, strip benches, valley fills, ponds, haul roads.

Lengths are metres, the frame is the raster's (x to the right, y down), a cell is 2 m. Each work takes the DEM (H, W)
and changes it in place.
"""

from dataclasses import dataclass

import numpy as np

from geodl_course.datasets.valley_fill_relief import smooth_noise

CELL = 2.0


@dataclass
class Mine:
    """Ground around a coal seam at `level`: `inside` (H, W) is the distance to the mine's edge, negative outside."""

    centre: np.ndarray
    radius: float
    level: float
    inside: np.ndarray
    floor: np.ndarray


def places(shape, cell=CELL, rows=slice(None), cols=slice(None)):
    """x (1, W) and y (H, 1) of cell centres in metres, of a window if asked."""
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) * np.float32(cell) for n in shape)
    return x[None, cols], y[rows, None]


def window(shape, point, reach, cell=CELL):
    """Slices (rows, cols) of the cells within `reach` metres of a point."""
    return tuple(
        slice(max(int((middle - reach) / cell), 0), min(int((middle + reach) / cell) + 1, size))
        for middle, size in zip(point[::-1], shape, strict=True)
    )


# ------------------------------------------------------------------------------- tops and strip benches


def plan_mine(rng, shape, centre, radius, level, fields):
    """A mine with a ragged edge; its floor rolls around the seam and is crossed by ditches along its contours."""
    from scipy.ndimage import zoom

    x, y = places([n // 4 for n in shape], 4 * CELL)
    ragged, rolling, bumpy = fields
    angle = np.arctan2(y - centre[1], x - centre[0])
    edge = np.full(angle.shape, radius, np.float32)
    for wave in range(2, 7):
        edge += radius * rng.normal(0, 0.28 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    inside = (edge - np.hypot(x - centre[0], y - centre[1])).astype(np.float32)
    inside = zoom(inside, 4, order=1, grid_mode=True, mode="nearest") + 18 * ragged
    floor = level + rng.uniform(4, 9) * rolling + 0.4 * bumpy
    x, y = places(shape)
    floor += np.float32(rng.normal(0, 0.008)) * (x - centre[0]) + np.float32(rng.normal(0, 0.008)) * (y - centre[1])
    pitch = rng.uniform(5, 9)
    floor -= np.clip(0.5 * ragged, 0, 0.6) * np.exp(-np.square((floor / pitch % 1 - 0.5) / 0.07))
    return Mine(np.asarray(centre), radius, level, inside, floor)


def level_tops(dem, mine, rng):
    """Cut what stands above the mine's floor; backfill rises at its edge at 25 to 33 degrees, some of it terraced."""
    backfill = np.maximum(-mine.inside, 0) * rng.uniform(0.5, 0.65)
    step = rng.uniform(13, 20)
    if rng.random() < 0.3:  # terraces: steep between the steps
        backfill = step * (np.floor(backfill / step) + np.clip((backfill / step % 1) * 1.25, 0, 1))
    np.minimum(dem, mine.floor + backfill, out=dem)


def strip_bench(dem, seam, amount, highwall):
    """A contour bench at height `seam` (H, W): highwall above, spoil pushed over the edge below.

    The height alone decides: what lies up to `highwall` metres above the seam is cut down to it, what lies just below
    is covered by spoil, so that the bench follows the contour around every spur and hollow. `amount` (H, W), 0 to 1,
    is the bench's share of its full size.
    """
    up, wall = dem - seam, highwall * amount
    low = np.clip(1 + up / np.maximum(1.5 * wall, 1e-3), 0, 1)  # 0 at the foot of the spoil, 1 at the seam
    cut = np.where((up > 0) & (up < wall), 0.96 * up, 0)
    heap = np.where(up <= 0, (np.minimum(1.5 * low, 1) - low) * 1.5 * wall, 0)
    dem += (heap - cut).astype(dem.dtype)


# ------------------------------------------------------------------------------------------ valley fills


@dataclass
class Fill:
    """Where a valley fill's toe lies, which way its valley rises, and how its face is stepped."""

    toe: np.ndarray
    height: float  # of the toe
    axis: np.ndarray  # unit vector upstream
    bow: float  # how far the benches bend, metres a metre squared
    rises: np.ndarray  # height of each step, from the toe upwards
    grade: float
    bench: float
    level: float  # of the mine that the deck reaches
    drain: str  # "groins" or "centre"


def profile(fill):
    """Corners of the face seen from the side: metres upstream of the toe, metres above it.

    Each step climbs at `grade`, then comes a bench that falls back a little towards the hill; no bench at the crest.
    """
    corners = [(0.0, 0.0)]
    for rise in fill.rises:
        along, up = corners[-1]
        foot = up + rise
        edge = along + rise / fill.grade
        corners += [(edge, foot), (edge + fill.bench, foot - 0.04 * fill.bench)]
    return np.array(corners[:-1]).T


def fill_surface(fill, x, y):
    """Height of the fill (H, W), distance upstream along its axis (bent like its benches) and across it."""
    dx, dy = x - fill.toe[0], y - fill.toe[1]
    across = dy * fill.axis[0] - dx * fill.axis[1]
    along = dx * fill.axis[0] + dy * fill.axis[1] + fill.bow * np.square(across)
    along += 2.5 * np.sin(across / 23) * np.cos(along / 57)  # no bench is straight
    corners, heights = profile(fill)
    crest = heights[-1]
    deck = np.minimum(crest + 0.03 * (along - corners[-1]), max(fill.level - fill.height, crest))
    surface = fill.height + np.where(along < corners[-1], np.interp(along, corners, heights), deck)
    return np.where(along > 0, surface, -np.inf).astype(np.float32), along, across, corners[-1]


def lay_fill(dem, fill, closed, cell=CELL, reach=520.0):
    """(rows, cols, face, covered) of a fill that the valley can hold, or None; the DEM is left as it is.

    It is refused where it would spill over a divide, where its face is not 100 to 400 m wide, or on `closed` ground.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening, label

    rows, cols = window(dem.shape, fill.toe, reach, cell)
    x, y = places(dem.shape, cell, rows, cols)
    surface, along, across, length = fill_surface(fill, x, y)
    over = surface - dem[rows, cols]
    parts, _ = label(over > 0.4)
    row, col = ((fill.toe + 25 * fill.axis)[::-1] / cell).astype(int) - (rows.start, cols.start)
    if not (0 <= row < parts.shape[0] and 0 <= col < parts.shape[1]) or parts[row, col] == 0:
        return None
    covered = parts == parts[row, col]
    spilt = covered[[0, -1]].any() or covered[:, [0, -1]].any() or over[covered].max() > 1.15 * fill.rises.sum()
    if spilt or closed[rows, cols][covered].any():
        return None
    face = binary_opening(covered & (along < length), iterations=max(int(10 / cell), 1))
    face = binary_closing(np.pad(face, 9), iterations=max(int(14 / cell), 1))[9:-9, 9:-9]
    face &= (along > 0) & (along < length)
    parts, count = label(binary_fill_holes(face))
    if not count:
        return None
    face = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    width, depth = np.ptp(across[face]), np.ptp(along[face])
    if not 100 < width < 400 or depth < 0.8 * length or _hollow(face) > 0.2:
        return None
    return rows, cols, face, covered | face


def _hollow(face):
    """Share of the convex hull of a mask (H, W) that the mask leaves empty."""
    from skimage.morphology import convex_hull_image

    here = face[np.ix_(face.any(1), face.any(0))]
    return 1 - here.sum() / convex_hull_image(here).sum()


def build_fill(dem, fill, laid, rng):
    """Raise the DEM to the fill and dig its drains: a groin along both edges of the face, or a trough down its middle.

    All fills have at least shallow groins, because water from the hills beside them has to go somewhere.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    rows, cols, face, covered = laid
    x, y = places(dem.shape, CELL, rows, cols)
    surface, along, across, length = fill_surface(fill, x, y)
    ground = dem[rows, cols]
    rough = 0.1 * smooth_noise(rng, ground.shape, 4) + 0.25 * smooth_noise(rng, ground.shape, 15)
    deck = covered & (along >= length)
    rough += np.where(deck, 1.5 * smooth_noise(rng, ground.shape, 30), 0)
    ground[covered] = np.maximum(surface + rough, ground - 2)[covered]
    hill = ~covered & (along < length + 10)
    edge = distance_transform_edt(~hill) * CELL
    groin = np.clip(1 - edge / 9, 0, 1) * face * (along > 6)
    if fill.drain == "groins":
        ground -= rng.uniform(2.0, 3.5) * groin
    else:
        ground -= rng.uniform(0.8, 1.5) * groin
        middle = np.clip(1.6 - np.abs(across + 2 * np.sin(along / 40)) / 7, 0, 1) * face
        ground -= rng.uniform(2.5, 4.0) * middle
    ground[covered] = gaussian_filter(ground, rng.uniform(0.5, 2.2))[covered]  # rain wears the edges of older fills


def pond(dem, fill, rng):
    """A sediment pond below the toe: a dam across the valley and flat water behind it."""
    rows, cols = window(dem.shape, fill.toe, 110)
    x, y = places(dem.shape, CELL, rows, cols)
    dx, dy = x - fill.toe[0], y - fill.toe[1]
    along, across = dx * fill.axis[0] + dy * fill.axis[1], dy * fill.axis[0] - dx * fill.axis[1]
    crest, far = fill.height - rng.uniform(0.5, 2.0), rng.uniform(40, 60)
    near = np.abs(across) < 60
    dam = crest - np.maximum(np.abs(along + far) - 3, 0) * 0.45
    water = np.where((along > -far) & (along < 0), crest - 1.5, -np.inf)
    ground = dem[rows, cols]
    np.maximum(ground, np.where(near, np.maximum(dam, water), -np.inf), out=ground)


# ------------------------------------------------------------------------------------------ haul roads


def walk(slopes, start, grade, turn, metres, step=6.0):
    """Way (N, 3: x, y, height) that descends at `grade`, the hill on its left (turn 1) or right (-1).

    `slopes` are heights and their falls along x and y on a smooth raster with its cell size. The way ends at the
    raster's edge, after `metres`, or where the ground falls less than the road may.
    """
    height, fall_x, fall_y, cell = slopes
    x, y = start
    way = []
    for _ in range(int(metres / step)):
        col, row = int(x / cell), int(y / cell)
        if not (0 <= row < height.shape[0] and 0 <= col < height.shape[1]):
            break
        down = np.array([fall_x[row, col], fall_y[row, col]])
        steep = np.hypot(*down)
        if steep < 1.3 * grade:
            break
        way.append((x, y, height[row, col]))
        along = grade / steep
        across = turn * np.sqrt(1 - along**2)
        x += step * (along * down[0] - across * down[1]) / steep
        y += step * (along * down[1] + across * down[0]) / steep
    return np.array(way).reshape(-1, 3)


def cut_road(dem, way, width, shut):
    """Cut the road into the hill above it and heap it up below; `shut` (H, W) bool keeps its ground."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter1d

    way = gaussian_filter1d(way, 3, axis=0, mode="nearest")
    count = 8 * len(way)
    way = np.stack([np.interp(np.linspace(0, len(way) - 1, count), np.arange(len(way)), part) for part in way.T], 1)
    cells = np.clip((way[:, 1::-1] / CELL).astype(int), 0, np.array(dem.shape) - 1)
    pad = int(50 / CELL)
    low, high = np.maximum(cells.min(0) - pad, 0), cells.max(0) + pad
    part = (slice(low[0], high[0]), slice(low[1], high[1]))
    ground = dem[part]
    road = np.full(ground.shape, np.nan, np.float32)
    road[tuple((cells - low).T)] = way[:, 2]
    far, near = distance_transform_edt(np.isnan(road), return_indices=True)
    beside = np.maximum(far * CELL - width / 2, 0)
    level = road[tuple(near)]
    formed = np.clip(ground, level - 0.7 * beside, level + 1.1 * beside)
    reach = (beside < 30) & ~shut[part]
    ground[reach] = formed[reach]
