"""Ways to fill a block of a town: gardens, rows, shops, flats, industry, tank farms, farms, fields, parks, works.

Frozen together with towns.py. Each takes the plan, a frame and a block (u0, u1, v0, v1) in metres of that frame.
"""

import numpy as np

from geodl_course.datasets.town_parts import (
    ASPHALT,
    CONCRETE,
    GRAVEL,
    SOIL,
    at,
    building,
    ground,
    grove,
    house,
    jitter,
    parking,
    part,
    pick,
    roof,
    row,
    tank,
    tank_style,
    thing,
    tree,
    vehicle,
)


def sides(frame, block):
    """The block seen from its two long streets: frames at a corner, v pointing inwards, with (length, depth)."""
    u0, u1, v0, v1 = block
    yield (*at(frame, u0, v0), frame[2]), u1 - u0, (v1 - v0) / 2
    yield (*at(frame, u1, v1), frame[2] + np.pi), u1 - u0, (v1 - v0) / 2


def suburb(plan, frame, block):
    """Houses in gardens with drives, sheds, pools and trees."""
    rng = plan.rng
    for side, length, depth in sides(frame, block):
        place = 1.0
        while place + 14 < length:
            lot = rng.uniform(13.5, 17)
            middle, wide, deep = place + lot / 2, rng.uniform(9, min(13, lot - 3.5)), rng.uniform(7.5, 10)
            back = rng.uniform(5, 7.5)
            lawn = jitter(rng, plan.green * rng.uniform(0.8, 1.25), 0.08, 0.012)
            ground(plan, side, middle, depth / 2, lot - 0.6, depth - 0.4, lawn, noise=(0.07, 0.08, 0.05))
            drive = middle + wide / 2 - 1.5
            if rng.random() < 0.8:
                ground(
                    plan, side, drive, back / 2, 3.4, back + 1, jitter(rng, pick(rng, (ASPHALT, CONCRETE, GRAVEL)), 0.1)
                )
                if rng.random() < 0.6 and back > 5.5:
                    vehicle(plan, side, drive, back / 2 - 0.2, pick(rng, (-1, 1)) * np.pi / 2, "car")
            house(plan, side, middle, back + deep / 2 + 0.5, wide, deep, rng.normal(0, 0.03))
            rear = back + deep + 6
            if depth - rear > 6:
                if rng.random() < 0.25:
                    shed = roof(rng, "gable", pick(rng, ("metal", "shingle")), 2.2, pitch=0.3)
                    building(plan, [part(side, middle - lot / 4, depth - 4, 4.5, 3.6, **shed)], clutter=False)
                if rng.random() < 0.16:
                    spot = middle + rng.uniform(-2, 3), rng.uniform(rear, depth - 4)
                    ground(plan, side, *spot, 10, 6.5, jitter(rng, CONCRETE))
                    ground(
                        plan, side, *spot, 7.5, 4, (0.25, 0.62, 0.70), round=rng.random() < 0.5, noise=(0.02, 0.04, 0)
                    )
                elif rng.random() < 0.12:
                    spot = middle + rng.uniform(-3, 3), rng.uniform(rear, depth - 4)
                    ground(plan, side, *spot, 4.4, 4.4, (0.12, 0.22, 0.45), round=True)
                    ground(plan, side, *spot, 3.4, 3.4, (0.10, 0.10, 0.11), round=True)
            grove(plan, side, place, place + lot, back + deep + 2, depth, 0.5, 0.1, 0.8)
            if rng.random() < 0.4:
                tree(plan, side, place + rng.uniform(0, 4), rng.uniform(1, back + 2), 0.2, 0.8)
            if rng.random() < 0.5:
                thing(
                    plan, side, place, depth * 0.65, depth * 0.6, 1.0, np.pi / 2, height=1.4, colour=plan.green * 0.55
                )
            place += lot


