"""The benchmarks of autoencoder and VAE on made-up chips: what they train on, what they store. No figure is judged."""

import json
import math

import numpy as np
import pytest
import torch

from geodl_course.chips import ChipDataset, DatasetInfo, covers, save_npz
from tests.benchmarks import compression, results, vae, vae_rows

BANDS = ["red", "green", "blue", "nir", "swir"]


def shore(split, number=12, seed=0):
    """Chips of noise: land rough and bright, water flat and dark, mixed half and half."""
    g = np.random.default_rng(seed)
    kinds = [["land", "water", "mixed"][i % 3] for i in range(number)]
    images = g.normal(8000, 2500, (number, 5, 64, 64))
    for image, kind in zip(images, kinds, strict=True):
        if kind != "land":
            image[:, :, 0 if kind == "water" else 32 :] = 3000 + g.normal(0, 50)
    images = images.clip(1, 60000).astype(np.uint16)
    info = DatasetInfo("shore", [], BANDS, "uint16", 64, 10.0, "EPSG:3857", mean=[7000.0] * 5, std=[3000.0] * 5)
    arrays = {
        "stems": np.array([f"{i:06d}" for i in range(number)]), "images": images, "counts": np.zeros(number, np.int64),
        "boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64),
        "covers": np.array([json.dumps({"kind": kind, "water": 0.5}) for kind in kinds]),
    }
    chips = ChipDataset.__new__(ChipDataset)
    chips._set(info, split, arrays, False, True)
    return chips


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_RESULTS", str(tmp_path / "results"))
    return str(save_npz(tmp_path / "shore.npz", shore("train"), shore("val", seed=1)))


def test_vae_learns_land_only_and_every_score_is_judged(stored, monkeypatch):
    learned = []
    original = vae.training.fit

    def fit(model, train, **settings):
        learned.append({said["kind"] for said in covers(train)})
        return original(model, train, **settings | {"batch_size": 2}, progress=False)

    monkeypatch.setattr(vae.training, "fit", fit)
    vae.main(["--data", stored, "--seeds", "3", "--steps", "2"])
    [run] = results.runs("vae_shore")
    assert run["seed"] == 3 and learned == [{"land"}] * 2
    assert set(run["figures"]) == {"red, green, blue", "five bands"}
    for name, last in (("red, green, blue", "blue"), ("five bands", "swir")):
        scores = run["figures"][name]["scores"]
        assert f"error in {last}" in scores and f"no model: dark in {last}" in scores and len(scores) == 8
        assert scores["no model: flatness"]["water"]["AUROC"] == 1 and run["figures"][name]["trained on"] == 4
        assert run["figures"][name]["chips"] == {"land": 4, "water": 4, "mixed": 4}


def test_judged_by_hand():
    land, other = torch.tensor([0.0, 1, 2, 3]), torch.tensor([2.5, 9])
    found = vae.judged(land, other)
    assert found["AUROC"] == 7 / 8 and found["false alarms at recall 0.9"] == 1 / 4 and found["threshold"] == 2.5


def test_codes_and_files_are_measured_on_the_same_chips(stored, monkeypatch):
    original = compression.training.fit
    quiet = {"batch_size": 4, "progress": False}
    monkeypatch.setattr(compression.training, "fit", lambda *given, **settings: original(*given, **settings | quiet))
    monkeypatch.setattr(compression, "LATENTS", (2,))
    compression.main(["--data", stored, "--steps", "2"])
    [run] = results.runs("compression_shore")
    figures = run["figures"]
    own = figures["autoencoder, 2 x 16 numbers"]
    rates = [own[str(bits)]["bits per pixel"] for bits in (2, 4, 8)]
    assert rates == sorted(rates) and 0 < rates[0] and rates[2] <= 8 * 2 * 16 / 4096
    assert own["not quantised"]["bits per pixel"] == 0.25 and own["bytes of the decoder"] > 10**6
    quality = figures["JPEG, mosaic"]
    assert quality["10"]["PSNR"] < quality["90"]["PSNR"] < figures["PNG, mosaic"]["9"]["PSNR"]
    assert figures["PNG, mosaic"]["9"]["PSNR"] > 55  # what rounding to eight bits leaves
    assert figures["JPEG, a file each"]["10"]["bits per pixel"] > quality["10"]["bits per pixel"]
    assert set(quality["10"]["PSNR per band"]) == {"red", "green", "blue"}


def test_what_codecs_are_given_is_reflectance_over_its_range():
    info = shore("train").info
    images = (torch.tensor([0.0, 0.25, 0.5, 0.9]).view(4, 1, 1, 1).expand(4, 3, 2, 2) * 65535 - 7000) / 3000
    info = DatasetInfo(**{**info.__dict__, "bands": BANDS[:3], "mean": info.mean[:3], "std": info.std[:3]})
    shares = compression.as_shares(images, info)
    assert shares[:, 0, 0, 0].tolist() == pytest.approx([0, 0.5, 1, 1], abs=1e-4) and not math.isnan(shares.sum())


def test_rows_name_the_best_score_and_what_needs_no_model(stored):
    def stored_run(seed, error, kl, flat):
        kinds = {name: {"water": {"AUROC": value, "false alarms at recall 0.9": 1 - value}}
                 for name, value in (("plain error", error), ("KL of the code", kl), ("no model: flatness", flat))}
        results.store("vae_sentinel_coast", {"five bands": {"scores": kinds}}, "python -m x --seeds", seed)

    stored_run(0, 0.1, 0.9, 1.0)
    stored_run(1, 0.2, 1.0, 1.0)
    text, good = vae_rows.anomalies("five bands", limit=0.95)()
    assert text == ("KL of the code 0.950, plain error 0.150, no model: flatness 1.000; false alarms of the best at "
                    "recall 0.9: 0.050 (seeds 0 1)")
    assert good and not vae_rows.anomalies("five bands", limit=0.96)()[1]


def test_rate_of_jpeg_is_read_between_its_qualities():
    points = {"10": {"PSNR": 20.0, "bits per pixel": 0.1}, "50": {"PSNR": 30.0, "bits per pixel": 0.5}}
    assert vae_rows.rate_at(points, 25) == "0.300"
    assert vae_rows.rate_at(points, 15) == "under 0.100" and vae_rows.rate_at(points, 31) == "over 0.500"
