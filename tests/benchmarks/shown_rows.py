"""Rows of the benchmark table that are looked at, not judged: what the stored runs say, in words."""

from statistics import fmean

from tests.benchmarks.results import runs


def spectra(kind):
    """Median of each band and index on generated coasts and on real ports."""
    def row():
        found = runs("coast_spectra")[-1]["figures"][kind]
        names = [name for name in found["coast"] if name != "chips"]
        medians = [[found[which][name]["pixels"][1] for name in names] for which in ("coast", "sentinel_coast")]
        each = zip(names, *medians, strict=True)
        return ", ".join(f"{name} {ours:.3f} / {real:.3f}" for name, ours, real in each), None

    return row


def chip_sizes():
    sizes = runs("01_chip_sizes")[-1]["figures"]["sizes"].items()
    return "; ".join(f"{size} px {one['step_seconds']:.2f} s, {one['megabytes']:.0f} MB" for size, one in sizes), None


def gan_losses():
    """Distance and recall with each loss, means of the runs that did not diverge."""
    stored = [run["figures"]["side_by_side"] for run in runs("gan_losses")]
    parts = []
    for name in stored[0]:
        whole = [run[name] for run in stored if not run[name]["diverged"]]
        mean = [f"{fmean(one[key] for one in whole):.2f}" for key in ("frechet", "recall")] if whole else ["diverged"]
        parts.append(f"{name.replace('_', '-')} {' / '.join(mean)}")
    return ", ".join(parts), None


def collapse():
    """Recall after as many steps of the discriminator, by generator steps for each of them."""
    stored = [run["figures"]["collapse"] for run in runs("gan_losses")]
    return ", ".join(f"{turns}: {fmean(run[turns]['recall'] for run in stored):.2f}" for turns in stored[0]), None


LOSSES = "python -m tests.benchmarks.gan_losses"
ROWS = [
    ("GAN losses, as many generator steps each: Frechet distance on course features / recall", "-", "gan_losses",
     LOSSES, gan_losses),
    ("generator steps for each of the discriminator's, non-saturating: recall", "-", "gan_losses", LOSSES, collapse),
    *((f"coast beside real ports, {kind}: median reflectance of each band, NDVI, MNDWI", "-", "coast_spectra",
       "python -m tests.benchmarks.coast_spectra", spectra(kind)) for kind in ("land", "water")),
    ("Faster R-CNN, training step of 8 chips by chip size: seconds, peak memory", "-", "01_chip_sizes",
     "python -m tests.benchmarks.chip_sizes", chip_sizes),
]
