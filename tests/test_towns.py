"""The generated towns: exact labels, one sun, honest splits, and the same bytes for the same seed."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import shapely
import shapely.affinity

from geodl_course.chips import ChipError
from geodl_course.datasets import generated
from geodl_course.datasets.towns import CLASSES, make_scene, make_towns, write_scene

SIZE = 1024


@pytest.fixture(scope="module")
def scene():
    return make_scene(3, size=SIZE)


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "towns_scenes").mkdir()
    (folder / "towns_scenes/scene_7.tif").write_text("of an earlier run")
    return make_towns(folder / "towns", scenes=3, seed=1, extent=SIZE, progress=False)


def shapes(scene, kind):
    return np.array([shape for name, shape in scene.objects if name == kind], dtype=object)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_seed_same_bytes_and_another_seed_another_town(tmp_path):
    files = []
    for name, seed in (("a", 5), ("b", 5)):
        (tmp_path / name).mkdir()
        files.append([digest(path) for path in write_scene(tmp_path / name, seed, size=512)])
    assert files[0] == files[1]
    one, other = (make_scene(seed, size=512) for seed in (5, 6))
    assert (one.image != other.image).mean() > 0.9
    assert [shape.wkt for _, shape in one.objects] != [shape.wkt for _, shape in other.objects]


def test_image_is_an_eight_bit_picture_with_contrast_in_every_band(scene):
    assert scene.image.shape == (3, SIZE, SIZE) and scene.image.dtype == np.uint8
    assert (scene.image.std((1, 2)) > 15).all()
    assert ((scene.image == 0) | (scene.image == 255)).mean() < 0.02  # the exposure keeps both ends


def test_objects_lie_inside_and_never_on_each_other(scene):
    everything = np.array([shape for _, shape in scene.objects], dtype=object)
    assert {name for name, _ in scene.objects} == set(CLASSES)
    assert shapely.is_valid(everything).all()
    assert shapely.contains(shapely.box(0, 0, SIZE, SIZE), everything).all()
    one, other = shapely.STRtree(everything).query(everything, predicate="intersects")
    one, other = one[one < other], other[one < other]
    assert shapely.area(shapely.intersection(everything[one], everything[other])).max(initial=0) < 1e-6


def test_some_houses_touch_along_a_shared_wall_and_keep_their_own_id(scene):
    houses = shapes(scene, "building")
    one, other = shapely.STRtree(houses).query(houses, predicate="intersects")
    shared = shapely.length(shapely.intersection(houses[one[one < other]], houses[other[one < other]]))
    assert (shared > 15).sum() >= 5


def test_buildings_are_turned_and_some_have_wings(scene):
    houses = shapes(scene, "building")
    corners = np.array([len(shape.exterior.coords) - 1 for shape in houses])
    edges = np.array([np.subtract(*np.array(shape.exterior.coords)[:2]) for shape in houses])
    turned = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
    assert (corners > 4).sum() >= 3
    assert ((turned > 5) & (turned < 85)).mean() > 0.5


def test_a_vehicle_is_at_least_five_cells_wide(scene):
    sides = []
    for shape in shapes(scene, "vehicle"):
        ring = np.array(shape.exterior.coords)
        sides.append(sorted(np.hypot(*np.diff(ring[:3], axis=0).T)))
    sides = np.array(sides)
    assert sides[:, 0].min() >= 5
    assert (sides[:, 1] > 25).any() and (sides[:, 1] < 13).any()  # buses or trucks, and cars


@pytest.mark.parametrize("kind", CLASSES)
def test_outlines_follow_the_edges_in_the_picture(scene, kind):
    """Brightness changes more across a polygon's outline than across the same outline moved by three pixels."""
    from rasterio.features import rasterize

    grey = scene.image.mean(0)
    edges = np.hypot(*np.gradient(grey))

    def strength(dx, dy):
        moved = [shapely.affinity.translate(shape.exterior, dx, dy) for shape in shapes(scene, kind)]
        return edges[rasterize(moved, (SIZE, SIZE), all_touched=True) > 0].mean()

    away = [strength(dx, dy) for dx, dy in ((3, 0), (-3, 0), (0, 3), (0, -3))]
    assert strength(0, 0) > 1.05 * max(away)


