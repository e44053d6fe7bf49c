"""The benchmark of real scenes on tiny chips: which model goes on from which, what is kept, stored and shown."""

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from geodl_course import training
from geodl_course.chips import save_npz
from geodl_course.datasets.box_chips import box_layer
from tests.benchmarks import __main__ as table
from tests.benchmarks import real_scenes, results
from tests.test_benchmarks import masked_chips
from tests.test_training import tiny_chips

SQUARES = [(3, 4, 12, 13), (30, 28, 40, 38), (20, 5, 31, 16)]  # on a scene of 48 px, the last two over window edges


def square_scene(folder):
    """A scene of red squares → [(path, truth)]."""
    image = np.zeros((3, 48, 48), np.uint8)
    for x0, y0, x1, y1 in SQUARES:
        image[0, y0:y1, x0:x1] = 255
    path, place = folder / "squares.tif", from_origin(500_000, 4_400_000, 0.5, 0.5)
    how = {"driver": "GTiff", "count": 3, "height": 48, "width": 48, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:26917", transform=place, **how) as out:
        out.write(image)
    return [(path, box_layer(np.array(SQUARES), place, "EPSG:26917", "red"))]


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """Everything in a folder of the test's own, training of two steps → what was trained, in order."""
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "docs" / "results"))
    monkeypatch.setattr(real_scenes, "KEPT", tmp_path / "kept")
    for name, value in {"SIZE": 24, "OVERLAP": 8, "BANDS": ["red", "green", "blue"]}.items():
        monkeypatch.setattr(real_scenes, name, value)
    kept, original = [], training.fit

    def fit(model, train, **settings):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        history = original(model, train, **settings, batch_size=4)
        kept.append((before, train, settings))
        return history

    monkeypatch.setattr(real_scenes.training, "fit", fit)
    return kept


def places(tmp_path, monkeypatch, which, system, chips):
    real, towns = (str(save_npz(tmp_path / f"{seed}.npz", chips(seed=seed))) for seed in (0, 1))
    place = {"real": real, "towns": "blue", "system": system, "steps": 2, "resolution": 1.0,
             "scenes": lambda: square_scene(tmp_path)}  # fmt: skip
    monkeypatch.setattr(real_scenes, "PLACES", {which: place})
    monkeypatch.setattr(real_scenes, "TOWNS", towns)
    return [which]


def one_class(seed):
    """The real chips (seed 0) know one class, towns know two."""
    return tiny_chips(seed=seed).pick_classes(["red"]) if seed == 0 else tiny_chips(seed=seed)


def test_three_models_map_the_scene_and_the_second_goes_on_from_the_first(tmp_path, monkeypatch, fits, capsys):
    words = places(tmp_path, monkeypatch, "ships", "faster_rcnn", one_class)
    real_scenes.main([*words, "--seeds", "0"])
    [run] = results.runs("real_scenes_ships")
    assert set(run["figures"]) == {"steps", *real_scenes.HOWS} and run["figures"]["steps"] == 2
    for how in real_scenes.HOWS:
        figures = run["figures"][how]
        assert figures["found"] + figures["missed"] == figures["objects"] == 3
        assert (tmp_path / "kept" / f"real_ships_{how}_0_0.gpkg").exists()
        assert geopandas.read_file(results.folder() / f"real_scenes_ships_{how}.geojson").crs.to_epsg() == 4326
    (_, towns, _), (start, real, settings), (fresh, again, others) = fits
    assert (settings["steps"], settings["seed"]) == (others["steps"], others["seed"]) == (2, 0)
    assert towns.classes == ["blue"] and real.classes == again.classes == ["red"]
    learned = training.load_model(tmp_path / "kept" / "real_ships_zero_shot_0").state_dict()
    assert all(torch.equal(start[name], value) for name, value in learned.items())
    assert any(not torch.equal(fresh[name], value) for name, value in learned.items())
    data = [real_scenes.scenes.run.read_data(tmp_path / "kept" / f"real_ships_{how}_0") for how in real_scenes.HOWS]
    assert [one["resolution"] for one in data] == [1.0, 0.5, 0.5]
    assert all(one["classes"] == ["red"] and one["mean"] == real.info.mean for one in data)

    real_scenes.main([*words, "--how", "scratch"])
    assert len(fits) == 3 and results.runs("real_scenes_ships")[0]["figures"] == run["figures"]  # kept, and the same
    table.main([])
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "Busan" in line]
    assert "real chips alone" in row and "(seeds 0)" in row


def test_outlines_are_judged_where_the_model_gives_them(tmp_path, monkeypatch, fits):
    def chips(seed):
        return masked_chips(seed=seed).pick_classes(["red"]) if seed == 0 else masked_chips(seed=seed)

    words = places(tmp_path, monkeypatch, "buildings", "mask_rcnn", chips)
    real_scenes.main([*words, "--how", "fine_tuned"])  # learns from towns first, though that one is not asked for
    assert [train.masks for _, train, _ in fits] == [True, True]
    [run] = results.runs("real_scenes_buildings")
    assert set(run["figures"]) == {"steps", "fine_tuned"} and not list(results.folder().glob("*.geojson"))


def test_another_set_of_towns_is_neither_read_from_what_is_kept_nor_mixed_with_it(tmp_path, monkeypatch, fits):
    [which] = places(tmp_path, monkeypatch, "ships", "faster_rcnn", one_class)
    folder = tmp_path / "other"
    folder.mkdir()
    other = str(save_npz(folder / "1.npz", tiny_chips(seed=5)))  # of the same name, elsewhere
    real_scenes.main([which, "--how", "zero_shot", "scratch"])
    before = {path: path.read_bytes() for path in results.folder().iterdir()}
    real_scenes.main([which, "--how", "zero_shot", "scratch", "--towns", other])
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(fits) == 3  # the other towns, but not the real chips again
    [added] = [path.stem for path in results.folder().glob("*.json") if path not in before]
    assert added.startswith("real_scenes_ships_1_") and f"--towns {other} " in results.read(added)["command"]


def test_only_sure_objects_count_but_the_rest_is_ranked(tmp_path):
    [(_, truth)] = square_scene(tmp_path)
    layer = truth.assign(score=[0.9, 0.3, 0.6])
    layer.loc[2, "geometry"] = layer.geometry[2].buffer(2, join_style="mitre")  # IoU 0.335
    figures = real_scenes.rated(layer, truth)
    assert (figures["objects"], figures["found"], figures["missed"], figures["false"]) == (3, 1, 2, 1)
    assert figures["f1"] == pytest.approx(0.4) and figures["f1_iou_0.3"] == pytest.approx(0.8)
    assert figures["AP50"] == pytest.approx((34 + 33 * 2 / 3) / 101)  # recall 1/3 at precision 1, 2/3 at 2/3
