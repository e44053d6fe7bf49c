"""How real is the terrain of the valley fills, and how large are their faces on the chips?

    python -m tests.benchmarks.valley_fills

Makes two scenes of the quick recipe and two of the full one anew and measures their DEMs (about two minutes);
the counts are those of the data set as it was made.
"""

import argparse
from statistics import fmean, median

from geodl_course import datasets
from geodl_course.chips import ChipDataset, read_info
from geodl_course.datasets.valley_fill_figures import figures
from geodl_course.datasets.valley_fills import FULL, QUICK, make_scene
from tests.benchmarks import results

COMMAND = "python -m tests.benchmarks.valley_fills"
SEEDS = (0, 8)


def measure(recipe):
    """Figures of the scenes of one recipe: means, most basins, and the share of a chip that the median face spans."""
    found = [figures(make_scene(seed, steps=recipe["steps"])) for seed in SEEDS]
    same = "natural share", "slopes of 15 to 35 degrees", "median slope", "relief in 1 km, median", "bifurcation ratio"
    span = median(one["median span of a face"] for one in found)
    return {key: fmean(one[key] for one in found) for key in same} | {
        "closed basins outside the works": max(one["closed basins outside the works"] for one in found),
        "faces a scene": fmean(one["faces"] for one in found), "median span of a face": span,
        "span as a share of the chip": span / (recipe["size"] * recipe["cell"]),
    }  # fmt: skip


def chips(folder):
    """Per split: chips, faces, and the share of the chips that hold one."""
    found = {}
    for split, counts in read_info(folder).counts.items():
        held = fmean(len(labels) > 0 for labels in (target["labels"] for _, target in ChipDataset(folder, split)))
        found[split] = counts | {"chips with a face": held}
    return found


def main(arguments=None):
    argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0]).parse_args(arguments)
    found = {"quick": measure(QUICK), "full": measure(FULL), "chips": chips(datasets.make("valley_fills"))}
    print(results.store("valley_fills", found, COMMAND), found)


if __name__ == "__main__":
    main()
