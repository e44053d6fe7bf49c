"""Rows of the benchmark table on maps of real scenes: what the stored runs say, in words."""

from statistics import fmean

from tests.benchmarks.results import runs

WORDS = {"zero_shot": "towns alone", "fine_tuned": "then fine-tuned", "scratch": "real chips alone"}
PLACES = {
    "ships": "Faster R-CNN over the port of Busan, vessels", "trees": "Faster R-CNN over four plots of OSBS, trees",
    "buildings": "Mask R-CNN over a quarter of Kampala, buildings",
}


def real_scenes(which):
    """F1 and AP of the map that each model makes, means over the seeds."""
    def row():
        stored = runs(f"real_scenes_{which}")
        parts = []
        for how, words in WORDS.items():
            found = [run["figures"][how] for run in stored if how in run["figures"]]
            mean = [f"{fmean(one[key] for one in found):.2f}" for key in ("f1", "AP50")] if found else ["not yet"]
            parts.append(f"{words} {' / '.join(mean)}")
        return f"{', '.join(parts)} (seeds {' '.join(str(run['seed']) for run in stored)})", None

    return row


ROWS = [
    (f"{what}: F1 / AP at IoU 0.5 of the map", "-", f"real_scenes_{which}",
     f"python -m tests.benchmarks.real_scenes {which} --seeds 0 1 2", real_scenes(which))
    for which, what in PLACES.items()
]
