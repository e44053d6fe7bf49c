"""The comparisons of lecture 05 on tiny chips: what is trained, counted and stored. No figure is judged here."""

import pytest
import torch

from geodl_course.chips import save_npz
from tests.benchmarks import __main__ as table
from tests.benchmarks import results, side_by_side, yolo_dense
from tests.test_training import tiny_chips


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "docs" / "results"))
    monkeypatch.setattr(side_by_side, "TURNS", 2)


@pytest.fixture
def chips(tmp_path):
    return str(save_npz(tmp_path / "squares.npz", tiny_chips(), tiny_chips("val", 4, seed=1)))


def test_three_detectors_in_one_table(chips, capsys):
    side_by_side.main(["--data", chips, "--seconds", "0.5"])
    [run] = results.runs("side_by_side_squares")
    assert list(run["figures"]) == ["faster_rcnn", "ssd", "yolo_v1"]
    for row in run["figures"].values():
        assert {"AP", "AP50", "AP_small", "AP_medium", "AP_large", "parameters", "steps"} <= set(row)
        assert row["images_a_second_1"] > 0 and row["images_a_second_16"] > 0 and row["steps"] >= 1
        assert row["training_seconds"] >= 0.5
    assert "images_a_second_16" in capsys.readouterr().out


def test_speed_is_images_over_seconds(monkeypatch):
    ticks = iter([0, 1, 1, 3] * 10)  # the first model takes a second, the other two
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: next(ticks))
    models = {"quick": torch.nn.Identity(), "slow": torch.nn.Identity()}
    assert side_by_side.speeds(models, torch.zeros(6, 3, 8, 8), turns=2) == {"quick": 6, "slow": 3}


def test_dense_layers_are_compared(chips):
    yolo_dense.main(["--data", chips, "--seconds", "0.3"])
    [run] = results.runs("yolo_dense")
    weights = {name: row["weights in dense layers"] for name, row in run["figures"].items()}
    assert list(weights) == ["copy", "none", "random"]
    assert weights["none"] == 0 < min(weights["copy"], weights["random"])


def test_rows_of_the_table():
    row = {"AP50": 0.5, "images_a_second_1": 3.0, "images_a_second_16": 3.0}
    slower = {name: {**row, "images_a_second_1": speed} for name, speed in (("faster_rcnn", 1.0), ("ssd", 2.0))}
    figures = {**slower, "yolo_v1": row}
    results.store("side_by_side_towns", figures, "python -m x", 0)
    assert table.side_by_side(1)()[1] is True and table.side_by_side(16)()[1] is False
    results.store("quick_ssd_towns", {"AP50": 0.9}, "python -m x", 0)
    for seed, score in ((0, 0.5), (1, 0.44)):
        results.store("quick_yolo_v1_towns", {"AP50": score}, "python -m x", seed)
        assert table.half_of_ssd()[1] is (score > 0.45)
