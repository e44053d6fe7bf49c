"""The generated camera traps: backgrounds that stay, light that changes, animals where covers.json says so."""

import numpy as np
import pytest

from geodl_course.chips import ChipDataset, covers, read_info, validate
from geodl_course.datasets.camera_trap import ANIMALS, draw_animal, make_background, make_camera_trap, take_picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    days = {"train": 4, "val": 2, "test": 2}
    return make_camera_trap(tmp_path_factory.mktemp("data") / "trap", cameras=2, shots=6, progress=False, **days)


def test_days_are_in_one_split_and_cameras_in_all(pictures):
    validate(pictures)
    info = read_info(pictures)
    assert info.counts == {"train": {"chips": 48}, "val": {"chips": 24}, "test": {"chips": 24}}
    assert (info.bands, info.classes, info.dtype) == (["red", "green", "blue"], [], "uint8")
    said = {split: covers(ChipDataset(pictures, split)) for split in info.counts}
    days = {split: {entry["day"] for entry in entries} for split, entries in said.items()}
    assert days == {"train": {1, 2, 3, 4}, "val": {5, 6}, "test": {7, 8}}
    first = [ChipDataset(pictures, "train").images[i] for i, entry in enumerate(said["train"]) if entry["day"] == 1]
    later = [ChipDataset(pictures, "train").images[i] for i, entry in enumerate(said["train"]) if entry["day"] == 2]
    assert not any(np.array_equal(one, other) for one in first for other in later)
    for entries in said.values():
        assert {entry["camera"] for entry in entries} == {"camera 1", "camera 2"}
        assert all((entry["kind"] == "empty") == (entry["animal"] == "none") for entry in entries)
        assert 0.05 < np.mean([entry["kind"] == "animal" for entry in entries]) < 0.5


def test_a_cameras_pictures_are_alike_and_other_cameras_differ(pictures):
    data = ChipDataset(pictures, "train")
    said = covers(data)
    means = []
    for camera in ("camera 1", "camera 2"):
        own = [i for i, entry in enumerate(said) if entry["camera"] == camera and entry["kind"] == "empty"]
        flat = data.images[own].reshape(len(own), -1)
        alike = np.corrcoef(flat)
        assert np.median(alike) > 0.8
        means.append(flat.mean(0))
    assert np.corrcoef(means)[0, 1] < 0.8


def test_light_follows_the_hour():
    background = make_background(0, 0)
    noon, dusk = (np.stack([take_picture(np.random.default_rng(n), background, hour, False)[0] for n in range(6)])
                  for hour in (13.0, 19.8))  # fmt: skip
    assert noon.mean() > 1.15 * dusk.mean()
    red_to_blue = [pictures[:, 0].mean() / pictures[:, 2].mean() for pictures in (noon, dusk)]
    assert red_to_blue[1] > red_to_blue[0]


def test_an_animal_changes_a_patch_and_no_more():
    background = make_background(0, 1)
    changed = []
    for seed in range(12):
        picture, name = take_picture(np.random.default_rng(seed), background, 12.0, True)
        assert name in ANIMALS and picture.shape == (3, 64, 64) and picture.dtype == np.uint8
        flat = background["albedo"].copy()
        draw_animal(np.random.default_rng(seed), flat, background)
        changed.append((np.abs(flat - background["albedo"]).max(0) > 0.02).mean())
    assert 0 < max(changed) < 0.2 and np.median(changed) > 0.002


def test_same_seed_same_pictures_and_bad_settings_are_told(pictures, tmp_path):
    days = {"train": 4, "val": 2, "test": 2}
    again = make_camera_trap(tmp_path / "trap", cameras=2, shots=6, progress=False, **days)
    for split in days:
        assert np.array_equal(ChipDataset(again, split).images, ChipDataset(pictures, split).images)
    with pytest.raises(ValueError, match="share 1.5 is a share"):
        make_camera_trap(tmp_path / "other", share=1.5)
    with pytest.raises(ValueError, match="exists already"):
        make_camera_trap(tmp_path / "trap")
