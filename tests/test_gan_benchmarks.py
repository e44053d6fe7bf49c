"""The generative benchmarks on tiny chips: what is trained, measured and stored. No figure is judged here."""

import json
import shutil

import numpy as np
import pytest
import torch

from geodl_course.chips import save_npz
from geodl_course.models.latent_search import smooth_fill
from tests.benchmarks import dcgan, gan_collapse, gan_losses, gan_speed, gan_uses, generated, results, vae_samples
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
    for model, fit in ((dcgan.QUICK["model"], dcgan.QUICK["fit"]), (gan_losses.MODEL, gan_losses.FIT)):
        monkeypatch.setitem(model, "width", 2)
        monkeypatch.setitem(fit, "batch_size", 8)
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


def test_a_turned_copy_of_a_training_chip_is_a_copy():
    train = torch.rand(6, 2, 8, 8)
    views = (0, 1), (1, 1), (2, 3), (3, 2), (4, 0)  # which chip, turned by how many quarters
    copies = torch.stack([train[chip].rot90(quarters, (1, 2)).flip(2) for chip, quarters in views])
    assert generated.nearest_view(copies, train).max() < 1e-3
    assert generated.nearest_view(copies + 0.5, train).min() > 0.1


def test_losses_are_measured_in_parts_or_all_at_once(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(gan_losses, "DATA", stored)
    first = ["early", "wasserstein"]
    for parts in (first, ["coupling", "minimax"], ["non_saturating"]):
        gan_losses.main(["--steps", "6", "--only", *parts])
    [run] = results.runs("gan_losses")
    assert {"steps", "early", "coupling", "side_by_side"} == set(run["figures"])
    assert list(run["figures"]["side_by_side"]) == list(run["figures"]["early"]) == list(gan_losses.LOSSES)
    assert run["figures"]["coupling"]["layer"] == 0 < run["figures"]["coupling"]["batch"]
    assert [len(rows) for rows in run["figures"]["early"].values()] == [6, 6, 6]
    (tmp_path / "other").mkdir()
    for path in tmp_path.glob("*.npz"):
        shutil.copy(path, tmp_path / "other")
    other = str(tmp_path / "other" / "tiny.npz")
    gan_losses.main(["--data", other, "--steps", "6", "--only", "coupling"])  # other chips: a file of their own
    assert results.runs("gan_losses") == [run]
    [name] = [path.stem for path in results.folder().glob("gan_losses_tiny_*.json")]
    assert set(results.runs(name)[0]["figures"]) == {"steps", "side_by_side", "coupling"}
    gan_losses.main(["--steps", "5", "--only", "minimax"])  # other steps: nothing is mixed
    assert list(results.runs("gan_losses")[0]["figures"]["side_by_side"]) == ["minimax"]


def test_a_collapse_moves_the_generator_alone(stored):
    dcgan.main(["--data", stored, "--seeds", "0", "--steps", "2", "--samples", "12"])
    gan_collapse.main(["--data", stored, "--seeds", "0", "--steps", "3"])
    [run] = results.runs(results.name_for("gan_collapse", stored, "coast"))
    assert {"before", "judge frozen", "steps", "loss"} == set(run["figures"])
    model = dcgan.trained(generated.open_all(stored), 0)
    stuck, losses = gan_collapse.freeze(model, 0, 3)
    assert len(losses) == 3
    for part, moves in (("generator", True), ("discriminator", False)):
        pairs = zip(getattr(model, part).state_dict().values(), getattr(stuck, part).state_dict().values(), strict=True)
        assert any(not torch.equal(one, two) for one, two in pairs) == moves


def test_codes_are_drawn_as_those_of_the_chips_lie():
    class Coder:  # its code is the chip's two pixels
        def encode(self, images):
            return images.flatten(1), None

    g = torch.Generator().manual_seed(0)
    chips = torch.randn(4000, 1, 1, 2, generator=g) @ torch.tensor([[3.0, 1.0], [0.0, 0.5]]) + torch.tensor([5.0, -2.0])
    codes = vae_samples.like_the_codes(Coder(), chips, 20000, seed=1)
    assert torch.allclose(codes.mean(0), torch.tensor([5.0, -2.0]), atol=0.1)
    wanted = torch.tensor([[9.0, 3.0], [3.0, 1.25]])  # of the matrix above, its transpose times itself
    assert torch.allclose(codes.T.cov(), wanted, rtol=0.1, atol=0.05)


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
