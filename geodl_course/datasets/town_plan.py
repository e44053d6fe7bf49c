"""Plan a town: districts, their streets and blocks, the main roads between, and which objects stand.

Frozen together with towns.py. Lengths are metres, the frame is the raster's (x to the right, y down).
"""

import numpy as np
import shapely

from geodl_course.datasets.town_blocks import (
    farm,
    field_block,
    flats,
    industry,
    park,
    rows,
    shops,
    suburb,
    tank_farm,
    works,
)
from geodl_course.datasets.town_parts import (
    ASPHALT,
    CONCRETE,
    PAINT,
    Plan,
    at,
    corners,
    crown_radius,
    jitter,
    part,
    pick,
    tree,
    vehicle,
)

USES = {
    "suburb": ((suburb, 0.82), (park, 0.04), (shops, 0.08), (works, 0.02), (rows, 0.04)),
    "centre": ((rows, 0.22), (flats, 0.28), (suburb, 0.26), (shops, 0.2), (park, 0.02), (works, 0.02)),
    "industry": ((industry, 0.44), (tank_farm, 0.44), (shops, 0.06), (works, 0.03), (field_block, 0.03)),
    "country": ((field_block, 0.16), (farm, 0.44), (park, 0.06), (tank_farm, 0.18), (suburb, 0.16)),
}
SPACING = {
    "suburb": (80, 140, 50, 64),
    "centre": (75, 130, 52, 80),
    "industry": (75, 115, 58, 82),
    "country": (90, 125, 72, 95),
}
STREET = {"suburb": 8.0, "centre": 10.0, "industry": 10.5, "country": 6.5}
MAIN = 13.0


def traffic(plan, frame, start, end, width, density, buses=False):
    """Vehicles on both lanes of a street along u from start to end; they keep right and look where they drive."""
    rng = plan.rng
    for lane in (-1, 1):
        place = start + rng.exponential(1 / density)
        while place < end:
            kind = "bus" if buses and rng.random() < 0.1 else None
            vehicle(plan, frame, place, lane * width / 4, 0.0 if lane > 0 else np.pi, kind)
            place += 15 + rng.exponential(1 / density)


def street(plan, frame, length, width, start, end, kind):
    """One stretch along u around the frame's origin: asphalt, kerbs, markings between start and end, vehicles."""
    rng = plan.rng
    if kind != "country":
        pavement = part(frame, 0, 0, length, width + 4.4, colour=jitter(rng, CONCRETE, 0.05), only=plan.district)
        plan.ground.append(dict(pavement, layer=1))
    asphalt = part(frame, 0, 0, length, width, colour=jitter(rng, ASPHALT, 0.07), only=plan.district)
    plan.ground.append(dict(asphalt, layer=2, noise=(0.03, 0.03, 0.04)))
    for lane in (-1, 1):
        worn = part(frame, 0, lane * width / 4, length, width / 5, colour=np.array(ASPHALT) * 1.1, only=plan.district)
        plan.ground.append(dict(worn, layer=3, opacity=0.5))
    middle, open_length = (start + end) / 2, end - start
    if kind != "suburb" and open_length > 10:
        colour = PAINT if rng.random() < 0.5 else (0.78, 0.66, 0.25)
        line = part(frame, middle, 0, open_length - 4, 1.2, colour=colour, only=plan.district)
        plan.lines.append(dict(line, dash=4.0) if rng.random() < 0.6 else line)
    traffic(
        plan,
        frame,
        start + 4,
        end - 4,
        width,
        {"suburb": 1 / 80, "country": 1 / 130}.get(kind, 1 / 40),
        kind == "centre",
    )
    if kind in ("suburb", "centre"):
        for lane in (-1, 1):
            place = start + 5
            while place < end - 5:
                if rng.random() < (0.4 if kind == "centre" else 0.08):
                    vehicle(plan, frame, place, lane * (width / 2 + 1.2), 0.0 if lane > 0 else np.pi, "car")
                place += rng.uniform(6, 8)
            if rng.random() < 0.4:
                for place in np.arange(start + 6, end - 6, rng.uniform(9, 16)):
                    if rng.random() < 0.7:
                        tree(plan, frame, place, lane * (width / 2 + 4.2), 0.05, 0.5)


def lay_out(plan, cell, inner, kind, frame):
    """Streets and blocks of one district in its own frame."""
    rng = plan.rng
    outline = shapely.get_coordinates(cell) - frame[:2]
    along = outline @ (np.cos(frame[2]), np.sin(frame[2]))
    across = outline @ (-np.sin(frame[2]), np.cos(frame[2]))
    low_u, high_u, low_v, high_v = SPACING[kind]
    cuts_u = np.cumsum([along.min() - rng.uniform(0, low_u), *rng.uniform(low_u, high_u, 40)])
    cuts_v = np.cumsum([across.min() - rng.uniform(0, low_v), *rng.uniform(low_v, high_v, 40)])
    cuts_u = cuts_u[: np.searchsorted(cuts_u, along.max()) + 1]
    cuts_v = cuts_v[: np.searchsorted(cuts_v, across.max()) + 1]
    half = STREET[kind] / 2
    edge = half + (2.4 if kind != "country" else 1.0)
    uses, weights = zip(*USES[kind], strict=True)
    for i, j in np.ndindex(len(cuts_u) - 1, len(cuts_v) - 1):
        u0, u1, v0, v1 = cuts_u[i], cuts_u[i + 1], cuts_v[j], cuts_v[j + 1]
        middle_u, middle_v = (u0 + u1) / 2, (v0 + v1) / 2
        whole = corners(part(frame, middle_u, middle_v, u1 - u0 + 20, v1 - v0 + 20))
        if not whole.intersects(cell):
            continue
        along_u = (*at(frame, middle_u, v0), frame[2])
        along_v = (*at(frame, u0, middle_v), frame[2] + np.pi / 2)
        gap_u, gap_v = (u1 - u0) / 2, (v1 - v0) / 2
        street(plan, along_u, u1 - u0, 2 * half, edge + 1 - gap_u, gap_u - edge - 1, kind)
        street(plan, along_v, v1 - v0, 2 * half, edge + 1 - gap_v, gap_v - edge - 1, kind)
        kept = whole.intersection(inner).area / whole.area
        if kept < 0.02:
            continue
        use = uses[rng.choice(len(uses), p=weights)] if kept > 0.3 else pick(rng, (park, field_block))
        use(plan, frame, (u0 + edge, u1 - edge, v0 + edge, v1 - edge))


