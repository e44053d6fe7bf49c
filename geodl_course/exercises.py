"""Checks of the exercises, by number. Each tries an answer on fresh random input and returns None when it is right,
or a sentence with a counter-example.

To add one, write a function below under its lecture's heading:

    @exercise("02.1")
    def generalised_iou(answer):
        a, b = random_boxes(20, seed=None), random_boxes(20, seed=None)
        worst = (answer(a, b) - torchvision.ops.generalized_box_iou(a, b).diagonal()).abs().argmax()
        ...

and at least two wrong answers that it must catch to tests/test_exercises.py.
"""

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

from geodl_course.ops.boxes import box_area, box_iou
from geodl_course.teaching import random_boxes

CHECKS = {}


def exercise(number):
    """Register the check of exercise `number`."""

    def register(check):
        assert number not in CHECKS, f"exercise {number} has two checks"
        CHECKS[number] = check
        return check

    return register


# --- lecture 00: welcome ----------------------------------------------------------------------------------------------


@exercise("00.1")
def centres(answer):
    boxes = random_boxes(6, seed=None)
    wanted = torch.stack([boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)], 1)
    found = torch.as_tensor(answer(boxes))
    if found.shape != wanted.shape:
        return f"6 boxes have centres of shape (6, 2), yours is {tuple(found.shape)}."
    worst = (found - wanted).abs().amax(1).argmax()
    if not torch.allclose(found, wanted, atol=1e-3):
        return f"The centre of {written(boxes[worst])} is {written(wanted[worst])}, yours is {written(found[worst])}."


# --- lecture 01: geospatial chips -------------------------------------------------------------------------------------


def written(values):
    """Numbers as a student would write them down."""
    return "(" + ", ".join(f"{value:g}" for value in np.round(np.asarray(values, float), 2).tolist()) + ")"


@exercise("01.1")
def boxes_to_map(answer):
    from affine import Affine

    cell, west, north = np.random.uniform(0.1, 30), *np.random.randint(1000, 9000, 2)
    boxes = random_boxes(8, seed=None).numpy().astype(float)
    wanted = boxes * [cell, -cell, cell, -cell] + [west, north, west, north]
    wanted = wanted[:, [0, 3, 2, 1]]
    found = np.asarray(answer(boxes, Affine(cell, 0, west, 0, -cell, north)))
    if found.shape != wanted.shape:
        return f"8 boxes make an array (8, 4), yours is {found.shape}."
    worst = np.abs(found - wanted).max(1).argmax()
    if not np.abs(found[worst] - wanted[worst]).max() < 1e-3:
        return (f"With pixels of {cell:.2f} m and the corner at ({west}, {north}), the box {written(boxes[worst])} is "
                f"{written(wanted[worst])} on the map, yours is {written(found[worst])}.")


@exercise("01.2")
def leaking(answer):
    size = int(np.random.randint(20, 60))
    grid = np.indices((3, 3)).reshape(2, -1).T * 4 * size  # far apart, so that what touches one overlaps no other
    train = np.random.permutation(grid + np.random.randint(0, size, (9, 2)))
    near = train[:3] + np.array([(size, 0), (size - 1, 1 - size), (0, -size)])  # touch, overlap, touch
    val = np.concatenate([near, np.random.randint(0, 12 * size, (12, 2))])
    found = np.asarray(answer(val, train, size))
    if found.shape != (len(val),) or found.dtype != bool:
        return f"{len(val)} validation chips make a bool array ({len(val)},), yours is {found.dtype} {found.shape}."
    for corner, yours in zip(val, found, strict=True):
        if yours != any(abs(r - corner[0]) < size and abs(c - corner[1]) < size for r, c in train):
            does = "does not" if yours else "does"
            return f"The chip of {size} px at {written(corner)} {does} share pixels with a training chip."


@exercise("01.3")
def visible_share(answer):
    size = int(np.random.randint(40, 90))
    boxes = random_boxes(20, size=3 * size, seed=None).numpy().astype(float) - size
    boxes = np.concatenate([boxes, [[-9, -9, -4, -4], [size, 2, size + 5, 8], [-5, 10, 5, 20], [3, 3, 9, 9]]])
    found = np.asarray(answer(boxes, size))
    if found.shape != boxes.shape[:1]:
        return f"{len(boxes)} boxes make an array ({len(boxes)},), yours is {found.shape}."
    for (x0, y0, x1, y1), yours in zip(boxes, found, strict=True):
        width, height = min(x1, size) - max(x0, 0), min(y1, size) - max(y0, 0)
        wanted = max(width, 0) * max(height, 0) / ((x1 - x0) * (y1 - y0))
        if not abs(yours - wanted) < 1e-6:
            box = written((x0, y0, x1, y1))
            return f"A chip of {size} px sees {wanted:.3f} of the box {box}, yours is {yours:.3f}."


