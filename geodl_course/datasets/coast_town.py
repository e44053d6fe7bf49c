"""Towns of the generated coasts: blocks between streets, roofs and gardens, roads out of them, and quays in the sea."""

import numpy as np

from geodl_course.datasets.coast_parcels import TOWN, Parcels, choose, lay, make_parcels
from geodl_course.datasets.coast_relief import SEA, power_noise
from geodl_course.datasets.coast_spectra import SPECTRA

ROOFS = ("tiles", "concrete", "white roof", "dark roof", "tan roof", "blue roof")
STYLES = np.array([[6, 2, 0.3, 1, 1, 0], [1, 5, 0.7, 3, 1, 0.1], [0.5, 2, 1.2, 0.5, 6, 0], [2, 5, 0.5, 2, 2, 0.2]])


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