def main_roads(plan, seeds, cells):
    """A main road along every border between two districts, with markings and traffic."""
    for a in range(len(seeds)):
        for b in range(a + 1, len(seeds)):
            border = shapely.intersection(cells[a].buffer(1e-6), cells[b].buffer(1e-6))
            if border.is_empty or border.length < 40:
                continue
            box = shapely.get_coordinates(border)
            normal = (seeds[b] - seeds[a]) / np.hypot(*(seeds[b] - seeds[a]))
            along = np.array([-normal[1], normal[0]])
            reach = box @ along
            length = reach.max() - reach.min()
            centre = (seeds[a] + seeds[b]) / 2
            centre = centre + along * ((reach.max() + reach.min()) / 2 - centre @ along)
            frame = (*centre, np.arctan2(along[1], along[0]))
            plan.district = -1
            for layer, width, colour in ((4, MAIN + 5, CONCRETE), (5, MAIN, ASPHALT)):
                surface = part(frame, 0, 0, length + MAIN, width, colour=jitter(plan.rng, colour, 0.05))
                plan.ground.append(dict(surface, layer=layer))
            for offset, dash in ((-0.25, 0), (0.25, 0), (-MAIN / 4, 4.0), (MAIN / 4, 4.0)):
                line = part(frame, 0, offset, length - MAIN, 1.2, colour=PAINT if dash else (0.8, 0.66, 0.22))
                plan.lines.append(dict(line, dash=dash, layer=6) if dash else dict(line, layer=6))
            inner, outer = MAIN / 2 - 0.1, 1.5 * MAIN
            for width in (inner, outer):
                traffic(plan, frame, 14 - length / 2, length / 2 - 14, width, 1 / 45, buses=True)


def plan_town(rng, extent):
    """Plan of a square town of `extent` metres: (Plan, district seeds (D, 2))."""
    green = np.array(((0.30, 0.38, 0.20), (0.38, 0.40, 0.23), (0.27, 0.35, 0.21), (0.45, 0.42, 0.27))[rng.integers(4)])
    plan = Plan(rng, extent, green)
    kinds = rng.permutation(["suburb", "suburb", "centre", "industry", "industry", "country"])
    sixth = np.array([(x, y) for y in (0.25, 0.75) for x in (0.17, 0.5, 0.83)])
    seeds = (sixth + rng.uniform(-1, 1, (6, 2)) * (0.08, 0.14)) * extent
    if rng.random() < 0.5:
        seeds = seeds[:, ::-1]
    square = shapely.box(0, 0, extent, extent)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(seeds), extend_to=square, ordered=True))
    cells = [shapely.intersection(cell, square) for cell in cells]
    for index, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
        plan.district = index
        inner = cell.buffer(-(MAIN / 2 + 3))
        plan.inner.append(inner)
        lay_out(plan, cell, inner, kind, (*seeds[index], rng.uniform(-0.78, 0.78)))
    main_roads(plan, seeds, cells)
    plan.objects = sift(plan)
    clear(plan)
    return plan, seeds


def clear(plan):
    """Take away trees and things outside their district, trees out of a roof, and trees that hide a vehicle."""
    for inner in plan.inner:
        shapely.prepare(inner)
    plan.boxes = [one for one in plan.boxes if shapely.contains(plan.inner[one["only"]], corners(one))]
    trees = [one for one in plan.trees if shapely.contains_xy(plan.inner[one[3]], one[0], one[1])]
    trunks = shapely.points([one[:2] for one in trees])
    roofs = [shape for kind, shape, _, _ in plan.objects if kind != "vehicle"]
    middles = [shape.centroid for kind, shape, _, _ in plan.objects if kind == "vehicle"]
    reach = np.array([crown_radius(one[2]) + 0.8 for one in trees])
    felled = np.union1d(
        shapely.STRtree(roofs).query(trunks, predicate="dwithin", distance=0.7)[0],
        shapely.STRtree(middles).query(trunks, predicate="dwithin", distance=reach)[0],
    )
    plan.trees = [one for index, one in enumerate(trees) if index not in set(felled.tolist())]


def sift(plan):
    """The objects that stand whole inside the raster and their district, and on nothing planned before them."""
    shapes = np.array([shape for _, shape, _, _ in plan.objects], dtype=object)
    districts = np.array([district for *_, district in plan.objects])
    inside = shapely.contains(shapely.box(0.5, 0.5, plan.extent - 0.5, plan.extent - 0.5), shapes)
    for index, inner in enumerate(plan.inner):
        shapely.prepare(inner)
        inside &= (districts != index) | shapely.contains(inner, shapes)
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.stack([one, other], 1)[one < other]
    pairs = pairs[shapely.area(shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]])) > 1e-6]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    for first, second in pairs:
        if inside[first]:
            inside[second] = False
    return [item for item, kept in zip(plan.objects, inside, strict=True) if kept]
