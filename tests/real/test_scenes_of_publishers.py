"""Whole real scenes from the publishers' files: what the map of a port, a town and a plot is judged by."""

import numpy as np
import pytest
import rasterio

from geodl_course.datasets.building_mosaic import mosaic_scene
from geodl_course.datasets.download import fetch
from geodl_course.datasets.neon_trees import plot_scenes
from geodl_course.datasets.sen2ships import port_scene

pytestmark = pytest.mark.real


def test_the_port_of_busan(mirror, tmp_path):
    raw = fetch("sen2ships", tmp_path / "raw", progress=False) / "busan"
    path, vessels = port_scene(raw, tmp_path / "busan.tif")
    with rasterio.open(path) as port, rasterio.open(raw / "B08.tif") as nir:
        assert np.array_equal(port.read(4), nir.read(1)) and port.bounds == nir.bounds
        left, bottom, right, top = vessels.total_bounds
        assert port.bounds.left < left and right < port.bounds.right
        assert port.bounds.bottom < bottom and top < port.bounds.top
    assert len(vessels) == 54


def test_the_mosaic_of_kampala_fits_its_tiles(mirror, tmp_path):
    raw = mirror / "fair_buildings"
    path, buildings = mosaic_scene(raw, tmp_path / "kampala.tif")
    with rasterio.open(path) as mosaic, rasterio.open(raw / "val-chips/OAM-619213-523273-20.tif") as tile:
        assert mosaic.shape == (512, 512) and np.array_equal(mosaic.read()[:, 256:, 256:], tile.read())
        assert abs(np.array(buildings.total_bounds) - mosaic.bounds).max() < 0.2  # they reach its edges
    assert len(buildings) == 98 and buildings.is_valid.all()


def test_the_plots_of_a_site(mirror):
    plots = plot_scenes(mirror / "neon_trees", "OSBS")
    assert [path.stem for path, _ in plots] == ["OSBS_022", "OSBS_023", "OSBS_036", "OSBS_037"]
    for path, trees in plots:
        with rasterio.open(path) as plot:
            left, bottom, right, top = trees.total_bounds
            assert trees.crs == plot.crs
            assert plot.bounds.left <= left < right <= plot.bounds.right
            assert plot.bounds.bottom <= bottom < top <= plot.bounds.top
    assert sum(len(trees) for _, trees in plots) == 78
