"""The published valley fills' way into chips, on a small copy of their layout made here."""

import shutil

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from geodl_course.chips import ChipError, image_files, read_chip, read_info, validate
from geodl_course.datasets.terrain import slopeshade
from geodl_course.datasets.vfill import import_vfill

LEFT, TOP, SIDE = 400_000.0, 4_170_000.0, 240  # metres; cells of 2 m


def write_area(home, dem, stem, left, faces, inside, crs="EPSG:26917"):
    import geopandas

    for folder in ("dems", "vectors", "extents"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    heights = 400 + 300 * gaussian_filter(np.random.default_rng(len(stem)).standard_normal((SIDE, SIDE)), 6)
    profile = dict(driver="HFA" if dem.endswith(".img") else "GTiff", count=1, dtype="float32", height=SIDE, width=SIDE)
    profile |= dict(crs="EPSG:26917", transform=from_origin(left, TOP, 2, 2))
    with rasterio.open(home / "dems" / dem, "w", **profile) as d:
        d.write(heights.astype(np.float32), 1)
    for folder, shapes in (("vectors", faces), ("extents", [inside])):
        table = geopandas.GeoDataFrame({"name": ["a"] * len(shapes)}, geometry=shapes, crs="EPSG:26917")
        table.to_crs(crs).to_file(home / folder / f"{stem}.shp", engine="pyogrio")
    return heights


def at(left, col, row, width=20):
    """A square of the map whose first pixel is (row, col) of an area."""
    return shapely.box(left + 2 * col, TOP - 2 * (row + width), left + 2 * (col + width), TOP - 2 * row)


@pytest.fixture
def raw(tmp_path):
    home = tmp_path / "raw/vfillDL/vfillDL"
    squares = [at(LEFT, c, r) for c in range(8, 220, 50) for r in range(8, 220, 50)]
    write_area(home, "train_dem.img", "training", LEFT, squares, at(LEFT, 0, 0, SIDE), crs="EPSG:4326")
    far = LEFT + 50_000
    write_area(home, "ky1_dem.tif", "testingKY1", far, [at(far, 8, 8), at(far, 150, 8)], at(far, 0, 0, 120))
    return tmp_path / "raw"


def test_areas_become_chips_of_slopeshade_with_faces(raw, tmp_path):
    out = import_vfill(raw, tmp_path / "vfill", size=48, empty=1, progress=False)
    validate(out)
    info = read_info(out)
    assert info.bands[0] == "slopeshade" and info.classes == ["valley_fill"] and info.resolution == 2
    assert info.recipe["areas"] == ["ky1", "train"] or info.recipe["areas"] == ["train", "ky1"]
    assert "NOT VERIFIED" in info.licence and "Maxwell" in info.citation
    assert info.counts["train"]["valley_fill"] > info.counts["val"]["valley_fill"] > 0
    assert info.counts["test"]["valley_fill"] == 1  # the other lies outside the extent
    assert {p.name for p in tmp_path.glob("vfill_scenes/*.tif")} == {"train.tif", "ky1.tif"}
    with rasterio.open(raw / "vfillDL/vfillDL/dems/train_dem.img") as dem:
        grey, place = slopeshade(dem.read(1), 2.0), dem.transform
    for stem in list(image_files(out, "train"))[:5]:
        chip = read_chip(out, "train", stem)
        col, row = (round(v) for v in ~place * (chip.transform.c, chip.transform.f))
        assert np.abs((chip.image[0].astype(float) - 1) / 254 - grey[row : row + 48, col : col + 48]).max() < 0.003
        for box in chip.boxes[((chip.boxes > 0) & (chip.boxes < 48)).all(1)]:
            assert np.abs(box[2:] - box[:2] - 20).max() <= 1  # also from degrees


def test_of_chips_without_a_face_only_some_are_kept_and_only_to_train_on(raw, tmp_path):
    info = {}
    for empty in (0, 0.5, 1):
        info[empty] = read_info(import_vfill(raw, tmp_path / str(empty), size=24, empty=empty, progress=False))
    left = [info[e].recipe["empty_train_chips_left_out"] for e in (0, 0.5, 1)]
    chips = [info[e].counts["train"]["chips"] for e in (0, 0.5, 1)]
    assert left[0] > left[1] > left[2] == 0 and {n + m for n, m in zip(chips, left, strict=True)} == {chips[2]}
    for split in ("val", "test"):
        assert info[0].counts[split] == info[0.5].counts[split] == info[1].counts[split]
    assert len({i.counts["train"]["valley_fill"] for i in info.values()}) == 1
    with pytest.raises(ChipError, match="empty 1.5 is a share"):
        import_vfill(raw, tmp_path / "more", size=24, empty=1.5, progress=False)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda home: (home / "dems/ky1_dem.tif").unlink(), "testingKY1.shp: 0 terrain models.*ky1 or ky1_dem, of "),
        (lambda home: shutil.copy(home / "dems/ky1_dem.tif", home / "dems/ky1.tif"), "testingKY1.shp: 2 terrain"),
        (lambda home: (home / "extents/training.shp").unlink(), "training.shp is missing, which says where"),
        (lambda home: shutil.rmtree(home / "vectors"), "has no vectors"),
        (lambda home: (home / "vectors/training.shp").unlink(), "has no training.shp"),
        (lambda home: (home / "dems/ky1_dem.tif").write_bytes(b"no raster"), "ky1_dem.tif: cannot be read as a raster"),
    ],
)
def test_an_area_that_is_not_whole_is_refused(raw, tmp_path, break_it, message):
    break_it(raw / "vfillDL/vfillDL")
    with pytest.raises(ChipError, match=message):
        import_vfill(raw, tmp_path / "out", size=48, progress=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out_scenes").exists()
