"""From a georeferenced raster and vector objects to a chip folder.

The rules, which lecture 01 tells:

* Vectors are brought to the raster's CRS. Objects wholly outside the raster are left out with a warning that counts
  them; if that is all of them, it is an error.
* Each class has its own raster of ids. Where two polygons of one class overlap, the later one in the file wins; a
  pixel may belong to objects of different classes. A pixel belongs to an object when its centre lies inside. `recipe`
  counts the objects that get no pixel: smaller than a cell, or wholly under a later one.
* An object that a chip border cuts keeps the part inside as an instance of its own when at least `min_visible` of its
  area is inside and the part is at least 2 pixels wide and high. Smaller rests become background.
* Chips without a valid pixel are left out. A raster smaller than a chip is filled up with nodata. Of the train chips
  without an object the share `empty` is kept: all, unless asked. Val and test keep all of theirs.
* split="spatial": chips are ordered along a direction that `seed` draws; the block at one end becomes val, the one at
  the other end test, and all between train. Then train chips that touch a val or test chip, also at a corner or by
  overlap, are dropped, and val chips that touch a test chip. `recipe` in dataset.json says how many.
"""

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geodl_course.chips import SPLITS, Chip, ChipError, DatasetInfo, valid_pixels, write_chips
from geodl_course.chips.writing import refuse_existing
from geodl_course.windows import windows


def chip_scene(scene, objects, out, *, class_field, split="spatial", **settings):
    """Cut one raster and its vector layer into a chip folder `out`; see `chip_scenes` for the settings.

    An object that a chip border cuts stays as an instance of its own where at least `min_visible` of its area lies in
    the chip and the part is at least 2 pixels wide and high; smaller rests become background.
    """
    return chip_scenes([(scene, objects, split)], out, class_field=class_field, **settings)


def chip_scenes(
    scenes, out, *, class_field, layer=None, size=128, overlap=0, val=0.2, test=0.2, seed=0, name=None,
    min_visible=0.3, empty=1.0, classes=None, licence="", citation="", recipe=None, progress=True,
):
    """Cut [(raster path, vector path, "train" | "val" | "test" | "spatial"), ...] into one chip folder `out`.

    `class_field` is the column that holds the class; `classes` fixes their order (default: sorted); `layer` names the
    layer of a vector file that has several. `size` and
    `overlap` are pixels, or pixels for each split as {"train": 64}, the others 0, where no scene is "spatial"; `val`
    and `test` are shares of the chips of a "spatial" scene; `empty` is the share of the train chips without an object
    that is kept, drawn by `seed`. The module's docstring states the rules. Returns the path; raises ChipError naming
    file, feature and next step. Lecture 01 builds it.
    """
    from tqdm import tqdm

    out = Path(out)
    refuse_existing(out)
    if not 0 <= min_visible <= 1:
        raise ChipError(f"min_visible {min_visible} is a share of an object's area: choose a number from 0 to 1.")
    if not 0 <= empty <= 1:
        raise ChipError(f"empty {empty} is a share of the chips without an object: choose a number from 0 to 1.")
    sources = [_open_scene(scene, size) for scene, _, _ in scenes]
    _check_alike(sources)
    layers = [
        _read_objects(objects, layer, src, class_field)
        for (_, objects, _), src in zip(scenes, sources, strict=True)
    ]
    classes = _class_names(classes, layers, class_field)
    plan, told = _plan(sources, [split for _, _, split in scenes], size, overlap, val, test, seed)
    told |= {key: sum(objects.told[key] for objects in layers) for key in layers[0].told}
    told |= {"objects_without_pixel": 0, "empty_train_chips_left_out": 0}  # counted while the chips are cut
    first = sources[0]
    made = {
        "made_by": "chip_scenes", "scenes": [Path(s).name for s, _, _ in scenes], "class_field": class_field,
        "overlap": overlap, "min_visible": min_visible, "empty": empty, "splits": [split for _, _, split in scenes],
        "val": val, "test": test, "seed": seed, **told, **(recipe or {}),
    }
    info = DatasetInfo(
        name or out.name, classes, first.bands, first.dtype, size, first.resolution, first.crs_name, first.nodata,
        licence=licence, citation=citation, recipe=made,
    )
    total = sum(len(p) for p in plan)
    with tqdm(total=total, desc=f"chips of {info.name}", unit="chip", disable=not progress, delay=1) as bar:
        return write_chips(out, info, _cut(sources, layers, plan, info, min_visible, empty, bar))


