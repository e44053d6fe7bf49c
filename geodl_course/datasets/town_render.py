"""Paint a planned town as an orthophoto: albedo, heights and roof slopes first, then sun, shadow and sensor.

Frozen together with towns.py. Everything is in metres in the raster's frame (x to the right, y down).
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from geodl_course.datasets.town_parts import crown_radius

RUST = np.array([0.05, 0.3, 0.45], np.float32)[:, None, None]  # how much of each band rust takes away
HAZE = np.array([0.36, 0.40, 0.47], np.float32)  # what is left of the sun's light in a shadow: blue sky


@dataclass
class Canvas:
    """albedo (3, H, W); height (H, W) in metres; light (H, W), sine of the sun's angle to the surface; noise (H, W)."""

    albedo: np.ndarray
    height: np.ndarray
    light: np.ndarray
    fine: np.ndarray
    middle: np.ndarray
    coarse: np.ndarray
    resolution: float
    sun: np.ndarray


def smooth_noise(rng, size, step):
    """(size, size) float32 noise of unit variance that changes over `step` px: random corners, blended."""
    count = size // step + 2
    grid = rng.standard_normal((count, count), dtype=np.float32)
    part = np.tile(np.arange(step, dtype=np.float32) / step, count)[:size]
    part = part * part * (3 - 2 * part)
    low, high = (np.repeat(grid[start : start + count - 1], step, 0)[:size] for start in (0, 1))
    rows = (low + (high - low) * part[:, None]) * np.float32(1.6)
    rise = np.repeat(np.diff(rows, axis=1), step, 1)[:, :size]
    rise *= part
    rise += np.repeat(rows[:, :-1], step, 1)[:, :size]
    return rise


def new_canvas(rng, size, resolution, sun, ground):
    """A canvas of bare meadow; `sun` is the unit vector that points to the sun (x, y, up)."""
    metre = 1 / resolution
    fine = rng.standard_normal((size, size), dtype=np.float32)
    fine *= np.float32(0.6)
    fine += np.float32(0.8) * smooth_noise(rng, size, 2)
    middle = 0.7 * smooth_noise(rng, size, round(4 * metre)) + 0.7 * smooth_noise(rng, size, round(1.6 * metre))
    coarse = 0.8 * smooth_noise(rng, size, round(60 * metre)) + 0.6 * smooth_noise(rng, size, round(18 * metre))
    mix = np.clip(0.5 + 0.3 * coarse + 0.1 * middle, 0, 1)
    tone = 1 + 0.05 * fine + 0.07 * middle
    albedo = np.stack([(low + (high - low) * mix) * tone for low, high in np.float32(ground).T[:, ::-1]])
    height = np.zeros((size, size), np.float32)
    light = np.full((size, size), sun[2], np.float32)
    return Canvas(albedo, height, light, fine, middle, coarse, resolution, np.float32(sun))


