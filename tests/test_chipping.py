import math

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from tiny_scene import CELL, LEFT, TOP, pixel_box, write_objects, write_scene

from geodl_course.chips import ChipError, image_files, read_chip, read_info, validate
from geodl_course.datasets import data_root, find, make
from geodl_course.datasets.chipping import chip_scene, chip_scenes, drop_touching, spatial_split
from geodl_course.windows import windows


def cut(scene, rows, out, size=32, split="train", **more):
    """Chip folder of a scene and [(class, polygon), ...]."""
    objects = rows if isinstance(rows, (str, bytes)) else write_objects(out.with_suffix(".gpkg"), rows)
    return chip_scene(scene, objects, out, class_field="type", size=size, split=split, progress=False, **more)


def chips_of(folder, split="train"):
    """{(row, col): Chip} by the place of the chip in the tiny scene."""
    chips = [read_chip(folder, split, stem) for stem in image_files(folder, split)]
    return {(round((TOP - c.transform.f) / CELL), round((c.transform.c - LEFT) / CELL)): c for c in chips}


def test_chips_are_the_scenes_pixels_at_their_place(scene, objects, tmp_path):
    folder = chip_scene(scene, objects, tmp_path / "t", class_field="type", size=50, split="val", progress=False)
    with rasterio.open(scene) as src:
        pixels = src.read()
    chips = chips_of(folder, "val")
    assert set(chips) == set(windows(96, 128, 50))
    for (row, col), chip in chips.items():
        assert np.array_equal(chip.image, pixels[:, row : row + 50, col : col + 50])
        assert chip.crs.to_epsg() == 26917
    validate(folder)


polygons = st.lists(
    st.tuples(st.floats(-10, 130), st.floats(-10, 100), st.floats(2, 30), st.floats(2, 30), st.floats(0, 180)),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(polygons, st.sampled_from([32, 45]), st.sampled_from([0, 8]))
def test_labels_follow_the_stated_rules(tmp_path_factory, shapes, size, overlap):
    """Against a slow reading of the rules: pixel centres, later wins, min_visible, at least 2 pixels."""
    tmp_path = tmp_path_factory.mktemp("cut")
    boxes = [shapely.affinity.rotate(shapely.box(x, y, x + w, y + h), angle) for x, y, w, h, angle in shapes]
    if not any(b.intersects(shapely.box(0, 0, 128, 96)) for b in boxes):
        return
    on_map = [shapely.transform(b, lambda p: p * [CELL, -CELL] + [LEFT, TOP]) for b in boxes]
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 96, 128), np.uint8))
    with pytest.warns() if any(not b.intersects(shapely.box(0, 0, 128, 96)) for b in boxes) else _nothing():
        folder = cut(scene, [("a", p) for p in on_map], tmp_path / "out", size=size, overlap=overlap)
    x, y = np.meshgrid(np.arange(128) + 0.5, np.arange(96) + 0.5)
    ids = np.zeros((96, 128), int)
    doubt = np.zeros((96, 128), bool)  # a centre on an edge may fall to either side
    for i, b in enumerate(boxes, start=1):
        ids[shapely.contains_xy(b, x, y)] = i
        doubt |= shapely.distance(b.exterior, shapely.points(x, y)) < 1e-6
    for (row, col), chip in chips_of(folder).items():
        window, place = ids[row : row + size, col : col + size], shapely.box(col, row, col + size, row + size)
        raster = chip.instances.get("a", np.zeros_like(window))
        if doubt[row : row + size, col : col + size].any():
            continue
        keep = []
        for i in set(window[window > 0].tolist()):
            b, part = boxes[i - 1], np.argwhere(window == i)
            share = b.intersection(place).area / b.area
            if abs(share - 0.3) < 1e-9:
                return
            if place.covers(b) or (share >= 0.3 and (np.ptp(part, axis=0) >= 1).all()):
                keep.append(i)
        assert np.array_equal(raster > 0, np.isin(window, keep))
        pairs = set(zip(window[raster > 0].tolist(), raster[raster > 0].tolist(), strict=True))
        assert len(pairs) == len(keep) == len({i for _, i in pairs})  # one id each, none shared
        assert sorted(i for _, i in pairs) == list(range(1, len(keep) + 1))


