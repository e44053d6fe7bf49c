"""What a planned town is made of: the Plan, surfaces, and the labelled objects with all that their painting needs.

Frozen together with towns.py. Lengths are metres, the frame is the raster's (x to the right, y down), angles are
radians from x towards y. A part is a dict: x, y, angle, length (along the angle), width, and what its kind needs.
"""

from dataclasses import dataclass, field

import numpy as np
import shapely

ROOFS = {
    "tile": [(0.55, 0.27, 0.19), (0.62, 0.36, 0.26), (0.44, 0.25, 0.20), (0.50, 0.34, 0.28)],
    "shingle": [(0.30, 0.29, 0.29), (0.38, 0.36, 0.34), (0.24, 0.24, 0.26), (0.42, 0.36, 0.30), (0.33, 0.30, 0.26)],
    "metal": [(0.62, 0.64, 0.66), (0.50, 0.55, 0.60), (0.45, 0.50, 0.45), (0.55, 0.35, 0.30), (0.70, 0.70, 0.68)],
    "membrane": [(0.72, 0.72, 0.70), (0.55, 0.55, 0.54), (0.40, 0.39, 0.38), (0.64, 0.60, 0.53), (0.48, 0.46, 0.45)],
}
CARS = np.array(
    [(0.86, 0.86, 0.86), (0.66, 0.67, 0.68), (0.42, 0.43, 0.45), (0.13, 0.13, 0.14), (0.15, 0.20, 0.36),
     (0.48, 0.12, 0.11), (0.45, 0.40, 0.33), (0.16, 0.25, 0.19), (0.68, 0.56, 0.20)]
)  # fmt: skip
CAR_SHARE = np.array([0.25, 0.19, 0.16, 0.15, 0.09, 0.08, 0.05, 0.02, 0.01])
TANKS = [
    (0.86, 0.86, 0.84),
    (0.86, 0.86, 0.84),
    (0.74, 0.74, 0.72),
    (0.68, 0.65, 0.58),
    (0.52, 0.38, 0.30),
    (0.60, 0.66, 0.62),
]
ASPHALT, CONCRETE, PAINT = (0.37, 0.37, 0.38), (0.60, 0.58, 0.54), (0.84, 0.84, 0.80)
SOIL, GRAVEL = (0.52, 0.44, 0.35), (0.55, 0.52, 0.47)


@dataclass
class Plan:
    """Parts in the order of painting; objects (type, polygon, part or parts) are the labelled ones."""

    rng: np.random.Generator
    extent: float
    green: np.ndarray
    ground: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    objects: list = field(default_factory=list)
    boxes: list = field(default_factory=list)
    trees: list = field(default_factory=list)
    district: int = 0
    inner: list = field(default_factory=list)


def at(frame, u, v):
    """Point (u, v) of a frame (x, y, angle) in the raster's frame."""
    x, y, angle = frame
    return x + u * np.cos(angle) - v * np.sin(angle), y + u * np.sin(angle) + v * np.cos(angle)


def part(frame, u, v, length, width, turn=0.0, **more):
    """A part centred on (u, v) of a frame, turned against it."""
    x, y = at(frame, u, v)
    return dict(x=x, y=y, angle=frame[2] + turn, length=length, width=width, **more)


def corners(item):
    """Polygon of a part's rectangle."""
    frame = (item["x"], item["y"], item["angle"])
    a, b = item["length"] / 2, item["width"] / 2
    return shapely.Polygon([at(frame, u, v) for u, v in ((-a, -b), (a, -b), (a, b), (-a, b))])


def pick(rng, items):
    return items[rng.integers(len(items))]


def jitter(rng, colour, spread=0.06, tint=0.007):
    return np.clip(np.array(colour) * (1 + spread * rng.standard_normal()) + tint * rng.standard_normal(3), 0.04, 0.95)


def ground(plan, frame, u, v, length, width, colour, **more):
    """A surface of this district."""
    plan.ground.append(part(frame, u, v, length, width, colour=colour, only=plan.district, **more))


def thing(plan, frame, u, v, length, width, turn=0.0, **more):
    """A small raised block of this district that is no object: hedge, stack, bale."""
    plan.boxes.append(part(frame, u, v, length, width, turn, only=plan.district, **more))


def tree(plan, frame, u, v, small=0.0, large=1.0):
    plan.trees.append((*at(frame, u, v), plan.rng.uniform(small, large), plan.district))


def crown_radius(share):
    """Metres of the crown of a tree whose size is `share`, 0..1."""
    return 1.3 + 4.7 * share**1.2


def grove(plan, frame, u0, u1, v0, v1, per_are, small=0.0, large=1.0):
    """Trees scattered over a rectangle, `per_are` to 100 m2."""
    count = plan.rng.poisson(max(0, u1 - u0) * max(0, v1 - v0) / 100 * per_are)
    u1, v1 = max(u0, u1), max(v0, v1)
    for u, v in zip(plan.rng.uniform(u0, u1, count), plan.rng.uniform(v0, v1, count), strict=True):
        tree(plan, frame, u, v, small, large)


