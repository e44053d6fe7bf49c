"""Terrain bands: surfaces whose slope is known, an independent computation, voids, and a scene from any DEM."""

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from geodl_course.chips import ChipError, read_info, validate
from geodl_course.datasets import terrain
from geodl_course.datasets.chipping import chip_scene
from geodl_course.datasets.polygons import read_layer

CELL = 2.0


def plane(east, north, shape=(12, 15), cell=CELL):
    y, x = np.mgrid[: shape[0], : shape[1]] * cell
    return (100 + east * x - north * y).astype(np.float32)


def hilly(shape=(40, 50), seed=0):
    from scipy.ndimage import gaussian_filter

    return (300 + 60 * gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.sampled_from([0.5, 1.0, 6.0]))
def test_a_plane_has_one_slope_and_one_light_up_to_its_edge(east, north, cell):
    dem = plane(east, north, cell=cell)
    assert terrain.slope(dem, cell) == pytest.approx(np.degrees(np.arctan(np.hypot(east, north))), abs=0.02)
    normal = np.array([-east, -north, 1]) / np.sqrt(1 + east**2 + north**2)
    sun = np.array([np.sin(np.radians(315)), np.cos(np.radians(315)), 1]) * np.sqrt(0.5)
    sun[2] = np.sin(np.radians(45))
    assert terrain.hillshade(dem, cell) == pytest.approx(max(normal @ sun, 0), abs=1e-3)


def test_a_cone_is_equally_steep_all_around_and_lit_from_the_north_west():
    y, x = np.mgrid[-30:31, -30:31] * CELL
    dem = 200 - 0.5 * np.hypot(x, y)
    ring = (np.hypot(x, y) > 20) & (np.hypot(x, y) < 55)
    assert terrain.slope(dem, CELL)[ring] == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.15)
    light = terrain.hillshade(dem, CELL)
    assert light[15, 15] == light[ring].max() or light[15, 15] > light[ring].max() - 1e-3  # row up, column left
    assert light[45, 45] < light[ring].min() + 1e-3


def test_slope_and_hillshade_equal_the_formulas_of_gdaldem():
    """Cell by cell, window a b c / d e f / g h i; north-south resolution is negative there, as in a geotransform."""
    dem = hilly()
    slopes, lights = terrain.slope(dem, CELL), terrain.hillshade(dem, CELL, azimuth=200, altitude=30)
    rng = np.random.default_rng(0)
    for row, col in zip(rng.integers(1, 39, 50), rng.integers(1, 49, 50), strict=True):
        (a, b, c), (d, _, f), (g, h, i) = dem[row - 1 : row + 2, col - 1 : col + 2].astype(float)
        dx = ((a + d + d + g) - (c + f + f + i)) / (8 * CELL)
        dy = ((g + h + h + i) - (a + b + b + c)) / (8 * -CELL)
        assert slopes[row, col] == pytest.approx(np.degrees(np.arctan(np.sqrt(dx**2 + dy**2))), abs=1e-3)
        aspect, steep = np.arctan2(dy, dx), np.pi / 2 - np.arctan(np.sqrt(dx**2 + dy**2))
        light = np.sin(np.radians(30)) * np.sin(steep) + np.cos(np.radians(30)) * np.cos(steep) * np.cos(
            np.radians(200) - np.pi / 2 - aspect
        )
        assert lights[row, col] == pytest.approx(max(light, 0), abs=1e-4)


def test_slopeshade_is_white_on_flat_ground_and_black_on_cliffs():
    for degrees, grey in ((0, 1), (30, 0.5), (60, 0), (80, 0)):
        dem = plane(np.tan(np.radians(degrees)), 0)
        assert terrain.slopeshade(dem, CELL) == pytest.approx(grey, abs=1e-3)
    turned = [terrain.slopeshade(plane(*way), CELL) for way in ((0.4, 0), (0, 0.4), (-0.4, 0))]
    assert turned[0] == pytest.approx(turned[1], abs=1e-5) and turned[0] == pytest.approx(turned[2], abs=1e-5)


