"""Scenes and disks as they should not be: each has a stated rule or one clear error, and nothing is left half done."""

import contextlib
import json
import os
import resource

import geopandas
import numpy as np
import pytest
import rasterio
from blobs import Blobs, apart, checkpoint, patches, write
from rasterio.transform import Affine

from geodl_course import scenes
from geodl_course.scenes import run
from geodl_course.scenes.output import COLUMNS, WRITERS, write_layer
from geodl_course.scenes.reading import open_scene

SMALL = {"size": 64, "overlap": 16, "batch_size": 4, "progress": False}


@pytest.fixture(autouse=True, params=["boxes", "masks"])
def kind(request, monkeypatch):
    monkeypatch.setattr(run, "model_of", lambda *which: Blobs(request.param == "masks"))


@contextlib.contextmanager
def disk_of(size):
    """No file may grow over size bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (20, 30)])
@pytest.mark.parametrize("value", [0, 200])
def test_scenes_smaller_than_a_window(tmp_path, shape, value):
    path = write(tmp_path / "scene.tif", np.full(shape, value, np.uint8))
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), tmp_path / "map.gpkg", **SMALL)
    assert layer["area_m2"].tolist() == ([shape[0] * shape[1] * 0.25] if value else [])
    assert tuple(layer.total_bounds) == (500000, 4300000 - shape[0] / 2, 500000 + shape[1] / 2, 4300000) or not value


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("nodata", [None, 0])
def test_nothing_found_is_an_empty_layer_of_the_same_columns(tmp_path, ending, nodata):
    path = write(tmp_path / "scene.tif", np.zeros((70, 90), np.uint8), nodata=nodata)
    out = tmp_path / f"map{ending}"
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model", classes=["building", "tank"]), out, **SMALL)
    assert list(layer.columns) == [*COLUMNS, "geometry"] and len(layer) == 0 and layer.crs == "EPSG:26917"
    assert layer.attrs["windows_with_data"] == (0 if nodata == 0 else 4) and not layer.attrs["failed"]
    if ending == ".tif":
        with rasterio.open(out) as found:
            assert np.isnan(found.read()).all() if nodata == 0 else (found.read() == 0).all()
    elif ending == ".json":
        held = json.loads(out.read_text())
        assert held["annotations"] == [] and [one["name"] for one in held["categories"]] == ["building", "tank"]
        assert held["images"][0]["width"] == 90 and held["images"][0]["height"] == 70
    else:
        again = geopandas.read_file(out)
        assert len(again) == 0 and again.crs == ("EPSG:26917" if ending == ".gpkg" else "EPSG:4326")
        if ending == ".gpkg":  # GeoJSON has columns only where it has features
            assert list(again.columns) == [*COLUMNS, "geometry"]
            assert again.dtypes.astype(str).to_dict() | {"class": "", "geometry": ""} == {
                "id": "int64", "class": "", "score": "float64", "area_m2": "float64", "perimeter_m": "float64",
                "cut": "bool", "geometry": ""}  # fmt: skip


@pytest.mark.parametrize("nodata", [None, -9999.0, np.nan])
def test_floats_with_nan_and_inf(tmp_path, nodata):
    image = patches(80, 80, [(10, 10, 30, 30), (50, 50, 60, 60)]).astype(np.float32)
    image[45:, 45:], image[0, 0], image[1, 1], image[2, :9] = np.nan, np.inf, -np.inf, nodata or 0
    path = write(tmp_path / "scene.tif", image, nodata=nodata)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)
    assert layer["area_m2"].tolist() == [100]


def test_a_shadow_that_is_0_in_one_band_is_data(tmp_path):
    image = np.stack([patches(64, 64, [(0, 0, 64, 64)]), np.zeros((64, 64), np.uint8)])
    image[:, :10] = 0
    path = write(tmp_path / "scene.tif", image, nodata=0)
    model = checkpoint(tmp_path / "model", bands=["red", "nir"], mean=[0.0] * 2, std=[1.0] * 2)
    assert scenes.map_scene(path, model, **SMALL)["area_m2"].tolist() == [54 * 64 * 0.25]


def test_a_coarser_scene_is_interpolated_to_the_models_resolution(tmp_path):
    path = write(tmp_path / "scene.tif", patches(60, 80, [(10, 20, 30, 30)]) // 250 + 0, cell=1.0)
    assert open_scene(path, {"bands": ["red"], "resolution": 0.5}).width == 160
    path = write(tmp_path / "scene.tif", patches(60, 80, [(10, 20, 30, 30)]), cell=1.0)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL, score=0)
    assert len(layer) == 1 and layer.total_bounds == pytest.approx([500010, 4299970, 500030, 4299980], abs=1)


@pytest.mark.parametrize(("turn", "area"), [
    (Affine.rotation(30) * Affine.scale(0.5, -0.5), 50),
    (Affine.scale(0.5, 0.5), 50),  # the first row is the southern one
    (Affine.shear(20) * Affine.scale(0.5, -0.5), 50),
])  # fmt: skip
def test_scenes_that_lie_otherwise(tmp_path, turn, area):
    place = Affine.translation(500000, 4300000) * turn
    path = write(tmp_path / "scene.tif", patches(80, 150, [(10, 20, 30, 30), (0, 0, 4, 4)]), transform=place)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), tmp_path / "map.gpkg", **SMALL)
    again = geopandas.read_file(tmp_path / "map.gpkg")
    assert sorted(again["area_m2"]) == pytest.approx([4, area]) == sorted(again.area) == sorted(layer.area)
    corner = place * (30, 30)
    assert again.distance(geopandas.points_from_xy(*zip(corner))[0]).min() < 1e-6


def test_unreadable_windows_are_told_with_their_bounds_and_have_no_scores(tmp_path):
    path = write(tmp_path / "scene.tif", patches(64, 160, [(150, 10, 160, 20)]), tiled=True, blockxsize=64,
                 blockysize=64, compress="deflate")  # fmt: skip
    with rasterio.open(path) as source:
        offset, count = (int(source.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", 1)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), tmp_path / "map.tif", **SMALL)
    assert [one["bounds"] for one in layer.attrs["failed"]] == [
        (500000, 4300000 - 32, 500032, 4300000), (500024, 4300000 - 32, 500056, 4300000)]  # fmt: skip
    assert all(one["why"] for one in layer.attrs["failed"]) and len(layer) == 1


@pytest.mark.parametrize(("ending", "size"), [(".gpkg", 50_000), (".gpkg", 100_000), (".geojson", 2000),
                                              (".json", 2000), (".tif", 500), (".tif", 3000)])  # fmt: skip
def test_a_full_disk_is_one_error_and_the_old_map_stays(tmp_path, ending, size):
    boxes = apart(np.random.default_rng(0), 1200, 1200, most=600, largest=25)
    path, out = write(tmp_path / "scene.tif", patches(1200, 1200, boxes)), tmp_path / f"map{ending}"
    layer = scenes.map_scene(path, checkpoint(tmp_path / "model"), **SMALL)
    out.write_bytes(b"the old one")
    scene = open_scene(path, {"bands": ["red"], "resolution": 0.5})
    before = sorted(tmp_path.iterdir())
    with disk_of(size), pytest.raises(OSError, match=f"map{ending} could not be written whole: free some space"):
        write_layer(layer, out, ["building"], scene)
    assert out.read_bytes() == b"the old one" and sorted(tmp_path.iterdir()) == before
    write_layer(layer, out, ["building"], scene)
    assert out.stat().st_size > size


def test_what_was_found_before_the_disk_was_full_is_kept(tmp_path, monkeypatch):
    boxes = apart(np.random.default_rng(1), 300, 300)
    path, model = write(tmp_path / "scene.tif", patches(300, 300, boxes)), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 2)
    with disk_of(60_000), pytest.raises(OSError, match="free some space"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert not (tmp_path / "map.gpkg").exists() and list((tmp_path / "map.gpkg.parts").glob("*.npz"))
    monkeypatch.setattr(run, "do_block", lambda *job: pytest.fail("this was done before"))
    layer = scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert len(layer) == len(boxes) and not (tmp_path / "map.gpkg.parts").exists()


def test_a_disk_that_is_full_from_the_start(tmp_path):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    before = sorted(tmp_path.iterdir())
    with disk_of(100), pytest.raises(OSError):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_cannot_be(tmp_path, monkeypatch):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    (tmp_path / "folder.gpkg").mkdir()
    before = sorted(tmp_path.iterdir())
    for out, words in ((tmp_path / "folder.gpkg", "is a folder or may not be replaced"), (path, "is the scene itself"),
                       (tmp_path / "map", "can be written as .gpkg, .geojson, .json, .tif"),
                       (tmp_path / "map.GPKG", "can be written as")):
        with pytest.raises(ValueError, match=words):
            scenes.map_scene(path, model, out, **SMALL)
    monkeypatch.setattr(os, "access", lambda place, how: place != tmp_path)  # chmod does not keep root out
    with pytest.raises(ValueError, match="is no folder that can be written to"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("ending", WRITERS)
def test_an_older_map_is_replaced(tmp_path, ending):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    out = tmp_path / f"map{ending}"
    out.write_bytes(b"no map at all")
    scenes.map_scene(path, model, out, **SMALL)
    assert out.stat().st_size > 100 and not list(tmp_path.glob("*part*"))


def test_progress_counts_windows_and_tells_the_time_left(tmp_path, monkeypatch, capsys):
    path, model = write(tmp_path / "scene.tif", patches(300, 300, [])), checkpoint(tmp_path / "model")
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    counted = []
    bar = run.results

    def watch(job, blocks, executor, told):
        return bar(job, blocks, executor, lambda number: counted.append(number) or told(number))

    monkeypatch.setattr(run, "results", watch)
    layer = scenes.map_scene(path, model, **SMALL | {"progress": True})
    shown = capsys.readouterr().err
    assert sum(counted) == layer.attrs["windows"] == 36 and counted[0] == 4
    assert "36/36" in shown and "<" in shown and "windows/s" in shown  # passed < left
