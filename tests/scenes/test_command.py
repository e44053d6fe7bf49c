"""data_scripts/map_scene.py with a real model, as a shell calls it."""

import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from blobs import write

from geodl_course.chips import DatasetInfo
from geodl_course.models.unet_id import unet
from geodl_course.training import save_model

SCRIPT = Path(__file__).parents[2] / "data_scripts" / "map_scene.py"


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    info = DatasetInfo("tiny", ["building"], ["red"], "uint8", 64, 0.5, "EPSG:26917", mean=[0.0], std=[1.0])
    return save_model(unet(bands=1, base=4, instances={"smallest": 1}).eval(), tmp_path / "model", info)


def call(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_a_scene_becomes_a_layer(tmp_path, trained):
    path = write(tmp_path / "scene.tif", np.random.default_rng(0).integers(0, 255, (100, 120), dtype=np.uint8))
    done = call(path, tmp_path / "map.gpkg", "--model", trained, "--size", 64, "--overlap", 16, "--score", 0)
    assert done.returncode == 0 and f"{tmp_path / 'map.gpkg'}" in done.stdout, done.stderr
    layer = geopandas.read_file(tmp_path / "map.gpkg")
    assert f"{len(layer)} objects in 6 windows" in done.stdout and layer.crs == "EPSG:26917"


def test_faults_are_one_line_and_leave_nothing(tmp_path, trained):
    path = write(tmp_path / "scene.tif", np.ones((3, 70, 70), np.uint8))
    done = call(path, tmp_path / "map.gpkg", "--model", trained)
    assert done.returncode == 2 and done.stderr.startswith("map_scene.py: ") and "has 3 bands" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("map*"))
    weights = trained / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = call(path, tmp_path / "map.gpkg", "--model", trained, "--bands", 1)
    assert done.returncode == 2 and "damaged or of another model" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "map.gpkg").exists()


def test_two_processes_do_the_work_and_find_the_same(tmp_path, trained):
    path = write(tmp_path / "scene.tif", np.random.default_rng(0).integers(0, 255, (100, 120), dtype=np.uint8))
    given = "--model", trained, "--size", 64, "--overlap", 16, "--score", 0, "--batch-size", 1
    one, two = (call(path, tmp_path / f"map{n}.gpkg", *given, "--processes", n) for n in (1, 2))
    assert two.returncode == one.returncode == 0 and "done in this process" not in two.stderr, two.stderr
    first, second = (geopandas.read_file(tmp_path / f"map{n}.gpkg") for n in (1, 2))
    assert len(first) > 0 and first.equals(second)
