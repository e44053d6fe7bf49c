"""The dry ground of the generated coasts: parcels with an edge, crops, forests, towns with streets, quays, beaches.

Everything is painted into albedo (5, H, W) and into the known map (H, W) of places in COVERS.
"""

from dataclasses import dataclass

import numpy as np

from geodl_course.datasets.coast_relief import SEA, power_noise
from geodl_course.datasets.coast_spectra import COVERS, SPECTRA

WATER, FOREST, FIELD, GRASS, TOWN, BARE = range(len(COVERS))
CROPS = ("lush", "growing", "ripe", "stubble", "dark soil", "red soil", "pale soil")
WET_SHARES, DRY_SHARES = np.array([5, 5, 1, 1, 2, 1, 0.5]), np.array([1.2, 2, 3, 4, 0.7, 3, 2.5])
ROOFS = ("tiles", "concrete", "white roof", "dark roof", "tan roof", "blue roof")
STYLES = np.array([[6, 2, 0.3, 1, 1, 0], [1, 5, 0.7, 3, 1, 0.1], [0.5, 2, 1.2, 0.5, 6, 0], [2, 5, 0.5, 2, 2, 0.2]])


@dataclass
class Parcels:
    """For each pixel: number (H, W) of its parcel, its distance from the parcel's edge in pixels, its place (u, v)
    in the parcel's district, and the district's number."""

    number: np.ndarray
    edge: np.ndarray
    u: np.ndarray
    v: np.ndarray
    district: np.ndarray


