"""Error map of a scene: every pixel once, from the right window, in the scene's place, whole or not at all."""

import math

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from geodl_course.chips import DatasetInfo
from geodl_course.error_maps import inner, write_error_map
from geodl_course.models.vae import vae
from geodl_course.windows import windows

SCALE = {"mean": [1000.0, 2000.0], "std": [100.0, 400.0]}
INFO = DatasetInfo("sea", [], ["red", "nir"], "uint16", 64, 10.0, "EPSG:32618", **SCALE)
PLACE = {"transform": from_origin(500000, 4300000, 10, 10), "crs": "EPSG:32618"}


class Nothing(torch.nn.Module):
    """Reconstructs every pixel as the mean: the error is then known without it."""

    settings = {"size": 64, "bands": 2}

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, images):
        assert not self.training
        self.seen.append(images.shape[0])
        return torch.zeros_like(images)


def write(path, bands, **changes):
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", **{**shape, **PLACE, **changes}) as target:
        target.write(bands)
    return path


def scene_of(height=150, width=201, seed=0, dtype=np.uint16):
    return np.random.default_rng(seed).integers(500, 3000, (2, height, width)).astype(dtype)


def expected(bands):
    mean, std = (np.array(each)[:, None, None] for each in (INFO.mean, INFO.std))
    return ((bands - mean) / std) ** 2