# --------------------------------------------------------------------------------------------- scene


@dataclass
class _Scene:
    path: Path
    height: int
    width: int
    transform: object
    crs: object
    crs_name: str
    resolution: float
    bands: list
    indexes: list
    dtype: str
    nodata: float | None


def _open_scene(path, size):
    import rasterio

    try:
        with rasterio.open(path) as src:
            if src.crs is None:
                raise ChipError(
                    f"{path} has no CRS, so vectors cannot be laid over it. Assign the right one, for example with "
                    "QGIS 'Assign projection' or gdal_edit.py -a_srs EPSG:26917."
                )
            indexes = [i for i, c in zip(src.indexes, src.colorinterp, strict=True) if c.name != "alpha"]
            dtype = src.dtypes[0] if src.dtypes[0] in ("uint8", "uint16") else "float32"
            nodata = src.nodata
            if nodata is None and (len(indexes) < src.count or min(src.height, src.width) < size):
                nodata = math.nan if dtype == "float32" else 0.0  # needed for the alpha band or to fill a small raster
            if dtype == "float32" and nodata is not None:
                nodata = float(np.float32(nodata))
            return _Scene(
                Path(path), src.height, src.width, src.transform, src.crs, src.crs.to_string(), metres(src),
                [band_name(src, i) for i in indexes], indexes, dtype, nodata,
            )
    except rasterio.errors.RasterioIOError as error:
        raise ChipError(f"{path}: cannot be read as a raster ({error}). Check the path or get it again.") from error


def band_name(src, index):
    described, colour = src.descriptions[index - 1], src.colorinterp[index - 1].name
    return described or (colour if colour in ("red", "green", "blue", "nir") else f"band {index}")


def metres(src):
    if src.crs.is_geographic:  # degrees of latitude are nearly the same length everywhere
        return math.hypot(src.transform.b, src.transform.e) * 111_320.0
    a, b, _, d, e, _ = src.transform[:6]
    width, height = math.hypot(a, d), math.hypot(b, e)  # a raster may be turned on the map
    if abs(width / height - 1) > 0.01:
        raise ChipError(
            f"{src.name}: cells of {width:g} x {height:g} are not square. Resample the raster, for example with "
            f"gdalwarp -tr {min(width, height):g} {min(width, height):g}."
        )
    return width * src.crs.linear_units_factor[1]


def _check_alike(sources):
    first = sources[0]
    for src in sources[1:]:
        for key in ("crs_name", "dtype", "bands", "nodata"):
            ours, theirs = getattr(first, key), getattr(src, key)
            if ours != theirs and not (ours != ours and theirs != theirs):  # NaN equals NaN here
                raise ChipError(
                    f"{src.path}: {key} is {theirs}, {first.path} has {ours}. Scenes of one data set must agree: "
                    "convert one of them, for example with gdalwarp or gdal_translate."
                )
        if abs(src.resolution / first.resolution - 1) > 0.01:
            raise ChipError(
                f"{src.path}: cells of {src.resolution:g} m, {first.path} has {first.resolution:g} m. "
                "Resample one of them, for example with gdalwarp -tr."
            )