# ---- objects ----------------------------------------------------------------------------------------------------


def roof(rng, kind, cover, eave, colour=None, pitch=None):
    """What paint_roof needs besides the rectangle."""
    return dict(
        roof=kind, cover=cover, eave=eave, colour=jitter(rng, pick(rng, ROOFS[cover]) if colour is None else colour),
        pitch=pitch if pitch is not None else rng.uniform(0.35, 0.75), parapet=rng.random() < 0.7,
        seam=rng.uniform(1.6, 6.0), rust=rng.uniform(0, 1) ** 3 * 1.2, ridge=rng.uniform(-0.1, 0.2),
        rim=rng.uniform(0.45, 0.8),
    )  # fmt: skip


def building(plan, volumes, clutter=True):
    """Register a building of one or more volumes and put small things on its roof."""
    rng = plan.rng
    shape = corners(volumes[0]) if len(volumes) == 1 else shapely.union_all([corners(one) for one in volumes])
    plan.objects.append(("building", shape, volumes, plan.district))
    main = volumes[0]
    if not clutter:
        return
    frame = (main["x"], main["y"], main["angle"])
    if main["roof"] == "flat":
        for _ in range(rng.poisson(main["length"] * main["width"] / 130)):
            length, width = rng.uniform(1.2, 3.5, 2)
            u = rng.uniform(-0.5, 0.5) * (main["length"] - length - 2)
            v = rng.uniform(-0.5, 0.5) * (main["width"] - width - 2)
            grey = rng.uniform(0.3, 0.8)
            box = part(frame, u, v, length, width, colour=np.full(3, grey), height=rng.uniform(0.6, 2.0))
            volumes.append(dict(box, box=True))
    elif rng.random() < 0.45:
        box = part(frame, rng.uniform(-0.3, 0.3) * main["length"], rng.uniform(-0.25, 0.25) * main["width"], 0.9, 0.9)
        volumes.append(dict(box, colour=np.array([0.5, 0.36, 0.3]), height=1.1, box=True))
    if main["roof"] in ("gable", "flat") and rng.random() < 0.12:
        side = pick(rng, (-1, 1))
        panels = part(frame, 0, side * main["width"] / 4, 0.6 * main["length"], 0.3 * main["width"])
        volumes.append(dict(panels, colour=np.array([0.10, 0.13, 0.22]), height=0.0, panel=True, box=True))


def house(plan, frame, u, v, length, width, turn=0.0):
    """A detached house: gable, hip, flat or L-shaped; (u, v) is the centre of the main volume."""
    rng = plan.rng
    cover = pick(rng, ("tile", "shingle", "shingle", "metal"))
    kind = pick(rng, ("gable", "gable", "hip", "hip", "flat"))
    if kind == "flat":
        cover = "membrane"
    skin = roof(rng, kind, cover, rng.uniform(2.6, 6.0))
    volumes = [part(frame, u, v, length, width, turn, **skin)]
    if rng.random() < 0.4 and kind != "flat":
        wing_length, wing_width = rng.uniform(3.0, 5.0), rng.uniform(0.42, 0.6) * length
        side = pick(rng, (-1, 1))
        own = (volumes[0]["x"], volumes[0]["y"], volumes[0]["angle"])
        reach = width / 2 + wing_length
        wing = part(own, side * (length - wing_width) / 2, reach / 2, reach, wing_width, np.pi / 2, **skin)
        wing["roof"] = "gable"
        volumes.append(wing)
    building(plan, volumes)


def row(plan, frame, u, v, count, unit, depth):
    """Touching houses with shared walls, each its own object; (u, v) is the row's left front corner."""
    rng = plan.rng
    cover = pick(rng, ("tile", "tile", "shingle", "membrane"))
    kind = "flat" if cover == "membrane" else "gable"
    colour, eave, pitch = pick(rng, ROOFS[cover]), rng.uniform(5, 8), rng.uniform(0.4, 0.7)
    walls = np.concatenate([[0], np.cumsum(unit * rng.uniform(0.85, 1.15, count))]) + u
    front = [at(frame, wall, v) for wall in walls]
    back = [at(frame, wall, v + depth) for wall in walls]
    for index in range(count):
        own = colour if rng.random() < 0.6 else pick(rng, ROOFS[cover])
        skin = roof(rng, kind, cover, eave + rng.uniform(0, 0.9), own, pitch)
        length = walls[index + 1] - walls[index]
        volume = part(frame, walls[index] + length / 2, v + depth / 2, length, depth, **skin)
        shape = shapely.Polygon([front[index], front[index + 1], back[index + 1], back[index]])
        building(plan, [volume])
        plan.objects[-1] = ("building", shape, plan.objects[-1][2], plan.district)
    return walls[-1]