class _nothing:
    def __enter__(self): ...
    def __exit__(self, *rest): ...


@pytest.mark.parametrize(("inside", "kept"), [(3, True), (2, False)])
def test_a_cut_object_needs_its_share(scene, tmp_path, inside, kept):
    folder = cut(scene, [("a", pixel_box(32 - inside, 4, 42 - inside, 14))], tmp_path / "out")
    assert (0, 0) in chips_of(folder) and bool(chips_of(folder)[0, 0].instances) is kept
    assert len(chips_of(folder)[0, 32].boxes) == 1
    smaller = cut(scene, [("a", pixel_box(32 - inside, 4, 42 - inside, 14))], tmp_path / "all", min_visible=0.1)
    assert len(chips_of(smaller)[0, 0].boxes) == 1


def test_a_cut_object_needs_two_pixels_and_a_whole_one_does_not(scene, tmp_path):
    rows = [("a", pixel_box(31, 4, 33, 14)), ("a", pixel_box(8, 8, 9, 12))]
    chips = chips_of(cut(scene, rows, tmp_path / "out"))
    assert chips[0, 0].boxes.tolist() == [[8, 8, 9, 12]]  # the half of one pixel's width is background
    assert len(chips[0, 32].boxes) == 0


def test_the_later_polygon_wins_and_classes_do_not_hide_each_other(scene, tmp_path):
    rows = [("a", pixel_box(2, 2, 12, 12)), ("a", pixel_box(6, 2, 16, 12)), ("b", pixel_box(4, 4, 8, 8))]
    chip = chips_of(cut(scene, rows, tmp_path / "out"))[0, 0]
    assert chip.boxes.tolist() == [[2, 2, 6, 12], [6, 2, 16, 12], [4, 4, 8, 8]]
    assert chip.labels.tolist() == [1, 1, 2]


def test_vectors_in_another_crs_are_reprojected(scene, tmp_path):
    box = pixel_box(5, 6, 20, 18).buffer(-0.1)  # off the pixel centres, so that rounding cannot matter
    table = geopandas.GeoDataFrame({"type": ["a"]}, geometry=[box], crs="EPSG:26917").to_crs("EPSG:4326")
    table.to_file(tmp_path / "o.geojson")
    folder = chip_scene(scene, tmp_path / "o.geojson", tmp_path / "out", class_field="type", size=32, split="train",
                        progress=False)
    assert chips_of(folder)[0, 0].boxes.tolist() == [[5, 6, 20, 18]]


def test_holes_and_parts_of_one_object(scene, tmp_path):
    ring = pixel_box(2, 2, 12, 12) - pixel_box(5, 5, 9, 9)
    pair = shapely.MultiPolygon([pixel_box(16, 2, 20, 6), pixel_box(24, 2, 28, 6)])
    chip = chips_of(cut(scene, [("a", ring), ("a", pair)], tmp_path / "out"))[0, 0]
    raster = chip.instances["a"]
    assert (raster == 1).sum() == 100 - 16 and (raster == 2).sum() == 32
    assert chip.boxes.tolist() == [[2, 2, 12, 12], [16, 2, 28, 6]]


def test_a_raster_smaller_than_a_chip_is_filled_with_nodata(tmp_path):
    scene = write_scene(tmp_path / "s.tif", np.full((3, 20, 24), 7, np.uint8))
    chip = chips_of(cut(scene, [("a", pixel_box(15, 15, 24, 20))], tmp_path / "out"))[0, 0]
    assert (chip.image[:, :20, :24] == 7).all() and chip.image.sum() == 7 * 3 * 20 * 24
    assert read_info(tmp_path / "out").nodata == 0
    assert chip.boxes.tolist() == [[15, 15, 24, 20]]