def make_parcels(rng, size, spacing, length, width, bend=2.0):
    """Parcels of about `length` x `width` px in rows, whose direction changes every `spacing` px."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x, y = x + bend * power_noise(rng, size, 3.5, 0.3 * size), y + bend * power_noise(rng, size, 3.5, 0.3 * size)
    count = max(round(size / spacing), 1)
    centres = (np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2) + 0.5) * size / count
    centres = np.float32(centres + rng.uniform(-0.45, 0.45, centres.shape) * size / count)
    district, nearest = np.zeros((size, size), np.int64), np.full((size, size), np.inf, np.float32)
    for k, (cx, cy) in enumerate(centres):
        far = np.square(x - cx) + np.square(y - cy)
        district[far < nearest] = k
        np.minimum(nearest, far, out=nearest)
    number = np.zeros((size, size), np.int64)
    edge, along, across = (np.zeros((size, size), np.float32) for _ in range(3))
    for k in range(len(centres)):
        own = district == k
        turn, scale = rng.uniform(0, np.pi), rng.uniform(0.75, 1.35)
        u = x[own] * np.cos(turn) + y[own] * np.sin(turn) + 2 * size
        v = y[own] * np.cos(turn) - x[own] * np.sin(turn) + 2 * size
        rows = np.cumsum(scale * width * rng.lognormal(0, 0.35, int(6 * size / (scale * width)) + 2))
        row = np.searchsorted(rows, v)
        lengths = scale * length * rng.lognormal(0, 0.4, len(rows) + 1)
        part = (u + rng.uniform(0, 4 * size, len(rows) + 1)[row]) / lengths[row]
        share = part - np.floor(part)
        ends = np.concatenate([[0], rows, [9e9]])
        to_row = np.minimum(v - ends[row], ends[row + 1] - v)
        edge[own] = np.minimum(to_row, np.minimum(share, 1 - share) * lengths[row])
        number[own] = (k * 7919 + row * 104729 + np.floor(part).astype(np.int64) * 1299709) % 4096
        along[own], across[own] = u, v
    return Parcels(number, edge, along, across, district)


def lay(albedo, where, colour):
    """Blend a spectrum (5,) or (5, ...) into albedo with the share `where` (H, W), bool or 0..1."""
    share = np.asarray(where, np.float32)
    for band, tone in zip(albedo, colour, strict=True):
        band += share * (tone - band)


def choose(rng, names, shares, count):
    """Spectra (count, 5) drawn from `names` with `shares`."""
    table = np.stack([SPECTRA[name] for name in names])
    return table[rng.choice(len(names), count, p=np.asarray(shares) / np.sum(shares))]


def paint_land(rng, relief, dry, fields, woods, towns):
    """Albedo (5, H, W) and known map (H, W) of the dry ground; `dry` 0..1 is how parched it is.

    fields, woods: shares of the dry ground that are given to them, towns later take of it; towns: radii in pixels.
    """
    size = len(relief.height)
    fine, middle = power_noise(rng, size, 0.4), power_noise(rng, size, 2.2, 30)
    broad = power_noise(rng, size, 3.2, 0.4 * size)
    mix = np.clip(dry + 0.22 * broad + 0.10 * middle, 0, 1)
    green, parched = SPECTRA["meadow"], SPECTRA["dry grass"]
    albedo = np.stack([g + (p - g) * mix for g, p in zip(green, parched, strict=True)])
    lay(albedo, np.clip(0.5 + 0.8 * middle + 0.3 * fine, 0, 1) * (0.35 + 0.4 * dry), SPECTRA["scrub"])
    known = np.full((size, size), GRASS, np.uint8)
    paint_fields(rng, albedo, known, relief, dry, fields)
    paint_rock(rng, albedo, known, relief, dry, fine, middle)
    paint_forest(rng, albedo, known, relief, dry, woods, fine, middle)
    for radius in towns:
        paint_town(rng, albedo, known, relief, radius, dry, fine)
    albedo *= 1 + 0.05 * fine + 0.05 * middle
    return albedo, known


def paint_fields(rng, albedo, known, relief, dry, share):
    """Crops in parcels where the ground is flat; each parcel has one crop, a tone, and a gradient of its own."""
    size = len(known)
    parcels = make_parcels(rng, size, rng.uniform(70, 130), rng.uniform(18, 34), rng.uniform(9, 17))
    shares = WET_SHARES * (1 - dry) + DRY_SHARES * dry
    colours = choose(rng, CROPS, shares * rng.uniform(0.4, 1.6, len(CROPS)), 4096)
    colours = colours * (1 + 0.10 * rng.standard_normal((4096, 1), dtype=np.float32))
    colours += 0.25 * rng.random((4096, 1), dtype=np.float32) * (np.roll(colours, 1, 0) - colours)
    liking = power_noise(rng, size, 3.0, 0.4 * size) - 9 * np.clip(relief.steep, 0.02, 0.4)
    total, count = (np.bincount(parcels.number.ravel(), w, 4096) for w in (liking.ravel(), None))
    liking = (total / np.maximum(count, 1) - 9 * (rng.random(4096) < 0.06))[parcels.number]  # parcels are whole
    farmed = liking > np.quantile(liking[relief.water == 0], 1 - share)
    wave = np.sin(parcels.u * np.float32(0.15)) * rng.standard_normal(4096).astype(np.float32)[parcels.number]
    tone = 1 + 0.035 * wave
    for band, of_parcel in zip(albedo, colours.T, strict=True):
        np.copyto(band, np.float32(of_parcel)[parcels.number] * tone, where=farmed)
    known[farmed] = FIELD
    hedged = rng.random(64)[parcels.district % 64] < 0.55 - 0.4 * dry
    line = np.clip(0.9 - parcels.edge, 0, 1) * farmed
    lay(albedo, 0.75 * line * hedged, SPECTRA["broadleaf"])
    lay(albedo, 0.55 * line * ~hedged, SPECTRA["track"])
    wood = (rng.random(4096) < 0.05)[parcels.number] & farmed
    lay(albedo, wood, SPECTRA["conifer"])
    known[wood] = FOREST


def paint_rock(rng, albedo, known, relief, dry, fine, middle):
    """Rock where it is steep and dry, and now and then a quarry."""
    size = len(known)
    stone = np.clip((relief.steep - 0.42 + 0.25 * dry + 0.05 * middle) * 6 + 0.3 * fine, 0, 1) * (0.25 + 0.75 * dry)
    lay(albedo, stone, SPECTRA["rock"])
    known[stone > 0.5] = BARE
    barren = power_noise(rng, size, 3.3, 0.25 * size, shortest=2.5) > 2.1 - 1.1 * dry
    barren &= known == GRASS
    ground = SPECTRA["pale soil"] * 0.55 + SPECTRA["red soil"] * 0.45
    lay(albedo, barren * np.clip(0.8 + 0.15 * middle, 0, 1), ground)
    known[barren] = BARE
    for _ in range(rng.poisson(0.8)):
        pit = blob(rng, size, rng.uniform(0.1, 0.9, 2) * size, rng.uniform(5, 14))
        steps = 0.5 + 0.5 * np.sin(relief.height * 0.8)
        lay(albedo, pit * (0.75 + 0.25 * steps), SPECTRA["quarry"])
        known[pit > 0.5] = BARE


def blob(rng, size, centre, radius):
    """Soft mask (H, W) of a ragged round patch."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y, x = y - np.float32(centre[1]), x - np.float32(centre[0])
    angle = np.arctan2(y, x)
    waves = (rng.standard_normal() * np.cos(n * angle + rng.uniform(0, 6.28)) for n in (2, 3, 5))
    edge = radius * (1 + 0.16 * sum(waves))
    return np.clip(edge - np.hypot(x, y) + 0.5, 0, 1)


