"""Land and water of the real ports: fetched (from the mirror), cut, and each kind found again from the pixels."""

from collections import Counter

import numpy as np
import pytest

from geodl_course.chips import ChipDataset, covers, read_info
from geodl_course.datasets import find, make
from geodl_course.datasets.coast_spectra import REAL

pytestmark = pytest.mark.real


def test_kinds_follow_from_the_pixels_and_ports_are_in_one_split(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    folder = make("sentinel_coast")
    assert find("sentinel_coast") == folder
    info = read_info(folder)
    green, nir, swir = (info.bands.index(name) for name in ("green", "nir", "swir"))
    ports, kinds = {}, Counter()
    for split in ("train", "val"):
        data = ChipDataset(folder, split)
        pixels = data.images.astype(np.float64) / 65535
        share = ((pixels[:, green] > pixels[:, swir]) & (pixels[:, nir] < 0.15)).mean((1, 2))
        for stem, said, water in zip(data.stems, covers(data), share, strict=True):
            expected = "water" if water > 0.99 else "land" if water < 0.05 else "mixed"
            assert said["kind"] == expected and said["water"] == pytest.approx(water, abs=1e-6)
            assert stem.split("_")[0] == said["port"]
            kinds[split, expected] += 1
        ports[split] = {said["port"] for said in covers(data)}
    assert ports["val"] == {"busan", "casablanca"} and len(ports["train"]) == 4
    assert min(kinds.values()) >= 15 and sum(kinds.values()) == 357 + 357 + 160 + 35 + 320 + 24


def test_the_table_of_real_spectra_is_what_the_ports_show(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path / "data"))
    folder = make("sentinel_coast")
    for kind, table in REAL.items():
        chips = []
        for split in ("train", "val"):
            data = ChipDataset(folder, split)
            chips += [image for image, said in zip(data.images, covers(data), strict=True) if said["kind"] == kind]
        bands = dict(zip(data.info.bands, np.stack(chips, axis=1).astype(np.float64) / 65535, strict=True))
        bands["NDVI"] = (bands["nir"] - bands["red"]) / np.maximum(bands["nir"] + bands["red"], 1e-6)
        bands["MNDWI"] = (bands["green"] - bands["swir"]) / np.maximum(bands["green"] + bands["swir"], 1e-6)
        for name, span in table.items():
            assert np.percentile(bands[name], [5, 95]) == pytest.approx(span, abs=0.006), f"{name} of {kind}"