# --- lecture 02: boxes, anchors, suppression --------------------------------------------------------------------------


def numbers(box):
    return "(" + ", ".join(f"{value:.1f}" for value in box.tolist()) + ")"


@exercise("02.1")
def generalised_iou(answer):
    a, b = random_boxes(40, seed=None), random_boxes(40, seed=None)
    near, far = a[:10] + 150, a[10:20] + 400  # apart: there the plain IoU is 0
    a, b = torch.cat((a, a[:20])), torch.cat((b, near, far))
    wanted, found = torchvision.ops.generalized_box_iou(a, b).diagonal(), answer(a, b)
    if found.shape != wanted.shape:
        return f"{len(a)} pairs have {len(a)} values, yours are {tuple(found.shape)}: row i goes with row i."
    worst = (found - wanted).abs().nan_to_num(torch.inf).argmax()
    if not (found[worst] - wanted[worst]).abs() < 1e-4:
        pair = f"{numbers(a[worst])} and {numbers(b[worst])}"
        return f"For {pair} it is {wanted[worst]:.4f}, yours is {found[worst]:.4f}."


@exercise("02.2")
def over_smaller(answer):
    a, b = random_boxes(12, seed=None), random_boxes(9, seed=None)
    b[:3] = a[:3] + torch.tensor([0.2, 0.1, -0.3, -0.2])  # nearly the same, and inside
    found = answer(a, b)
    if found.shape != (12, 9):
        return f"12 boxes against 9 are (12, 9) pairs, yours are {tuple(found.shape)}."
    for i, j in ((i, j) for i in range(12) for j in range(9)):
        width, height = (torch.minimum(a[i, 2:], b[j, 2:]) - torch.maximum(a[i, :2], b[j, :2])).clamp(min=0).tolist()
        wanted = width * height / min(box_area(a[i]), box_area(b[j]))
        if not abs(float(found[i, j]) - wanted) < 1e-4:
            return f"For {numbers(a[i])} and {numbers(b[j])} it is {wanted:.4f}, yours is {found[i, j]:.4f}."


@exercise("02.3")
def soft_nms(answer):
    for number, sigma in ((2, 0.5), (3, 0.5), (25, 0.5), (25, 0.2)):
        boxes, scores = random_boxes(number, size=30, seed=None), torch.rand(number)
        given, wanted, waiting = scores.clone(), scores.clone(), list(range(number))
        found = answer(boxes, scores, sigma)
        if not torch.equal(given, scores):
            return f"The {number} scores that went in were changed: work on scores.clone()."
        while waiting:
            best = max(waiting, key=lambda i: wanted[i])
            waiting.remove(best)
            wanted[waiting] *= torch.exp(-(box_iou(boxes[best, None], boxes[waiting])[0] ** 2) / sigma)
        if found.shape != wanted.shape:
            return f"{number} boxes have {number} scores, yours are {tuple(found.shape)}."
        worst = (found - wanted).abs().argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-4:
            return (f"Of {number} boxes, the one with score {given[worst]:.3f} ends at {wanted[worst]:.3f} with sigma "
                    f"{sigma}, yours at {found[worst]:.3f}.")


# --- lecture 03: Faster R-CNN -----------------------------------------------------------------------------------------


@exercise("03.1")
def smooth_l1(answer):
    for beta in (1.0, 0.11, 2.5):
        errors = torch.cat((torch.randn(40) * 2 * beta, torch.tensor([0.0, beta, -beta])))
        wanted = F.smooth_l1_loss(errors, torch.zeros_like(errors), reduction="none", beta=beta)
        found = answer(errors, beta)
        if found.shape != wanted.shape:
            return f"{len(errors)} errors make {len(errors)} losses, yours are {tuple(found.shape)}: do not average."
        worst = (found - wanted).abs().argmax()
        if not (found[worst] - wanted[worst]).abs() < 1e-5:
            return (f"For an error of {errors[worst]:.3f} and beta {beta} the loss is {wanted[worst]:.4f}, "
                    f"yours is {found[worst]:.4f}.")