def rows(plan, frame, block):
    """Rows of touching houses with gardens and cars along the kerb."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, plan.green * 0.95, noise=(0.07, 0.12, 0.06))
    for side, length, depth in sides(frame, block):
        place = rng.uniform(2, 6)
        unit, deep, back = rng.uniform(6.5, 9), rng.uniform(9, 11.5), rng.uniform(2.5, 4.5)
        ground(plan, side, length / 2, back / 2, length, back, jitter(rng, CONCRETE, 0.1), noise=(0.05, 0.12, 0.05))
        while place + 3.6 * unit < length:
            count = int(min(rng.integers(4, 9), (length - place - 2) / (1.16 * unit)))
            if count < 3:
                break
            end = row(plan, side, place, back, count, unit, deep)
            for index in range(count):
                garden = jitter(rng, pick(rng, (plan.green, plan.green * 0.8, np.array(SOIL), np.array(CONCRETE))), 0.1)
                spot = place + (index + 0.5) * unit, (back + deep + depth) / 2
                ground(plan, side, *spot, unit - 0.4, depth - back - deep, garden, noise=(0.06, 0.1, 0.04))
            grove(plan, side, place, end, back + deep + 3, depth, 1.0, 0.0, 0.6)
            place = end + rng.uniform(3, 8)


def shops(plan, frame, block):
    """One or two large flat roofs behind a car park."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    ground(
        plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, jitter(rng, ASPHALT, 0.1), noise=(0.03, 0.05, 0.05)
    )
    deep = min(rng.uniform(0.3, 0.42) * (v1 - v0), 15)
    parts = max(1, int((u1 - u0) / rng.uniform(22, 34)))
    each = (u1 - u0 - 8) / parts
    for index in range(parts):
        wide = min(each - 5, rng.uniform(13, 22))
        skin = roof(rng, "flat", pick(rng, ("membrane", "membrane", "metal")), rng.uniform(5, 10))
        volumes = [part(frame, u0 + 4 + each * (index + 0.5), v1 - 4 - deep / 2, wide, deep, **skin)]
        if rng.random() < 0.5:
            own = (volumes[0]["x"], volumes[0]["y"], volumes[0]["angle"])
            volumes.append(part(own, rng.uniform(-0.3, 0.3) * wide, -deep / 2 - 1.5, rng.uniform(8, 14), 6.0, **skin))
        building(plan, volumes)
    parking(plan, frame, u0 + 3, u1 - 3, v0 + 4, v1 - deep - 11, rng.uniform(0.3, 0.85))


def flats(plan, frame, block):
    """Slabs of flats on lawns with a car park between."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, plan.green, noise=(0.07, 0.08, 0.06))
    for side, length, depth in sides(frame, block):
        place = 6.0
        deep = rng.uniform(9.5, 12)
        kind = pick(rng, ("flat", "hip", "gable"))
        skin = roof(
            rng, kind, "membrane" if kind == "flat" else pick(rng, ("tile", "shingle")), rng.uniform(8, 13), pitch=0.4
        )
        while place + 22 < length:
            wide = min(rng.uniform(13, 20), length - place - 5)
            building(plan, [part(side, place + wide / 2, 5 + deep / 2, wide, deep, **skin)])
            grove(plan, side, place, place + wide, 1, 4, 0.8, 0.1, 0.6)
            place += wide + rng.uniform(5, 9)
        grove(plan, side, 2, length - 2, 8 + deep, depth - 10, 0.5, 0.1, 0.9)
    if v1 - v0 > 62:
        middle = (v0 + v1) / 2
        parking(plan, frame, u0 + 6, u1 - 6, middle - 10, middle + 10, rng.uniform(0.3, 0.8))


def industry(plan, frame, block):
    """Halls, a truck yard, stacks of goods."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    floor = jitter(rng, pick(rng, (CONCRETE, GRAVEL, ASPHALT)), 0.1)
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, floor, noise=(0.04, 0.08, 0.07))
    place, deep = u0 + 5, min(rng.uniform(0.36, 0.5) * (v1 - v0), 19)
    while place + 15 < u1:
        wide = min(rng.uniform(10, 14), u1 - place - 4)
        kind = pick(rng, ("gable", "gable", "flat"))
        skin = roof(
            rng, kind, "metal" if kind == "gable" else "membrane", rng.uniform(6, 10), pitch=rng.uniform(0.12, 0.3)
        )
        building(plan, [part(frame, place + wide / 2, v1 - 4 - deep / 2, deep, wide, np.pi / 2, **skin)])
        place += wide + rng.uniform(3, 7)
    yard = v1 - deep - 10
    if rng.random() < 0.55:
        parking(plan, frame, u0 + 4, (u0 + u1) / 2, v0 + 3, yard, rng.uniform(0.2, 0.6), trucks=True)
    else:
        parking(plan, frame, u0 + 4, (u0 + u1) / 2, v0 + 3, yard, rng.uniform(0.3, 0.8))
    if rng.random() < 0.9:
        style, radius = tank_style(rng), rng.uniform(2.8, 4.5)
        for u in np.arange((u0 + u1) / 2 + 6 + radius, u1 - 3 - radius, 2 * radius + rng.uniform(1, 4))[
            : rng.integers(3, 9)
        ]:
            tank(plan, frame, u, yard - 6, radius, rng.uniform(4, 9), style)
    for _ in range(rng.integers(8, 25)):
        u, v = rng.uniform((u0 + u1) / 2 + 4, u1 - 3), rng.uniform(v0 + 3, max(v0 + 5, yard - 16))
        length, width, turn = rng.uniform(0.8, 2.6), rng.uniform(0.8, 1.8), rng.uniform(0, 3)
        colour = jitter(rng, pick(rng, (SOIL, CONCRETE, (0.4, 0.3, 0.2))), 0.2)
        thing(plan, frame, u, v, length, width, turn, height=rng.uniform(0.4, 1.6), colour=colour)


