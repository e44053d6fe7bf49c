"""Do ours and torchvision's Faster R-CNN learn the same on average? Mean losses over many draws of the samplers.

    python -m tests.benchmarks.expected_losses --data neon_trees

Same weights (after a few steps), same batch, batch norm fixed; only the anchors and RoIs that are drawn differ. Each
mean is printed with its standard error.
"""

import argparse

import torch
from torch import nn

from geodl_course import training
from geodl_course.chips import collate
from geodl_course.models.faster_rcnn import from_torchvision
from tests.benchmarks.reference import reference_faster_rcnn

BATCH, STEPS, DRAWS = 8, 60, 80


def mean_losses(draw):
    """{loss: (mean, standard error)} of DRAWS calls of draw() -> {loss: scalar}."""
    torch.manual_seed(1)
    with torch.no_grad():
        draws = [draw() for _ in range(DRAWS)]
    each = {name: torch.stack([one[name] for one in draws]) for name in draws[0]}
    return {name: (values.mean().item(), values.std().item() / DRAWS**0.5) for name, values in each.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="neon_trees")
    train = training.open_chips(parser.parse_args().data, "train")
    torch.manual_seed(0)
    theirs = reference_faster_rcnn(len(train.classes), len(train.info.bands), train.info.chip_size)
    ours = from_torchvision(theirs)
    training.fit(ours, train, steps=STEPS, seed=0, progress=False)
    for name, value in ours.backbone.state_dict().items():
        theirs.backbone.state_dict()[name].copy_(value)
    ours = from_torchvision(theirs)  # the trained backbone under the same fresh heads in both
    for module in (theirs.train(), ours.train()):
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    images, targets = collate([train[i] for i in range(BATCH)])
    pair = {"torchvision": lambda: theirs(list(images), targets.to_list()), "ours": lambda: ours(images, targets)}
    for who, draw in pair.items():
        told = ", ".join(f"{name} {mean:.4f} ± {error:.4f}" for name, (mean, error) in mean_losses(draw).items())
        print(f"{who}: {told}", flush=True)


if __name__ == "__main__":
    main()