def _read_strip(src, raster, row, size):
    """Rows row..row+size of a scene (C, size, width), float32 where the scene is neither uint8 nor uint16."""
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window

    window = Window(0, row, src.width, min(size, src.height - row))
    try:
        strip = raster.read(src.indexes, window=window).astype(src.dtype, copy=False)
        if len(src.indexes) < raster.count:
            strip[:, raster.dataset_mask(window=window) == 0] = src.nodata
    except RasterioIOError as error:
        raise ChipError(f"{src.path}: rows {row} to {row + size} cannot be read ({error}). The file is damaged or cut "
                        "short: get it again.") from error
    bad = ~np.isfinite(strip) & valid_pixels(strip, src.nodata)
    if bad.any():
        raise ChipError(
            f"{src.path}: {int(bad.sum())} NaN or infinite pixels in rows {row} to {row + size} that are not declared "
            "as nodata. Fill them, or declare NaN with gdal_edit.py -a_nodata nan."
        )
    return strip


def _fill(array, size, value):
    """Pad the last two axes of an array to `size` with `value`."""
    missing = [(0, 0)] * (array.ndim - 2) + [(0, size - array.shape[-2]), (0, size - array.shape[-1])]
    return np.pad(array, missing, constant_values=value) if any(m != (0, 0) for m in missing) else array


# ------------------------------------------------------------------------------------------- vectors


@dataclass
class _Layer:
    path: Path
    polygons: np.ndarray  # shapely polygons in pixel coordinates (x = column, y = row) of the scene
    names: np.ndarray
    told: dict


def _read_objects(path, layer, src, class_field):
    import shapely

    from geodl_course.datasets.polygons import in_pixels, only_polygons, read_layer

    table = read_layer(path, layer)
    fields = [column for column in table.columns if column != "geometry"]
    if class_field not in fields:
        raise ChipError(f"{path}: no field '{class_field}'. Choose one of its fields: {', '.join(fields)}.")
    table, empty = only_polygons(table, path, src.path)
    _check_names(table, path, class_field)
    table = table.to_crs(src.crs)
    polygons = in_pixels(table.geometry, src.transform)
    outside = ~shapely.intersects(polygons, shapely.box(0, 0, src.width, src.height))
    _check_outside(outside, path, src, table)
    return _Layer(
        Path(path), polygons[~outside], table[class_field].astype(str).to_numpy()[~outside],
        {"objects_outside": int(outside.sum()), "objects_empty": empty},
    )


def _check_names(table, path, class_field):
    nameless = table[class_field].isna()
    if nameless.any():
        raise ChipError(
            f"{path}: field '{class_field}' is empty in feature {table.index[nameless][0]} (and {int(nameless.sum())} "
            "in all). Fill it in or remove these features."
        )


def _check_outside(outside, path, src, table):
    if not outside.any():
        return
    if outside.all():
        raise ChipError(
            f"{path}: all {len(outside)} objects lie outside {src.path} (their bounds in {src.crs_name}: "
            f"{[round(float(v), 2) for v in table.total_bounds]}). Check that both show the same place and that the "
            "CRS of each is the right one."
        )
    message = f"{path}: {int(outside.sum())} of {len(outside)} objects lie outside {src.path} and are left out."
    warnings.warn(message, stacklevel=5)


def _class_names(classes, layers, class_field):
    found = Counter(name for layer in layers for name in layer.names)
    if classes is None:
        classes = sorted(found)
    if not classes:
        raise ChipError(f"{layers[0].path}: no object in it, so the classes are unknown. Name them: --classes a,b.")
    for layer in layers:
        for name in sorted(set(layer.names) - set(classes)):
            raise ChipError(
                f"{layer.path}: field '{class_field}' holds '{name}', which is none of {', '.join(classes)}. "
                "Add it to the classes, or take these features out of the layer."
            )
    for name in classes:
        if not name or "/" in name or "\\" in name or name.startswith("."):
            raise ChipError(f"class '{name}' of field '{class_field}' cannot be a folder name. Rename the class.")
    return list(classes)


# -------------------------------------------------------------------------------------------- splits


