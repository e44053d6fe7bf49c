"""Checks of lecture 06, Mask R-CNN."""

import numpy as np
import torch

from geodl_course.exercises import exercise


def random_masks(number, size=40):
    """Overlapping rectangles (N, size, size) bool, each of at least 6 x 6 pixels."""
    masks = torch.zeros(number, size, size, dtype=torch.bool)
    for mask in masks:
        (y0, x0), (high, wide) = torch.randint(0, size - 12, (2,)).tolist(), torch.randint(6, 24, (2,)).tolist()
        mask[y0 : y0 + high, x0 : x0 + wide] = True
    return masks


@exercise("06.1")
def one_owner(answer):
    for number in (1, 12):
        masks, scores = random_masks(number), torch.rand(number)
        found = torch.as_tensor(answer(masks, scores))
        if found.shape != masks.shape[1:]:
            return f"Masks {tuple(masks.shape)} make a map {tuple(masks.shape[1:])}, yours is {tuple(found.shape)}."
        for y, x in ((y, x) for y in range(40) for x in range(40)):
            claims = [i for i in range(number) if masks[i, y, x]]
            wanted = max(claims, key=lambda i: scores[i]) + 1 if claims else 0
            if int(found[y, x]) != wanted:
                told = ", ".join(f"{i + 1} ({scores[i]:.2f})" for i in claims) or "none of them"
                return f"The pixel in row {y}, column {x} is claimed by {told}: it is {wanted}, yours {found[y, x]}."


@exercise("06.2")
def inside_share(answer):
    a, b = random_masks(5), random_masks(4)
    b[0], a[1] = a[0], b[1]
    b[0, ::2] = a[1, ::2] = False  # a part of the other: once the second is smaller, once the first
    found = torch.as_tensor(answer(a, b))
    if found.shape != (5, 4):
        return f"5 masks against 4 are (5, 4) pairs, yours are {tuple(found.shape)}."
    for i, j in ((i, j) for i in range(5) for j in range(4)):
        shared, areas = int((a[i] & b[j]).sum()), (int(a[i].sum()), int(b[j].sum()))
        if not abs(float(found[i, j]) - shared / min(areas)) < 1e-4:
            return (f"Masks of {areas[0]} and {areas[1]} px share {shared}: {shared / min(areas):.4f} of the smaller, "
                    f"yours is {found[i, j]:.4f}.")


@exercise("06.3")
def best_score(answer):
    cases = ("1111100000010", 8, 999), ("10" + "1" * 9 + "0" * 9 + "1000", 20, 999), ("011000", 2, 400)
    for order, objects, top in cases:  # top: of the scores, in thousandths, no two alike
        number, figures = len(order), {}  # the best mask first; shuffled before they are shown
        mixed, right = torch.randperm(number), torch.tensor([letter == "1" for letter in order])
        scores = torch.randperm(top)[:number].sort(descending=True).values[mixed] / 1000
        right = right[mixed]
        for bar in scores.tolist():
            kept = scores >= bar
            figures[bar] = 2 * int((right & kept).sum()) / (int(kept.sum()) + objects)
        wanted, found = max(figures.values()), float(answer(scores, right, objects))
        kept = scores >= found - 1e-6
        yours = 2 * int((right & kept).sum()) / max(1, int(kept.sum()) + objects)
        if not abs(yours - wanted) < 1e-6:
            bar = max(figures, key=figures.get)
            return (f"Of {number} masks for {objects} objects those from {bar:.3f} on have F1 {wanted:.3f}, "
                    f"those from yours, {found:.3f}, have {yours:.3f}.")


@exercise("06.4")
def boundary_iou(answer):
    for width in (1, 3):
        a = random_masks(3)
        b = a.roll(int(torch.randint(1, 3, ())), 1)
        found = torch.as_tensor(answer(a, b, width))
        if found.shape != (3,):
            return f"3 pairs of masks have 3 values, yours are {tuple(found.shape)}."
        for one, two, yours in zip(a, b, found, strict=True):
            edges = [mask & ~torch.from_numpy(shrunk(mask.numpy(), width)) for mask in (one, two)]
            wanted = int((edges[0] & edges[1]).sum()) / int((edges[0] | edges[1]).sum())
            if not abs(float(yours) - wanted) < 1e-4:
                iou = int((one & two).sum()) / int((one | two).sum())
                return (f"Of masks with an IoU of {iou:.3f}, edges {width} px wide have {wanted:.3f}, "
                        f"yours is {yours:.3f}.")


def shrunk(mask, width):
    """A mask (H, W) without its pixels from which one outside is at most width away, along rows, columns, diagonals."""
    padded = np.pad(mask, width)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * width + 1, 2 * width + 1))
    return windows.all((-1, -2))
