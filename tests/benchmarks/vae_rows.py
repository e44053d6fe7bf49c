"""Rows of the benchmark table on autoencoder and VAE: what the stored runs say, in words, and whether it is enough."""

from statistics import fmean

import numpy as np

from tests.benchmarks.results import runs

BASELINE = "no model: "
VAE = "python -m tests.benchmarks.vae --seeds 0 1 2"
CODES = "python -m tests.benchmarks.compression"


def means(bands, kind, figure="AUROC", stored="vae_sentinel_coast"):
    """{score: mean over the seeds} of the VAE with these bands, land against chips of this kind."""
    stored = [run["figures"][bands]["scores"] for run in runs(stored)]
    return {name: fmean(one[name][kind][figure] for one in stored) for name in stored[0]}


def anomalies(bands, kind="water", limit=None, stored="vae_sentinel_coast"):
    """The best score that needs the model, then the plain error and the baselines: means over the seeds."""
    def row():
        found = means(bands, kind, stored=stored)
        alarms = means(bands, kind, "false alarms at recall 0.9", stored)
        best = max((name for name in found if not name.startswith(BASELINE)), key=found.get)
        named = [best, "plain error", *(name for name in found if name.startswith(BASELINE))]
        each = ", ".join(f"{name} {found[name]:.3f}" for name in dict.fromkeys(named))
        seeds = " ".join(str(run["seed"]) for run in runs(stored))
        text = f"{each}; false alarms of the best at recall 0.9: {alarms[best]:.3f} (seeds {seeds})"
        return text, None if limit is None else found[best] >= limit

    return row


def codes():
    """Each autoencoder at 4 bits a number, and what JPEG would need to lose as much."""
    figures = runs("compression_sentinel_coast")[-1]["figures"]
    parts = []
    for name in (name for name in figures if name.startswith("autoencoder")):
        ours = figures[name]["4"]
        mosaic, apart = (rate_at(figures[f"JPEG, {way}"], ours["PSNR"]) for way in ("mosaic", "a file each"))
        size = figures[name]["bytes of the decoder"] / 1e6
        parts.append(f"{name.removeprefix('autoencoder, ')}: {ours['bits per pixel']:.3f} bits a pixel, "
                     f"{ours['PSNR']:.1f} dB, decoder {size:.1f} MB (JPEG: mosaic {mosaic}, a file each {apart})")
    return "; ".join(parts), None


def rate_at(points, decibels):
    """Bits per pixel at which a codec, {quality: point}, reaches so many decibels, as text."""
    loss, rate = zip(*sorted((one["PSNR"], one["bits per pixel"]) for one in points.values()), strict=True)
    if not loss[0] <= decibels <= loss[-1]:
        return f"under {rate[0]:.3f}" if decibels < loss[0] else f"over {rate[-1]:.3f}"
    return f"{np.interp(decibels, loss, rate):.3f}"


ROWS = [
    ("VAE, sentinel_coast, trained on land, five bands: AUROC of water at ports not trained on", "best at least 0.95",
     "vae_sentinel_coast", VAE, anomalies("five bands", limit=0.95)),
    ("the same, red, green, blue", "-", "vae_sentinel_coast", VAE, anomalies("red, green, blue")),
    ("the same, five bands: AUROC of chips that are part water, which are not smooth", "-", "vae_sentinel_coast", VAE,
     anomalies("five bands", "mixed")),
    *((f"VAE, generated coasts, five bands: AUROC of {what}", "-", "vae_coast",
       VAE.replace("vae", "vae --data coast"), anomalies("five bands", kind, stored="vae_coast"))
      for kind, what in (("water", "water"), ("mixed", "chips that are part water"))),
    ("autoencoder, codes at 4 bits a number, real chips of ports not trained on", "-", "compression_sentinel_coast",
     CODES, codes),
]
