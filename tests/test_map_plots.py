"""Pictures of lecture 10: what is drawn where, in which style. Looks were judged by eye."""

import geopandas
import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
import shapely
from matplotlib.colors import to_hex
from rasterio.transform import from_origin

from geodl_course import map_plots, plots
from geodl_course.scenes.reading import corners, open_scene

LEFT, TOP, CELL = 500_000, 4_300_000, 0.5


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def raster(tmp_path):
    """A scene of 60 x 100 px, brighter from left to right."""
    image = np.tile(np.arange(100, dtype=np.uint8), (3, 60, 1))
    path, place = tmp_path / "scene.tif", from_origin(LEFT, TOP, CELL, CELL)
    with rasterio.open(path, "w", driver="GTiff", count=3, height=60, width=100, dtype="uint8", crs="EPSG:26917",
                       transform=place) as out:  # fmt: skip
        out.write(image)
    return path


def table(*boxes):
    """Buildings x0, y0, x1, y1 in metres from the scene's upper left corner, y down."""
    shapes = [shapely.box(LEFT + x0, TOP - y1, LEFT + x1, TOP - y0) for x0, y0, x1, y1 in boxes]
    return geopandas.GeoDataFrame({"class": ["building"] * len(shapes)}, geometry=shapes, crs="EPSG:26917")


TRUTH = table((2, 2, 8, 8), (20, 2, 26, 8), (42, 22, 48, 28))
FOUND = table((30, 20, 36, 26), (20, 2, 26, 8), (2, 2, 8, 7))


def lines_of(ax):
    """{colour: number of outlines} of what is drawn on ax."""
    drawn = {}
    for each in ax.collections:
        for colour in each.get_edgecolor()[:1]:
            drawn[to_hex(colour).upper()] = drawn.get(to_hex(colour).upper(), 0) + len(each.get_segments())
    return drawn


def test_found_false_and_missed_are_told_apart(raster):
    ax = map_plots.show_layer(raster, FOUND, TRUTH).axes[0]
    assert lines_of(ax) == {plots.TRUE_POSITIVE: 2, plots.FALSE_POSITIVE: 1, plots.MISSED: 1}
    assert ax.get_xlim() == (LEFT, LEFT + 50) and ax.get_ylim() == (TOP - 30, TOP)
    assert len({str(each.get_linestyle()) for each in ax.collections}) == 3
    (false,) = [each for each in ax.collections if to_hex(each.get_edgecolor()[0]).upper() == plots.FALSE_POSITIVE]
    assert false.get_segments()[0].min(axis=0).tolist() == [LEFT + 30, TOP - 26]


def test_the_map_counts_all_of_the_layer(raster):
    figure = map_plots.show_map(raster, FOUND, TRUTH, 40)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["2 found", "1 false", "1 missed"]
    near, far = figure.axes
    assert near.get_xlim() == (LEFT, LEFT + 20) and far.get_xlim() == (LEFT, LEFT + 50)


def test_the_busiest_tile_is_shown_and_lies_inside(raster):
    assert map_plots.busiest(raster, TRUTH, 20) == (LEFT, TOP - 10, LEFT + 10, TOP)  # the first of equals
    two = table((21, 12, 24, 14), (25, 16, 28, 18), (2, 2, 8, 8))
    assert map_plots.busiest(raster, two, 20) == (LEFT + 20, TOP - 20, LEFT + 30, TOP - 10)


def test_a_part_of_a_raster_lies_where_it_belongs(raster):
    ax = plt.subplots()[1]
    map_plots.draw_raster(ax, raster, (LEFT + 40, TOP - 10, LEFT + 60, TOP))  # 10 m of it lie outside
    (image,) = ax.images
    assert image.get_extent() == [LEFT + 40, LEFT + 50, TOP - 10, TOP] and ax.get_xlim() == (LEFT + 40, LEFT + 60)
    assert abs(image.get_array()[0, :, 0].astype(int) - np.arange(80, 100)).max() <= map_plots.STEP / 2


def test_a_large_raster_is_drawn_small(raster, monkeypatch):
    monkeypatch.setattr(map_plots, "SHOWN", 50)
    ax = plt.subplots()[1]
    map_plots.draw_raster(ax, raster)
    assert ax.images[0].get_array().shape == (30, 50, 3)


def test_one_object_under_several_layers(raster):
    scene = open_scene(raster, {"bands": ["red", "green", "blue"], "resolution": CELL})
    at = corners(scene, 40, 10)
    halves = table((20, 2, 23, 8), (23, 2, 26, 8), (30, 20, 36, 26))
    figure = map_plots.show_one_object(raster, scene, {"halves": halves, "whole": TRUTH}, TRUTH, 1, at, 40, margin=3)
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["halves: 2", "whole: 1"]
    assert first.get_xlim() == (LEFT + 17, LEFT + 29)
    assert lines_of(first)[plots.CLASS_COLOURS[0]] == lines_of(first)[plots.CLASS_COLOURS[1]] == 1
    assert plots.CLASS_COLOURS[1] not in lines_of(second) and lines_of(second)[plots.GROUND_TRUTH] == 3


def test_holes_and_parts_are_outlined():
    ring = shapely.box(0, 0, 9, 9) - shapely.box(3, 3, 6, 6)
    ax = plt.subplots()[1]
    map_plots.draw_shapes(ax, [ring, shapely.union(ring, shapely.box(20, 0, 21, 1))], "#000000")
    assert lines_of(ax) == {"#000000": 5}


def test_systems_have_a_point_for_boxes_and_one_for_outlines():
    models = {"ssd": {"megapixels_per_second": 4.0, "boxes": {"f1": 0.7}},
              "mask_rcnn": {"megapixels_per_second": 1.0, "boxes": {"f1": 0.8}, "outlines": {"f1": 0.75}}}  # fmt: skip
    ax = map_plots.plot_systems(models)
    points = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata())]
    assert points == [(4.0, 0.7), (1.0, 0.8), (1.0, 0.75)]
    assert {text.get_text() for text in ax.texts} == set(models)


def test_a_layer_that_is_not_stored_is_said_to_be_missing(capsys):
    assert map_plots.stored_layer("no_such_layer") is None
    assert "no_such_layer.geojson is not there yet" in capsys.readouterr().out
