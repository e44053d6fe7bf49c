"""What does SSD lose without hard negative mining, and with one feature map instead of four?

    python -m tests.benchmarks.ssd_ablation --seeds 0 1 2

The small SSD on towns, every variant from the same seed with 300 steps on the same batches. Figures of the validation
chips: AP50, AP50 by class, and by size of the object the share that a box of at least SCORE found at IoU 0.5.
"""

import argparse
from contextlib import contextmanager

import torch
from torch import nn

from geodl_course import training
from geodl_course.evaluation import average_precision, detect, match_detections, targets_of
from geodl_course.models import ssd
from geodl_course.models.ssd_backbones import SmallStages
from geodl_course.models.ssd_settings import small_settings
from tests.benchmarks import results

STEPS, SCORE, EDGES = 300, 0.3, (0, 8, 16, 32, 1000)  # pixels: square root of the object's area
SIZES = ("under 8 px", "8 to 16 px", "16 to 32 px", "over 32 px")


class OneMap(nn.Module):
    """Images (B, bands, H, W) → {"0": one map}: the small backbone as far as the stage that makes it."""

    def __init__(self, number, bands):
        super().__init__()
        self.whole = SmallStages(bands)
        del self.whole.stages[number + 1 :]
        self.out_channels = [self.whole.out_channels[number]]

    def forward(self, images):
        return {"0": list(self.whole(images).values())[-1]}


def one_map(number, data):
    """The small SSD with the default boxes of its map number alone."""
    size = data.info.chip_size
    boxes = small_settings(len(data.classes), size)["boxes"]
    own = {"scales": boxes["scales"][number : number + 2], "ratios": boxes["ratios"][number : number + 1]}
    return ssd.ssd(len(data.classes), size=size, backbone=OneMap(number, len(data.info.bands)), boxes=own)


def whole(data, **changes):
    return ssd.ssd(len(data.classes), len(data.info.bands), data.info.chip_size, **changes)


@contextmanager
def random_negatives():
    """As many negatives as mining takes, but drawn by lot."""
    mining = ssd.hard_negatives
    ssd.hard_negatives = lambda loss, found, ratio: mining(torch.rand_like(loss), found, ratio)
    try:
        yield
    finally:
        ssd.hard_negatives = mining


VARIANTS = {
    "as built: four maps, hardest negatives": whole,
    "random negatives, 3 to 1": whole,
    "all negatives": lambda data: whole(data, loss={"negatives": None}),
    "32 x 32 map only": lambda data: one_map(0, data),
    "8 x 8 map only": lambda data: one_map(2, data),
}


def found_by_size(detections, truth):
    """Share of the objects found, by their size."""
    sizes, found = [], []
    for one, target in zip(detections, truth, strict=True):
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        sizes.append(sides.prod(dim=1).sqrt())
        hit = torch.zeros(len(sides))
        hit[match_detections(one, target, score=SCORE).objects] = 1
        found.append(hit)
    sizes, found = torch.cat(sizes), torch.cat(found)
    bins = zip(SIZES, EDGES, EDGES[1:], strict=False)
    return {name: float(found[(sizes >= low) & (sizes < high)].mean()) for name, low, high in bins}


def variant(name, train, val, seed):
    torch.manual_seed(seed)
    model = VARIANTS[name](train)
    if name.startswith("random"):
        with random_negatives():
            training.fit(model, train, seed=seed, steps=STEPS)
    else:
        training.fit(model, train, seed=seed, steps=STEPS)
    detections, truth = detect(model, val), targets_of(val)
    scores = average_precision(detections, truth, val.classes)
    classes = {kind: one["AP50"] for kind, one in scores["classes"].items()}
    figures = {"AP": scores["AP"], "AP50": scores["AP50"], "classes": classes}
    print(f"seed {seed} {name}: AP50 {scores['AP50']:.3f}", flush=True)
    return {**figures, "found": found_by_size(detections, truth)}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="towns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split) for split in ("train", "val"))
    command = f"python -m tests.benchmarks.ssd_ablation --seeds {' '.join(map(str, chosen.seeds))}"
    for seed in chosen.seeds:
        results.store("ssd_ablation", {name: variant(name, train, val, seed) for name in VARIANTS}, command, seed)


if __name__ == "__main__":
    main()
