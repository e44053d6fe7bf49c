"""Checks of lecture 04, SSD."""

import torch
import torch.nn.functional as F

from geodl_course.exercises import exercise
from geodl_course.exercises.inputs import written


@exercise("04.1")
def number_of_boxes(answer):
    for maps in (1, 3, 6):
        cells = torch.randint(1, 40, (maps,)).tolist()
        ratios = [[2, 3, 4][: int(torch.randint(0, 4, ()))] for _ in cells]
        wanted = sum(side**2 * (2 + 2 * len(own)) for side, own in zip(cells, ratios, strict=True))
        found = answer(cells, ratios)
        if found != wanted:
            return f"Maps of {cells} cells with ratios {ratios} have {wanted} boxes, yours are {found}."


@exercise("04.2")
def focal_loss(answer):
    for gamma in (0.0, 1.0, 2.0):
        logits, labels = 3 * torch.randn(12, 4), torch.randint(0, 4, (12,))
        right = logits.softmax(dim=1)[torch.arange(12), labels]  # the probability of the true class
        wanted = (1 - right) ** gamma * F.cross_entropy(logits, labels, reduction="none")
        found = answer(logits, labels, gamma)
        if found.shape != wanted.shape:
            return f"12 boxes make 12 losses, yours are {tuple(found.shape)}: do not average."
        worst = (found - wanted).abs().argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-4:
            return (f"With gamma {gamma:g} and probability {right[worst]:.3f} of the true class the loss is "
                    f"{wanted[worst]:.4f}, yours is {found[worst]:.4f}.")


@exercise("04.3")
def arcgis_shapes(answer):
    for grid in (1, 4, 13):
        zooms, ratios = (0.3 + torch.rand(3)).tolist(), (0.3 + torch.rand(2, 2)).tolist()
        wanted = torch.tensor(zooms)[:, None, None] * torch.tensor(ratios) / grid
        found = torch.as_tensor(answer(grid, zooms, ratios)).float()
        if found.shape != (6, 2):
            return f"3 zooms and 2 ratios make (6, 2) numbers, yours are {tuple(found.shape)}."
        worst = (found - wanted.flatten(0, 1)).abs().amax(dim=1).argmax()
        if not torch.allclose(found[worst], wanted.flatten(0, 1)[worst], atol=1e-5):
            zoom, ratio = zooms[worst // 2], ratios[worst % 2]
            return (f"Grid {grid}, zoom {zoom:.2f}, ratio {written(ratio)}: box {int(worst)} is "
                    f"{written(wanted.flatten(0, 1)[worst])}, yours is {written(found[worst])}.")