@pytest.mark.parametrize("seed", [3, 4])
def test_shadows_fall_away_from_the_sun(seed):
    """Beside a tank that nothing shades, the ground is darker on the side away from the sun than towards it."""
    scene = make_scene(seed, size=SIZE)
    grey = scene.image.mean(0)
    towards = scene.sun[:2] / np.hypot(*scene.sun[:2])
    solids = shapely.STRtree([shape for kind, shape in scene.objects if kind != "vehicle"])
    darker = []
    for tank in shapes(scene, "tank"):
        centre, radius = np.array(tank.centroid.coords[0]), np.sqrt(tank.area / np.pi)
        shadow, lit = (centre + side * (radius + 4) * towards for side in (-1, 1))
        view = shapely.LineString([shadow, centre + (radius + 60) * towards]).buffer(4)
        alone = len(solids.query(view, predicate="intersects")) == 1
        if alone and shapely.box(0, 0, SIZE - 1, SIZE - 1).contains(shapely.MultiPoint([shadow, lit])):
            dark, bright = (grey[int(y), int(x)] for x, y in (shadow, lit))
            darker.append(dark < 0.8 * bright)
    assert len(darker) > 10 and np.mean(darker) > 0.9
    assert towards[1] > 0.3  # the sun stands in the south


def test_files_say_where_they_are_and_what_they_hold(tmp_path):
    import geopandas
    import rasterio

    image, objects = write_scene(tmp_path, 7, size=512)
    table = geopandas.read_file(objects)
    with rasterio.open(image) as raster:
        assert raster.crs.to_epsg() == table.crs.to_epsg() == 26917
        assert raster.res == (0.4, 0.4) and raster.descriptions == ("red", "green", "blue")
        assert shapely.contains(shapely.box(*raster.bounds), table.geometry.values).all()
    assert list(table.columns) == ["id", "type", "geometry"]
    assert table["id"].is_unique and set(table["type"]) <= set(CLASSES)


def test_chips_of_every_split_hold_every_class(towns):
    from geodl_course.chips import read_info, validate

    info = read_info(towns)
    validate(towns)
    assert info.classes == CLASSES and info.chip_size == 128 and info.resolution == pytest.approx(0.4)
    assert set(info.counts) == {"train", "val", "test"}
    for counts in info.counts.values():
        assert counts["chips"] == (SIZE // 128) ** 2
        assert all(counts[name] >= 5 for name in CLASSES)


def test_making_refuses_to_overwrite_and_to_share_ground_between_splits(towns, tmp_path):
    with pytest.raises(ValueError, match="exists already"):
        make_towns(towns, scenes=3, extent=512)
    with pytest.raises(ValueError, match="at least 3 scenes"):
        make_towns(tmp_path / "few", scenes=2)


def test_scenes_of_an_earlier_run_give_way_and_nobody_elses(towns, tmp_path):
    assert sorted(p.name for p in towns.with_name("towns_scenes").glob("*.tif")) == [f"scene_{i}.tif" for i in range(3)]
    (tmp_path / "my_scenes").mkdir()
    (tmp_path / "my_scenes/flight.tif").write_text("years of work")
    with pytest.raises(ChipError, match="my_scenes is needed .* holds flight.tif.* Rename"):
        make_towns(tmp_path / "my", scenes=3, extent=512)
    assert [p.name for p in tmp_path.rglob("*")] == ["my_scenes", "flight.tif"]


@pytest.mark.parametrize("fits", [1, 9])  # full while the second file of a scene is written, and while chips are
def test_a_full_disk_leaves_no_town(tmp_path, monkeypatch, fits):
    written, real = [], Path.write_bytes

    def write_bytes(path, data):
        written.append(path)
        if len(written) > fits:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(generated, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    with pytest.raises(ChipError, match="disk is full, so nothing was kept. Free some space"):
        make_towns(tmp_path / "towns", scenes=3, extent=512, progress=False)
    assert list(tmp_path.iterdir()) == []


def words_of(process):
    """The command line of a process; "" when it has ended, though nobody may have asked for its exit code yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_workers_end_with_a_killed_parent(tmp_path):
    command = f"from geodl_course.datasets.towns import make_towns; make_towns({str(tmp_path / 'towns')!r})"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", command], env=env) as parent:
        workers, patience = [], time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < patience:
            time.sleep(0.1)
            workers = [p for p in psutil.Process(parent.pid).children() if "spawn_main" in words_of(p)]
        parent.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    while any(words_of(p) for p in workers) and time.monotonic() < patience:
        time.sleep(0.1)
    assert not any(words_of(p) for p in workers)