def drop_touching(places, splits):
    """Splits (N,) with "" for chips to drop, so that chips of different splits never touch.

    `places` (N, 4) are left, bottom, right, top of the chips on the map; (N, 4, 2) the corners of chips that may be
    turned. A train chip that touches (also at a corner) or overlaps a val or test chip is dropped, and a val chip that
    touches a test chip.
    """
    import shapely

    splits, places = np.array(splits, dtype=object), np.asarray(places, dtype=float)
    shapes = shapely.polygons(places) if places.ndim == 3 else shapely.box(*places.reshape(-1, 4).T)
    slack = 2e-3 * np.sqrt(shapely.area(shapes)).min(initial=np.inf)  # neighbours' edges may differ by rounding
    for loser, winners in (("val", ["test"]), ("train", ["val", "test"])):
        tree = shapely.STRtree(shapes[np.isin(splits, winners)])
        mine = np.flatnonzero(splits == loser)
        touching, _ = tree.query(shapes[mine], predicate="dwithin", distance=slack)
        splits[mine[np.unique(touching)]] = ""
    return splits


def spatial_split(corners, val, test, seed):
    """Splits (N,) of chips with corners (N, 2): blocks val, train, test along a seeded direction."""
    if not (0 <= val and 0 <= test and val + test < 1):
        raise ChipError(f"val {val} and test {test} must be shares of the chips that leave some for train.")
    angle = np.random.default_rng(seed).uniform(0, 2 * math.pi)
    order = np.argsort(np.asarray(corners, float).reshape(-1, 2) @ [math.sin(angle), math.cos(angle)], kind="stable")
    number = len(order)
    vals, tests = round(number * val), round(number * test)
    splits = np.empty(number, dtype=object)
    splits[order] = ["val"] * vals + ["train"] * (number - vals - tests) + ["test"] * tests
    return splits


def _plan(sources, wanted, size, overlap, val, test, seed):
    """For each scene its [(row, col, split), ...], and what was dropped."""
    if isinstance(overlap, dict) and "spatial" in wanted:
        raise ChipError(f"overlap {overlap}: a scene that is split has one overlap. Give one number of pixels.")
    shared = [overlap.get(split, 0) if isinstance(overlap, dict) else overlap for split in wanted]
    corners = [windows(src.height, src.width, size, px) for src, px in zip(sources, shared, strict=True)]
    splits, corners_on_map = [], []
    for src, split, places in zip(sources, wanted, corners, strict=True):
        if split not in (*SPLITS, "spatial"):
            raise ChipError(f"{src.path}: split '{split}' is none of spatial, {', '.join(SPLITS)}. Choose one of them.")
        mine = spatial_split(places, val, test, seed) if split == "spatial" else [split] * len(places)
        for name, share in (("val", val), ("test", test)) if split == "spatial" else ():
            if share > 0 and name not in mine:
                raise ChipError(
                    f"{src.path}: a share of {share} of {len(places)} chips is no {name} chip. Use smaller chips, a "
                    f"larger scene, or --{name} 0."
                )
        splits.extend(mine)
        for row, col in places:
            around = ((col, row), (col + size, row), (col + size, row + size), (col, row + size))
            corners_on_map.append([src.transform * corner for corner in around])
    kept = drop_touching(corners_on_map, splits)
    for name in SPLITS:
        if name in splits and name not in kept:
            raise ChipError(
                f"{sources[0].path}: after dropping chips that touch another split, no {name} chip is left of "
                f"{splits.count(name)}. Use smaller chips, a larger scene, or one split for the whole scene."
            )
    ends = np.cumsum([len(c) for c in corners])[:-1]
    plan = [
        [(row, col, split) for (row, col), split in zip(places, chosen, strict=True) if split]
        for places, chosen in zip(corners, np.split(kept, ends), strict=True)
    ]
    return plan, {"chips_dropped_between_splits": int((kept == "").sum())}


# ------------------------------------------------------------------------------------------- cutting


