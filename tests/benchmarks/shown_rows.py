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
    """Recall before and after the generator learned against a discriminator that stood still, of each seed."""
    stored = runs("gan_collapse")
    parts = []
    for name in ("before", "judge frozen"):
        each = [run["figures"][name]["recall"] for run in stored]
        parts.append(f"{name} {fmean(each):.2f} ({', '.join(f'{one:.2f}' for one in each)})")
    return f"{', '.join(parts)} (seeds {' '.join(str(run['seed']) for run in stored)})", None


def made_up():
    """Way from ceiling to floor, precision and recall of DCGAN's and of a VAE's samples, means of the seeds."""
    stored = [run["figures"] for run in runs("vae_samples_coast")]
    parts = []
    for name in (name for name, one in stored[0].items() if isinstance(one, dict)):
        mean = [fmean(run[name][key] for run in stored) for key in ("closed", "precision", "recall")]
        parts.append(f"{name} {' / '.join(f'{one:.2f}' for one in mean)}")
    return f"{'; '.join(parts)} (seeds {' '.join(str(run['seed']) for run in runs('vae_samples_coast'))})", None


LOSSES = "python -m tests.benchmarks.gan_losses --steps 400"
ROWS = [
    ("GAN losses, as many generator steps each: Frechet distance on course features / recall", "-", "gan_losses",
     LOSSES, gan_losses),
    ("mode collapse on purpose, 150 generator steps against a frozen discriminator: recall", "-", "gan_collapse",
     "python -m tests.benchmarks.gan_collapse --seeds 0 1 2", collapse),
    ("coast, samples after two minutes: way from ceiling to floor of the Frechet distance / precision / recall", "-",
     "vae_samples_coast", "python -m tests.benchmarks.vae_samples --seeds 0 1 2", made_up),
    *((f"coast beside real ports, {kind}: median reflectance of each band, NDVI, MNDWI", "-", "coast_spectra",
       "python -m tests.benchmarks.coast_spectra", spectra(kind)) for kind in ("land", "water")),
    ("Faster R-CNN, training step of 8 chips by chip size: seconds, peak memory", "-", "01_chip_sizes",
     "python -m tests.benchmarks.chip_sizes", chip_sizes),
]
