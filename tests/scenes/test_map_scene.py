"""Whole scenes with a model that cannot err: whatever is wrong on the map then came from windows, edges or merging."""

import json
import os
import signal
import sqlite3
from concurrent.futures import ProcessPoolExecutor

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from blobs import Blobs, apart, checkpoint, patches, write
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from geodl_course import scenes
from geodl_course.scenes import run
from geodl_course.scenes.reading import corners, open_scene, read_window

SMALL = {"size": 64, "overlap": 16, "batch_size": 4, "progress": False}


@pytest.fixture(autouse=True, params=["boxes", "masks"])
def kind(request, monkeypatch):
    monkeypatch.setattr(run, "model_of", lambda *which: Blobs(request.param == "masks"))
    return request.param


def in_pixels(layer, cell=0.5):
    """Bounds of a layer's objects in pixels of the scene, sorted."""
    bounds = layer.geometry.bounds.to_numpy()
    x0, x1 = (bounds[:, [0, 2]].T - 500000) / cell
    y1, y0 = (4300000 - bounds[:, [1, 3]].T) / cell
    return sorted(map(tuple, np.stack([x0, y0, x1, y1], 1).round(6).tolist()))


@given(seed=st.integers(0, 10**6), height=st.integers(1, 200), width=st.integers(1, 200), overlap=st.integers(3, 31))
@settings(max_examples=40)
def test_every_object_is_on_the_map_once_and_whole(tmp_path_factory, seed, height, width, overlap):
    folder = tmp_path_factory.mktemp("scene")
    boxes = apart(np.random.default_rng(seed), height, width)
    path = write(folder / "scene.tif", patches(height, width, boxes))
    layer = scenes.map_scene(path, checkpoint(folder / "model"), **SMALL | {"overlap": overlap})
    assert in_pixels(layer) == sorted(boxes)
    assert layer.crs == "EPSG:26917" and list(layer["id"]) == list(range(1, len(boxes) + 1))
    assert np.allclose(layer["area_m2"], shapely.area(layer.geometry.to_numpy()))


def test_objects_longer_than_many_windows_become_one(tmp_path):
    boxes = [(5, 50, 395, 58), (100, 70, 110, 290)]
    path = write(tmp_path / "scene.tif", patches(300, 400, boxes))
    assert in_pixels(scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)) == sorted(boxes)


def test_the_three_ways_differ_on_a_building_that_an_edge_cuts(tmp_path):
    large, small = (40, 20, 80, 40), (52, 50, 60, 60)  # windows at 0 and 48, cores meet at 56
    path, model = write(tmp_path / "scene.tif", patches(64, 112, [large, small])), checkpoint(tmp_path / "model")
    found = {way: in_pixels(scenes.map_scene(path, model, merge=way, **SMALL)) for way in run.MERGE}
    pieces = [(40, 20, 64, 40), (48, 20, 80, 40)]  # their IoU is 16 / 40, and each is centred in its core
    assert found[None] == [*pieces, small, small]
    assert found["nms"] == found["core"] == [*pieces, small]
    assert found["parts"] == [large, small]


def test_nodata_and_empty_scenes(tmp_path):
    image = patches(100, 150, [(10, 10, 30, 30)])
    image[:, 80:] = 255
    model = checkpoint(tmp_path / "model")
    layer = scenes.map_scene(write(tmp_path / "scene.tif", image, nodata=255), model, **SMALL)
    assert in_pixels(layer) == [(10, 10, 30, 30)] and layer.attrs["windows_with_data"] == 4 < layer.attrs["windows"]
    path = write(tmp_path / "none.tif", np.zeros((70, 70), np.uint8), nodata=0)
    empty = scenes.map_scene(path, model, tmp_path / "none.gpkg", **SMALL)
    assert len(empty) == 0 and empty.attrs["windows_with_data"] == 0
    again = geopandas.read_file(tmp_path / "none.gpkg")
    assert len(again) == 0 and list(again.columns) == list(layer.columns) and again.crs == "EPSG:26917"


def test_floats_without_numbers_are_no_data(tmp_path):
    image = patches(80, 80, [(10, 10, 30, 30), (50, 50, 60, 60)]).astype(np.float32)
    image[45:, 45:], image[0, 0] = np.nan, np.inf
    layer = scenes.map_scene(write(tmp_path / "scene.tif", image), checkpoint(tmp_path / "model"), **SMALL)
    assert in_pixels(layer) == [(10, 10, 30, 30)]


def test_a_finer_scene_is_read_at_the_models_resolution(tmp_path):
    boxes = [(10, 10, 30, 30), (58, 20, 70, 50)]
    fine = np.kron(patches(90, 120, boxes), np.ones((2, 2), np.uint8))
    layer = scenes.map_scene(write(tmp_path / "scene.tif", fine, cell=0.25), checkpoint(tmp_path / "model"), **SMALL)
    assert in_pixels(layer) == boxes