def _cut(sources, layers, plan, info, min_visible, empty, bar):
    """Yield (split, Chip) of all scenes; a strip of chips is read and rasterised at a time."""
    import rasterio

    number, draw = 0, np.random.default_rng(info.recipe["seed"])
    for src, layer, places in zip(sources, layers, plan, strict=True):
        visible = _visible_parts(layer.polygons, places, info.chip_size, min_visible)
        laid, seen = np.zeros((2, len(layer.polygons)), bool)
        with rasterio.open(src.path) as raster:
            for row in sorted({row for row, _, _ in places}):
                strip = _read_strip(src, raster, row, info.chip_size)
                ids, here = _rasterise(layer, row, src.width, strip.shape[1], info.classes)
                laid |= here
                for of_class in ids.values():
                    seen |= np.bincount(of_class.ravel(), minlength=len(seen) + 1)[1:] > 0
                for r, col, split in places:
                    if r != row:
                        continue
                    chip = _cut_chip(src, strip, ids, (row, col), visible.get((row, col), ((), ())), info)
                    bar.update()
                    if chip is not None and split == "train" and not chip.instances and draw.random() >= empty:
                        info.recipe["empty_train_chips_left_out"] += 1
                    elif chip is not None:
                        chip.stem = f"{number:06d}"
                        number += 1
                        yield split, chip
        info.recipe["objects_without_pixel"] += int((laid & ~seen).sum())


def _visible_parts(polygons, places, size, min_visible):
    """{(row, col): (ids that the chip's border cuts but may keep, ids to drop)}; id i + 1 is polygon i."""
    import shapely

    corners = np.array([(row, col) for row, col, _ in places]).reshape(-1, 2)
    boxes = shapely.box(corners[:, 1], corners[:, 0], corners[:, 1] + size, corners[:, 0] + size)
    chip, polygon = shapely.STRtree(polygons).query(boxes)
    cut = ~shapely.covered_by(polygons[polygon], boxes[chip])
    chip, polygon = chip[cut], polygon[cut]
    inside = shapely.area(shapely.intersection(polygons[polygon], boxes[chip]))
    enough = inside >= min_visible * shapely.area(polygons[polygon])
    parts = {}
    for i, p, keep in zip(chip, polygon, enough, strict=True):
        parts.setdefault(tuple(corners[i].tolist()), ([], []))[0 if keep else 1].append(p + 1)
    return parts


def _rasterise(layer, row, width, height, classes):
    """{class: (height, width) int32 ids} of the rows that start at `row`, id i + 1 for polygon i; which lie there."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine
    from shapely import bounds

    limits = bounds(layer.polygons)
    here = (limits[:, 1] < row + height) & (limits[:, 3] > row)
    rasters = {}
    for name in classes:
        chosen = np.flatnonzero(here & (layer.names == name))
        if len(chosen):
            rasters[name] = rasterize(
                [(layer.polygons[i], int(i) + 1) for i in chosen], out_shape=(height, width),
                transform=Affine.translation(0, row), dtype="int32",
            )
    return rasters, here


def _cut_chip(src, strip, ids, corner, parts, info):
    size, (row, col) = info.chip_size, corner
    image = _fill(np.ascontiguousarray(strip[:, :, col : col + size]), size, src.nodata or 0)
    if not valid_pixels(image, src.nodata).any():
        return None
    instances = {}
    for name, raster in ids.items():
        window = raster[:, col : col + size]
        kept = _renumber(window, *parts)
        if kept.any():
            instances[name] = _fill(kept, size, 0)
    transform = src.transform * src.transform.translation(col, row)
    return Chip("", image, instances, transform=transform, crs=src.crs)


def _renumber(window, cut, small):
    """Ids 1, 2, 3 ... (uint16) of the instances to keep; the rest becomes background."""
    found, inverse = np.unique(window, return_inverse=True)
    keep = (found > 0) & ~np.isin(found, small)
    inverse = inverse.reshape(window.shape)
    for index in np.flatnonzero(keep & np.isin(found, cut)):
        rows, cols = np.nonzero(inverse == index)
        keep[index] = np.ptp(rows) >= 1 and np.ptp(cols) >= 1
    return np.where(keep, np.cumsum(keep), 0).astype(np.uint16)[inverse]
