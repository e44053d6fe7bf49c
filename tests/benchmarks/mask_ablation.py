"""What does Mask R-CNN lose when classes compete for pixels, and when RoIs are rounded to cells?

    python -m tests.benchmarks.mask_ablation --seeds 0 1 2

The small Mask R-CNN on towns, every variant from the same seed with STEPS steps on the same batches. Figures of the
validation chips, by masks: AP, AP50, AP75, AP50 by class; and the boxes' AP, which the variants hardly touch, since
boxes are cut by RoIAlign in all of them. After Mask R-CNN (arXiv 1703.06870), tables 2b and 2c, which have 160 000
steps, a ResNet-50 and COCO behind them.
"""

import argparse

import torch

from geodl_course import training
from geodl_course.evaluation import average_precision, detect, mask_average_precision, targets_of
from geodl_course.models.mask_rcnn import mask_rcnn
from tests.benchmarks import results

STEPS = 300
VARIANTS = {
    "as built: sigmoid, RoIAlign": {},
    "softmax over the classes": {"mask": {"activation": "softmax"}},
    "RoIPool in the mask branch": {"mask_pool": {"layer": "pool"}},
}


def variant(name, train, val, seed):
    torch.manual_seed(seed)
    model = mask_rcnn(len(train.classes), len(train.info.bands), **VARIANTS[name])
    training.fit(model, train, seed=seed, steps=STEPS)
    found, truth = detect(model, val), targets_of(val)
    masks, boxes = (judge(found, truth, val.classes) for judge in (mask_average_precision, average_precision))
    print(f"seed {seed} {name}: mask AP {masks['AP']:.3f} AP50 {masks['AP50']:.3f} AP75 {masks['AP75']:.3f}, "
          f"box AP {boxes['AP']:.3f}", flush=True)
    classes = {kind: one["AP50"] for kind, one in masks["classes"].items()}
    return {key: masks[key] for key in ("AP", "AP50", "AP75")} | {"classes": classes, "boxes_AP": boxes["AP"]}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="towns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split, masks=True) for split in ("train", "val"))
    command = f"python -m tests.benchmarks.mask_ablation --seeds {' '.join(map(str, chosen.seeds))}"
    for seed in chosen.seeds:
        results.store("mask_ablation", {name: variant(name, train, val, seed) for name in VARIANTS}, command, seed)


if __name__ == "__main__":
    main()