def test_topographic_position_equals_the_mean_of_the_window_cell_by_cell():
    dem = hilly((20, 24))
    dem[5:8, 6] = np.nan
    found = terrain.topographic_position(dem, CELL, reach=6)
    for row in range(20):
        for col in range(24):
            around = dem[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4]
            expected = dem[row, col] - np.nanmean(around.astype(float))
            assert found[row, col] == pytest.approx(expected, abs=1e-3, nan_ok=True)
    assert np.isnan(found).sum() == 3


def test_a_void_makes_its_neighbours_slopes_void_and_no_others():
    dem = plane(0.3, -0.2)
    dem[4, 5] = dem[0, 0] = np.nan
    voids = np.isnan(terrain.slope(dem, CELL))
    expected = np.zeros(dem.shape, bool)
    expected[3:6, 4:7] = expected[:2, :2] = True
    assert (voids == expected).all()
    bands = terrain.terrain_bands(dem, CELL)
    assert ((bands == 0) == expected).all()
    assert (np.isnan(terrain.topographic_position(np.full((4, 4), np.nan), CELL))).all()


def test_bands_are_coded_so_that_scale_and_offset_give_the_values_back(tmp_path):
    tif, _ = terrain.terrain_scene(*written(tmp_path), tmp_path, "scene")
    with rasterio.open(tif) as raster:
        stored, names = raster.read(), raster.descriptions
        real = stored * np.array(raster.scales)[:, None, None] + np.array(raster.offsets)[:, None, None]
    assert names == ("slopeshade", "slope", "hillshade", "topographic position") and stored.dtype == np.uint8
    dem = hilly()
    assert stored.min() >= 1
    assert np.abs(real[1] - terrain.slope(dem, CELL)).max() < 0.19  # half a step of 90 degrees in 254
    assert np.abs(real[3] - np.clip(terrain.topographic_position(dem, CELL), -30, 30)).max() < 0.13


def written(folder, dem=None, crs="EPSG:26917", shapes=None, layer_crs="EPSG:26917", nodata=-9999.0):
    import geopandas

    dem = hilly() if dem is None else dem
    if shapes is None:
        shapes = [shapely.box(420010, 4189960, 420030, 4189980), shapely.box(420050, 4189940, 420080, 4189970)]
    path, layer = folder / "dem.tif", folder / "faces.gpkg"
    profile = dict(driver="GTiff", count=1, dtype="float32", height=dem.shape[0], width=dem.shape[1])
    profile |= dict(crs=crs, nodata=nodata, transform=from_origin(420000, 4190000, 2, 2))
    with rasterio.open(path, "w", **profile) as out:
        out.write(np.nan_to_num(dem, nan=nodata), 1)
    table = geopandas.GeoDataFrame({"grade": 1}, geometry=shapes, index=range(len(shapes)), crs=layer_crs)
    table.to_file(layer, driver="GPKG", engine="pyogrio")
    return path, layer


def test_the_recipe_averages_cells_and_keeps_voids(tmp_path):
    dem = hilly()
    dem[10:12, 20:22] = np.nan
    dem[30, 31] = np.nan  # one of four: the mean of the other three stands
    tif, _ = terrain.terrain_scene(*written(tmp_path, dem), tmp_path, "scene", cell=4.0)
    mean = np.nanmean(dem.reshape(20, 2, 25, 2).swapaxes(1, 2).reshape(20, 25, 4), -1)
    assert np.isnan(mean).sum() == 1
    with rasterio.open(tif) as raster:
        assert raster.res == (4.0, 4.0) and raster.shape == (20, 25) and raster.nodata == 0
        assert (raster.bounds.left, raster.bounds.top) == (420000, 4190000)
        assert np.abs(raster.read().astype(int) - terrain.terrain_bands(mean, 4.0)).max() <= 1