def test_cells_that_are_no_squares_are_brought_to_the_models(tmp_path):
    boxes = [(10, 10, 30, 30), (58, 20, 70, 50)]
    flat = np.kron(patches(90, 120, boxes), np.ones((2, 1), np.uint8))  # 0.5 m wide, 0.25 m high
    path = write(tmp_path / "scene.tif", flat, transform=Affine(0.5, 0, 500000, 0, -0.25, 4300000))
    assert in_pixels(scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)) == boxes


def test_coco_speaks_of_the_files_pixels(tmp_path):
    fine = np.kron(patches(90, 120, [(10, 10, 30, 34)]), np.ones((2, 2), np.uint8))
    path = write(tmp_path / "scene.tif", fine, cell=0.25)
    scenes.map_scene(path, checkpoint(tmp_path / "model"), tmp_path / "map.json", **SMALL)
    stored = json.loads((tmp_path / "map.json").read_text("utf-8"))
    assert (stored["images"][0]["width"], stored["images"][0]["height"]) == (240, 180)
    assert stored["annotations"][0]["bbox"] == pytest.approx([20, 20, 40, 48])


def test_a_rotated_scene_is_mapped_as_it_lies(tmp_path):
    turned = Affine.translation(500000, 4300000) * Affine.rotation(30) * Affine.scale(0.5, -0.5)
    path = write(tmp_path / "scene.tif", patches(80, 80, [(10, 20, 30, 30)]), transform=turned)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)
    corners_on_map = [turned * corner for corner in ((10, 20), (30, 20), (30, 30), (10, 30))]
    assert layer.geometry[0].equals_exact(shapely.normalize(shapely.Polygon(corners_on_map)), 1e-6)
    assert layer["area_m2"][0] == pytest.approx(20 * 10 * 0.25) and layer["perimeter_m"][0] == pytest.approx(30)


def test_feet_become_metres(tmp_path):
    path = write(tmp_path / "scene.tif", patches(80, 80, [(10, 20, 30, 30)]), cell=0.5 / 0.3048006096, crs="EPSG:2263")
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)
    assert layer["area_m2"][0] == pytest.approx(50) and layer["perimeter_m"][0] == pytest.approx(30)


def test_outputs_say_the_same(tmp_path):
    boxes = [(40, 20, 80, 40), (5, 5, 12, 15)]
    path, model = write(tmp_path / "scene.tif", patches(64, 112, boxes)), checkpoint(tmp_path / "model")
    layer = scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    with sqlite3.connect(tmp_path / "map.gpkg") as base:
        assert base.execute("select count(*) from objects").fetchone() == (2,)
    again = geopandas.read_file(tmp_path / "map.gpkg")
    assert in_pixels(again) == in_pixels(layer) == sorted(boxes) and list(again["class"]) == ["building"] * 2
    scenes.map_scene(path, model, tmp_path / "map.geojson", **SMALL)
    degrees = geopandas.read_file(tmp_path / "map.geojson")
    back = degrees.to_crs("EPSG:26917").bounds  # GeoJSON has 7 decimals of a degree, 1 cm
    assert degrees.crs == "EPSG:4326" and np.allclose(back, layer.bounds, rtol=0, atol=0.02)
    scenes.map_scene(path, model, tmp_path / "map.json", **SMALL)
    from pycocotools.coco import COCO

    coco = COCO(str(tmp_path / "map.json"))
    assert sorted(tuple(one["bbox"]) for one in coco.anns.values()) == [(5, 5, 7, 10), (40, 20, 40, 20)]
    assert sorted(int(coco.annToMask(one).sum()) for one in coco.anns.values()) == [70, 800]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "map.geojson", "map.gpkg", "map.json", "map.qml", "model", "scene.tif"]  # fmt: skip


def test_an_interrupted_run_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    boxes = apart(np.random.default_rng(1), 300, 300)
    path, model = write(tmp_path / "scene.tif", patches(300, 300, boxes)), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 1)
    done, do_block = [], run.do_block

    def twice(job, at, told):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(at)
        return do_block(job, at, told)

    monkeypatch.setattr(run, "do_block", twice)
    with pytest.raises(KeyboardInterrupt):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert not (tmp_path / "map.gpkg").exists() and (tmp_path / "map.gpkg.parts").is_dir()
    monkeypatch.setattr(run, "do_block", lambda job, at, told: done.append(at) or do_block(job, at, told))
    with pytest.raises(ValueError, match="another size"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL | {"size": 96})
    layer = scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert in_pixels(layer) == sorted(boxes) and len(done) == len(set(map(tuple, done))) > 2
    assert not (tmp_path / "map.gpkg.parts").exists()


