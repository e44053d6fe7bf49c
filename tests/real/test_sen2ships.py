"""The ships as published, along the road that a student takes: fetch (from the mirror), import, load."""

import json

import numpy as np
import pytest
import rasterio

from geodl_course.chips import ChipDataset, image_files, read_chip, read_info, validate
from geodl_course.datasets import find, make

pytestmark = pytest.mark.real

BANDS = ["B04", "B03", "B02", "B08", "B11"]  # red, green, blue, near and short-wave infrared of Sentinel-2
SIZE = 128


@pytest.fixture
def ships(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    return make("sen2ships")


def published(mirror):
    """{port: (file of each band, boxes (M, 4) x0 y0 x1 y1, masks (M, H, W))}, read without the course's code."""
    ports = {}
    for folder in sorted(p for p in (mirror / "sen2ships").iterdir() if p.is_dir()):
        (path,) = folder.rglob("*_coco.json")
        coco = json.loads(path.read_text())
        boxes = np.array([a["bbox"] for a in coco["annotations"]])
        boxes[:, 2:] += boxes[:, :2]
        masks = []
        for a in coco["annotations"]:
            runs, (rows, cols) = a["segmentation"]["counts"], a["segmentation"]["size"]
            masks.append(np.repeat(np.arange(len(runs)) % 2, runs).reshape(cols, rows).T.astype(bool))
        files = [next(folder.glob(f"*_{band}_(Raw).tiff")) for band in BANDS]
        ports[folder.name] = (files, boxes, np.array(masks))
    return ports


def test_the_ships_arrive_whole(ships, mirror, tmp_path):
    assert find("sen2ships") == ships == tmp_path / "data/sen2ships"
    validate(ships)
    info, ports = read_info(ships), published(mirror)
    assert info.recipe["ports"] == {port: len(boxes) for port, (_, boxes, _) in ports.items()}
    assert info.recipe["boxes"] == info.recipe["crowd_taken_as_objects"] == 192  # every one has iscrowd=1
    assert (info.dtype, info.chip_size, info.resolution, info.crs) == ("uint16", 128, 10.0, "EPSG:3857")
    assert info.bands == ["red", "green", "blue", "nir", "swir"] and info.classes == ["vessel"]
    assert "MIT" in info.licence and "contains modified Copernicus Sentinel data 2022-2023" in info.licence
    assert "ShipDetectionExperts" in info.citation


def test_no_port_is_in_two_splits(ships, mirror):
    ports = {split: {stem.split("_")[0] for stem in image_files(ships, split)} for split in ("train", "val")}
    assert ports["val"] == {"busan", "casablanca"}
    assert ports["train"] == set(published(mirror)) - ports["val"] and len(ports["train"]) == 4


def test_chips_hold_the_publishers_pixels_in_this_order(ships, mirror):
    """Every pixel of every band of every port is in a chip, unchanged, at its place on the map."""
    for port, (files, _, _) in published(mirror).items():
        with rasterio.open(files[0]) as src:
            place, shape, crs = src.transform, src.shape, src.crs
        pixels = np.stack([rasterio.open(file).read(1) for file in files])
        seen = np.zeros(shape, bool)
        split = "val" if port in ("busan", "casablanca") else "train"
        for stem, path in image_files(ships, split).items():
            if not stem.startswith(port):
                continue
            row, col = (int(n) for n in stem.split("_")[1:])
            with rasterio.open(path) as src:
                assert src.dtypes == ("uint16",) * 5 and src.crs == crs
                assert src.descriptions == ("red", "green", "blue", "nir", "swir")
                assert np.array_equal(src.read(), pixels[:, row : row + SIZE, col : col + SIZE])
                left, top = place.c + col * place.a, place.f + row * place.e
                assert (src.transform.c, src.transform.f) == pytest.approx((left, top), abs=1e-6)
                assert (src.transform.a, src.transform.e) == (place.a, place.e)
            seen[row : row + SIZE, col : col + SIZE] = True
        assert seen.all()
        assert pixels.max() > 32_767  # 16 bit are used, and none was cut


def test_boxes_are_those_of_the_publisher(ships, mirror):
    """Each chip holds the boxes that lie in it, cut at its border where 0.3 of them and 2 pixels are inside."""
    whole = {}
    for port, (_, boxes, masks) in published(mirror).items():
        found = [(np.nonzero(m.any(0))[0], np.nonzero(m.any(1))[0]) for m in masks]
        assert boxes.tolist() == [[x[0], y[0], x[-1] + 1, y[-1] + 1] for x, y in found]  # half-open, around the mask
        split, kept = ("val" if port in ("busan", "casablanca") else "train"), set()
        for stem in image_files(ships, split):
            if not stem.startswith(port):
                continue
            row, col = (int(n) for n in stem.split("_")[1:])
            expected = []
            for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
                left, top, right, bottom = max(x0, col), max(y0, row), min(x1, col + SIZE), min(y1, row + SIZE)
                width, height = max(right - left, 0), max(bottom - top, 0)
                if width * height >= 0.3 * (x1 - x0) * (y1 - y0) and min(width, height) >= 2:
                    expected.append([left - col, top - row, right - col, bottom - row])
                    kept.add(n)
            chip = read_chip(ships, split, stem)
            assert chip.boxes.tolist() == expected and (chip.labels == 1).all()
            assert (chip.boxes >= 0).all() and (chip.boxes <= SIZE).all()
        whole[port] = len(kept)
    assert whole == read_info(ships).recipe["ports"]  # no vessel is lost between two chips


def test_vessels_are_brighter_than_water_where_their_boxes_say(ships, mirror):
    """A mask moved or mirrored would lie on water: of 192 vessels, nearly all are brighter in the near infrared."""
    brighter = mirrored = number = 0
    for files, _, masks in published(mirror).values():
        with rasterio.open(files[3]) as src:
            nir = src.read(1).astype(float)
        water = np.percentile(nir, 20)
        brighter += sum(np.median(nir[m]) > water for m in masks)
        mirrored += sum(np.median(nir[::-1][m]) > water for m in masks)
        number += len(masks)
    assert brighter > 0.9 * number > mirrored


def test_the_statistics_of_a_port_are_plausible(ships):
    """Reflectance is about value / 65535: land and water of a port together are dark, and brighter in the infrared."""
    info = read_info(ships)
    mean = np.array(info.mean) / 65535
    assert ((mean > 0.03) & (mean < 0.3)).all() and mean[3] > mean[2]
    dataset = ChipDataset(ships, "train")
    images = np.stack([dataset[i][0].numpy() for i in range(len(dataset))])
    assert images.shape == (len(dataset), 5, SIZE, SIZE) and np.isfinite(images).all()
    assert abs(images.mean((0, 2, 3))).max() < 0.01 and abs(images.std((0, 2, 3)) - 1).max() < 0.01
    algiers = [i for i, stem in enumerate(dataset.stems) if stem.startswith("algiers")]
    reflectance = dataset.images[algiers] / 65535
    assert 0.02 < np.percentile(reflectance[:, 3], 5) < 0.08  # water, near infrared
    assert 0.2 < np.percentile(reflectance[:, 3], 98) < 0.5  # roofs, plants