def tank_farm(plan, frame, block):
    """Tanks of one operator on gravel, behind a low wall."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    floor = jitter(rng, pick(rng, (GRAVEL, SOIL, CONCRETE, ASPHALT)), 0.1)
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, plan.green * 0.95, noise=(0.07, 0.1, 0.06))
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0 - 6, v1 - v0 - 6, jitter(rng, CONCRETE))
    ground(plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0 - 8, v1 - v0 - 8, floor, noise=(0.05, 0.08, 0.08))
    v = v0 + 6.0
    while v + 10 < v1 - 4:
        radius = rng.uniform(3.2, 6.5)
        if v + 2 * radius > v1 - 6:
            radius = (v1 - 6 - v) / 2
        style, u = tank_style(rng), u0 + 7 + radius
        while u + radius < u1 - 5:
            if rng.random() < 0.95:
                tank(plan, frame, u, v + radius, radius * rng.choice([1.0, 1.0, 0.85]), rng.uniform(3.5, 9), style)
            u += 2 * radius + rng.uniform(1.5, 4)
        ground(plan, frame, (u0 + u1) / 2, v + 2 * radius + 2, u1 - u0 - 12, 0.8, jitter(rng, CONCRETE, 0.1))
        v += 2 * radius + rng.uniform(3, 6)


def farm(plan, frame, block):
    """A farmyard with barns and silos in a field."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    field_block(plan, frame, block)
    u, v = rng.uniform(u0 + 45, u1 - 45) if u1 - u0 > 95 else (u0 + u1) / 2, v0 + 26
    ground(
        plan,
        frame,
        u,
        v,
        78,
        44,
        jitter(rng, pick(rng, (SOIL, GRAVEL))),
        noise=(0.06, 0.1, 0.1),
        round=True,
        wobble=0.1,
    )
    ground(plan, frame, u, v0 + 4, 5, 16, jitter(rng, GRAVEL))
    for index in range(2):
        skin = roof(rng, "gable", pick(rng, ("metal", "metal", "tile")), 5.0, pitch=0.35)
        length, width = rng.uniform(14, 19), rng.uniform(8.5, 11)
        building(plan, [part(frame, u - 20 + 22 * index, v + 3, length, width, np.pi / 2, **skin)])
    house(plan, frame, u - 26 + rng.uniform(-1, 1), v - 17, 12, 8)
    style, radius = tank_style(rng), rng.uniform(2.4, 4.2)
    for index in range(rng.integers(3, 8)):
        tank(plan, frame, u + 19, v - 12 + index * (2 * radius + 0.6), radius, rng.uniform(6, 12), style)
    for index in range(rng.integers(1, 4)):
        vehicle(plan, frame, u - 8 + 6 * index, v - 16, rng.uniform(0, 6.28), pick(rng, ("car", "pickup", "truck")))
    grove(plan, frame, u - 38, u - 30, v - 24, v + 20, 1.5, 0.2, 1)