def test_strips_of_a_large_scene_leave_no_trace(tmp_path, monkeypatch):
    paths = written(tmp_path, hilly((150, 30)))
    whole, _ = terrain.terrain_scene(*paths, tmp_path, "whole")
    monkeypatch.setattr(terrain, "STRIP", 32)
    strips, _ = terrain.terrain_scene(*paths, tmp_path, "strips")
    with rasterio.open(whole) as one, rasterio.open(strips) as other:
        assert (one.read() == other.read()).all()


def test_outside_the_extent_all_is_void_and_polygons_are_cut(tmp_path):
    import geopandas

    paths = written(tmp_path)
    terrain.write_polygons(tmp_path / "extent.gpkg", [shapely.box(420000, 4189900, 420060, 4190000)], "", "EPSG:26917")
    tif, gpkg = terrain.terrain_scene(*paths, tmp_path, "scene", extent=tmp_path / "extent.gpkg")
    with rasterio.open(tif) as raster:
        valid = raster.read(1) > 0
    assert valid[:, :30].all() and not valid[:, 30:].any()
    table = geopandas.read_file(gpkg)
    assert table["id"].tolist() == [1, 2] and set(table["type"]) == {"valley_fill"}
    assert table.area.tolist() == pytest.approx([400, 300])


def test_a_scene_of_the_recipe_becomes_chips(tmp_path):
    tif, gpkg = terrain.terrain_scene(*written(tmp_path), tmp_path, "scene")
    out = chip_scene(tif, gpkg, tmp_path / "chips", class_field="type", size=20, split="train", progress=False)
    validate(out)
    info = read_info(out)
    assert info.bands == list(terrain.BANDS) and info.classes == ["valley_fill"] and info.nodata == 0


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"crs": "EPSG:4326"}, {}, "no projected CRS.*gdalwarp"),
        ({"crs": None}, {}, "no projected CRS.*gdalwarp"),
        ({}, {"cell": 1.0}, "cells of 2 m; 1 m would be finer"),
        ({}, {"cell": 80.0}, "smaller than two cells"),
        ({"shapes": [shapely.Point(420010, 4189960)]}, {}, "feature 1 is a Point.*must be polygons"),
    ],
)
def test_what_no_scene_can_be_made_of_is_refused_with_the_next_step(tmp_path, change, settings, message):
    paths = written(tmp_path, **change)
    with pytest.raises(ChipError, match=message):
        terrain.terrain_scene(*paths, tmp_path, "scene", **settings)


def test_a_void_that_is_not_declared_is_no_height(tmp_path):
    dem = hilly()
    dem[3, 4] = -9999
    paths = written(tmp_path, dem, nodata=-1.0)
    with pytest.raises(ChipError, match="dem.tif: heights run from -9999 to .*-a_nodata.*height_unit"):
        terrain.terrain_scene(*paths, tmp_path, "scene")
    assert not list(tmp_path.glob("scene.*"))
    undeclared = np.full((40, 50), np.nan, np.float32)
    undeclared[:, 20:] = hilly()[:, 20:]
    tif, _ = terrain.terrain_scene(*written(tmp_path, undeclared, nodata=np.nan), tmp_path, "half")  # NaN needs no word
    with rasterio.open(tif) as raster:
        valid = raster.read(1) > 0
    assert valid[:, 21:].all() and not valid[:, :21].any()


