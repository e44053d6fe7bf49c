"""Checkpoints as they come from strangers: what one holds is enough, and what does not fit is one error."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from blobs import write
from safetensors.torch import save_file

from geodl_course import models, scenes, training
from geodl_course.chips import DatasetInfo
from geodl_course.training.checkpoints import read_data

QUICK = {"faster_rcnn": {"backbone": {"name": "small", "widths": [8, 8, 8]}}, "ssd": {"size": 64},
         "yolo_v1": {"size": 64}, "mask_rcnn": {"backbone": {"name": "small", "widths": [8, 8, 8]}},
         "unet_id": {"base": 4}}  # fmt: skip


def info(size=64, **changes):
    kept = {"mean": [100.0] * 3, "std": [50.0] * 3, **changes}
    return DatasetInfo("tiny", ["building"], ["red", "green", "blue"], "uint8", size, 0.5, "EPSG:26917", **kept)


def stored(folder, system="faster_rcnn", size=64):
    torch.manual_seed(0)
    return training.save_model(models.build(system, classes=1, **QUICK[system]).eval(), folder, info(size))


def scene(folder, side=100):
    image = np.random.default_rng(0).integers(0, 255, (3, side, side), dtype=np.uint8)
    return write(folder / "scene.tif", image)


def change(folder, **changes):
    """Change values in model.json, by path: settings__classes=3."""
    described = json.loads((folder / "model.json").read_text())
    for name, value in changes.items():
        *way, last = name.split("__")
        place = described
        for step in way:
            place = place[step]
        place[last] = value
    (folder / "model.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("system", QUICK)
def test_a_checkpoint_alone_maps_a_scene_in_its_own_windows(tmp_path, system):
    folder = stored(tmp_path / "model", system)
    described = json.loads((folder / "model.json").read_text())
    assert described["version"] == 1 and described["model"] == system and described["data"]["chip_size"] == 64
    layer = scenes.map_scene(scene(tmp_path), folder, score=0.9, progress=False)
    assert layer.attrs["size"] == 64 and layer.attrs["windows"] == 4


def test_a_window_that_the_model_was_not_built_for_is_refused_first(tmp_path):
    folder = stored(tmp_path / "model", "yolo_v1")
    with pytest.raises(ValueError, match="size 128: this model was built for windows of 64 px; leave size out"):
        scenes.map_scene(scene(tmp_path), folder, size=128, progress=False)
    change(folder, data__classes=["building", "tank"])
    with pytest.raises(ValueError, match=r"the model has 1 classes, its checkpoint names 2 \(building, tank\)"):
        scenes.map_scene(scene(tmp_path), folder, progress=False)


def test_a_checkpoint_that_does_not_say_its_version_is_read(tmp_path):
    folder = stored(tmp_path / "model")
    described = json.loads((folder / "model.json").read_text())
    del described["version"], described["data"]["chip_size"]
    (folder / "model.json").write_text(json.dumps(described))
    assert read_data(folder)["chip_size"] is None
    layer = scenes.map_scene(scene(tmp_path), folder, score=0.9, progress=False)
    assert layer.attrs["size"] == 256 and layer.attrs["windows"] == 1


@pytest.mark.parametrize("system", ["faster_rcnn", "ssd", "mask_rcnn"])  # untrained, these find something
def test_what_scores_too_little_is_left_out_early_and_changes_nothing_else(tmp_path, system):
    folder, path = stored(tmp_path / "model", system), scene(tmp_path)
    layer = scenes.map_scene(path, folder, score=0, merge=None, progress=False)
    line = layer["score"].median()
    some = scenes.map_scene(path, folder, score=line, merge=None, progress=False)
    assert len(layer) and some.equals(layer[layer["score"] >= line])


@pytest.mark.parametrize("version", [2, "1", -1, None, 1e99])
def test_another_version_is_refused(tmp_path, version):
    folder = change(stored(tmp_path / "model"), version=version)
    with pytest.raises(ValueError, match=r"is of version .*reads up to 1: update it"):
        training.load_model(folder)
    with pytest.raises(ValueError, match="is of version"):
        scenes.map_scene(scene(tmp_path), folder, progress=False)


@pytest.mark.parametrize("changes", [
    {"settings__heads": {"depth": 1, "hidden": 10**9}},
    {"settings__heads": {"depth": 10**9, "hidden": 256}},
    {"settings__heads": {"depth": 20_000, "hidden": 256}},
    {"settings__backbone": {"name": "small", "bands": 3, "widths": [20_000, 20_000, 20_000]}},
    {"settings__backbone": {"name": "small", "bands": 3, "widths": [8] * 5}},
    {"settings__backbone": {"name": "small", "bands": 3, "widths": [8] * 5000}},
    {"settings__backbone": {"name": "../../etc/passwd", "bands": 3}},
    {"settings__backbone": {"name": "own"}},
    {"settings__backbone": None},
    {"settings__classes": 10**400},
    {"settings__classes": -1},
    {"settings__classes": "os.system"},
    {"settings__classes": 7},
    {"settings__detect": {"score": float("nan")}},
    {"settings__name": "ssd"},
    {"settings__unknown": 1},
    {"settings": []},
    {"settings": [1]},
    {"settings": "x" * 2_000_000},
    {"model": "ssd"},
    {"model": "os:system"},
    {"model": "../faster_rcnn"},
    {"model": ["faster_rcnn"]},
    {"model": {}},
], ids=str)  # fmt: skip
def test_settings_that_no_such_model_has(tmp_path, changes):
    folder = change(stored(tmp_path / "model"), **changes)
    with pytest.raises(ValueError, match="model.json (describes another model|is damaged)") as error:
        training.load_model(folder)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)
    with pytest.raises(ValueError):
        scenes.map_scene(scene(tmp_path), folder, tmp_path / "map.gpkg", progress=False)
    assert not list(tmp_path.glob("map*"))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("run by a checkpoint",)


def pickled(path):
    path.write_bytes(pickle.dumps(Evil()))


def as_torch_saves_it(path):
    torch.save({"weights": Evil()}, path)


def shortened(path):
    path.write_bytes(path.read_bytes()[:-7])


def header_of_a_petabyte(path):
    path.write_bytes((10**15).to_bytes(8, "little") + b"{}")


def header_that_lies(path):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def of_another(path):
    save_file({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("spoil", [pickled, as_torch_saves_it, shortened, header_of_a_petabyte, header_that_lies,
                                   of_another, lambda path: path.write_bytes(b"")])  # fmt: skip
def test_weights_that_are_none_are_refused_and_nothing_in_them_is_run(tmp_path, monkeypatch, spoil):
    folder = stored(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    spoil(folder / "model.safetensors")
    with pytest.raises(ValueError, match="is damaged or of another model|describes another model"):
        training.load_model(folder)
    with pytest.raises(ValueError, match="train again, or bring the whole folder"):
        scenes.map_scene(scene(tmp_path), folder, tmp_path / "map.gpkg", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "scene.tif"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"model"', "[" * 100_000, '{"model": "ssd"}', "\x80\x04."])
def test_a_description_that_is_none_is_refused(tmp_path, text):
    folder = stored(tmp_path / "model")
    (folder / "model.json").write_text(text, "latin-1")
    with pytest.raises(ValueError, match="model.json is damaged"):
        training.load_model(folder)
    with pytest.raises(ValueError, match="does not say which images its model takes"):
        scenes.map_scene(scene(tmp_path), folder, progress=False)


@pytest.mark.parametrize("changes", [
    {"data": None}, {"data": []}, {"data__mean": [0.0]}, {"data__std": [1.0, 0.0, 1.0]},
    {"data__mean": [float("nan")] * 3}, {"data__bands": []}, {"data__bands": [1, 2, 3]}, {"data__classes": [{}]},
    {"data__resolution": 0}, {"data__resolution": float("inf")}, {"data__resolution": "0.5"},
    {"data__chip_size": 10**9}, {"data__chip_size": -1}, {"data__chip_size": "64"}, {"data__std": None},
], ids=str)  # fmt: skip
def test_images_that_no_model_takes(tmp_path, changes):
    folder = change(stored(tmp_path / "model"), **changes)
    with pytest.raises(ValueError, match="does not say which images its model takes"):
        scenes.map_scene(scene(tmp_path), folder, progress=False)


def test_a_model_that_finds_no_objects(tmp_path):
    model = models.build("autoencoder", bands=3, latent=2, widths=[4, 4])
    folder = training.save_model(model, tmp_path / "model", info())
    with pytest.raises(ValueError, match="a .* finds no objects. Give a detector or a segmenter"):
        scenes.map_scene(scene(tmp_path), folder, progress=False)
