"""Checks of lecture 07, U-Net-ID."""

import numpy as np
import torch

from geodl_course.exercises import exercise


@exercise("07.1")
def soft_dice(answer):
    for share in (0.3, 0.05):
        probabilities, target = torch.rand(3, 2, 12, 16), (torch.rand(3, 2, 12, 16) < share).float()
        target[0, 1] = 0  # a map without a single pixel
        shared = (probabilities * target).sum((0, 2, 3))
        wanted = 1 - (2 * shared + 1) / (probabilities.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
        found = torch.as_tensor(answer(probabilities, target))
        if found.shape != wanted.shape:
            return f"Maps (3, 2, 12, 16) make 2 losses, one a kind of map, yours are {tuple(found.shape)}."
        worst = (found - wanted).abs().nan_to_num(torch.inf).argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-4:
            return f"With {share:.0%} of the pixels set the loss is {wanted[worst]:.4f}, yours is {found[worst]:.4f}."


@exercise("07.2")
def gap_weights(answer):
    for sigma, number in ((5.0, 2), (2.0, 4)):
        masks = np.zeros((number, 24, 40), bool)
        for i, mask in enumerate(masks):  # one beside the other, with gaps of 1 to 3 px
            left = 2 + i * 9 + int(np.random.randint(0, 3))
            mask[4 : 12 + int(np.random.randint(0, 9)), left : left + 6] = True
        rows, cols = np.indices(masks.shape[1:])
        away = np.sort([[np.hypot(y - r, x - c).min() for y, x in zip(rows.ravel(), cols.ravel(), strict=True)]
                        for r, c in map(np.nonzero, masks)], axis=0)
        wanted = (1 + 10 * np.exp(-((away[0] + away[1]) ** 2) / (2 * sigma**2))).reshape(masks.shape[1:])
        wanted[masks.any(0)] = 1
        found = np.asarray(answer(torch.from_numpy(masks), sigma))
        if found.shape != wanted.shape:
            return f"Masks {masks.shape} make weights {wanted.shape}, yours are {found.shape}."
        y, x = np.unravel_index(np.nan_to_num(np.abs(found - wanted), nan=np.inf).argmax(), wanted.shape)
        if not abs(found[y, x] - wanted[y, x]) < 1e-3:
            one, two = np.sort(away.reshape(number, *wanted.shape)[:, y, x])[:2]
            return (f"With sigma {sigma:g}, {one:.1f} px from the nearest object and {two:.1f} from the second the "
                    f"weight is {wanted[y, x]:.3f}, yours is {found[y, x]:.3f}.")


@exercise("07.3")
def split_by_shrinking(answer):
    for pixels in (1, 2):
        left, neck = int(np.random.randint(2, 6)), int(np.random.randint(1, 2 * pixels + 1))
        segment = torch.zeros(40, 44, dtype=torch.bool)
        segment[5:17, left : left + 14] = segment[5:17, left + 20 : left + 34] = True  # two, joined by a neck
        segment[10 : 10 + neck, left + 14 : left + 20] = True
        segment[24:34, 8:20] = True  # one alone
        ids = torch.as_tensor(answer(segment, pixels))
        if ids.shape != segment.shape:
            return f"A map {tuple(segment.shape)} makes ids of that shape, yours are {tuple(ids.shape)}."
        number = len(ids.unique()) - bool((ids == 0).any())
        if number != 3:
            return f"A neck of {neck} px is gone after shrinking by {pixels}: 3 objects, yours are {number}."
        lost, spilt = int((segment & (ids == 0)).sum()), int((~segment & (ids != 0)).sum())
        if spilt:
            return f"{spilt} pixels outside the map belong to an object: grow inside the map only."
        if lost:
            return f"Shrunk by {pixels}, objects must grow back: {lost} of {int(segment.sum())} pixels are in none."
        halves = ids[5:17, left : left + 14], ids[5:17, left + 20 : left + 34]
        if not all(len(half.unique()) == 1 for half in halves):
            return f"After shrinking by {pixels} px each of the 2 joined squares is one object; yours is in pieces."