def window(canvas, part, margin=0.8):
    """Slices of the raster around a part and its local coordinates u (along), v (across) in metres; None if outside."""
    cos, sin = np.cos(part["angle"]), np.sin(part["angle"])
    reach_x = abs(part["length"] / 2 * cos) + abs(part["width"] / 2 * sin) + margin
    reach_y = abs(part["length"] / 2 * sin) + abs(part["width"] / 2 * cos) + margin
    size, metre = canvas.height.shape[0], 1 / canvas.resolution
    x0, x1 = max(0, int((part["x"] - reach_x) * metre)), min(size, int((part["x"] + reach_x) * metre) + 1)
    y0, y1 = max(0, int((part["y"] - reach_y) * metre)), min(size, int((part["y"] + reach_y) * metre) + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    x = ((np.arange(x0, x1) + 0.5) * canvas.resolution - part["x"]).astype(np.float32)
    y = ((np.arange(y0, y1) + 0.5) * canvas.resolution - part["y"]).astype(np.float32)[:, None]
    cos, sin = np.float32(cos), np.float32(sin)
    return (slice(y0, y1), slice(x0, x1)), x * cos + y * sin, y * cos - x * sin


def soft(distance, resolution):
    """Share of a cell that lies inside an edge `distance` metres away (positive inside)."""
    return np.clip(distance / np.float32(resolution) + np.float32(0.5), 0, 1)


def rectangle(u, v, part, resolution):
    """Cover of a part's rectangle, 0..1 per cell."""
    return soft(part["length"] / 2 - abs(u), resolution) * soft(part["width"] / 2 - abs(v), resolution)


def blend(canvas, at, cover, colour):
    """Lay `colour` (3,) or (3, h, w) over the albedo with the given cover (h, w)."""
    for band, tone in zip(canvas.albedo, np.asarray(colour, np.float32), strict=True):
        below = band[at]
        below += cover * (tone - below)


def textured(canvas, at, colour, fine=0.03, middle=0.03, coarse=0.0):
    """`colour` with the town's noise on it, (3, h, w)."""
    tone = 1 + fine * canvas.fine[at] + middle * canvas.middle[at] + coarse * canvas.coarse[at]
    return np.float32(colour)[:, None, None] * np.clip(tone, 0.3, 1.8)


def raise_to(canvas, at, cover, height, light):
    """Set height and light where a solid covers the cell and stands above what is there."""
    above = (cover > 0.5) & (height > canvas.height[at])
    np.copyto(canvas.height[at], np.float32(height), where=above)
    np.copyto(canvas.light[at], np.float32(light), where=above)


def slope_light(canvas, part, du, dv):
    """Sine of the sun's angle to a surface that rises by du, dv metres per metre along u and v."""
    cos, sin = np.cos(part["angle"]), np.sin(part["angle"])
    along = canvas.sun[0] * cos + canvas.sun[1] * sin
    across = canvas.sun[1] * cos - canvas.sun[0] * sin
    steep = np.sqrt(1 + np.square(du) + np.square(dv))
    return np.clip((canvas.sun[2] - du * along - dv * across) / steep, 0.02, 1)


# ---- ground -----------------------------------------------------------------------------------------------------


def paint_surface(canvas, part, district):
    """A flat rectangle or ellipse ("round") of ground; `only` keeps it within one district."""
    found = window(canvas, part)
    if found is None:
        return
    at, u, v = found
    own = district[at] == part["only"] if "only" in part else None
    if own is not None and not own.any():
        return
    if part.get("round"):
        radius = np.hypot(u / (part["length"] / 2), v / (part["width"] / 2))
        radius = radius * (1 + part.get("wobble", 0) * canvas.coarse[at])
        cover = soft((1 - radius) * min(part["length"], part["width"]) / 2, canvas.resolution)
    else:
        cover = rectangle(u, v, part, canvas.resolution)
    if own is not None:
        cover = cover * own
    colour = textured(canvas, at, part["colour"], *part.get("noise", (0.03, 0.04, 0.02)))
    if "rows" in part:
        wave = np.sin(v * np.float32(2 * np.pi / part["rows"]) + 0.5 * canvas.coarse[at])
        colour = colour * (1 + part["depth"] * wave * (0.7 + 0.3 * canvas.middle[at]))
    blend(canvas, at, cover * part.get("opacity", 1.0), colour)


def paint_lines(canvas, part, district):
    """Painted lines across a strip: one every `pitch` metres along u, `stroke` wide; or dashes along its axis."""
    found = window(canvas, part)
    if found is None:
        return
    at, u, v = found
    cover = rectangle(u, v, part, canvas.resolution)
    start = u + part["length"] / 2
    if "pitch" in part:
        distance = abs(np.mod(start + part["pitch"] / 2, part["pitch"]) - part["pitch"] / 2)
        cover = cover * np.clip(1 - distance / canvas.resolution, 0, 1) * min(1.0, part["stroke"] / canvas.resolution)
    else:
        cover = np.clip(1 - abs(v) / canvas.resolution, 0, 1) * (abs(u) < part["length"] / 2) * 0.5
        if "dash" in part:
            cover = cover * (np.mod(start, 2.5 * part["dash"]) < part["dash"])
    if "only" in part:
        cover = cover * (district[at] == part["only"])
    worn = np.clip(0.75 + 0.2 * canvas.middle[at] + 0.1 * canvas.coarse[at], 0.1, 1)
    blend(canvas, at, cover * worn * part.get("opacity", 1.0), part["colour"])


# ---- buildings --------------------------------------------------------------------------------------------------


def roof_form(part, u, v):
    """Height above the eaves and slopes along u and v for a roof."""
    half_length, half_width, pitch = part["length"] / 2, part["width"] / 2, part["pitch"]
    if part["roof"] == "gable":
        return pitch * (half_width - abs(v)), 0.0, -pitch * np.sign(v)
    if part["roof"] == "hip":
        to_side, to_end = half_width - abs(v), half_length - abs(u)
        side = to_side < to_end
        return (
            pitch * np.minimum(to_side, to_end),
            np.where(side, 0, -pitch * np.sign(u)),
            np.where(side, -pitch * np.sign(v), 0),
        )
    if part["roof"] == "mono":
        return pitch * (half_width + v), 0.0, pitch + 0 * v
    rim = np.minimum(half_length - abs(u), half_width - abs(v)) < 0.45
    return np.where(rim, 0.7 * part["parapet"], 0.0), 0.0, 0.0 * v


def roof_colour(canvas, part, at, u, v):
    """Roof covering with seams or courses, stains and a brighter rim on flat roofs, (3, h, w)."""
    colour = textured(canvas, at, part["colour"], 0.025, 0.03, 0.03)
    if part["cover"] == "metal":
        sheet = 0.05 * np.sin(u * np.float32(2 * np.pi / part["seam"]))
        rust = part["rust"] * np.clip(0.5 * canvas.middle[at] + 0.5 * canvas.coarse[at] + 0.3 * canvas.fine[at], 0, 1)
        colour = colour * (1 + sheet - RUST * rust)
    elif part["cover"] == "tile":
        colour = colour * (1 + 0.05 * np.sin(v * np.float32(2 * np.pi / 1.1)))
    elif part["cover"] == "membrane":
        seam = np.mod(u + 50, part["seam"]) < 0.35
        dirt = 0.08 * np.clip(canvas.middle[at] + canvas.coarse[at], -1, 2)
        colour = colour * (1 - 0.06 * seam - dirt)
        rim = np.minimum(part["length"] / 2 - abs(u), part["width"] / 2 - abs(v)) < 0.5
        colour = np.where(rim, part["rim"], colour)
    if part["roof"] in ("gable", "hip"):
        start = part["width"] / 2 if part["roof"] == "hip" else 0
        ridge = np.clip(1 - abs(v) / 0.4, 0, 1) * (part["length"] / 2 - abs(u) > start)
        colour = colour * (1 + part["ridge"] * ridge)
    return colour


def paint_roof(canvas, part):
    """One roof volume; where two volumes meet the higher one shows, so valleys come of themselves."""
    found = window(canvas, part)
    if found is None:
        return
    at, u, v = found
    cover = rectangle(u, v, part, canvas.resolution)
    rise, du, dv = roof_form(part, u, v)
    height = part["eave"] + np.maximum(rise, 0)
    cover = cover * (height >= canvas.height[at] - 0.05)
    blend(canvas, at, cover, roof_colour(canvas, part, at, u, v))
    raise_to(canvas, at, cover, height, slope_light(canvas, part, du, dv))


def paint_box(canvas, part):
    """A plain raised block (vent, chimney, pallet, skylight), standing on what is below it."""
    found = window(canvas, part)
    if found is None:
        return
    at, u, v = found
    cover = rectangle(u, v, part, canvas.resolution)
    if part.get("round"):
        cover = soft(part["width"] / 2 - np.hypot(u, v), canvas.resolution)
    if "panel" in part:
        grid = (np.mod(u + 50, 1.7) < 0.25) | (np.mod(v + 50, 1.1) < 0.2)
        colour = np.float32(part["colour"])[:, None, None] * (1 + 0.5 * grid)
        blend(canvas, at, cover, colour)
        return
    blend(canvas, at, cover, textured(canvas, at, part["colour"], 0.06, 0.05))
    np.copyto(canvas.height[at], canvas.height[at] + np.float32(part["height"]), where=cover > 0.5)


def paint_tank(canvas, part):
    """A cylinder with a cone, dome, flat or sunken (floating) roof, rim, ribs, a ladder and stains."""
    found = window(canvas, part)
    at, u, v = found
    base = np.float32(part["colour"])[:, None, None]
    radius = np.hypot(u, v) + 1e-6
    outer = part["width"] / 2
    cover = soft(outer - radius, canvas.resolution)
    inner = radius < outer - 0.7
    slope = {"cone": 0.16, "dome": 0.0, "flat": 0.0, "float": 0.0}[part["roof"]]
    fall = slope + (0.55 * radius / outer if part["roof"] == "dome" else 0 * radius)
    light = slope_light(canvas, part, -fall * u / radius, -fall * v / radius)
    height = part["height"] + fall * (outer - radius) - np.where(inner, part["sunk"], 0)
    angle = np.arctan2(v, u)
    tone = (
        1
        + part["rib"] * np.cos(angle * part["ribs"]) * (radius > 0.25 * outer)
        + 0.05 * canvas.middle[at] * part["dirt"]
    )
    colour = textured(canvas, at, part["colour"], 0.02, 0.02) * tone
    colour = colour * (1 - RUST * np.clip(part["dirt"] * (0.6 * canvas.middle[at] + 0.4 * canvas.fine[at]), 0, 1))
    rim = (radius > outer - 0.7) & (part["rim"] > 0)
    colour = np.where(rim, base * (1 + part["rim"]), colour)
    stair = (abs(v) < 0.4) & (u > 0.2 * outer) & part["stair"]
    colour = np.where(stair | (radius < part["hatch"]), base * 0.6, colour)
    blend(canvas, at, cover, colour)
    raise_to(canvas, at, cover, height, light)


# ---- vehicles ---------------------------------------------------------------------------------------------------


def paint_vehicle(canvas, part):
    """A car, pickup, van, truck or bus that looks along +u: body, glass, load, and its height for the shadow."""
    found = window(canvas, part)
    at, u, v = found
    half_length, half_width = part["length"] / 2, part["width"] / 2
    corner = 0.45 if part["kind"] in ("car", "pickup", "van") else 0.15
    beyond = np.hypot(np.maximum(abs(u) - half_length + corner, 0), np.maximum(abs(v) - half_width + corner, 0))
    cover = soft(corner - beyond, canvas.resolution)
    glass = np.float32([0.10, 0.12, 0.14])[:, None]
    colour = np.empty((3, *cover.shape), np.float32)
    colour[:] = np.float32(part["colour"])[:, None, None]
    height = np.full(u.shape, part["height"], np.float32)
    front = u / part["length"]
    if part["kind"] == "bus":
        windows = (front > 0.46) | (abs(abs(front) - 0.22) < 0.05) & (abs(v) < 0.5)
        colour[:, windows] = 0.5 * colour[:, windows] + 0.5 * glass
    elif part["kind"] == "truck":
        cab = half_length - part["cab"]
        load = u < cab - 0.5
        colour[:, load] = np.float32(part["load"])[:, None] * (1 + 0.04 * np.sin(u[load] * 5))
        gap = (u < cab) & ~load
        colour[:, gap] = 0.08
        colour[:, (u > half_length - 0.75) & (u < half_length - 0.25)] = glass
        height = np.where(load, part["height"], np.where(gap, 1.0, 2.6)).astype(np.float32)
    else:
        shield = (front > 0.10) & (front < 0.24)
        rear = (front < -0.28) & (front > -0.38) if part["kind"] == "car" else front < -2
        sides = (abs(v) > 0.40 * part["width"]) & (front < 0.2) & (front > -0.34)
        colour[:, shield | rear] = glass
        colour[:, sides] = 0.5 * colour[:, sides] + 0.5 * glass
        height = np.where((front < 0.24) & ((front > -0.38) | (part["kind"] == "van")), part["height"], 0.9)
        if part["kind"] == "pickup":
            bed = (front < -0.12) & (abs(v) < 0.36 * part["width"]) & (front > -0.45)
            colour[:, bed] = np.float32(part["load"])[:, None]
            height = np.where(front < -0.1, 0.9, height)
    tone = 1 + 0.04 * canvas.fine[at]
    blend(canvas, at, cover, colour * tone)
    glint = np.exp(-np.square((front - part["glint"]) / 0.06) - np.square(v / 0.5)) * 0.25
    canvas.albedo[:, *at] += cover * glint
    raise_to(canvas, at, cover, height, canvas.sun[2] + 0 * u)


# ---- trees ------------------------------------------------------------------------------------------------------


def tree_stamps(rng, canvas, count=40):
    """Crowns as patches: cover (s, s), height over the ground (s, s), light (s, s), tone (s, s), one per tree form."""
    stamps = []
    for number in range(count):
        radius = crown_radius(number / count)
        half = int(radius * 1.25 / canvas.resolution) + 2
        axis = (np.arange(-half, half + 1) * canvas.resolution).astype(np.float32)
        x, y = axis[None, :], axis[:, None]
        angle, far = np.arctan2(y, x), np.hypot(x, y)
        edge = radius * np.ones_like(angle)
        for wave in (2, 3, 5, 7):
            edge += radius * 0.09 * rng.standard_normal() * np.cos(wave * angle + rng.uniform(0, 6.28))
        lumps = smooth_noise(rng, axis.size, 3) * 0.55 + smooth_noise(rng, axis.size, 6) * 0.5
        conifer = number % 5 == 0
        inside = np.clip(1 - far / edge, 0, 1)
        crown = 2.2 * radius * inside if conifer else radius * 1.2 * np.sqrt(1 - np.square(1 - inside))
        height = crown + radius * (0.5 if conifer else 0.9) + 0.35 * lumps * np.sqrt(radius)
        down, right = np.gradient(height, canvas.resolution)
        down, right = np.clip(down, -1.6, 1.6), np.clip(right, -1.6, 1.6)
        light = (canvas.sun[2] - right * canvas.sun[0] - down * canvas.sun[1]) / np.sqrt(1 + right**2 + down**2)
        cover = soft(edge - far + 0.3 * lumps, canvas.resolution) * np.clip(1.25 + 0.3 * lumps, 0, 1)
        tone = 1 + 0.13 * lumps + 0.12 * rng.standard_normal(axis.size * axis.size).reshape(axis.size, -1)
        stamps.append((cover, height, np.clip(light, 0.04, 1), tone, radius))
    return [tuple(np.float32(part) for part in stamp) for stamp in stamps]


def paint_tree(canvas, stamp, x, y, colour):
    """One crown at (x, y) metres; it hides what stands lower."""
    cover, height, light, tone, _ = stamp
    half, size = cover.shape[0] // 2, canvas.height.shape[0]
    row, column = int(y / canvas.resolution) - half, int(x / canvas.resolution) - half
    r0, r1, c0, c1 = max(row, 0), min(row + 2 * half + 1, size), max(column, 0), min(column + 2 * half + 1, size)
    if r0 >= r1 or c0 >= c1:
        return
    at, own = (slice(r0, r1), slice(c0, c1)), (slice(r0 - row, r1 - row), slice(c0 - column, c1 - column))
    cover = cover[own] * (height[own] > canvas.height[at] - 1)
    blend(canvas, at, cover, np.float32(colour)[:, None, None] * tone[own])
    raise_to(canvas, at, cover, height[own], light[own])


# ---- light and sensor -------------------------------------------------------------------------------------------


def shadows(canvas):
    """(H, W) share of the sun that something higher takes away: a walk towards the sun, one cell a step."""
    flat = np.hypot(canvas.sun[0], canvas.sun[1])
    drop = canvas.resolution * canvas.sun[2] / flat
    step = canvas.sun[:2] / flat
    horizon = np.full_like(canvas.height, -1)
    size = canvas.height.shape[0]
    buffer = np.empty_like(horizon)
    for count in range(1, int(canvas.height.max() / drop) + 1):
        dx, dy = round(float(step[0] * count)), round(float(step[1] * count))
        if max(abs(dx), abs(dy)) >= size:
            break
        here = (slice(max(0, -dy), size - max(0, dy)), slice(max(0, -dx), size - max(0, dx)))
        there = (slice(max(0, dy), size - max(0, -dy)), slice(max(0, dx), size - max(0, -dx)))
        np.subtract(canvas.height[there], np.float32(drop * count), out=buffer[here])
        np.maximum(horizon[here], buffer[here], out=horizon[here])
    dark = np.clip((horizon - canvas.height) / np.float32(0.5), 0, 1)
    return gaussian_filter1d(gaussian_filter1d(dark, 0.6, 0, truncate=2.5), 0.6, 1, truncate=2.5)  # the sun is no point


def develop(canvas, rng, look):
    """Canvas -> uint8 (3, H, W): sun and sky, colour cast, blur of the optics, grain."""
    sunny = canvas.light / canvas.sun[2] * (1 - shadows(canvas) * np.float32(look["shadow"]))
    image = np.empty((3, *canvas.height.shape), np.uint8)
    shared = 0.7 * rng.standard_normal(canvas.height.shape, dtype=np.float32)
    for band in range(3):
        sky = HAZE[band]
        value = canvas.albedo[band] * (sky + (1 - sky) * np.minimum(sunny, 1.6))
        value = np.float32(look["lift"][band]) + np.float32(look["gain"][band]) * value
        np.clip(value, 0, 1.3, out=value)
        value = np.power(value, np.float32(look["gamma"])) * 255
        value = gaussian_filter1d(
            gaussian_filter1d(value, look["blur"], 0, truncate=2.5), look["blur"], 1, truncate=2.5
        )
        value += np.float32(look["noise"]) * (shared + 0.7 * rng.standard_normal(shared.shape, dtype=np.float32))
        image[band] = np.clip(value + 0.5, 0, 255)
    return image
