"""Land and water by the rule, and the ports of sen2ships cut into chips of them: on small ports made here."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geodl_course.chips import ChipDataset, ChipError, covers, image_files, read_chip, read_info, validate
from geodl_course.datasets.land_water import BANDS, is_water, kind_of, mndwi
from geodl_course.datasets.sentinel_coast import import_sentinel_coast

FILES = {"B04": "red", "B03": "green", "B02": "blue", "B08": "nir", "B11": "swir"}
SEA = {"red": 0.03, "green": 0.05, "blue": 0.06, "nir": 0.02, "swir": 0.01}
SOIL = {"red": 0.15, "green": 0.12, "blue": 0.09, "nir": 0.25, "swir": 0.30}


def write_port(folder, water):
    """A port whose pixels are SEA where `water` (H, W) and SOIL elsewhere, one file a band."""
    folder.mkdir(parents=True)
    (folder / "coco.json").write_text("{}")
    profile = {"driver": "GTiff", "count": 1, "height": water.shape[0], "width": water.shape[1], "dtype": "uint16"}
    profile |= {"crs": "EPSG:3857", "transform": from_origin(1_000_000, 4_000_000, 10, 10)}
    for file, band in FILES.items():
        with rasterio.open(folder / f"{file}.tif", "w", **profile) as dst:
            dst.write(np.where(water, SEA[band], SOIL[band]) * 65535, 1)


@pytest.fixture
def ports(tmp_path):
    """athens: one chip of each kind in a row, and a rest of 20 columns; busan: a chip of water and one of land."""
    water = np.zeros((70, 212), bool)
    water[:, :64] = True
    water[:32, 64:128] = True
    write_port(tmp_path / "raw/athens", water)
    write_port(tmp_path / "raw/busan", np.arange(128) < np.full((64, 1), 64))
    return tmp_path / "raw"


def test_chips_lie_side_by_side_and_say_what_they_are(ports, tmp_path, capsys):
    folder = import_sentinel_coast(ports, tmp_path / "coast", progress=False)
    validate(folder)
    info = read_info(folder)
    assert (info.bands, info.classes, info.chip_size, info.dtype) == (BANDS, [], 64, "uint16")
    assert info.counts == {"train": {"chips": 3}, "val": {"chips": 2}}
    said = dict(zip(image_files(folder, "train"), covers(ChipDataset(folder, "train")), strict=True))
    assert said == {
        "athens_0000_0000": {"water": 1.0, "kind": "water", "port": "athens"},
        "athens_0000_0064": {"water": 0.5, "kind": "mixed", "port": "athens"},
        "athens_0000_0128": {"water": 0.0, "kind": "land", "port": "athens"},
    }
    assert {entry["port"] for entry in covers(ChipDataset(folder, "val"))} == {"busan"}
    assert capsys.readouterr().out.splitlines() == [
        "athens: 1 land, 1 water, 1 mixed", "busan: 1 land, 1 water, 0 mixed",
    ]  # fmt: skip
    assert info.recipe["ports"]["athens"] == {"land": 1, "water": 1, "mixed": 1}
    chip = read_chip(folder, "train", "athens_0000_0064")
    assert (chip.transform.c, chip.transform.f) == (1_000_640, 4_000_000)
    assert chip.image[:, 0, 0].tolist() == [int(SEA[band] * 65535) for band in BANDS]


def test_windows_with_pixels_that_hold_no_data_are_left_out(ports, tmp_path):
    for file in FILES:
        with rasterio.open(ports / f"athens/{file}.tif", "r+") as dst:
            band = dst.read(1)
            band[60, 130] = 0
            dst.write(band, 1)
    with rasterio.open(ports / "athens/B11.tif", "r+") as dst:  # a pixel that is dark in one band alone has data
        band = dst.read(1)
        band[10, 10] = 0
        dst.write(band, 1)
    folder = import_sentinel_coast(ports, tmp_path / "coast", progress=False)
    assert list(image_files(folder, "train")) == ["athens_0000_0000", "athens_0000_0064"]


def test_a_pixel_is_water_by_both_numbers():
    #                        sea  dark soil  bright cloud  glint  nothing  dark roof  reed at the limit
    green = np.array([[[0.05, 0.08, 0.60, 0.06, 0.0, 0.20, 0.10]]])
    nir = np.array([[[0.02, 0.12, 0.55, 0.05, 0.0, 0.18, 0.15]]])
    swir = np.array([[[0.01, 0.20, 0.50, 0.059, 0.0, 0.15, 0.05]]])
    image = np.concatenate([green, green, green, nir, swir])
    assert is_water(image, scale=1.0).tolist() == [[True, False, False, True, False, False, False]]
    assert mndwi(image)[0, 0] == pytest.approx(4 / 6) and mndwi(image)[0, 4] == 0
    turned = image[[4, 3, 1]]
    assert is_water(turned, ["swir", "nir", "green"], 1.0).tolist() == is_water(image, scale=1.0).tolist()


def test_kinds_change_above_99_and_below_5_percent():
    shares = {1.0: "water", 0.9901: "water", 0.99: "mixed", 0.5: "mixed", 0.05: "mixed", 0.0499: "land", 0.0: "land"}
    assert {share: kind_of(share) for share in shares} == shares


def test_images_that_the_rule_cannot_judge_are_refused():
    image = np.full((5, 4, 4), 0.1, np.float32)
    with pytest.raises(ChipError, match="no band is called swir.*green, nir, swir"):
        is_water(image, ["red", "green", "blue", "nir", "thermal"])
    with pytest.raises(ChipError, match="image has 5 bands, 3 names"):
        is_water(image, ["red", "green", "blue"])
    image[2, 1, 1] = np.nan
    with pytest.raises(ChipError, match="NaN"):
        is_water(image)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda port: (port / "B11.tif").unlink(), "B11.tif: cannot be read"),
        (lambda port: (port / "B11.tif").write_bytes(b"cut short"), "B11.tif: cannot be read"),
        (lambda port: (port / "coco.json").unlink(), "has no PORT/coco.json"),
    ],
)
def test_ports_that_are_not_whole_leave_nothing(ports, tmp_path, damage, told):
    damage(ports / "athens")
    if not (ports / "athens/coco.json").exists():
        (ports / "busan/coco.json").unlink()
    with pytest.raises(ChipError, match=told):
        import_sentinel_coast(ports, tmp_path / "coast", progress=False)
    assert not (tmp_path / "coast").exists()


def test_a_port_smaller_than_a_chip_is_told(ports, tmp_path):
    write_port(ports / "small", np.ones((40, 300), bool))
    with pytest.raises(ChipError, match="small is 300 x 40 pixels, too small for chips of 64"):
        import_sentinel_coast(ports, tmp_path / "coast", progress=False)
    assert not (tmp_path / "coast").exists()