def test_chips_without_a_valid_pixel_are_left_out(tmp_path):
    image = np.full((1, 64, 64), -9999, np.float32)
    image[:, :40, :20] = 5.5
    scene = write_scene(tmp_path / "s.tif", image, nodata=-9999)
    folder = cut(scene, [("a", pixel_box(3, 3, 9, 9))], tmp_path / "out")
    assert set(chips_of(folder)) == {(0, 0), (32, 0)}
    assert read_info(folder).mean == [5.5] and read_info(folder).dtype == "float32"


def test_an_alpha_band_becomes_nodata(tmp_path):
    image = np.full((4, 32, 64), 200, np.uint8)
    image[3, :, :30] = 0
    scene = write_scene(tmp_path / "s.tif", image, photometric="RGB", alpha="YES")
    chip = chips_of(cut(scene, [("a", pixel_box(40, 3, 50, 9))], tmp_path / "out"))[0, 0]
    assert chip.image.shape[0] == 3
    assert (chip.image[:, :, :30] == 0).all() and (chip.image[:, :, 30:] == 200).all()
    assert read_info(tmp_path / "out").bands == ["red", "green", "blue"]


def test_integer_heights_become_float32(tmp_path):
    scene = write_scene(tmp_path / "s.tif", np.full((1, 32, 32), -3, np.int16))
    assert chips_of(cut(scene, [("a", pixel_box(4, 3, 9, 9))], tmp_path / "out"))[0, 0].image.dtype == np.float32


def test_the_cell_size_is_told_in_metres(tmp_path):
    image, place = np.ones((1, 32, 32), np.uint8), from_origin(9, 48, 1e-5, 1e-5)
    degrees = write_scene(tmp_path / "d.tif", image, "EPSG:4326", transform=place)
    write_objects(tmp_path / "d.gpkg", [("a", shapely.box(9.0001, 47.9998, 9.0002, 47.9999))], "EPSG:4326")
    info = read_info(cut(degrees, str(tmp_path / "d.gpkg"), tmp_path / "deg"))
    assert info.resolution == pytest.approx(1.11, abs=0.01)
    feet = write_scene(tmp_path / "f.tif", image, "EPSG:2263")
    write_objects(tmp_path / "f.gpkg", [("a", pixel_box(4, 3, 9, 9))], "EPSG:2263")
    info = read_info(cut(feet, str(tmp_path / "f.gpkg"), tmp_path / "feet"))
    assert info.resolution == pytest.approx(0.5 * 0.3048006)


def test_a_rotated_raster_keeps_objects_on_their_pixels(tmp_path):
    turn = rasterio.Affine(0.4, 0.3, LEFT, 0.3, -0.4, TOP)
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 32, 64), np.uint8), transform=turn)
    shape = shapely.transform(shapely.box(35, 5, 45, 20), lambda p: np.array([turn * tuple(q) for q in p]))
    folder = cut(scene, [("a", shape)], tmp_path / "out")
    chip = [c for c in (read_chip(folder, "train", s) for s in image_files(folder, "train")) if len(c.boxes)]
    assert [c.boxes.tolist() for c in chip] == [[[3, 5, 13, 20]]]
    assert tuple(chip[0].transform * (0, 0)) == pytest.approx(tuple(turn * (32, 0)))
    assert read_info(folder).resolution == pytest.approx(0.5)


def test_splits_of_a_rotated_raster_never_touch(tmp_path):
    turn = rasterio.Affine.translation(LEFT, TOP) * rasterio.Affine.rotation(30) * rasterio.Affine.scale(CELL, -CELL)
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 160, 160), np.uint8), transform=turn)
    shape = shapely.transform(shapely.box(5, 5, 20, 20), lambda p: np.array([turn * tuple(q) for q in p]))
    folder = cut(scene, [("a", shape)], tmp_path / "out", size=16, split="spatial")
    ground = {}
    for split in ("train", "val", "test"):
        places = [read_chip(folder, split, stem).transform for stem in image_files(folder, split)]
        ground[split] = shapely.union_all([
            shapely.Polygon([place * corner for corner in ((0, 0), (16, 0), (16, 16), (0, 16))]) for place in places
        ])
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert ground[one].distance(ground[other]) > 1
    chips = [c["chips"] for c in read_info(folder).counts.values()]
    assert sum(chips) > 60  # and no more are dropped than touch


