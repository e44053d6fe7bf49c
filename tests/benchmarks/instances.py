"""Does U-Net-ID part touching buildings that a plain U-Net merges? The same encoder, chips and seconds for both.

The three U-Nets of U-Net-ID start as one U-Net for all three maps, which has most of the seconds; both models
drop instances smaller than 99 of 100 buildings that they learned from.

    python -m tests.benchmarks.instances --data towns --seeds 0 1 2
    python -m tests.benchmarks.instances --data buildings --seeds 0 1 2

Instances are counted at an IoU of 0.5: on all chips of val, and on those on which two buildings are neighbours (some
pixel of one has a pixel of the other among its eight neighbours). --data as in the benchmark accuracy.
"""

import argparse

import torch

from geodl_course import training
from geodl_course.evaluation import area_scores, detect, instance_scores, mask_average_precision, targets_of
from geodl_course.models.unet_id import smallest_of, start_from, unet, unet_id, unet_three_maps
from geodl_course.models.unet_id_targets import number_pixels, vanishing, widen
from tests.benchmarks import results
from tests.benchmarks.accuracy import fewer_empty

CLASS = "building"
SECONDS = 120
SINGLE = 0.8  # of U-Net-ID's seconds, those in which one U-Net learns all three maps
LATE = 5e-4  # the learning rate after that
EMPTY = 0.2  # of the chips without a building, this share is trained on


def touching(masks):
    """Are two of the instances masks (M, H, W) neighbours?"""
    numbers = number_pixels(masks[None], torch.ones(1, len(masks), dtype=torch.bool)) if len(masks) else torch.zeros(1)
    if not numbers.any():
        return False
    lowest = -widen(-torch.where(numbers > 0, numbers, len(masks) + 1.0), 1)  # of the instances around each pixel
    return bool(((numbers > 0) & (lowest < numbers)).any())


def open_buildings(name, split):
    return training.open_chips(name, split, masks=True).pick_classes([CLASS])


def close_chips(data):
    """The chips of data on which two instances are neighbours → list of their numbers."""
    return [i for i, target in enumerate(targets_of(data)) if touching(target["masks"])]


def train_unet(data, seed, seconds, make=unet):
    torch.manual_seed(seed)
    model = make(bands=len(data.info.bands), instances={"smallest": smallest_of(targets_of(data))})
    history = training.fit(model, data, seconds=seconds, seed=seed, progress=False)
    return model, history.step


def train_unet_id(data, seed, seconds):
    single, steps = train_unet(data, seed, SINGLE * seconds, unet_three_maps)
    smallest = {"smallest": smallest_of(targets_of(data))}
    model = start_from(unet_id(bands=len(data.info.bands), instances=smallest), single)
    history = training.fit(model, data, seconds=(1 - SINGLE) * seconds, lr=LATE, seed=seed + 1000, progress=False)
    return model, [steps, history.step]


MODELS = {"unet_id": train_unet_id, "unet": train_unet}


def figures_of(model, val, close):
    """Counts of instances on val and on its chips `close`, area and average precision of masks."""
    found, truth = detect(model, val), targets_of(val)
    masks, wanted = [one["masks"] for one in found], [one["masks"] for one in truth]
    near = instance_scores([masks[i] for i in close], [wanted[i] for i in close]) if close else None
    return {
        "all": instance_scores(masks, wanted), "touching": near, "area": area_scores(masks, wanted),
        "AP50": mask_average_precision(found, truth, val.classes)["AP50"],
    }  # fmt: skip


def measure(train, val, seed, seconds, keep=None):
    """Both models trained with this seed → their figures, and what they were judged on."""
    wanted = [target["masks"] for target in targets_of(val)]
    close = close_chips(val)
    lost = [vanishing(masks[None], torch.ones(1, len(masks), dtype=torch.bool)) for masks in wanted if len(masks)]
    figures = {"seconds": seconds, "chips": len(val), "buildings": sum(map(len, wanted)), "touching_chips": len(close),
               "touching_buildings": sum(len(wanted[i]) for i in close), "one_pixel": sum(int(x.sum()) for x in lost)}
    print(", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    for name, train_model in MODELS.items():
        model, steps = train_model(train, seed, seconds)
        if keep:
            training.save_model(model, f"{keep}/{name}_{train.info.name}_{seed}", train.info)
        figures[name] = {**figures_of(model, val, close), "steps": steps}
        near = figures[name]["touching"]
        print(f"seed {seed} {name}: F1 {figures[name]['all']['f1']:.3f}"
              f", on chips with touching buildings {near['f1'] if near else float('nan'):.3f}"
              f", mask AP50 {figures[name]['AP50']:.3f} after {steps} steps", flush=True)
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", help="folder to keep the models in")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training, for each of the two")
    chosen = parser.parse_args(arguments)
    train, val = (open_buildings(chosen.data, split) for split in ("train", "val"))
    train, name = fewer_empty(train, EMPTY), train.info.name
    command = f"python -m tests.benchmarks.instances --data {name} --seeds {' '.join(map(str, chosen.seeds))}"
    for seed in chosen.seeds:
        results.store(f"unet_id_{name}", measure(train, val, seed, chosen.seconds, chosen.keep), command, seed)


if __name__ == "__main__":
    main()