def field_block(plan, frame, block):
    """Crops in rows, stubble with bales, bare soil or pasture."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    kind = pick(rng, ("crop", "crop", "soil", "stubble", "pasture"))
    colour = {"crop": plan.green * rng.uniform(0.7, 1.1), "soil": np.array(SOIL) * rng.uniform(0.7, 1.05)}.get(
        kind, np.array((0.62, 0.55, 0.36)) if kind == "stubble" else plan.green * 1.1
    )
    rows_of = dict(rows=rng.uniform(1.8, 4.5), depth=rng.uniform(0.04, 0.18)) if kind != "pasture" else {}
    wide, high = u1 - u0, v1 - v0
    turned = rng.random() < 0.5
    length, width = (high, wide) if turned else (wide, high)
    item = part(
        frame, (u0 + u1) / 2, (v0 + v1) / 2, length, width, np.pi / 2 * turned, colour=jitter(rng, colour, 0.08)
    )
    plan.ground.append(dict(item, only=plan.district, noise=(0.06, 0.06, 0.09), **rows_of))
    if kind == "stubble":
        for _ in range(rng.integers(5, 30)):
            u, v = rng.uniform(u0 + 3, u1 - 3), rng.uniform(v0 + 3, v1 - 3)
            thing(plan, frame, u, v, 1.7, 1.7, height=1.2, round=True, colour=(0.66, 0.57, 0.36))
    for edge in (v0, v1):
        if rng.random() < 0.4:
            grove(plan, frame, u0, u1, edge - 2, edge + 2, 4, 0.0, 0.9)


def park(plan, frame, block):
    """Lawn or wood with a pond and paths."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    middle, centre = (u0 + u1) / 2, (v0 + v1) / 2
    ground(plan, frame, middle, centre, u1 - u0, v1 - v0, plan.green * rng.uniform(0.8, 1.1), noise=(0.08, 0.08, 0.08))
    ground(plan, frame, middle, centre, u1 - u0, 2.2, jitter(rng, GRAVEL))
    dense = rng.random() < 0.5
    if not dense:
        water = jitter(rng, pick(rng, ((0.16, 0.22, 0.20), (0.20, 0.26, 0.26), (0.30, 0.31, 0.24))), 0.1)
        size = rng.uniform(0.25, 0.6, 2) * (u1 - u0, v1 - v0)
        for grow, colour, noise in ((4, GRAVEL, (0.06, 0.1, 0.1)), (0, water, (0.02, 0.02, 0.06))):
            ground(plan, frame, middle, centre, *(size + grow), colour, round=True, wobble=0.14, noise=noise)
        grove(plan, frame, u0, u1, v0, centre - size[1] / 2 - 6, 0.6)
        grove(plan, frame, u0, u1, centre + size[1] / 2 + 6, v1, 0.6)
    else:
        grove(plan, frame, u0, u1, v0, v1, rng.uniform(1.5, 3.5), 0.3, 1)


def works(plan, frame, block):
    """A building site: bare soil, heaps, a few vehicles."""
    rng = plan.rng
    u0, u1, v0, v1 = block
    ground(
        plan, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, jitter(rng, SOIL, 0.1), noise=(0.05, 0.06, 0.08)
    )
    for _ in range(rng.integers(4, 14)):
        u, v, size = rng.uniform(u0 + 6, u1 - 6), rng.uniform(v0 + 6, v1 - 6), rng.uniform(4, 14)
        high, colour = size * rng.uniform(0.6, 1), jitter(rng, pick(rng, (SOIL, GRAVEL)), 0.15)
        ground(plan, frame, u, v, size, high, colour, round=True, wobble=0.2, noise=(0.06, 0.08, 0.06))
    for _ in range(rng.integers(1, 5)):
        vehicle(plan, frame, rng.uniform(u0 + 8, u1 - 8), rng.uniform(v0 + 8, v1 - 8), rng.uniform(0, 6.28),
                pick(rng, ("truck", "pickup", "car")))  # fmt: skip