def test_objects_outside_are_counted_and_left_out(scene, tmp_path):
    rows = [("a", pixel_box(4, 3, 9, 9)), ("a", pixel_box(900, 3, 909, 9)), ("a", None)]
    with pytest.warns(UserWarning, match="1 of 2 objects lie outside .*left out"):
        folder = cut(scene, rows, tmp_path / "out")
    recipe = read_info(folder).recipe
    assert recipe["objects_outside"] == 1 and recipe["objects_empty"] == 1


def test_objects_without_a_pixel_are_counted(scene, tmp_path):
    rows = [("a", pixel_box(2, 2, 6, 6)), ("a", pixel_box(1, 1, 8, 8)), ("a", pixel_box(20.6, 20.6, 20.9, 20.9))]
    rows += [("b", pixel_box(2, 2, 6, 6)), ("a", pixel_box(30, 30, 34, 34))]  # another class hides nothing
    info = read_info(cut(scene, rows, tmp_path / "out"))
    assert info.recipe["objects_without_pixel"] == 2 and info.counts["train"]["b"] == 1


def test_a_scene_without_objects_is_legal_where_classes_are_named(scene, objects, tmp_path):
    empty = write_objects(tmp_path / "none.gpkg", [])
    folder = chip_scenes([(scene, empty, "train")], tmp_path / "out", class_field="type", size=32, classes=["a"],
                         progress=False)
    assert read_info(folder).counts == {"train": {"chips": 12, "a": 0}}


# --- splits


@given(st.integers(1, 400), st.integers(1, 400), st.integers(10, 60), st.data())
def test_no_chip_touches_a_chip_of_another_split(height, width, size, data):
    overlap, seed = data.draw(st.integers(0, size - 1).filter(lambda o: size - o > 4)), data.draw(st.integers(0, 99))
    corners = np.array(windows(height, width, size, overlap))
    origin = np.array([data.draw(st.floats(-1e6, 1e6)), data.draw(st.floats(-1e6, 1e6))])
    low = origin + corners * 0.3
    splits = drop_touching(np.hstack([low, low + size * 0.3]), spatial_split(corners, 0.25, 0.25, seed))
    for ours, theirs in (("train", "val"), ("train", "test"), ("val", "test")):
        a, b = corners[splits == ours][:, None], corners[splits == theirs][None]
        assert not (abs(a - b) <= size).all(-1).any()
    before = spatial_split(corners, 0.25, 0.25, seed)
    assert ((splits == "") | (splits == before)).all()
    assert ((splits == "test") == (before == "test")).all()  # test loses nothing
    for lost in np.flatnonzero(splits == ""):  # and nothing is dropped without a reason
        assert ((abs(corners - corners[lost]) <= size).all(1) & (before != before[lost])).any()


@given(st.integers(5, 30), st.integers(5, 30), st.integers(0, 9))
def test_spatial_blocks_are_blocks(rows, cols, seed):
    corners = np.array(windows(rows, cols, 1))
    splits = spatial_split(corners, 0.2, 0.1, seed)
    assert (splits == spatial_split(corners, 0.2, 0.1, seed)).all()
    assert [(splits == s).sum() for s in ("val", "test")] == [round(rows * cols * 0.2), round(rows * cols * 0.1)]
    train, test = corners[splits == "train"], corners[splits == "test"]
    # half planes: a line parts every two splits, so the hull of one holds no chip of another
    hull = shapely.MultiPoint(test).convex_hull.buffer(-1e-9)
    assert not shapely.contains_xy(hull, *train.T).any()


def test_seeds_move_the_blocks():
    corners = windows(20, 20, 1)
    assert len({tuple(spatial_split(corners, 0.2, 0.2, seed)) for seed in range(5)}) == 5


