"""The benchmark machinery on tiny chips: what is stored, what is merged, what is printed. No figure is judged here."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from geodl_course.chips import save_npz
from tests.benchmarks import __main__ as table
from tests.benchmarks import accuracy, mask_ablation, results, ssd_ablation
from tests.test_training import tiny_chips


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "docs" / "results"))
    monkeypatch.setattr(accuracy, "KEPT", tmp_path / "kept")


def test_interval_is_students():
    differences = np.random.default_rng(0).normal(0.01, 0.02, 5)
    mean, low, high = results.interval(differences.tolist())
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((differences.mean(), expected.low, expected.high))
    assert math.isnan(results.interval([0.1])[1])


def test_runs_are_merged_by_seed():
    for seed, score in ((1, 0.5), (0, 0.4), (1, 0.6)):
        results.store("some", {"AP50": score, "none": float("nan")}, f"python -m some --seeds {seed}", seed)
    assert [(run["seed"], run["figures"]) for run in results.runs("some")] == [
        (0, {"AP50": 0.4, "none": None}), (1, {"AP50": 0.6, "none": None})]
    assert results.read("some")["command"] == "python -m some --seeds 0 1"  # of all runs, not of the last
    assert {"commit", "device", "threads", "torch", "torchvision", "python"} <= set(results.runs("some")[0])


def test_parity_trains_both_on_the_same_batches_from_the_same_weights(tmp_path, monkeypatch):
    seen = {}

    def fit(model, train, **settings):
        name = type(model).__name__
        model.register_forward_hook(lambda _, inputs, losses: seen.setdefault(name, []).append((inputs, losses)))
        return original(model, train, **settings, batch_size=4, progress=False)

    original = accuracy.training.fit
    monkeypatch.setattr(accuracy.training, "fit", fit)
    stored = str(save_npz(tmp_path / "squares.npz", tiny_chips(), tiny_chips("val", 4, seed=1)))
    accuracy.main(["parity", "--data", stored, "--seeds", "0", "--steps", "2", "--towns", stored])
    ours, theirs = seen["FasterRCNN"][:2], seen["Reference"][:2]
    for (mine, _), (other, _) in zip(ours, theirs, strict=True):
        assert torch.equal(mine[0], other[0]) and torch.equal(mine[1].boxes, other[1].boxes)
    first_mine, first_other = (sum(one[0][1].values()).item() for one in (ours, theirs))
    assert first_mine == pytest.approx(first_other, rel=0.05)  # the same weights, but each draws its own sample
    [run] = results.runs("parity_squares")
    assert set(run["figures"]) == {"ours", "torchvision", "pretrained"} and run["figures"]["ours"]["steps"] == 2


def test_table_says_what_is_measured_and_how_to_measure_the_rest(tmp_path, capsys):
    for seed, gain in enumerate((0.01, 0.02, -0.005)):
        pair = {"ours": {"AP": 0.5 + gain, "AP50": 0.8}, "torchvision": {"AP": 0.5, "AP50": 0.8}}
        results.store("parity_towns", pair, "python -m x", seed)
    results.store("lectures", {"03": {"seconds": 130.0, "training_seconds": 40, "gigabytes": 1.5}}, "python -m y")
    table.main([])
    printed = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("|")}
    parity = rows["towns: AP, ours less torchvision, same weights, batches, steps"]
    assert "+0.008" in parity and "seeds 0 1 2" in parity and parity.endswith("| yes |")
    assert "| **no** |" in rows["each notebook under nbval, quick: seconds"]
    assert "not yet: `python -m tests.benchmarks.speed`" in rows["inference, same setting: share of torchvision's time"]
    assert (tmp_path / "docs" / "results.md").read_text() == printed[:-1]
    assert json.loads((tmp_path / "docs" / "results" / "lectures.json").read_text())["command"] == "python -m y"


def test_whatever_is_stored_has_a_row():
    """The figures of generative benchmarks as they store them, with numbers that are easy to find again."""
    sample = {"closed": 0.8, "recall": 0.4, "memorised": 0.01, "precision": 0.9, "classifier_accuracy": 0.95}
    results.store("dcgan_coast", sample, "python -m d --seeds", 0)
    results.store("gan_speed", {"training": 0.93, "width": 64, "each": []}, "python -m s")
    one = {"frechet": 3.0, "recall": 0.25, "diverged": None}
    gone = {"diverged": "step 3: the loss is nan", "seconds": 1.0}
    losses = {"minimax": one, "wasserstein": gone}
    results.store("gan_losses", {"side_by_side": losses}, "python -m l", 0)
    for seed, gone_to in ((0, 0.0), (1, 0.1)):
        figures = {"before": {"recall": 0.5}, "judge frozen": {"recall": gone_to}, "steps": 150}
        results.store("gan_collapse", figures, "python -m c --seeds", seed)
    ways = {"code search": {"red": 0.5}, "code search, blended": {"red": 0.25}, "smooth from the edge": {"red": 0.3}}
    for data in ("coast", "sentinel_coast"):
        results.store(f"gan_gaps_{data}", {**ways, "chips": 9}, "python -m g --seeds", 0)
    shares = {"labelled chips alone": 0.7, "with made-up chips": 0.6, "with real chips without labels": 0.8}
    results.store("gan_labels_coast", shares, "python -m g --seeds", 0)
    results.store("something_new", {"AP": 0.5}, "python -m n")
    pair = {which: {"red": {"pixels": [0, place, 1]}, "MNDWI": {"pixels": [-1, -place, 1]}, "chips": 9}
            for which, place in (("coast", 0.1), ("sentinel_coast", 0.2))}  # fmt: skip
    results.store("coast_spectra", {"land": pair, "water": pair}, "python -m c")
    grid = {"redraws": 40, "median": 0.125, "p95": 0.27}
    results.store("redraw", {"05 grid": grid, "all": {**grid, "p95": 0.26}}, "python -m r")
    printed = table.rendered()
    for words in ("80% (seeds 0: 80%) | yes", "0.93 | yes", "minimax 3.00 / 0.25, wasserstein diverged | -",
                  "before 0.50 (0.50, 0.50), judge frozen 0.05 (0.00, 0.10) (seeds 0 1) | -",
                  "code search, blended 0.2500, smooth from the edge 0.3000 (seeds 0) | yes",
                  "with made-up chips 0.600, with real chips without labels 0.800 (seeds 0) | **no**",
                  "| 0.26 s (inspector: redraws, median, 95 %: 05 grid: 40, 0.12 s, 0.27 s) | yes |",
                  "red 0.100 / 0.200, MNDWI -0.100 / -0.200 | -",
                  "| something_new | - | [its figures](results/something_new.json) | - |"):
        assert words in printed


def test_each_result_of_the_project_is_in_the_table(monkeypatch):
    monkeypatch.delenv("GEODL_RESULTS")
    rows, _, how = table.rendered().partition("## How")
    for path in results.folder().glob("*.json"):
        assert f"| {path.stem} | `" in how and results.runs(path.stem)
    for name in ("coast_spectra", "01_chip_sizes"):
        assert all(f"| {what} |" in rows for what, _, of, _, _ in table.TABLE if of == name)
        assert f"| {name} | - |" not in rows


def test_ssd_ablation_trains_every_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(ssd_ablation, "STEPS", 1)
    stored = str(save_npz(tmp_path / "squares.npz", tiny_chips(), tiny_chips("val", 4, seed=1)))
    mining = ssd_ablation.ssd.hard_negatives
    ssd_ablation.main(["--data", stored, "--seeds", "3"])
    assert ssd_ablation.ssd.hard_negatives is mining
    [run] = results.runs("ssd_ablation")
    assert list(run["figures"]) == list(ssd_ablation.VARIANTS) and run["seed"] == 3
    assert all(set(one["found"]) == set(ssd_ablation.SIZES) for one in run["figures"].values())


def test_parity_of_ssd_on_some_bands(tmp_path, monkeypatch):
    original = accuracy.training.fit
    quiet = {"batch_size": 4, "progress": False}
    monkeypatch.setattr(accuracy.training, "fit", lambda *given, **settings: original(*given, **settings, **quiet))
    chips = tiny_chips()
    stored = str(save_npz(tmp_path / "squares.npz", chips, tiny_chips("val", 4, seed=1)))
    bands = chips.info.bands[:2]
    accuracy.main(["parity", "--model", "ssd", "--data", stored, "--bands", *bands, "--steps", "1"])
    [run] = results.runs("parity_ssd_squares_2_bands")
    assert set(run["figures"]) == {"ours", "torchvision"}
    command = results.read("parity_ssd_squares_2_bands")["command"]
    assert f"--model ssd --data squares --bands {' '.join(bands)} --seeds 0" in command


def masked_chips(split="train", number=10, seed=0):
    """The tiny chips with one square's mask each."""
    chips = tiny_chips(split, number, seed)
    rasters = np.zeros((number, 24, 24), np.uint16)
    for raster, (x0, y0, x1, y1) in zip(rasters, chips.arrays["boxes"].astype(int), strict=True):
        raster[y0:y1, x0:x1] = 1
    keys = np.stack((np.arange(number), chips.arrays["labels"]), axis=1)
    chips._set(chips.info, split, {**chips.arrays, "rasters": rasters, "raster_keys": keys}, True, True)
    return chips


def masked_squares(tmp_path, monkeypatch):
    """An .npz of the chips with masks; training there is quiet."""
    original = accuracy.training.fit
    quiet = {"batch_size": 4, "progress": False}
    monkeypatch.setattr(accuracy.training, "fit", lambda *given, **settings: original(*given, **settings, **quiet))
    return str(save_npz(tmp_path / "squares.npz", masked_chips(), masked_chips("val", 4, seed=1)))


def test_parity_of_mask_rcnn_is_by_masks(tmp_path, monkeypatch):
    stored = masked_squares(tmp_path, monkeypatch)
    accuracy.main(["parity", "--model", "mask_rcnn", "--data", stored, "--steps", "1"])
    [run] = results.runs("parity_mask_rcnn_squares")
    assert set(run["figures"]) == {"ours", "torchvision"}
    assert all({"AP50", "boxes_AP50"} <= set(one) for one in run["figures"].values())


def test_mask_ablation_trains_every_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_ablation, "STEPS", 1)
    mask_ablation.main(["--data", masked_squares(tmp_path, monkeypatch), "--seeds", "3"])
    [run] = results.runs("mask_ablation")
    assert list(run["figures"]) == list(mask_ablation.VARIANTS) and run["seed"] == 3