def paint_forest(rng, albedo, known, relief, dry, share, fine, middle):
    """Woods on hills and in patches: two kinds of trees that mix, crowns as fine grain, glades."""
    size = len(known)
    liking = power_noise(rng, size, 2.8, 0.3 * size, shortest=2.0) + 3.0 * np.clip(relief.steep, 0, 0.35)
    liking -= 1.1 * (known == FIELD)
    woods = (liking > np.quantile(liking[relief.water == 0], 1 - share)) & (known != BARE)
    conifers = np.clip(0.45 + 0.9 * power_noise(rng, size, 2.5, 0.2 * size) + 0.3 * dry, 0, 1)
    leaf, needle = SPECTRA["broadleaf"], SPECTRA["conifer"]
    open_ground = np.clip(0.10 + 0.45 * dry + 0.18 * middle + 0.10 * fine, 0, 0.8)
    grain = 1 + 0.11 * fine + 0.05 * middle
    for band, a, b, s in zip(albedo, leaf, needle, SPECTRA["scrub"], strict=True):
        trees = (a + (b - a) * conifers) * grain
        np.copyto(band, trees + open_ground * (s - trees), where=woods)
    known[woods] = FOREST


def paint_town(rng, albedo, known, relief, radius, dry, fine):
    """A town of about `radius` px on flat ground: blocks between streets, roofs, gardens, yards, a main road out."""
    size = len(known)
    flat = np.flatnonzero((relief.steep < 0.12) & (relief.water == 0) & (relief.far > 2))
    if not len(flat):
        return
    middle = np.array(np.divmod(rng.choice(flat), size))
    reach = int(1.7 * radius)
    at = tuple(slice(max(n - reach, 0), min(n + reach, size)) for n in middle)
    own = tuple(slice(a.start - n + reach, a.stop - n + reach) for a, n in zip(at, middle, strict=True))
    y, x = np.mgrid[-reach:reach, -reach:reach][(slice(None), *own)].astype(np.float32)
    ragged = 1 + 0.3 * power_noise(rng, 2 * reach, 3.0, radius)[own]
    inner = 1 - np.hypot(x, y) / (radius * np.clip(ragged, 0.3, 1.7))
    town = (inner > 0) & (relief.steep[at] < 0.3)
    whole = make_parcels(rng, 2 * reach, max(1.3 * radius, 40), rng.uniform(9, 15), rng.uniform(5, 9), bend=1.0)
    blocks = Parcels(*(part[own] for part in vars(whole).values()))
    style = STYLES[rng.integers(len(STYLES))] * rng.uniform(0.5, 1.5, len(ROOFS))
    pitch = np.float32(rng.uniform(1.6, 3.0))
    plot = (np.floor(blocks.u / (1.4 * pitch)).astype(np.int64) * 92821 + np.floor(blocks.v / pitch).astype(np.int64)
            * 68917 + blocks.number * 31) % 4096  # fmt: skip
    roofs = choose(rng, ROOFS, style, 4096) * rng.uniform(0.8, 1.2, (4096, 1)).astype(np.float32)
    large = choose(rng, ROOFS[1:], (5, 2.5, 2, 2, 0.8), 4096) * rng.uniform(0.7, 1.25, (4096, 1)).astype(np.float32)
    use = rng.random(4096)[blocks.number]  # of a block: works with large roofs, a park, or houses
    works, park = use < 0.07, use > 0.94
    hall = (np.floor(blocks.u / (4 * pitch)).astype(np.int64) * 7 + np.floor(blocks.v / (2.6 * pitch)).astype(np.int64)
            * 13 + blocks.number) % 4096  # fmt: skip
    built = np.clip(0.45 + 1.0 * inner - 0.25 * (1 - dry), 0.25, 0.9)
    house = rng.random(4096)[(plot * 5 + 1) % 4096] < built
    garden = SPECTRA["meadow"] * (1 - dry) + SPECTRA["scrub"] * 0.6 * dry + SPECTRA["tan roof"] * 0.4 * dry
    garden = garden * 0.7 + SPECTRA["broadleaf"] * 0.3
    street = np.clip(rng.uniform(0.75, 1.05) - blocks.edge, 0, 1)
    for b, band in enumerate(albedo[:, *at]):
        ground = np.where(house, roofs[plot, b], garden[b] * (1 + 0.15 * fine[at]))
        ground = np.where(works, large[hall, b], ground)
        ground = np.where(park, SPECTRA["broadleaf"][b] * 0.5 + SPECTRA["meadow"][b] * 0.5, ground)
        ground = ground + street * (SPECTRA["asphalt"][b] * 1.15 - ground)
        np.copyto(band, ground, where=town)
    known[at][town] = TOWN
    for _ in range(rng.integers(2, 5)):
        paint_road(rng, albedo, middle[::-1], rng.uniform(0, 2 * np.pi), relief.water == 0)


