"""Nothing of the user's is overwritten, and nothing that was found with other files or settings is taken for new."""

import json
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import rasterio.shutil
import torch
from blobs import Blobs, apart, checkpoint, patches, write
from test_checkpoints import change, scene, stored

from geodl_course import scenes
from geodl_course.chips import DatasetInfo
from geodl_course.error_maps import write_error_map
from geodl_course.scenes import run
from geodl_course.scenes.objects import place_objects
from geodl_course.scenes.work import sources_of

SMALL = {"size": 64, "overlap": 16, "batch_size": 4, "progress": False}
DO_BLOCK, MODEL_OF = run.do_block, run.model_of


@pytest.fixture(autouse=True)
def blobs(monkeypatch):
    monkeypatch.setattr(run, "model_of", lambda *which: Blobs(True))


def virtual(path, source):
    """A VRT over a raster."""
    rasterio.shutil.copy(source, path, driver="VRT")
    return path


def stop_after(monkeypatch, count):
    """map_scene is interrupted when count blocks of one batch are done."""
    done = []

    def some(job, at, told):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(at)
        return DO_BLOCK(job, at, told)

    monkeypatch.setattr(run, "BLOCK", 1)
    monkeypatch.setattr(run, "do_block", some)


def test_a_file_that_a_vrt_names_is_not_overwritten(tmp_path):
    source = write(tmp_path / "src.tif", patches(90, 90, [(3, 3, 9, 9)]))
    inner = virtual(tmp_path / "inner.vrt", source)
    outer, before = tmp_path / "outer.vrt", source.read_bytes()
    outer.write_text(inner.read_text().replace("src.tif", "inner.vrt"))
    assert sources_of(outer) == {source, inner, outer}
    info = DatasetInfo("tiny", ["building"], ["red"], "uint8", 32, 0.5, "EPSG:26917", mean=[0.0], std=[1.0])
    vae = torch.nn.Identity()
    vae.settings = {"size": 32}
    for path in (inner, outer, [outer]):
        with pytest.raises(ValueError, match="src.tif is the scene itself, or a file of it"):
            scenes.map_scene(path, checkpoint(tmp_path / "model"), source, **SMALL)
        with pytest.raises(ValueError, match="src.tif is the scene itself, or a file of it"):
            write_error_map(path, vae, info, source, progress=False)
    assert source.read_bytes() == before


def test_other_settings_with_the_same_weights_are_another_model(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "model_of", MODEL_OF)
    path, folder = scene(tmp_path), stored(tmp_path / "model")
    settings = json.loads((folder / "model.json").read_text())["settings"]
    assert settings["detect"]["threshold"] == 0.5
    many = scenes.map_scene(path, folder, score=0, merge=None, progress=False)
    change(folder, settings__detect__threshold=0.0)
    few = scenes.map_scene(path, folder, score=0, merge=None, progress=False)
    run.model_of.cache_clear()
    assert few.equals(scenes.map_scene(path, folder, score=0, merge=None, progress=False)) and len(few) < len(many)