def test_every_pixel_has_its_error_and_its_place(tmp_path):
    bands, model = scene_of(), Nothing().train()
    path = write_error_map(write(tmp_path / "scene.tif", bands), model, INFO, tmp_path / "map.tif", progress=False)
    with rasterio.open(path) as found:
        assert (found.crs, found.transform, found.shape) == (PLACE["crs"], PLACE["transform"], (150, 201))
        assert found.profile["tiled"] and found.block_shapes[0] == (256, 256) and math.isnan(found.nodata)
        assert found.descriptions == ("error", "error in red", "error in nir") and found.dtypes[0] == "float32"
        assert found.compression.name == "deflate" and found.overviews(1) == []  # one tile holds it
        values = found.read()
    np.testing.assert_allclose(values[1:], expected(bands), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values[0], expected(bands).mean(0), rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == [] and model.training
    assert sum(model.seen) == len(windows(150, 201, 64, 32))


def test_bands_in_files_of_their_own(tmp_path):
    bands = scene_of(64, 64)
    files = [write(tmp_path / f"{i}.tif", bands[i : i + 1]) for i in (0, 1)]
    with rasterio.open(write_error_map(files, Nothing(), INFO, tmp_path / "map.tif", progress=False)) as found:
        np.testing.assert_allclose(found.read()[1:], expected(bands), rtol=1e-4, atol=1e-5)


@given(st.integers(64, 400), st.integers(0, 63))
def test_cores_give_each_pixel_to_the_window_in_which_it_lies_farther_inside(length, overlap):
    starts = sorted({row for row, _ in windows(length, 64, 64, overlap)})
    taken = inner(starts, 64, length)
    assert [low for low, _ in taken.values()] == [0, *(high for _, high in taken.values())][:-1]
    assert list(taken) == starts and taken[starts[-1]][1] == length
    for start, (low, high) in taken.items():
        assert start <= low <= high <= start + 64
        for pixel in range(low, high):
            depth = min(pixel - start if start else 64, start + 63 - pixel if start + 64 < length else 64)
            best = max(min(pixel - s if s else 64, s + 63 - pixel if s + 64 < length else 64)
                       for s in starts if s <= pixel < s + 64)  # fmt: skip
            assert depth >= best - 1  # at an even overlap two are as good


def test_large_maps_have_overviews(tmp_path):
    bands = np.full((2, 70, 600), 1100, np.uint16)
    scene = write(tmp_path / "scene.tif", bands)
    with rasterio.open(write_error_map(scene, Nothing(), INFO, tmp_path / "map.tif", progress=False)) as found:
        assert found.overviews(1) == found.overviews(3) == [2, 4]
    with rasterio.open(tmp_path / "map.tif", overview_level=1) as small:
        assert small.shape == (18, 150)
        np.testing.assert_allclose(small.read(2), 1.0, rtol=1e-5)


def test_a_scene_smaller_than_a_window_and_one_of_another_resolution(tmp_path):
    bands = scene_of(40, 90)
    fine = write(tmp_path / "fine.tif", np.kron(bands, np.ones((1, 2, 2), np.uint16)),
                 transform=from_origin(500000, 4300000, 5, 5))  # fmt: skip
    for scene in (write(tmp_path / "scene.tif", bands), fine):
        with rasterio.open(write_error_map(scene, Nothing(), INFO, tmp_path / "map.tif", progress=False)) as found:
            assert (found.transform, found.shape) == (PLACE["transform"], (40, 90))
            np.testing.assert_allclose(found.read()[1:], expected(bands), rtol=1e-4, atol=1e-5)


def test_windows_that_cannot_be_read_are_named_and_have_no_data(tmp_path):
    path = write(tmp_path / "scene.tif", scene_of(64, 200), tiled=True, blockxsize=64, blockysize=64,
                 compress="deflate")  # fmt: skip
    with rasterio.open(path) as source:
        offset, count = (int(source.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", 1)) for what in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="could not be read and has no data in .*map.tif") as told:
        write_error_map(path, Nothing(), INFO, tmp_path / "map.tif", progress=False)
    assert [str(one.message).partition("]")[0] for one in told if one.category is UserWarning] == [
        "[500000.0, 4299360.0, 500640.0, 4300000.0", "[500320.0, 4299360.0, 500960.0, 4300000.0"]  # fmt: skip
    with rasterio.open(tmp_path / "map.tif") as found:
        held = ~np.isnan(found.read(1))
    assert not held[:, :48].any() and held[:, 96:].all()


@pytest.mark.parametrize("dtype, empty", [(np.uint16, 0), (np.float32, -9999.0), (np.float32, math.nan)])
def test_pixels_without_data_are_nan_and_the_model_does_not_see_them(tmp_path, dtype, empty):
    bands = scene_of(64, 64, dtype=dtype)
    bands[:, 10:20, :30] = empty

    class Watching(Nothing):
        def forward(self, images):
            assert images.isfinite().all() and (images[0, :, 10:20, :30] == 0).all()
            return super().forward(images)

    scene = write(tmp_path / "scene.tif", bands, nodata=empty)
    with rasterio.open(write_error_map(scene, Watching(), INFO, tmp_path / "map.tif", progress=False)) as found:
        values = found.read()
    held = np.ones((64, 64), bool)
    held[10:20, :30] = False
    assert np.array_equal(np.isnan(values), np.broadcast_to(~held, values.shape))
    np.testing.assert_allclose(values[1:, held], expected(bands)[:, held], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nodata", [None, -9999.0])
def test_a_pixel_that_one_band_lacks_is_nan_in_all(tmp_path, nodata):
    bands = scene_of(64, 64, dtype=np.float32)
    bands[1, 5, 7] = math.nan
    files = [write(tmp_path / f"{i}.tif", bands[i : i + 1], nodata=nodata) for i in (0, 1)]
    for scene in (files, write(tmp_path / "scene.tif", bands, nodata=nodata)):
        with rasterio.open(write_error_map(scene, Nothing(), INFO, tmp_path / "map.tif", progress=False)) as found:
            assert np.argwhere(np.isnan(found.read())).tolist() == [[band, 5, 7] for band in range(3)]


def test_a_vae_in_one_window_is_its_error_map(tmp_path):
    model, bands = vae(2, latent=4, widths=[8, 8, 8, 8]).eval(), scene_of(64, 64)
    scene = write(tmp_path / "scene.tif", bands)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (INFO.mean, INFO.std))
    image = torch.from_numpy((bands - mean) / std)[None]
    with rasterio.open(write_error_map(scene, model, INFO, tmp_path / "map.tif", progress=False)) as found:
        np.testing.assert_allclose(found.read()[1:], (image - model(image)).square()[0].detach(), rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_named_and_nothing_is_left(tmp_path):
    scene = write(tmp_path / "scene.tif", scene_of())
    moved = write(tmp_path / "moved.tif", scene_of(), transform=from_origin(0, 0, 10, 10))
    one = write(tmp_path / "one.tif", scene_of()[:1])
    known = sorted(tmp_path.iterdir())
    for given_scene, words in ((one, r"has 1 bands \(without names\); the model takes red, nir"),
                               ([one, moved], "not on the grid"), (tmp_path / "no.tif", "cannot be read as a raster")):
        with pytest.raises(ValueError, match=words):
            write_error_map(given_scene, Nothing(), INFO, tmp_path / "map.tif", progress=False)
    with pytest.raises(ValueError, match="the scene itself"):
        write_error_map(scene, Nothing(), INFO, scene, progress=False)
    with pytest.raises(ValueError, match="standardised"):
        not_scaled = DatasetInfo(**{**INFO.__dict__, "mean": [0.0, 0.0], "std": [1.0, 1.0]})
        write_error_map(scene, vae(2, widths=[8, 8, 8, 8]), not_scaled, tmp_path / "map.tif", progress=False)
    assert sorted(tmp_path.iterdir()) == known


def test_a_map_that_is_there_stays_until_the_new_one_is_whole(tmp_path):
    scene, out = write(tmp_path / "scene.tif", scene_of()), tmp_path / "map.tif"
    out.write_bytes(b"the old one")

    class Breaking(Nothing):
        def forward(self, images):
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().forward(images)

    with pytest.raises(KeyboardInterrupt):
        write_error_map(scene, Breaking(), INFO, out, progress=False)
    assert out.read_bytes() == b"the old one" and not list(tmp_path.glob("*part*"))


def test_a_map_that_the_disk_did_not_take_is_told(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="Windows sets no limit on the size of a file")
    scene, out = write(tmp_path / "scene.tif", scene_of()), tmp_path / "map.tif"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(OSError, match="map.tif could not be written whole: free some space"):
            write_error_map(scene, Nothing(), INFO, out, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [scene]
