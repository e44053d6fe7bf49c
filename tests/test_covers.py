"""What is said of whole chips: written and read with the chips, in step with them, and refused where damaged."""

import json

import numpy as np
import pytest
import torch
from rasterio.transform import from_origin

from geodl_course.chips import (
    Chip,
    ChipDataset,
    ChipError,
    DatasetInfo,
    all_images,
    collate,
    covers,
    read_chip,
    save_npz,
    validate,
    write_chips,
)

COVERS = [
    {"cover": "forest", "water": 0.03125, "kind": "land"}, {"cover": "water", "water": 1.0, "kind": "water"},
    {"cover": "beach", "water": 0.5, "kind": "mixed"},
]  # fmt: skip
INFO = DatasetInfo("shore", [], ["red", "nir"], "uint16", 8, 10.0, "EPSG:32632")


def chips_of(said):
    for number, cover in enumerate(said):
        image = np.full((2, 8, 8), 100 * (number + 1), np.uint16)
        image[1] += np.arange(64, dtype=np.uint16).reshape(8, 8)
        place = {"transform": from_origin(0, 0, 10, 10), "crs": "EPSG:32632"}
        yield "train", Chip(f"{number:06d}", image, {}, cover=cover, **place)


@pytest.fixture
def shore(tmp_path):
    return write_chips(tmp_path / "shore", INFO, chips_of(COVERS))


def test_chips_without_classes_are_legal_and_say_what_they_show(shore):
    validate(shore)
    assert json.loads((shore / "dataset.json").read_text())["counts"] == {"train": {"chips": 3}}
    assert json.loads((shore / "train/covers.json").read_text())["000001"] == COVERS[1]
    assert read_chip(shore, "train", "000002").cover == COVERS[2]
    data = ChipDataset(shore, "train", masks=True)
    assert covers(data) == COVERS
    image, target = data[2]
    assert target["cover"] == COVERS[2] and target["boxes"].shape == (0, 4) and target["masks"].shape == (0, 8, 8)
    images, targets = collate([data[i] for i in range(3)])
    assert images.shape == (3, 2, 8, 8) and not targets.valid.any()


def test_covers_stay_in_step_with_their_chips(shore, tmp_path):
    data = ChipDataset(shore, "train")
    assert covers(data.take([2, 0])) == [COVERS[2], COVERS[0]]
    assert covers(data.take([])) == []
    assert covers(data.pick_bands(["nir"])) == COVERS
    assert covers(ChipDataset(shore, "train", limit=2)) == [COVERS[0], COVERS[2]]
    stored = save_npz(tmp_path / "shore.npz", data)
    assert covers(ChipDataset.load(stored, "train")) == COVERS
    assert covers(ChipDataset.load(stored, "train", limit=2)) == [COVERS[0], COVERS[2]]


def test_all_images_are_the_items_images(shore):
    for normalise in (True, False):
        data = ChipDataset(shore, "train", normalise=normalise)
        images = all_images(data)
        assert images.dtype == torch.float32 and images.shape == (3, 2, 8, 8)
        assert all(torch.equal(images[i], data[i][0]) for i in range(3))
    assert images[2, 0].unique().tolist() == [300] and images[0, 1, 7, 7] == 163


def test_a_data_set_without_covers_says_so(tmp_path):
    folder = write_chips(tmp_path / "plain", INFO, chips_of([None, None]))
    assert not (folder / "train/covers.json").exists()
    data = ChipDataset(folder, "train")
    assert "cover" not in data[0][1]
    with pytest.raises(ChipError, match="no covers.json.*coast"):
        covers(data)


def without(entries, stem):
    return {key: entry for key, entry in entries.items() if key != stem}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda e: without(e, "000001"), "no entry for image '000001'"),
        (lambda e: e | {"000009": COVERS[0]}, "names image '000009'"),
        (lambda e: e | {"000001": {"cover": "forest", "kind": "land"}}, "'000001' has the fields cover, kind"),
        (lambda e: e | {"000001": COVERS[0] | {"water": 1.5}}, "water of '000001' is 1.5.*share from 0 to 1"),
        (lambda e: e | {"000001": COVERS[0] | {"water": float("nan")}}, "water of '000001' is nan"),
        (lambda e: e | {"000001": COVERS[0] | {"kind": 3}}, "kind of '000001' is 3; it must be text"),
        (lambda e: e | {"000001": COVERS[0] | {"cover": None}}, "cover of '000001' is None"),
        (lambda e: e | {"000001": "forest"}, "'000001' is 'forest'; it must be an object"),
        (lambda e: list(e.values()), "holds a list"),
    ],
)
def test_damaged_covers_are_one_clear_error(shore, damage, told):
    path = shore / "train/covers.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    for read in (lambda: validate(shore), lambda: ChipDataset(shore, "train")):
        with pytest.raises(ChipError, match=told) as error:
            read()
        assert str(path) in str(error.value)


def test_covers_that_are_no_json_are_one_clear_error(shore):
    (shore / "train/covers.json").write_text('{"000000": ')
    with pytest.raises(ChipError, match="covers.json: not valid JSON.*make the data set again"):
        validate(shore)


def test_bad_covers_are_not_written_and_nothing_is_left(tmp_path):
    below = COVERS[0] | {"water": -1}
    for said, told in (([COVERS[0], None], "'000001' is None"), ([below], "water of '000000' is -1")):
        with pytest.raises(ChipError, match=told) as error:
            write_chips(tmp_path / "shore", INFO, chips_of(said))
        assert str(tmp_path / "shore/train/covers.json") in str(error.value)
        assert not list(tmp_path.iterdir())