def test_a_run_is_not_gone_on_with_under_other_settings(tmp_path, monkeypatch):
    path, model = write(tmp_path / "scene.tif", patches(200, 200, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    change(model, settings__nms=0.05)
    with pytest.raises(ValueError, match="another model"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)


def test_a_run_is_not_gone_on_with_when_a_file_of_its_vrt_has_changed(tmp_path, monkeypatch):
    source, model = write(tmp_path / "src.tif", patches(200, 200, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    path = virtual(tmp_path / "scene.vrt", source)
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    os.utime(source, (1, 1))
    with pytest.raises(ValueError, match="another changed"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)


def test_a_folder_of_the_users_is_not_taken_for_ours(tmp_path):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    mine = tmp_path / "map.gpkg.parts"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="map.gpkg.parts is no map begun here"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)
    assert (mine / "notes.txt").read_text() == "mine"
    (mine / "notes.txt").unlink()
    assert len(scenes.map_scene(path, model, tmp_path / "map.gpkg", **SMALL)) == 1


def test_a_map_that_is_open_elsewhere_is_refused_first(tmp_path):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    out = tmp_path / "map.gpkg"
    out.write_bytes(b"the old one")
    (tmp_path / "map.gpkg-wal").touch()
    with pytest.raises(OSError, match="map.gpkg is open in another program.*close it there"):
        scenes.map_scene(path, model, out, **SMALL)
    assert out.read_bytes() == b"the old one" and not (tmp_path / "map.gpkg.parts").exists()


class Noted:
    """do_block that notes in a folder which process and thread does it; there it takes the model that cannot err."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, job, at, *told):
        from geodl_course.scenes import run as there

        there.model_of = lambda *which: Blobs(True)
        with open(f"{self.folder}/{os.getpid()} {threading.get_ident()}", "a") as file:
            file.write(f"{at[0]}\n")
        return DO_BLOCK(job, at, *told)


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.filterwarnings("error:the executor")
def test_an_executor_does_all_the_work(tmp_path, monkeypatch, pool):
    boxes = apart(np.random.default_rng(2), 260, 260)
    path, model = write(tmp_path / "scene.tif", patches(260, 260, boxes)), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 1)
    alone = scenes.map_scene(path, model, **SMALL)
    (tmp_path / "noted").mkdir()
    monkeypatch.setattr(run, "do_block", Noted(str(tmp_path / "noted")))
    make = {"threads": ThreadPoolExecutor(2), "processes": ProcessPoolExecutor(2, mp_context=get_context("spawn"))}
    with make[pool] as executor:
        layer = scenes.map_scene(path, model, executor=executor, **SMALL)
    done = {file.name: file.read_text().split("\n")[:-1] for file in (tmp_path / "noted").iterdir()}
    here = str(os.getpid())
    assert f"{here} {threading.get_ident()}" not in done
    assert all(name.startswith(f"{here} ") == (pool == "threads") for name in done)
    assert len(sum(done.values(), [])) == 9  # blocks of 6 x 6 windows, 4 each
    assert layer.equals(alone) and len(layer) == len(boxes)


class Idle(Executor):
    """Takes all work and does none but the first."""

    def __init__(self):
        self.futures = []

    def submit(self, work, *arguments):
        self.futures.append(Future())
        if len(self.futures) == 1:
            self.futures[0].set_result(work(*arguments))
        return self.futures[-1]


def test_what_an_executor_refuses_is_done_here_with_a_warning(tmp_path):
    path, model = write(tmp_path / "scene.tif", patches(90, 90, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with pytest.warns(UserWarning, match="failed to do 1 of 1 blocks.*done in this process.*RuntimeError"):
        assert len(scenes.map_scene(path, model, executor=closed, **SMALL)) == 1


def test_work_elsewhere_ends_with_an_error_here(tmp_path, monkeypatch):
    path, model = write(tmp_path / "scene.tif", patches(200, 200, [(3, 3, 9, 9)])), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "BLOCK", 1)

    def full(*block):
        raise OSError("no space left")

    monkeypatch.setattr(run, "write_block", full)
    executor = Idle()
    with pytest.raises(OSError, match="no space left"):
        scenes.map_scene(path, model, tmp_path / "map.gpkg", executor=executor, **SMALL)
    assert len(executor.futures) > 1 and all(future.cancelled() for future in executor.futures[1:])


def test_a_mask_beyond_the_scene_is_cut_off():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 10:50, 20:60], masks[1, 45:60, 0:5] = True, True  # the scene ends at 30 x 40
    boxes = torch.tensor([[20.0, 10, 60, 50], [0, 45, 5, 60]])
    found = {"boxes": boxes, "masks": masks, "scores": torch.tensor([0.9, 0.8]), "labels": torch.ones(2).long()}
    objects = place_objects(found, (0, 0), 64, (30, 40))
    assert [shape.bounds for shape in objects.shapes] == [(20, 10, 40, 30)]


class Fails(Blobs):
    """Blobs that fails where a window holds a pixel of 255."""

    def forward(self, images):
        if (images == 255).any():
            raise RuntimeError("no such\nvalue")
        return super().forward(images)


def test_a_window_in_which_the_model_fails_is_told_and_the_rest_is_done(tmp_path, monkeypatch):
    image = patches(64, 208, [(3, 3, 9, 9), (150, 3, 160, 9)])  # windows at 0, 48, 96, 144, in one batch
    image[60, 60] = 255
    path, model = write(tmp_path / "scene.tif", image), checkpoint(tmp_path / "model")
    monkeypatch.setattr(run, "model_of", lambda *which: Fails(True))
    layer = scenes.map_scene(path, model, **SMALL)
    assert [one["bounds"][0] for one in layer.attrs["failed"]] == [500000, 500024]
    assert {one["why"] for one in layer.attrs["failed"]} == {"the model failed: no such value"}
    assert layer.total_bounds[0] == 500075 and len(layer) == 1
    image[:, ::40] = 255
    with pytest.raises(RuntimeError, match="no such"):
        scenes.map_scene(write(path, image), model, **SMALL)
