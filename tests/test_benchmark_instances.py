"""The benchmark of U-Net-ID on tiny chips: what counts as touching, what is trained on, what is stored."""

import numpy as np
import pytest
import torch

from geodl_course.chips import ChipDataset, DatasetInfo, save_npz
from tests.benchmarks import __main__ as table
from tests.benchmarks import instances, results


@pytest.mark.parametrize(("second", "close"), [
    ((10, 4, 16, 12), True), ((10, 10, 16, 16), True), ((11, 4, 16, 12), False), ((11, 11, 16, 16), False),
])  # fmt: skip
def test_neighbours_share_a_wall_or_a_corner(second, close):
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, ((4, 4, 10, 10), second), strict=True):
        mask[y0:y1, x0:x1] = True
    assert instances.touching(masks) is close and instances.touching(masks.flip(0)) is close
    assert instances.touching(masks.flip(2)) is close
    assert not instances.touching(masks[:1]) and not instances.touching(masks[:0])


def terraces(split, number):
    """Chips in turn with a pair of houses wall to wall, one house, and none."""
    info = DatasetInfo("towns", ["tank", "building"], ["grey"], "uint8", 32, 1.0, "EPSG:32633", mean=[90.0], std=[60.0])
    rasters, images = np.zeros((number, 32, 32), np.uint16), np.zeros((number, 1, 32, 32), np.uint8)
    for i, (raster, image) in enumerate(zip(rasters, images, strict=True)):
        if i % 3 < 2:
            raster[8:24, 4:14] = 1
        if i % 3 == 0:
            raster[8:24, 14:26] = 2
        image[0] = 90 * raster + 20
    has = np.flatnonzero(rasters.any((1, 2)))
    boxes = [[[4, 8, 14, 24], [14, 8, 26, 24]][: int(raster.max())] for raster in rasters]
    counts = np.array([len(each) for each in boxes])
    data = ChipDataset.__new__(ChipDataset)
    arrays = {"stems": np.array([f"{split}{i}" for i in range(number)]), "images": images, "counts": counts,
              "boxes": np.array(sum(boxes, []), np.float32), "labels": np.full(counts.sum(), 2),
              "rasters": rasters[has], "raster_keys": np.stack((has, np.full(len(has), 2)), 1)}  # fmt: skip
    data._set(info, split, arrays, True, True)
    return data


def test_both_models_are_measured_and_the_table_shows_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "docs" / "results"))
    stored = str(save_npz(tmp_path / "towns.npz", terraces("train", 24), terraces("val", 6)))
    instances.main(["--data", stored, "--seeds", "3", "--seconds", "0.3", "--keep", str(tmp_path / "kept")])
    [run] = results.runs("unet_id_towns")
    figures = run["figures"]
    assert (figures["chips"], figures["buildings"], figures["touching_chips"]) == (6, 6, 2)
    assert figures["touching_buildings"] == 4 and figures["one_pixel"] == 0 and run["seed"] == 3
    for name in ("unet_id", "unet"):
        assert figures[name]["all"]["found"] + figures[name]["all"]["missed"] == 6
        assert figures[name]["touching"]["found"] + figures[name]["touching"]["missed"] == 4
        assert (tmp_path / "kept" / f"{name}_towns_3" / "model.json").exists()
    table.main([])
    rows = [line for line in capsys.readouterr().out.splitlines() if "U-Net-ID" in line or "buildings touch" in line]
    assert len(rows) == 3 and "(seeds 3:" in rows[0] and "not yet" in rows[2]
