"""A batch that a detector can learn in seconds: bright boxes on noise."""

import torch

from geodl_course.chips import Targets

NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def scene(count=2, size=64, bands=3):
    """Chips (B, C, H, W) with two boxes each, of a class and a bright band each, and Targets; the first has none."""
    generator = torch.Generator().manual_seed(0)
    images, objects = 0.1 * torch.randn(count, bands, size, size, generator=generator), []
    for number, image in enumerate(images):
        boxes = torch.tensor([[8.0, 10, 24, 22], [30, 36, 52, 60]])[: 2 * bool(number)]
        for label, box in enumerate(boxes.int().tolist()):
            image[label, box[1] : box[3], box[0] : box[2]] += 2
        objects.append({"boxes": boxes, "labels": torch.arange(1, len(boxes) + 1)})
    return images, Targets.from_list(objects)


def learn(model, images, targets, steps):
    """Train model on one batch → what it then finds in each image."""
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(model(images, targets).values()).backward()
        optimiser.step()
    return model.eval()(images).per_image()