def test_unreadable_windows_are_reported_and_the_rest_is_done(tmp_path, monkeypatch):
    boxes = [(10, 10, 20, 20), (150, 10, 160, 20)]
    path = write(tmp_path / "scene.tif", patches(64, 160, boxes), tiled=True, blockxsize=64, blockysize=64,
                 compress="deflate")
    with rasterio.open(path) as source:
        offset, count = (int(source.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", 1)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)
    assert in_pixels(layer) == [(150, 10, 160, 20)]
    assert [one["bounds"][0] for one in layer.attrs["failed"]] == [500000, 500000 + 24]  # windows at 0 and 48


class Deadly:
    """An executor whose first task kills the process that does it."""

    def __init__(self, executor):
        self.executor, self.first = executor, True

    def submit(self, work, *arguments):
        first, self.first = self.first, False
        return self.executor.submit(die if first else work, *arguments)


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_costs_nothing(tmp_path, monkeypatch):
    boxes = apart(np.random.default_rng(3), 260, 260)
    path, model = write(tmp_path / "scene.tif", patches(260, 260, boxes)), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 1)
    with ProcessPoolExecutor(2) as executor:
        assert in_pixels(scenes.map_scene(path, model, executor=Deadly(executor), **SMALL)) == sorted(boxes)


@pytest.mark.parametrize("kind", ["masks"], indirect=True)  # workers take seconds to start
def test_a_cluster_gives_the_same_and_outlives_a_killed_worker(tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    boxes = apart(np.random.default_rng(4), 260, 260)
    path, model = write(tmp_path / "scene.tif", patches(260, 260, boxes)), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 1)
    alone = scenes.map_scene(path, model, **SMALL)
    monkeypatch.setattr(run, "do_block", KillOnce(str(tmp_path / "killed")))
    with LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            layer = scenes.map_scene(path, model, executor=client.get_executor(), **SMALL)
    assert (tmp_path / "killed").exists() and layer.equals(alone)


class KillOnce:
    """do_block that kills the first process that calls it; in the others it takes the model that cannot err there."""

    def __init__(self, mark):
        self.mark = mark

    def __call__(self, job, at, *told):
        from geodl_course.scenes import run as there

        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            there.model_of = lambda *which: Blobs(True)
            return there.do_block(job, at, *told)
        die()


def test_windows_overlap_and_end_at_the_edge(tmp_path):
    data = {"bands": ["red"], "resolution": 0.5}
    scene = open_scene(write(tmp_path / "scene.tif", np.ones((100, 70), np.uint8)), data)
    assert corners(scene, 64, 16) == [(0, 0), (0, 6), (36, 0), (36, 6)]
    with rasterio.open(scene.path) as source:
        pixels, valid = read_window(source, scene, (36, 6), 64)
        assert valid.all() and pixels.min() == 1
        valid = read_window(source, scene, (90, 60), 64)[1]
    assert valid.sum() == 100 and valid[:10, :10].all()


@pytest.mark.parametrize(("change", "message"), [
    ({"crs": None}, "has no CRS.*rio edit-info"),
    ({"crs": "EPSG:4326"}, "is in degrees.*rio warp"),
])  # fmt: skip
def test_scenes_without_metres_are_refused(tmp_path, change, message):
    path = write(tmp_path / "scene.tif", np.ones((70, 70), np.uint8), **change)
    with pytest.raises(ValueError, match=message):
        scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)


def test_other_bands_are_refused_and_named_ones_found(tmp_path):
    image = np.stack([np.zeros((70, 70), np.uint8), patches(70, 70, [(10, 10, 20, 20)])])
    path, model = write(tmp_path / "scene.tif", image), checkpoint(tmp_path / "model")
    with pytest.raises(ValueError, match=r"has 2 bands \(without names\).*takes red.*bands="):
        scenes.map_scene(path, model, **SMALL)
    with pytest.raises(ValueError, match=r"bands \[3\].*has bands 1 to 2"):
        scenes.map_scene(path, model, bands=[3], **SMALL)
    assert len(scenes.map_scene(path, model, bands=[2], **SMALL)) == 1
    with rasterio.open(path, "r+") as source:
        source.descriptions = ["nir", "Red"]
    assert len(scenes.map_scene(path, model, **SMALL)) == 1


def test_bad_outputs_and_models_are_refused_before_any_work(tmp_path):
    path, model = write(tmp_path / "scene.tif", np.ones((70, 70), np.uint8)), checkpoint(tmp_path / "model")
    for out, message in ((tmp_path / "map.shp", "can be written as .gpkg, .geojson, .json"),
                         (tmp_path / "none" / "map.gpkg", "no folder")):
        with pytest.raises(ValueError, match=message):
            scenes.map_scene(path, model, out, **SMALL)
    with pytest.raises(ValueError, match="merge 'best'"):
        scenes.map_scene(path, model, merge="best", **SMALL)
    with pytest.raises(ValueError, match="cannot be read as a raster"):
        scenes.map_scene(tmp_path / "no.tif", model, **SMALL)
    (model / "model.json").write_text('{"model": "blobs"}')
    with pytest.raises(ValueError, match="does not say which images"):
        scenes.map_scene(path, model, **SMALL)
    with pytest.raises(ValueError, match="info=train.info"):
        scenes.map_scene(path, Blobs(False), **SMALL)