def tank(plan, frame, u, v, radius, height, style):
    """A cylindrical tank; style holds roof and colour, so that a group looks alike."""
    rng = plan.rng
    sunk = rng.uniform(1.0, 0.6 * height) if style["roof"] == "float" else 0.0
    item = part(
        frame, u, v, 2 * radius, 2 * radius, rng.uniform(0, 6.28), height=height, roof=style["roof"], sunk=sunk,
        colour=jitter(rng, style["colour"], 0.04),
        ribs=int(rng.integers(6, 17)), rib=style["rib"], dirt=style["dirt"], rim=rng.uniform(-0.25, 0.2),
        stair=rng.random() < 0.5, hatch=rng.uniform(0.3, 0.9),
    )  # fmt: skip
    shape = shapely.Point(item["x"], item["y"]).buffer(radius, quad_segs=16)
    plan.objects.append(("tank", shape, [item], plan.district))


def tank_style(rng):
    kind = pick(rng, ("cone", "cone", "dome", "flat", "float"))
    return dict(roof=kind, colour=pick(rng, TANKS), rib=rng.uniform(0, 0.05), dirt=rng.uniform(0, 0.6) ** 2)


def vehicle(plan, frame, u, v, turn=0.0, kind=None):
    """A vehicle that looks along the frame's u, turned by `turn`."""
    rng = plan.rng
    kind = kind or pick(rng, ("car",) * 12 + ("pickup",) * 2 + ("van",) * 2 + ("truck",))
    length, width, height = {
        "car": (rng.uniform(4.2, 5.0), rng.uniform(2.06, 2.18), 1.5),
        "pickup": (rng.uniform(5.2, 5.8), rng.uniform(2.1, 2.22), 1.8),
        "van": (rng.uniform(5.2, 6.4), rng.uniform(2.1, 2.25), 2.4),
        "truck": (rng.uniform(7, 15), rng.uniform(2.5, 2.6), 3.7),
        "bus": (rng.uniform(11, 13), 2.6, 3.2),
    }[kind]
    colour = jitter(rng, CARS[rng.choice(len(CARS), p=CAR_SHARE)], 0.08, 0.02)
    if kind == "van" and rng.random() < 0.6:
        colour = jitter(rng, CARS[0])
    if kind == "bus":
        colour = jitter(rng, pick(rng, [(0.82, 0.82, 0.8), (0.75, 0.58, 0.15), (0.6, 0.15, 0.13), (0.2, 0.3, 0.5)]))
    load = jitter(
        rng, pick(rng, [(0.82, 0.82, 0.8), (0.7, 0.7, 0.7), (0.35, 0.36, 0.38), (0.2, 0.3, 0.45), (0.5, 0.3, 0.2)])
    )
    item = part(
        frame, u, v, length, width, turn + 0.02 * rng.standard_normal(), height=height, kind=kind, colour=colour,
        load=load if kind == "truck" else load * 0.4, cab=rng.uniform(2.0, 2.6), glint=rng.uniform(-0.2, 0.05),
    )  # fmt: skip
    plan.objects.append(("vehicle", corners(item), [item], plan.district))


def parking(plan, frame, u0, u1, v0, v1, full, trucks=False):
    """A lot with rows of stalls on both sides of aisles that run along u; `full` is the share of taken stalls."""
    rng = plan.rng
    pitch, stall, aisle = (4.2, 16.0, 14.0) if trucks else (2.9, 5.4, 6.5)
    worn = jitter(rng, ASPHALT if rng.random() < 0.75 else CONCRETE, 0.12)
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, worn, noise=(0.03, 0.05, 0.04))
    count = int((u1 - u0 - 3) / pitch)
    start, v, side = (u0 + u1 - count * pitch) / 2, v0 + 0.6, 0
    while count > 1 and v + stall + (aisle / 2 if side % 2 == 0 else 0) < v1:
        line = part(frame, (u0 + u1) / 2, v + stall / 2, count * pitch, stall, colour=PAINT, pitch=pitch, stroke=0.14)
        plan.lines.append(dict(line, only=plan.district, opacity=rng.uniform(0.3, 1)))
        crowd = full * rng.uniform(0.6, 1.4)
        for index in range(count):
            place = start + (index + 0.5) * pitch
            if index in (0, count - 1) and side % 2 == 1 and rng.random() < 0.5:
                ground(plan, frame, place, v + stall / 2, pitch - 0.4, stall, plan.green * 0.9)
                tree(plan, frame, place, v + stall / 2, 0.1, 0.5)
            elif rng.random() < crowd:
                kind = "truck" if trucks else pick(rng, ("car",) * 8 + ("pickup", "van"))
                turn = pick(rng, (-1, 1)) * np.pi / 2
                vehicle(plan, frame, place + rng.normal(0, 0.08), v + stall / 2 + rng.normal(0, 0.2), turn, kind)
        v += stall + (aisle if side % 2 == 0 else 0.3)
        side += 1
