"""The generative benchmarks on tiny chips: what is trained, measured and stored. No figure is judged here."""

import json

import numpy as np
import pytest
import torch

from geodl_course.chips import save_npz
from geodl_course.models.latent_search import smooth_fill
from tests.benchmarks import dcgan, gan_losses, gan_speed, gan_uses, generated, results
from tests.test_training import tiny_chips

COVERS = ["water", "forest"]


def tiny_covers(split="train", number=40, seed=0):
    """Chips of 16 px of two covers, bright and dark."""
    chips = tiny_chips(split, number, seed)
    g = np.random.default_rng(seed)
    which = np.arange(number) % 2
    images = (g.integers(10, 60, (number, 3, 16, 16)) + 50 * which[:, None, None, None]).astype(np.uint8)
    entries = [json.dumps({"cover": COVERS[k], "kind": "land", "water": 0.0}) for k in which]
    arrays = {**chips.arrays, "images": images, "covers": np.array(entries, dtype=str)}
    chips._set(chips.info, split, arrays, False, True)
    return chips


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Paths of the tiny set; its classifier's set lies beside; training is short."""
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(dcgan, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(generated, "CLASSIFIER_STEPS", 5)
    monkeypatch.setattr(dcgan, "WATCH_EVERY", 2)
    for module in (dcgan, gan_losses):
        monkeypatch.setitem(module.QUICK["model"], "width", 2)
        monkeypatch.setitem(module.QUICK["model"], "critic_width", 2)
        monkeypatch.setitem(module.QUICK["fit"], "batch_size", 8)
    path = save_npz(tmp_path / "tiny.npz", tiny_covers(), tiny_covers("val", 20, 1), tiny_covers("test", 20, 2))
    save_npz(tmp_path / "tiny_covers.npz", tiny_covers(seed=3))
    return str(path)


def test_quality_is_measured_on_scenes_that_nobody_trained_on(stored):
    data = generated.open_all(stored)
    assert (len(data.train), len(data.held_out), len(data.other)) == (40, 40, 40)
    assert data.classes == sorted(COVERS) and data.train.abs().max() <= 1
    pairs = [(a, b) for a in (data.train, data.held_out) for b in (data.other,)]
    assert not any(torch.equal(one, two) for a, b in pairs for one in a for two in b)
    dcgan.main(["--data", stored, "--seeds", "3", "--steps", "4", "--samples", "12"])
    [run] = results.runs("dcgan_squares")
    wanted = {"frechet", "floor", "ceiling", "closed", "precision", "recall", "memorised", "classifier_accuracy"}
    assert wanted <= set(run["figures"]) and run["seed"] == 3 and run["figures"]["steps"] == 4
    assert [look["step"] for look in run["figures"]["curve"]["looks"]] == [0, 2, 4]
    assert (dcgan.KEPT / "squares" / "3" / "model.safetensors").exists()


def test_losses_early_gradient_and_collapse_are_stored(stored):
    gan_losses.main(["--data", stored, "--steps", "6"])
    [run] = results.runs("gan_losses")
    assert {"early", "coupling", "collapse", "side_by_side"} == set(run["figures"])
    assert set(run["figures"]["side_by_side"]) == set(run["figures"]["early"]) == set(gan_losses.LOSSES)
    assert run["figures"]["coupling"]["layer"] == 0 < run["figures"]["coupling"]["batch"]
    assert set(run["figures"]["collapse"]) == {"1", "10"}


@pytest.mark.parametrize("what", ["gaps", "labels"])
def test_uses_are_measured_with_the_model_that_was_kept(stored, what, monkeypatch, capsys):
    monkeypatch.setattr(gan_uses, "STEPS", 5)
    dcgan.main(["--data", stored, "--seeds", "0", "--steps", "2", "--samples", "12"])
    monkeypatch.setattr(dcgan, "fit_gan", None)  # the kept model is taken
    settings = {"gaps": {"steps": 3, "number": 6}, "labels": {"per_class": 3, "extra": 4, "steps": 5}}[what]
    figures = getattr(gan_uses, what)(stored, 0, **settings)
    if what == "gaps":
        assert set(figures["smooth from the edge"]) == set(tiny_covers().info.bands)
        assert 0.1 < figures["share of a chip"] < 0.2
    else:
        assert figures["labelled"] == 6 and all(0 <= figures[way] <= 1 for way in list(figures)[:3])
    assert "seed 0" in capsys.readouterr().out


def test_rmse_is_of_the_gaps_pixels_in_reflectance():
    images, gap = torch.zeros(2, 3, 16, 16), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    gap[0, 0, 4:8, 4:8] = True
    filled = torch.where(gap, 0.4, 1.0 * images)
    filled[1] = 1  # outside any gap: does not count
    assert gan_uses.rmse(filled, images, gap) == pytest.approx([0.1] * 3)  # -1..1 is 0..0.5 of reflectance
    assert gan_uses.rmse(smooth_fill(images, gap), images, gap) == [0] * 3


def test_gaps_look_like_clouds():
    gap = gan_uses.cloud_gaps(20, 64, seed=0)
    assert gap.dtype == torch.bool and gap.shape == (20, 1, 64, 64)
    share = gap.float().mean(dim=(1, 2, 3))
    assert share.min() > 0.12 and share.max() < 0.18 and not gap[..., :4, :].any() and not gap[..., -4:].any()
    inner = gap[..., 1:-1, 1:-1] & gap[..., 2:, 1:-1] & gap[..., :-2, 1:-1] & gap[..., 1:-1, 2:] & gap[..., 1:-1, :-2]
    assert inner.sum() > 0.5 * gap.sum()  # patches, not specks


def test_a_plain_step_and_ours_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr("tests.benchmarks.speed.FAR", 99)  # a busy machine
    figures = gan_speed.measure(2, 2, torch.device("cpu"))
    assert figures["training"] > 0 and figures["training, detail"]["plain_ms"] > 0


def test_few_labels_are_of_each_class():
    labels = torch.tensor([0] * 30 + [1] * 4)
    chosen = gan_uses.few(labels, 2, 5, seed=0)
    assert labels[chosen].bincount().tolist() == [5, 4] and len(set(chosen.tolist())) == 9