def test_what_is_there_is_kept_and_half_a_scene_is_none(tmp_path, monkeypatch):
    dem, layer = written(tmp_path)
    before = dem.read_bytes(), layer.read_bytes()
    for name in ("dem", "faces"):  # the scene would replace what it is made of
        with pytest.raises(ChipError, match=f"{name}.* exists already and is kept"):
            terrain.terrain_scene(dem, layer, tmp_path, name)
    monkeypatch.setattr(terrain, "write_polygons", lambda *parts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        terrain.terrain_scene(dem, layer, tmp_path / "new", "scene")
    assert list((tmp_path / "new").iterdir()) == []
    assert (dem.read_bytes(), layer.read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"dem.tif", "faces.gpkg", "new"}


@pytest.mark.parametrize("outline", [[], [shapely.box(420090, 4189900, 420100, 4189910)]])
def test_an_extent_without_any_object_is_refused(tmp_path, outline):
    paths, extent = written(tmp_path), tmp_path / "extent.gpkg"
    terrain.write_polygons(extent, outline, "", "EPSG:26917")
    with pytest.raises(ChipError, match="extent.gpkg.* (no polygon|all 2 objects)"):
        terrain.terrain_scene(*paths, tmp_path, "scene", extent=extent)
    assert not list(tmp_path.glob("scene.*"))


def test_features_without_geometry_are_counted_and_a_layer_may_be_empty(tmp_path):
    for name, shapes in (("some", [None, shapely.box(420010, 4189960, 420030, 4189980), None]), ("none", [])):
        tif, gpkg = terrain.terrain_scene(*written(tmp_path, shapes=shapes), tmp_path, name)
        assert read_layer(gpkg).geometry.isna().tolist() == [False, True, True][: len(shapes)]
        chips = chip_scene(tif, gpkg, tmp_path / f"{name}_chips", class_field="type", classes=["valley_fill"], size=16,
                           split="train", progress=False)  # fmt: skip
        assert read_info(chips).recipe["objects_empty"] == sum(shape is None for shape in shapes)


def test_polygons_in_degrees_are_brought_to_the_dem_and_crossing_ones_refused(tmp_path):
    import geopandas

    dem, layer = written(tmp_path)
    table = geopandas.read_file(layer)
    table.to_crs("EPSG:4326").to_file(tmp_path / "degrees.geojson", engine="pyogrio")
    _, gpkg = terrain.terrain_scene(dem, tmp_path / "degrees.geojson", tmp_path, "scene")
    found = geopandas.read_file(gpkg)
    assert found.crs.to_epsg() == 26917
    assert all(a.symmetric_difference(b).area < 0.1 for a, b in zip(found.geometry, table.geometry, strict=True))
    bow = shapely.Polygon([(420010, 4189960), (420030, 4189980), (420030, 4189960), (420010, 4189980)])
    with pytest.raises(ChipError, match="faces.gpkg: feature 1 crosses itself"):
        terrain.terrain_scene(*written(tmp_path, shapes=[bow]), tmp_path, "bow")


def test_a_dem_that_is_none_or_whose_cells_are_not_square_is_refused(tmp_path):
    dem, layer = written(tmp_path)
    with rasterio.open(dem, "r+") as raster:
        raster.transform = from_origin(420000, 4190000, 2, 3)
    with pytest.raises(ChipError, match="cells of 2 x 3 are not square.*gdalwarp"):
        terrain.terrain_scene(dem, layer, tmp_path, "scene")
    with pytest.raises(ChipError, match="faces.gpkg: cannot be read as a raster"):
        terrain.terrain_scene(layer, layer, tmp_path, "scene")


def test_heights_in_feet_are_brought_to_metres(tmp_path):
    feet = plane(0.5, 0) / np.float32(0.3048)
    tif, _ = terrain.terrain_scene(*written(tmp_path, feet), tmp_path, "scene", height_unit=0.3048)
    with rasterio.open(tif) as raster:
        degrees = raster.read(2) * raster.scales[1] + raster.offsets[1]
    assert degrees == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.2)


@pytest.mark.real
def test_the_recipe_runs_on_a_real_dem(mirror, tmp_path):
    path = mirror / "scenes" / "lidar_dem_1m.tif"
    with rasterio.open(path) as src:
        (x, y), crs = src.xy(200, 200), src.crs
    terrain.write_polygons(tmp_path / "faces.gpkg", [shapely.box(x - 30, y - 40, x + 50, y + 20)], "", crs)
    tif, gpkg = terrain.terrain_scene(path, tmp_path / "faces.gpkg", tmp_path, "scene", cell=2.0)
    with rasterio.open(tif) as raster:
        assert raster.shape == (200, 200) and raster.res == (2.0, 2.0)
        assert raster.read(1).std() > 1
    out = chip_scene(tif, gpkg, tmp_path / "chips", class_field="type", size=64, split="train", progress=False)
    assert sum(counts["valley_fill"] for counts in read_info(out).counts.values()) >= 1
