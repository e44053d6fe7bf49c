"""The knob cell of each lecture runs under both budgets: no machine of the tests would otherwise ever meet full."""

import geopandas
import numpy as np
import pytest
import shapely
from test_build import builder
from test_notebooks import LECTURES

from geodl_course import datasets
from geodl_course.chips import Chip, DatasetInfo, write_chips


def chip_folder(folder, train):
    """A chip folder of so many training and 16 validation chips with 0 to 5 objects each."""
    classes, bands = ["building", "tank", "vehicle"], ["red", "green", "blue"]
    info = DatasetInfo(folder.name, classes, bands, "uint8", 32, 0.5, "EPSG:26917")
    pixels = np.random.default_rng(0).integers(0, 255, (train + 16, 3, 32, 32), dtype=np.uint8)

    def chip(number):
        ids = np.zeros((3, 32, 32), np.uint16)
        for i in range(number % 6):
            ids[i % 3, 2:9, 4 * i : 4 * i + 3] = i + 1
        return Chip(f"{number:03}", pixels[number], dict(zip(classes, ids, strict=True)))

    splits = ["train"] * train + ["val"] * 16
    return write_chips(folder, info, ((s, chip(i)) for i, s in enumerate(splits)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Towns as many as made by default, and the reference of a scene; any other with few chips, as large ones have."""
    place = tmp_path_factory.mktemp("knobs")
    few, many = chip_folder(place / "few", 48), chip_folder(place / "many", 768)
    (place / "towns_scenes").mkdir()
    house = geopandas.GeoDataFrame({"type": ["building"]}, geometry=[shapely.box(0, 0, 9, 9)], crs="EPSG:26917")
    house.to_file(place / "towns_scenes" / "scene_3.gpkg")
    return lambda name: many if name == "towns" else few


def code_of(path):
    return [cell.source for cell in builder.cells_of(path) if cell.cell_type == "code"]


WITH_KNOBS = [path for path in LECTURES if any("teaching.budget(" in source for source in code_of(path)[:6])]


@pytest.mark.parametrize("name", ["quick", "full"])
@pytest.mark.parametrize("path", WITH_KNOBS, ids=lambda path: path.stem)
def test_knob_cell_runs(monkeypatch, folders, path, name):
    monkeypatch.setenv("GEODL_BUDGET", name)
    monkeypatch.setattr(datasets, "find", folders)
    cells = code_of(path)
    knobs = next(i for i, source in enumerate(cells) if "teaching.budget(" in source)
    scope = {}
    for source in cells[: knobs + 1]:
        exec(source, scope)
    assert scope["budget"].name == name
    if "eight" in scope:
        assert len(scope["eight"]) == 8
