"""The importer of building tiles, on tiles made here: where they lie, whose pixel it is, and what is refused."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_bounds

from geodl_course.chips import ChipError, image_files, read_chip, read_info, validate
from geodl_course.datasets.buildings import import_buildings, tile_bounds

SIDE, ZOOM, CORNER = 32, 20, (619210, 523270)  # tiles of 32 px
VAL = 1  # polygons in the val tile of `imported`


def place(x, y, zoom=ZOOM):
    return from_bounds(*tile_bounds(x, y, zoom), SIDE, SIDE)


def write_tile(raw, split, x, y, features, zoom=ZOOM, at=None, crs="EPSG:4326", bands=3, extra=None):
    images, labels = {"train": ("chips", "labels/2"), "val": ("val-chips", "val-labels/2")}[split]
    for folder in (images, labels):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(x + y).integers(1, 255, (bands, SIDE, SIDE), dtype=np.uint8)
    profile = dict(driver="GTiff", count=bands, height=SIDE, width=SIDE, dtype="uint8", crs=crs)
    profile |= dict(transform=at or place(x, y, zoom))
    with rasterio.open(raw / images / f"OAM-{x}-{y}-{zoom}.tif", "w", **profile) as t:
        t.write(image)
    rows = [{"type": "Feature", "properties": {}, "geometry": f and shapely.geometry.mapping(f)} for f in features]
    text = json.dumps({"type": "FeatureCollection", "features": rows} | (extra or {}))
    (raw / labels / f"OAM-{x}-{y}-{zoom}.geojson").write_text(text)
    return image


def box(x0, y0, x1, y1, tile=CORNER):
    """A rectangle of pixels x0..x1, y0..y1 of a tile, in degrees."""
    return on_map(shapely.box(x0, y0, x1, y1), tile)


def on_map(shape, tile=CORNER):
    a, b, c, d, e, f = tuple(place(*tile))[:6]
    return shapely.transform(shape, lambda p: p @ np.array([[a, d], [b, e]]) + [c, f])


def imported(tmp_path, shapes, size=SIDE, **extra):
    """(ids (H, W) of the one train tile, recipe of the set); the val tile lies far away."""
    raw = tmp_path / "raw"
    write_tile(raw, "train", *CORNER, shapes, extra=extra)
    write_tile(raw, "val", CORNER[0] + 9, CORNER[1], [box(2, 2, 9, 9, (CORNER[0] + 9, CORNER[1]))])
    out = import_buildings(raw, tmp_path / "out", size=size, progress=False)
    validate(out)
    chip = read_chip(out, "train", f"OAM-{CORNER[0]}-{CORNER[1]}-{ZOOM}")
    return chip.instances.get("building", np.zeros((size, size), np.uint16)), read_info(out).recipe


def test_a_tile_lies_where_the_scheme_of_web_maps_says():
    assert tile_bounds(0, 0, 0) == pytest.approx((-180, -85.0511288, 180, 85.0511288))
    assert tile_bounds(1, 0, 1) == pytest.approx((0, 0, 180, 85.0511288), abs=1e-6)
    assert tile_bounds(3, 2, 2) == pytest.approx((90, -66.5132604, 180, 0), abs=1e-6)


def test_polygons_keep_their_own_ids_where_they_touch(tmp_path):
    ids, recipe = imported(tmp_path, [box(4, 4, 10, 12), box(10, 4, 16, 12)])
    assert (ids[4:12, 4:10] == 1).all() and (ids[4:12, 10:16] == 2).all() and (ids > 0).sum() == 96
    assert recipe["overlapping_pairs"] == 0


@pytest.mark.parametrize("order", [1, -1])
def test_where_polygons_overlap_the_smaller_one_is_seen(tmp_path, order):
    large, small = box(2, 2, 22, 22), box(8, 8, 12, 12)
    ids, recipe = imported(tmp_path, [large, small][::order])
    inner = ids[8:12, 8:12]
    assert len(np.unique(inner)) == 1 and (ids == inner[0, 0]).sum() == 16
    assert (ids > 0).sum() == 400 and len(np.unique(ids)) == 3
    assert recipe["overlapping_pairs"] == 1 and recipe["polygons"] == 2 + VAL


def test_of_two_equal_polygons_one_is_lost_and_counted(tmp_path):
    ids, recipe = imported(tmp_path, [box(2, 2, 9, 9)] * 2)
    assert ids.max() == 1 and recipe["polygons_without_pixel"] == 1 and recipe["overlapping_pairs"] == 1


def test_holes_are_background_and_a_multipolygon_is_one_building(tmp_path):
    ring = shapely.Polygon(shapely.box(2, 2, 14, 14).exterior, [shapely.box(6, 6, 10, 10).exterior])
    parts = shapely.MultiPolygon([shapely.box(18, 2, 22, 6), shapely.box(26, 20, 30, 28)])
    ids, _ = imported(tmp_path, [on_map(ring), on_map(parts)])
    assert (ids[6:10, 6:10] == 0).all() and (ids == 1).sum() == 144 - 16
    assert (ids[2:6, 18:22] == 2).all() and (ids[20:28, 26:30] == 2).all() and ids.max() == 2


def test_what_leaves_the_tile_is_cut_and_small_rests_are_dropped(tmp_path):
    features = [
        box(-4, 2, 8, 10),  # two thirds inside
        box(-20, 14, 4, 20),  # a sixth inside
        box(10, -6, 14, 1),  # one row inside, a seventh
        box(31, 20, 32, 30),  # the publisher's cut left one column
        box(20, 20, 21, 28),  # as narrow, but whole
        box(60, 2, 70, 8),  # elsewhere
    ]
    ids, recipe = imported(tmp_path, features)
    assert (ids[2:10, :8] == 1).all() and (ids[20:28, 20] == 2).all() and (ids > 0).sum() == 64 + 8
    assert recipe["rests_dropped_at_borders"] == 3 and recipe["polygons_outside"] == 1 and recipe["polygons"] == 5 + VAL


def test_chips_average_the_tiles_pixels_and_polygons_keep_their_place(tmp_path):
    ids, _ = imported(tmp_path, [box(4, 8, 12, 20)], size=16)
    assert (ids[4:10, 2:6] == 1).all() and (ids > 0).sum() == 24
    raw, info = tmp_path / "raw", read_info(tmp_path / "out")
    stem = f"OAM-{CORNER[0]}-{CORNER[1]}-{ZOOM}"
    chip = read_chip(tmp_path / "out", "train", stem)
    with rasterio.open(raw / "chips" / f"{stem}.tif") as tile:
        mean = tile.read().reshape(3, 16, 2, 16, 2).mean((2, 4))
        assert tuple(chip.transform * (16, 16)) == pytest.approx(tuple(tile.transform * (32, 32)), abs=1e-12)
    assert np.abs(chip.image - mean).max() <= 0.5
    assert info.resolution == pytest.approx(40_075_016.7 / 2**20 / 16, rel=1e-4)  # metres at the equator


def test_features_without_geometry_and_files_without_features_are_read(tmp_path):
    ids, recipe = imported(tmp_path, [None, box(4, 4, 10, 10)])
    assert ids.max() == 1 and recipe["features_without_geometry"] == 1
    ids, recipe = imported(tmp_path / "none", [])
    assert ids.max() == 0 and recipe["polygons"] == VAL


def test_polygons_in_another_crs_are_brought_to_the_tile(tmp_path):
    from pyproj import Transformer

    to = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    shape = shapely.transform(box(4, 4, 10, 12), lambda p: np.stack(to.transform(*p.T), 1))
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    ids, _ = imported(tmp_path, [shape], crs=crs)
    assert (ids[4:12, 4:10] == 1).all() and (ids > 0).sum() == 48


def test_train_tiles_beside_a_val_tile_of_any_zoom_are_dropped(tmp_path):
    raw, (x, y) = tmp_path / "raw", CORNER
    for dx in range(5):
        write_tile(raw, "train", x + dx, y, [])
    write_tile(raw, "val", x - 1, y - 1, [])  # touches the first at a corner
    write_tile(raw, "val", 2 * (x + 4) + 1, 2 * y, [], zoom=21)  # lies in the last
    write_tile(raw, "train", 2 * x, 2 * y, [], zoom=21)
    out = import_buildings(raw, tmp_path / "out", size=SIDE, progress=False)
    assert list(image_files(out, "train")) == [f"OAM-{x + dx}-{y}-20" for dx in (1, 2, 3)]
    assert list(image_files(out, "val")) == [f"OAM-{x - 1}-{y - 1}-20"]
    assert read_info(out).recipe["train_tiles_dropped_beside_val"] == 2


BOW = on_map(shapely.Polygon([(2, 2), (10, 10), (10, 2), (2, 10)]))
FAR = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32636"}}


@pytest.mark.parametrize(
    ("features", "settings", "message"),
    [
        ([BOW], {}, "feature 0 crosses itself"),
        ([box(2, 2, 9, 9), shapely.Point(32.59, 0.34)], {}, "feature 1 is a Point; objects must be polygons"),
        ([box(2, 2, 9, 9)], {"crs": FAR}, "all 1 polygons lie outside.*EPSG:32636"),
        ([box(2, 2, 9, 9)], {"features": "gone"}, "cannot be read as a vector layer"),
        ([box(90, 2, 99, 9)], {}, "all 1 polygons lie outside"),
    ],
)
def test_polygons_that_cannot_be_used_are_refused_by_file_and_feature(tmp_path, features, settings, message):
    with pytest.raises(ChipError, match=f"OAM-{CORNER[0]}-{CORNER[1]}-20.geojson.*{message}"):
        imported(tmp_path, features, **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (dict(at=place(CORNER[0] + 1, CORNER[1])), "its name says.*georeference"),
        (dict(crs="EPSG:3857"), "its name says.*EPSG:4326"),
        (dict(bands=4), "4 bands of uint8.*3 bands of uint8"),
    ],
)
def test_an_image_that_is_not_the_tile_of_its_name_is_refused(tmp_path, tile, message):
    raw = tmp_path / "raw"
    write_tile(raw, "val", CORNER[0] + 9, CORNER[1], [])
    write_tile(raw, "train", *CORNER, [], **tile)
    with pytest.raises(ChipError, match=message):
        import_buildings(raw, tmp_path / "out", size=SIDE, progress=False)


def test_files_that_lack_their_partner_a_name_or_a_zoom_are_refused(tmp_path):
    raw = tmp_path / "raw"
    for split, x in (("train", CORNER[0]), ("val", CORNER[0] + 9)):
        write_tile(raw, split, x, CORNER[1], [])
    image, stem = raw / "chips" / f"OAM-{CORNER[0]}-{CORNER[1]}-20.tif", f"OAM-{CORNER[0]}-{CORNER[1]}-20"
    for settings, message in (
        (dict(zoom=19), "no train tile has zoom 19. Choose one of 20"),
        (dict(size=64), "32 pixels wide. Choose a size from 1 to 32, not 64"),
    ):
        with pytest.raises(ChipError, match=message):
            import_buildings(raw, tmp_path / "out", **{"size": SIDE, "progress": False} | settings)
    labels = raw / "labels/2" / f"{stem}.geojson"
    for lost, other in ((labels, image), (image, labels)):
        lost.rename(tmp_path / "kept")
        with pytest.raises(ChipError, match=f"{other.name}: .*{lost.name} is missing|has no .tif"):
            import_buildings(raw, tmp_path / "out", progress=False)
        (tmp_path / "kept").rename(lost)
    image.rename(image.with_stem("roof"))
    labels.rename(labels.with_stem("roof"))
    with pytest.raises(ChipError, match="roof.tif: the name does not end in x-y-z"):
        import_buildings(raw, tmp_path / "out", progress=False)
