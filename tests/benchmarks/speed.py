"""How long do a training step and inference take, as a share of torchvision's time with the same weights?

    OMP_NUM_THREADS=2 python -m tests.benchmarks.speed [--model ssd | mask_rcnn]

Batch of 8 chips of 128 px, the same backbone, boxes and heads in both; the two take turns in one process. Mask R-CNN
is measured with 100 instances a chip.
Another load on the machine spoils such figures: turns in which torchvision is far from its own median do not count.
"""

import argparse
import copy
import json
import statistics
import time
from importlib import import_module

import torch

from geodl_course.chips import Targets
from geodl_course.training import MASKED
from tests.benchmarks import results
from tests.benchmarks.reference import REFERENCES

BATCH, SIZE, CLASSES = 8, 128, 3
FAR = 0.15  # a turn counts where torchvision is within this share of its median


def chips(seed=0):
    """A batch of noise with brighter boxes in it → images (B, 3, 128, 128), list of B dicts boxes, labels.

    0 to 20 objects a chip of 5 to 45 pixels, labels by size: enough to learn something from, so that proposals and
    detections become as many as those of a working detector.
    """
    generator = torch.Generator().manual_seed(seed)
    images, objects = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator), []
    for image, count in zip(images, torch.linspace(0, 20, BATCH).long(), strict=True):
        corner = (torch.rand(count, 2, generator=generator) * (SIZE - 45)).round()
        side = (torch.rand(count, 2, generator=generator) ** 2 * 40 + 5).round()
        boxes = torch.cat((corner, corner + side), dim=1)
        for x0, y0, x1, y1 in boxes.int().tolist():
            image[:, y0:y1, x0:x1] += 3
        labels = 1 + (side.prod(dim=1) > 150).long() + (side.prod(dim=1) > 600).long()
        objects.append({"boxes": boxes, "labels": labels})
    return images, objects


def add_masks(objects):
    """Give each of the dicts masks (M, 128, 128): the boxes filled, each without its upper left quarter."""
    for one in objects:
        one["masks"] = torch.zeros(len(one["boxes"]), SIZE, SIZE, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(one["masks"], one["boxes"].int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
            mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = False


def training_steps(module, model, images, objects):
    """A step of torchvision's module and one of ours: forward, backward, optimiser."""
    targets, lists = Targets.from_list(objects), list(images)
    theirs, ours = (torch.optim.SGD(m.train().parameters(), lr=0.01, momentum=0.9) for m in (module, model))

    def step(optimiser, losses):
        optimiser.zero_grad()
        sum(losses().values()).backward()
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 5.0)
        optimiser.step()

    return lambda: step(theirs, lambda: module(lists, objects)), lambda: step(ours, lambda: model(images, targets))


def inferences(module, model, images):
    """Detection on the batch by torchvision's module and by ours."""
    module, model, lists = module.eval(), model.eval(), list(images)
    return torch.no_grad()(lambda: module(lists)), torch.no_grad()(lambda: model(images))


def seconds(function):
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def turns(theirs, ours, number):
    """Times of `number` turns, torchvision before ours → medians in ms over those that count, ratio."""
    for _ in range(3):  # the first ones allocate
        theirs(), ours()
    times = [(seconds(theirs), seconds(ours)) for _ in range(number)]
    usual = statistics.median(time for time, _ in times)
    good = [turn for turn in times if abs(turn[0] - usual) <= FAR * usual]
    theirs, ours = (statistics.median(turn[which] for turn in good) for which in (0, 1))
    ratio = statistics.median(turn[1] / turn[0] for turn in good)
    return {"torchvision_ms": 1e3 * theirs, "ours_ms": 1e3 * ours, "ratio": ratio, "turns": len(good), "of": number}


def measure(system, number, device):
    torch.manual_seed(0)
    module = REFERENCES[system](CLASSES, size=SIZE).to(device)
    from_torchvision = import_module(f"geodl_course.models.{system}").from_torchvision
    images, objects = chips()
    if system in MASKED:
        add_masks(objects)
    images = images.to(device)
    objects = [{name: value.to(device) for name, value in one.items()} for one in objects]
    warm, _ = training_steps(module, from_torchvision(module), images, objects)
    for _ in range(40):  # an untrained detector proposes and detects in ways that a trained one does not
        warm()
    trained = copy.deepcopy(module)
    if system in MASKED:
        trained.roi_heads.score_thresh = 0.0  # all that suppression leaves: 100 instances a chip
    training = turns(*training_steps(module, from_torchvision(module), images, objects), number)
    inference = turns(*inferences(trained, from_torchvision(trained), images), number)
    detail = {"training_detail": training, "inference_detail": inference}
    with torch.no_grad():
        detail["instances_a_chip"] = sum(len(one["boxes"]) for one in trained.eval()(list(images))) / BATCH
    return {"training": training["ratio"], "inference": inference["ratio"], **detail}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=REFERENCES, default="faster_rcnn")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-store", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    figures = measure(options.model, options.turns, options.device)
    print(json.dumps({**results.circumstances(), **results.tidy(figures)}, indent=1))
    if not options.no_store:
        others = {"faster_rcnn": ("speed", "")}  # the first system's results bear no name
        name, which = others.get(options.model, (f"speed_{options.model}", f" --model {options.model}"))
        results.store(name, figures, command=f"python -m tests.benchmarks.speed{which}")


if __name__ == "__main__":
    main()