def test_scenes_that_touch_lose_their_border_chips(tmp_path):
    image = np.ones((1, 64, 96), np.uint8)
    west = write_scene(tmp_path / "w.tif", image)
    east = write_scene(tmp_path / "e.tif", image, transform=from_origin(LEFT + 96 * CELL, TOP, CELL, CELL))
    left = write_objects(tmp_path / "w.gpkg", [("a", pixel_box(2, 2, 9, 9))])
    right = write_objects(tmp_path / "e.gpkg", [("a", pixel_box(160, 2, 170, 9))])
    folder = chip_scenes([(west, left, "train"), (east, right, "val")], tmp_path / "out", class_field="type", size=32,
                         progress=False)
    assert {s: c["chips"] for s, c in read_info(folder).counts.items()} == {"train": 4, "val": 6}
    assert read_info(folder).recipe["chips_dropped_between_splits"] == 2


def test_a_spatial_split_on_disk(tmp_path):
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 160, 160), np.uint8))
    folder = cut(scene, [("a", pixel_box(2, 2, 158, 158))], tmp_path / "out", size=16, split="spatial", min_visible=0)
    counts = read_info(folder).counts
    assert counts["val"]["chips"] == counts["test"]["chips"] == 20 and 30 < counts["train"]["chips"] < 60
    assert sum(c["chips"] for c in counts.values()) + read_info(folder).recipe["chips_dropped_between_splits"] == 100
    places = {s: np.array(list(chips_of(folder, s))) for s in counts}
    for other in ("val", "test"):
        assert not (abs(places["train"][:, None] - places[other][None]) <= 16).all(-1).any()


def test_a_scene_too_small_to_split_is_refused(scene, objects, tmp_path):
    with pytest.raises(ChipError, match="no train chip is left.*smaller chips"):
        chip_scene(scene, objects, tmp_path / "out", class_field="type", size=64, progress=False)
    assert not (tmp_path / "out").exists()


# --- the data folder


def test_find_takes_whole_folders_only(chip_folder, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(chip_folder.parent))
    assert data_root() == chip_folder.parent
    assert find("tiny") == chip_folder
    assert find("absent") is None
    next((chip_folder / "train/images").iterdir()).unlink()
    assert find("tiny") is None
    (chip_folder / "dataset.json").unlink()
    assert find("tiny") is None


def test_make_names_what_it_can_make(monkeypatch, chip_folder):
    monkeypatch.setenv("GEODL_DATA", str(chip_folder.parent))
    assert make("tiny") == chip_folder
    with pytest.raises(ValueError, match="no data set 'atlantis' is known. Choose one of towns, neon_trees"):
        make("atlantis")


def test_nan_as_nodata(tmp_path):
    image = np.full((1, 32, 32), 2.0, np.float32)
    image[0, :4] = math.nan
    scene = write_scene(tmp_path / "s.tif", image, nodata=math.nan)
    folder = cut(scene, [("a", pixel_box(4, 8, 9, 12))], tmp_path / "out")
    assert math.isnan(read_info(folder).nodata) and read_info(folder).mean == [2.0]
    validate(folder)


def test_each_split_may_have_its_own_overlap(scene, tmp_path):
    rows = [("a", pixel_box(2, 3, 12, 10))]
    layer = write_objects(tmp_path / "o.gpkg", rows)
    far = write_scene(tmp_path / "far.tif", np.ones((3, 96, 128), np.uint8), transform=from_origin(0, 0, CELL, CELL))
    near = write_objects(tmp_path / "far.gpkg", [("a", shapely.box(1, -5, 6, -1))])
    folder = chip_scenes(
        [(scene, layer, "train"), (far, near, "val")], tmp_path / "out", class_field="type", size=32,
        overlap={"train": 16}, progress=False,
    )  # fmt: skip
    counts = read_info(folder).counts
    assert counts["train"]["chips"] == 7 * 5 and counts["val"]["chips"] == 4 * 3
    with pytest.raises(ChipError, match="a scene that is split has one overlap"):
        chip_scene(scene, layer, tmp_path / "no", class_field="type", size=32, overlap={"train": 16}, progress=False)