@exercise("03.2")
def inside(answer):
    height, width = 96, 128  # not square, or a swap of the two would pass
    anchors = random_boxes(200, size=160, seed=None) - 16
    edges = torch.tensor([[0, 0, width, height], [-0.5, 3, 20, 30], [90, 60, width, height + 0.5], [100, 10, 128, 90]])
    anchors = torch.cat((anchors, edges))
    found = answer(anchors, (height, width))
    if found.shape != anchors.shape[:1] or found.dtype != torch.bool:
        return f"{len(anchors)} anchors make {len(anchors)} booleans, yours are {tuple(found.shape)} of {found.dtype}."
    for anchor, yours in zip(anchors, found, strict=True):
        x0, y0, x1, y1 = anchor.tolist()
        if bool(yours) != (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
            box = ", ".join(f"{value:.1f}" for value in anchor.tolist())
            return f"({box}) on an image {height} high and {width} wide is {'not ' * bool(yours)}inside."


@exercise("03.3")
def proposal_recall(answer):
    for bar in (0.5, 0.7):
        boxes = random_boxes(12, seed=None)
        share = torch.tensor([1, 1, 0.6, 1])  # x1 comes closer: IoU 0.6, which only one of the bars accepts
        shrunk = boxes[7:10] * share + boxes[7:10, [0, 1, 0, 3]] * (1 - share)
        proposals = torch.cat((boxes[:7] + torch.randn(7, 4), shrunk, random_boxes(20, size=40, seed=None) + 200))
        wanted = sum(1 for column in box_iou(proposals, boxes).T if column.max() >= bar) / len(boxes)
        found = float(answer(proposals, boxes, bar))
        if not abs(found - wanted) < 1e-6:
            return f"At IoU {bar}, {wanted * 12:.0f} of 12 objects are covered: {wanted:.3f}, yours is {found:.3f}."
    if float(answer(random_boxes(5) + 500, random_boxes(3), 0.5)) != 0:
        return "Proposals that touch no object cover none: 0."


# --- lecture 05: YOLO v1 ----------------------------------------------------------------------------------------------


@exercise("05.1")
def objects_lost(answer):
    for number, size, grid in ((30, 128, 7), (60, 100, 8), (5, 64, 30), (40, 64, 1)):
        boxes, taken = random_boxes(number, size=size, seed=None), set()
        for x0, y0, x1, y1 in boxes.tolist():
            taken.add((int((x0 + x1) / 2 / size * grid), int((y0 + y1) / 2 / size * grid)))
        wanted, found = number - len(taken), int(answer(boxes, size, grid))
        if found != wanted:
            return f"Of {number} objects on {size} px with {grid} x {grid} cells {wanted} are lost, yours are {found}."


@exercise("05.2")
def decode_v2(answer):
    t, corner = torch.randn(30, 4), torch.randint(0, 13, (30, 2))
    anchor, stride = torch.rand(2) * 60 + 5, int(np.random.choice([8, 16, 32]))
    found = answer(t, corner, anchor, stride)
    if found.shape != (30, 4):
        return f"30 cells have boxes (30, 4), yours are {tuple(found.shape)}."
    for (tx, ty, tw, th), (column, row), yours in zip(t.tolist(), corner.tolist(), found, strict=True):
        x, y = (column + 1 / (1 + np.exp(-tx))) * stride, (row + 1 / (1 + np.exp(-ty))) * stride
        width, height = anchor[0].item() * np.exp(tw), anchor[1].item() * np.exp(th)
        wanted = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        if not (yours - wanted).abs().max() < 1e-2:
            return (f"t {numbers(torch.tensor([tx, ty, tw, th]))} in column {column}, row {row} with the anchor "
                    f"{numbers(anchor)} and stride {stride} is {numbers(wanted)}, yours is {numbers(yours)}.")


@exercise("05.3")
def receptive_field(answer):
    tables = [[[3, 8, 1]], [[7, 8, 2], ["pool"]], [["pool"], [3, 8, 1], [1, 8, 1]], [[3, 8, 2], [3, 8, 2], [3, 8, 1]]]
    for table in tables:
        wanted = 1
        for row in reversed(table):  # what one cell of the last map sees of the map before, and so on to the image
            kernel, stride = (2, 2) if row == ["pool"] else (row[0], row[2])
            wanted = (wanted - 1) * stride + kernel
        found = answer(table)
        if found != wanted:
            return f"After {table} a cell sees {wanted} px, yours are {found}."


# --- lecture 04: SSD --------------------------------------------------------------------------------------------------


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


# --- lecture 06: Mask R-CNN -------------------------------------------------------------------------------------------


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
    b[0] = a[0] & b[1]  # a part of another
    b[0, 15:18, 15:18] = True
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
    for order, objects in (("1111100000010", 8), ("10" + "1" * 9 + "0" * 9 + "1000", 20), ("011000", 2)):
        number, figures = len(order), {}  # the best mask first; shuffled before they are shown
        mixed, right = torch.randperm(number), torch.tensor([letter == "1" for letter in order])
        scores, right = torch.rand(number).sort(descending=True).values[mixed], right[mixed]
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


# --- lecture 07: U-Net-ID ---------------------------------------------------------------------------------------------


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
