"""The trees as published, along the road that a student takes: fetch (from the mirror), import, load."""

import numpy as np
import pytest
import rasterio

from geodl_course.chips import ChipDataset, image_files, read_chip, read_info, validate
from geodl_course.datasets import find, make
from geodl_course.datasets.formats import read_voc

pytestmark = pytest.mark.real


@pytest.fixture
def trees(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    return make("neon_trees")


def test_the_trees_arrive_whole(trees, mirror, tmp_path):
    assert find("neon_trees") == trees == tmp_path / "data/neon_trees"
    validate(trees)
    info = read_info(trees)
    boxes = [len(read_voc(p).boxes) for p in mirror.glob("neon_trees/*/annotations/*.xml")]
    assert info.recipe["boxes"] == sum(boxes) and info.recipe["plots"] == len(boxes) == 38
    assert info.classes == ["tree"] and info.chip_size == 128 and info.resolution == 0.2
    assert sum(info.recipe["names_found"].values()) == sum(boxes)
    assert "missed" in info.recipe["note"] and "MIT" in info.licence
    plots = {s: {stem[:8] for stem in image_files(trees, s)} for s in ("train", "val")}
    assert not plots["train"] & plots["val"]
    assert {p for p in plots["val"] if p.startswith("OSBS")} == {p.stem for p in mirror.glob("neon_trees/OSBS/*.tif")}
    assert len({p for p in plots["val"] if p.startswith("SJER")}) == 7  # every fifth of 34
    assert len(plots["train"]) == 27


def test_boxes_lie_where_the_publisher_drew_them(trees, mirror):
    """Every published box that lies wholly in a chip is in it, at half its pixel coordinates."""
    number = 0
    for split in ("train", "val"):
        for stem in image_files(trees, split):
            plot, row, col = stem[:8], int(stem[9:12]), int(stem[13:])
            chip = read_chip(trees, split, stem)
            with rasterio.open(mirror / "neon_trees" / plot[:4] / f"{plot}.tif") as src:
                assert tuple(chip.transform * (0, 0)) == pytest.approx(tuple(src.transform * (2 * col, 2 * row)))
                assert chip.crs == src.crs
            boxes = read_voc(mirror / "neon_trees" / plot[:4] / "annotations" / f"{plot}.xml").boxes / 2
            boxes = boxes - [col, row, col, row]
            whole = boxes[(boxes >= 0).all(1) & (boxes <= 128).all(1)]
            for box in whole:
                assert (abs(chip.boxes - box).max(1) < 1e-4).any()
            number += len(whole)
    assert number > 100


def test_the_trees_load_as_batches(trees):
    dataset = ChipDataset(trees, "train")
    images = np.stack([dataset[i][0].numpy() for i in range(len(dataset))])
    assert images.shape == (len(dataset), 3, 128, 128) and np.isfinite(images).all()
    assert abs(images.mean((0, 2, 3))).max() < 0.01 and abs(images.std((0, 2, 3)) - 1).max() < 0.01
