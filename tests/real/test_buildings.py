"""The buildings as published, along the road that a student takes: fetch (from the mirror), import, load."""

import json
import re

import numpy as np
import pytest
import rasterio
import shapely

from geodl_course.chips import ChipDataset, image_files, read_chip, read_info, validate
from geodl_course.datasets import find, make

pytestmark = pytest.mark.real

LABELS = {"train": "labels/2", "val": "val-labels/2"}


@pytest.fixture
def buildings(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    return make("buildings")


def published(mirror, split, stem):
    """Shapely polygons of a tile in degrees, read without the course's code."""
    features = json.loads((mirror / "fair_buildings" / LABELS[split] / f"{stem}.geojson").read_text())["features"]
    return [shapely.geometry.shape(feature["geometry"]) for feature in features]


def test_the_buildings_arrive_whole(buildings, mirror, tmp_path):
    assert find("buildings") == buildings == tmp_path / "data/buildings"
    validate(buildings)
    info = read_info(buildings)
    stems = {split: list(image_files(buildings, split)) for split in LABELS}
    assert all(stem.endswith("-20") for split in LABELS for stem in stems[split])  # one zoom
    drawn = sum(len(published(mirror, split, stem)) for split in LABELS for stem in stems[split])
    kept = sum(counts["building"] for counts in info.counts.values())
    assert info.recipe["polygons"] == drawn
    assert kept == drawn - info.recipe["polygons_without_pixel"] - info.recipe["rests_dropped_at_borders"]
    assert kept > 0.95 * drawn
    assert len(stems["val"]) == len(list((mirror / "fair_buildings/val-chips").glob("*-20.tif")))
    assert info.classes == ["building"] and info.chip_size == 128
    assert info.resolution == pytest.approx(40_075_016.7 * np.cos(np.radians(0.35)) / 2**20 / 128, rel=1e-3)
    assert "ODbL" in info.licence and "NOT VERIFIED" in info.licence and "OpenStreetMap" in info.citation


def test_no_train_chip_touches_a_val_tile_of_any_zoom(buildings, mirror):
    def tile(name):
        x, y, zoom = (int(n) for n in re.search(r"-(\d+)-(\d+)-(\d+)$", name).groups())
        scale = 2 ** (21 - zoom)
        return shapely.box(scale * x, scale * y, scale * (x + 1), scale * (y + 1))

    train = [tile(stem) for stem in image_files(buildings, "train")]
    val = [tile(path.stem) for path in (mirror / "fair_buildings/val-chips").glob("*.tif")]
    assert len(val) == 29 and not any(a.intersects(b) for a in train for b in val)
    every = [tile(path.stem) for path in (mirror / "fair_buildings/chips").glob("*-20.tif")]
    touching = sum(any(a.intersects(b) for b in val) for a in every)
    assert read_info(buildings).recipe["train_tiles_dropped_beside_val"] == touching > 0
    assert len(train) == len(every) - touching


def test_masks_lie_where_the_publisher_drew_the_polygons(buildings, mirror):
    """Each pixel's centre lies in the polygon whose id it has, and large polygons have nearly all of their area."""
    for split in LABELS:
        for stem in image_files(buildings, split):
            chip = read_chip(buildings, split, stem)
            ids, polygons = chip.instances["building"], np.array(published(mirror, split, stem))
            rows, cols = np.nonzero(ids)
            x, y = chip.transform * (cols + 0.5, rows + 0.5)
            cell = abs(chip.transform.a * chip.transform.e)
            whose = {}
            for i in range(1, ids.max() + 1):
                points = shapely.points(x[ids[rows, cols] == i], y[ids[rows, cols] == i])
                holds = [p for p, polygon in enumerate(polygons) if shapely.intersects(polygon, points).all()]
                assert holds, f"{stem}: no polygon holds instance {i}"
                whose[i] = holds
                best = min(abs(len(points) * cell / polygons[p].area - 1) for p in holds)
                assert best < 0.5 or len(points) < 60
            assert len(set().union(*whose.values())) >= ids.max()  # as many polygons as instances


def test_chips_are_the_publishers_tiles_at_half_their_resolution(buildings, mirror):
    for split, folder in (("train", "chips"), ("val", "val-chips")):
        for stem in image_files(buildings, split):
            chip = read_chip(buildings, split, stem)
            with rasterio.open(mirror / "fair_buildings" / folder / f"{stem}.tif") as tile:
                mean = tile.read().reshape(3, 128, 2, 128, 2).mean((2, 4))
                assert chip.crs == tile.crs
                assert tuple(chip.transform * (0, 0)) == pytest.approx(tuple(tile.transform * (0, 0)), abs=1e-12)
            assert np.abs(chip.image - mean).max() <= 0.5


def test_the_buildings_load_with_their_masks(buildings):
    for split in LABELS:
        dataset = ChipDataset(buildings, split, masks=True)
        for i in range(len(dataset)):
            image, target = dataset[i]
            assert image.shape == (3, 128, 128) and target["masks"].shape == (len(target["boxes"]), 128, 128)
            assert target["masks"].flatten(1).any(1).all() and target["masks"].sum(0).max() <= 1
