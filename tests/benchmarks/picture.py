"""The picture of README.md, docs/results.png, from docs/results: python -m tests.benchmarks.picture

A row a system: the mean over the seeds of what it reaches after at most two minutes on two CPU cores, a small mark for
each seed, and beside it what the lecture compares it with.
"""

import sys
from pathlib import Path
from statistics import fmean

import matplotlib

from tests.benchmarks.results import ROOT, values

TARGET = ROOT / "docs" / "results.png"
WATER = ("five bands", "scores")
ROWS = [  # system and figure; (benchmark, keys); the same of what stands beside it, and its name
    ("Faster R-CNN · towns, AP50 of boxes", ("quick_towns", "AP50"), None, ""),
    ("SSD · towns, AP50 of boxes", ("quick_ssd_towns", "AP50"), None, ""),
    ("YOLO v1 · towns, AP50 of boxes", ("quick_yolo_v1_towns", "AP50"), None, ""),
    ("Mask R-CNN · valley fills, AP50 of masks", ("quick_mask_rcnn_valley_fills", "AP50"), None, ""),
    ("U-Net-ID · towns, F1 of buildings", ("unet_id_towns", "unet_id", "all", "f1"),
     ("unet_id_towns", "unet", "all", "f1"), "plain U-Net"),
    ("the same, where buildings touch", ("unet_id_towns", "unet_id", "touching", "f1"),
     ("unet_id_towns", "unet", "touching", "f1"), "plain U-Net"),
    ("DCGAN · coast, precision", ("dcgan_coast", "precision"), None, ""),
    ("DCGAN · coast, recall", ("dcgan_coast", "recall"), None, ""),
    ("VAE · real ports, AUROC of water", ("vae_sentinel_coast", *WATER, "error / variance", "water", "AUROC"),
     ("vae_sentinel_coast", *WATER, "plain error", "water", "AUROC"), "plain error"),
]  # fmt: skip


def draw(target=TARGET):
    """Write the picture → its path."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 3.9), layout="constrained")
    for place, (_, ours, other, name) in enumerate(ROWS):
        scores = values(*ours)
        ax.plot([0, fmean(scores)], [place, place], color="#0072B2", linewidth=9, alpha=0.35, solid_capstyle="butt")
        ax.plot(scores, [place] * len(scores), "|", color="#0072B2", markersize=11, markeredgewidth=1.6)
        ax.text(1.03, place, f"{fmean(scores):.2f}", va="center", fontsize=10, weight="bold")
        if other:
            beside = fmean(values(*other))
            ax.plot(beside, place, "D", color="#D55E00", markersize=5.5)
            ax.text(1.13, place, f"{name} {beside:.2f}", va="center", fontsize=9, color="#A04000")
    ax.set(yticks=range(len(ROWS)), yticklabels=[row[0] for row in ROWS], xlim=(0, 1), ylim=(len(ROWS) - 0.4, -0.6))
    ax.set_title("After at most two minutes of training on two CPU cores; a line is one seed", fontsize=10, loc="left")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(length=0)
    ax.grid(axis="x", alpha=0.3)
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return Path(target)


if __name__ == "__main__":
    print(draw(*sys.argv[1:]))