def paint_road(rng, albedo, start, heading, ground):
    """A road from `start` to the edge of the scene that bends a little, a pixel and a half wide."""
    size = len(ground)
    steps = np.arange(1.5 * size)
    direction = heading + 0.5 * np.cumsum(rng.standard_normal(len(steps)) * 0.035)
    points = np.cumsum(np.stack([np.cos(direction), np.sin(direction)], 1), 0) + start
    share = np.zeros((size, size), np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            corner = np.floor(points - 0.5).astype(int) + (dx, dy)
            near = 1 - np.abs(points - 0.5 - corner)
            inside = ((corner >= 0) & (corner < size)).all(1)
            np.add.at(share, (corner[inside, 1], corner[inside, 0]), near[inside].prod(1))
    lay(albedo, np.clip(1.1 * share, 0, 0.9) * ground, SPECTRA["asphalt"] * np.float32(rng.uniform(0.9, 1.5)))


def paint_port(rng, albedo, known, relief):
    """Quays that reach into the sea, with stacks of containers, halls and yards; changes relief.water there."""
    size = len(known)
    shore = np.argwhere((relief.water == 0) & (relief.far <= 1.5) & (relief.height < 15))
    shore = shore[(np.abs(shore - size / 2) < 0.42 * size).all(1)] if len(shore) else shore
    if not len(shore):
        return
    row, col = shore[rng.integers(len(shore))]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    nearby = (relief.water == SEA) & (np.hypot(x - col, y - row) < 45)
    if nearby.sum() < 200:
        return
    seaward = np.arctan2((y[nearby] - row).mean(), (x[nearby] - col).mean()) + rng.uniform(-0.3, 0.3)
    u = (x - col) * np.cos(seaward) + (y - row) * np.sin(seaward)
    v = (y - row) * np.cos(seaward) - (x - col) * np.sin(seaward)
    half = rng.uniform(22, 48)
    quay = (abs(v) < half) & (u < rng.uniform(6, 14)) & (u > -30)
    at = -half + 4
    while at < half:
        wide, reach = rng.uniform(5, 15), rng.uniform(14, 42)
        quay |= (v > at) & (v < at + wide) & (u > 0) & (u < reach)
        at += wide + rng.uniform(5, 14)
    mole = (abs(u - half * 1.1) < 0.9) & (v > -half * 1.2) & (v < half * rng.uniform(0.1, 0.7))
    quay = (quay | mole) & ((relief.water == SEA) | (relief.far < 12)) & (relief.height < 20)
    place = (np.floor(u / 9).astype(np.int64) * 31 + np.floor(v / 6).astype(np.int64) * 17) % 512
    kinds = choose(rng, ("container", "concrete", "asphalt", *ROOFS[2:]), (4, 5, 3, 2, 0.5, 2, 1), 512)
    kinds = kinds * rng.uniform(0.75, 1.25, (512, 1)).astype(np.float32)
    stacks = 1 + 0.22 * np.sign(np.sin(v * np.float32(2.1))) * rng.standard_normal(512).astype(np.float32)[place] * 0.6
    stacks = np.clip(stacks + 0.12 * power_noise(rng, size, 0.2), 0.5, 1.5)
    yard = np.clip(1.0 - np.minimum(np.mod(u, 9), np.mod(v, 6)), 0, 1)
    for b, band in enumerate(albedo):
        ground = kinds[place, b] * stacks
        np.copyto(band, ground + 0.7 * yard * (SPECTRA["concrete"][b] - ground), where=quay)
    known[quay] = TOWN
    relief.water[quay] = 0
