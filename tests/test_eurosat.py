"""EuroSAT's way into chips: a small archive in its layout, fetched, unpacked, imported."""

import hashlib
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geodl_course.chips import ChipDataset, ChipError, covers, image_files, read_chip, read_info, validate
from geodl_course.datasets import download, find, make
from geodl_course.datasets.eurosat import PUBLISHED, import_eurosat, split_by_longitude
from geodl_course.datasets.land_water import BANDS

HOME = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
VALUES = {"B04": 400, "B03": 700, "B02": 900, "B08": 300, "B11": 200}  # water, times 10 000


def write_chip(path, east, crs="EPSG:32632", count=13, dtype="uint16", size=64, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": count, "dtype": dtype, "height": size, "width": size, "crs": crs}
    profile |= {"transform": from_origin(400_000 + east, 5_000_000, 10, 10)}
    with rasterio.open(path, "w", **profile) as dst:
        for index, band in enumerate(PUBLISHED[:count], start=1):
            dst.write(np.full((size, size), (VALUES | values).get(band, 9000), dtype), index)
    return path


@pytest.fixture
def raw(tmp_path):
    """Ten chips in a row from west to east, 40 km apart: lakes, and forests with a bright NIR."""
    home = tmp_path / "raw" / HOME
    for number in range(5):
        write_chip(home / f"SeaLake/SeaLake_{number + 1}.tif", 80_000 * number)
        forest = {"B08": 3300, "B11": 15_000 if number == 4 else 1500}
        write_chip(home / f"Forest/Forest_{number + 1}.tif", 80_000 * number + 40_000, **forest)
    return tmp_path / "raw"


def test_five_bands_are_kept_in_the_courses_order_and_scale(raw, tmp_path):
    folder = import_eurosat(raw, tmp_path / "eurosat", progress=False)
    validate(folder)
    info = read_info(folder)
    assert (info.bands, info.classes, info.dtype, info.chip_size, info.crs) == (BANDS, [], "uint16", 64, "EPSG:32632")
    assert info.counts == {"train": {"chips": 6}, "val": {"chips": 2}, "test": {"chips": 2}}
    assert info.recipe["covers"] == ["Forest", "SeaLake"] and "Helber" in info.citation
    chip = read_chip(folder, "train", "SeaLake_1")
    assert chip.image[:, 0, 0].tolist() == [2621, 4587, 5898, 1966, 1311]  # value * 6.5535, red green blue nir swir
    assert chip.cover == {"cover": "SeaLake", "water": 1.0, "kind": "water"}
    assert read_chip(folder, "train", "Forest_1").cover == {"cover": "Forest", "water": 0.0, "kind": "land"}
    assert read_chip(folder, "test", "Forest_5").image[4].max() == 65535  # a reflectance of 1.5


def test_splits_lie_apart_from_west_to_east(raw, tmp_path):
    folder = import_eurosat(raw, tmp_path / "eurosat", progress=False)
    assert set(image_files(folder, "train")) == {f"{name}_{k}" for name in ("SeaLake", "Forest") for k in (1, 2, 3)}
    assert sorted(image_files(folder, "test")) == ["Forest_5", "SeaLake_5"]
    assert {entry["cover"] for entry in covers(ChipDataset(folder, "val"))} == {"Forest", "SeaLake"}
    splits = split_by_longitude(np.arange(100) / 100, 0.025)
    left_out = [n for n, split in enumerate(splits) if not split]
    assert left_out == [60, 61, 80, 81] and splits[59] == "train" and splits[62] == "val" and splits[82] == "test"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"count": 3}, "3 bands of uint16"), ({"dtype": "float32"}, "13 bands of float32"), ({"size": 32}, "32, 32"),
        ({"crs": None}, "has no CRS"),
    ],
)  # fmt: skip
def test_files_that_are_no_chip_of_it_are_told_and_nothing_is_written(raw, tmp_path, wrong, told):
    path = write_chip(raw / HOME / "Forest/Forest_9.tif", 0, **wrong)
    with pytest.raises(ChipError, match=told) as error:
        import_eurosat(raw, tmp_path / "eurosat", progress=False)
    assert str(path) in str(error.value) and "fetch.py eurosat" in str(error.value)
    assert not (tmp_path / "eurosat").exists()


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(ChipError, match="has no CLASS/CLASS_1.tif.*fetch.py eurosat"):
        import_eurosat(tmp_path, tmp_path / "eurosat")


def test_the_archive_is_fetched_unpacked_and_imported(raw, tmp_path, monkeypatch):
    archive = tmp_path / "mirror/eurosat/EuroSATallBands.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(raw.rglob("*.tif")):
            packed.write(path, path.relative_to(raw))
    known = download.catalog()
    known["eurosat"]["files"] = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest()}
    monkeypatch.setattr(download, "catalog", lambda: known)
    monkeypatch.setenv("GEODL_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    folder = make("eurosat")
    assert find("eurosat") == folder and read_info(folder).counts["train"]["chips"] == 6
    assert len(list((tmp_path / "data/raw/eurosat").rglob("*.tif"))) == 10
