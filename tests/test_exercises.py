"""The checks of the exercises: the right answer passes, each likely wrong answer is caught with a counter-example.

The solutions themselves are run by the solutions' notebooks; here stand answers that students really give.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.segmentation import watershed

from geodl_course import exercises
from geodl_course.ops.boxes import box_area, box_iou


def boxes_to_map(boxes, transform, order=(0, 3, 2, 1)):
    x0, y0, x1, y1 = boxes.T
    corners = *(transform * (x0, y0)), *(transform * (x1, y1))
    return np.stack([corners[i] for i in order], 1)


def overlaps(val, train, size):
    return np.abs(val[:, None] - train[None]) < size


def visible_share(boxes, size, low=0):
    sides = (np.clip(boxes, low, size)[:, 2:] - np.clip(boxes, low, size)[:, :2]).prod(1)
    return sides / (boxes[:, 2:] - boxes[:, :2]).prod(1)


def shared(a, b, lowest=0):
    return (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=lowest).prod(-1)


def generalised_iou(a, b):
    union = box_area(a) + box_area(b) - shared(a, b)
    enclosing = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared(a, b) / union - (enclosing - union) / enclosing


def over_smaller(a, b):
    return shared(a[:, None], b) / torch.minimum(box_area(a)[:, None], box_area(b))


def soft_nms(boxes, scores, sigma=0.5, again=True):
    iou, scores, waiting = box_iou(boxes, boxes), scores.clone(), torch.ones(len(scores), dtype=torch.bool)
    order = scores.argsort(descending=True)
    for turn in range(len(scores)):
        best = torch.where(waiting, scores, -1).argmax() if again else order[turn]
        waiting[best] = False
        scores[waiting] *= torch.exp(-(iou[best, waiting] ** 2) / sigma)
    return scores


def soft_nms_in_place(boxes, scores, sigma):
    return scores.copy_(soft_nms(boxes, scores, sigma))


def smooth_l1(error, beta):
    return torch.where(error.abs() < beta, 0.5 * error**2 / beta, error.abs() - 0.5 * beta)


def inside(anchors, size):
    return (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= size[1]) & (anchors[:, 3] <= size[0])


def proposal_recall(proposals, boxes, iou):
    return (box_iou(proposals, boxes).amax(0) >= iou).float().mean()


def objects_lost(boxes, size, grid, axes=(0, 1)):
    cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 * grid / size).long()[:, list(axes)]
    return len(cells) - len(set(map(tuple, cells.tolist())))


def decode_v2(t, corner, anchor, stride, squash=torch.sigmoid):
    centre, half = (corner + squash(t[:, :2])) * stride, anchor * t[:, 2:].exp() / 2
    return torch.cat((centre - half, centre + half), dim=1)


def receptive_field(table, pool=(2, 2)):
    side, step = 1, 1
    for row in table:
        kernel, stride = pool if row == ["pool"] else (row[0], row[2])
        side, step = side + (kernel - 1) * step, step * stride
    return side


def number_of_boxes(cells, ratios, squares=2, each=2):
    return sum(side * side * (squares + each * len(own)) for side, own in zip(cells, ratios, strict=True))


def focal_loss(logits, labels, gamma):
    right = logits.softmax(1)[range(len(labels)), labels]
    return -((1 - right) ** gamma) * right.log()


def arcgis_shapes(grid, zooms, ratios):
    return [[zoom * wide / grid, zoom * high / grid] for zoom in zooms for wide, high in ratios]


def soft_dice(p, t, over=(0, 2, 3), smooth=1, twice=2):
    return 1 - (twice * (p * t).sum(over) + smooth) / (p.sum(over) + t.sum(over) + smooth)


def gap_weights(masks, sigma, nearest=2, inside=1.0, squared=True):
    away = torch.stack([torch.from_numpy(ndimage.distance_transform_edt(~mask.numpy())) for mask in masks])
    reach = away.sort(0).values[:nearest].sum(0)
    weights = 1 + 10 * torch.exp(-(reach**2 if squared else reach) / (2 * sigma**2))
    return weights if inside is None else torch.where(masks.any(0), inside, weights)


def split_by_shrinking(segment, pixels, grow=True, bound=True):
    seeds, _ = ndimage.label(ndimage.binary_erosion(segment, np.ones((2 * pixels + 1,) * 2)))
    if not grow:
        return torch.from_numpy(seeds)
    return torch.from_numpy(watershed(np.zeros(seeds.shape), seeds, mask=segment.numpy() if bound else None))


def one_owner(masks, scores, order=torch.argsort):
    ids = torch.zeros(masks.shape[1:], dtype=torch.int64)
    for i in order(scores).tolist():  # the best last: it stays on top
        ids[masks[i]] = i + 1
    return ids


def inside_share(a, b, of=torch.minimum):
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return a @ b.T / of(a.sum(1)[:, None], b.sum(1)[None])


def best_score(scores, right, objects, figure=None):
    order = scores.argsort(descending=True)
    found, kept = right[order].cumsum(0), torch.arange(1, len(scores) + 1)
    figure = figure or (lambda found, kept: 2 * found / (kept + objects))
    return scores[order][figure(found, kept).argmax()]


def boundary_iou(a, b, width, border=1.0, both=torch.mul):
    def edge(masks):
        outside = torch.nn.functional.pad(1 - masks[:, None].float(), [width] * 4, value=border)
        return both(masks.float(), torch.nn.functional.max_pool2d(outside, 2 * width + 1, 1)[:, 0]) > 0

    a, b = edge(a), edge(b)
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2))


def generator_weights(bands, latent, widths, norms=2, inside=True):
    kernels = sum(a * b for a, b in zip([latent, *widths], [*widths, bands], strict=True))
    return 16 * (kernels if inside else kernels - latent * widths[0]) + norms * sum(widths)


def hinge_losses(real, made, margin=1, sign=-1):
    return (margin - real).clamp(min=0).mean() + (margin + made).clamp(min=0).mean(), sign * made.mean()


def ring_power(images, rings, power=2, widest=0.5, centred=True):
    images = images - images.mean((2, 3), keepdim=True) * centred
    side = torch.fft.fftfreq(images.shape[-1])
    ring = (torch.hypot(side[:, None], side) * rings / widest).long()
    found = torch.fft.fft2(images).abs().pow(power).mean((0, 1))
    return torch.stack([found[ring == k].mean() for k in range(rings)])


def numbers_in_use(mean, log_variance, least, average=True):
    nats = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)
    return int(((nats.mean(0) if average else nats.amax(0)) > least).sum())


def worst_window(errors, side, stride=1, over=torch.amax):
    return over(torch.nn.functional.avg_pool2d(errors.mean(1, keepdim=True), side, stride).flatten(1), dim=1)


def cheapest(scores, strange, share, cost_missed, cost_false, highest=float("inf")):
    def cost(threshold):
        missed, false = (scores[strange] < threshold).double().mean(), (scores[~strange] >= threshold).double().mean()
        return float(share * cost_missed * missed + (1 - share) * cost_false * false)

    return min([*scores.tolist(), *([highest] if highest else [])], key=cost)


def along(length, size, step):
    return 1 + max(0, -(-(length - size) // step))


def windows_needed(height, width, size, overlap, along=along):
    return along(height, size, size - overlap) * along(width, size, size - overlap)


def chance_to_be_cut(width, height, size, least=0):
    return 1 - max(least, 1 - width / size) * max(least, 1 - height / size)


def common(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def agreement(a, b, window_a, window_b, over=min):
    seen = over(common(a, window_b), common(b, window_a))
    return common(a, b) / seen if seen else 0.0


RIGHT = {
    "08.1": generator_weights, "08.2": hinge_losses, "08.3": ring_power,
    "00.1": lambda boxes: (boxes[:, :2] + boxes[:, 2:]) / 2,
    "01.1": boxes_to_map,
    "01.2": lambda *given: overlaps(*given).all(-1).any(1),
    "01.3": visible_share,
    "02.1": generalised_iou,
    "02.2": over_smaller,
    "02.3": soft_nms,
    "03.1": smooth_l1, "03.2": inside, "03.3": proposal_recall,
    "04.1": number_of_boxes, "04.2": focal_loss, "04.3": arcgis_shapes,
    "05.1": objects_lost, "05.2": decode_v2, "05.3": receptive_field,
    "06.1": one_owner, "06.2": inside_share, "06.3": best_score, "06.4": boundary_iou,
    "07.1": soft_dice, "07.2": gap_weights, "07.3": split_by_shrinking,
    "09.1": numbers_in_use, "09.2": worst_window, "09.3": cheapest,
    "10.1": windows_needed, "10.2": chance_to_be_cut, "10.3": agreement}

WRONG = {
    "08.1": {
        "batch norm forgotten": lambda bands, latent, widths: generator_weights(bands, latent, widths, norms=0),
        "one number a channel": lambda bands, latent, widths: generator_weights(bands, latent, widths, norms=1),
        "first layer forgotten": lambda bands, latent, widths: generator_weights(bands, latent, widths, inside=False),
    },
    "08.2": {
        "no margin": lambda real, made: hinge_losses(real, made, margin=0),
        "generator's sign": lambda real, made: hinge_losses(real, made, sign=1),
        "one loss": lambda real, made: hinge_losses(real, made)[:1],
        "real and made exchanged": lambda real, made: hinge_losses(made, real),
    },
    "08.3": {
        "not squared": lambda images, rings: ring_power(images, rings, power=1),
        "mean left in": lambda images, rings: ring_power(images, rings, centred=False),
        "corners taken in": lambda images, rings: ring_power(images, rings, widest=0.71),
        "one ring more": lambda images, rings: ring_power(images, rings + 1),
    },
    "00.1": {
        "half the size": lambda boxes: (boxes[:, 2:] - boxes[:, :2]) / 2,
        "last pixel inside": lambda boxes: (boxes[:, :2] + boxes[:, 2:] - 1) / 2,
        "y before x": lambda boxes: (boxes[:, [1, 0]] + boxes[:, [3, 2]]) / 2,
        "x alone": lambda boxes: (boxes[:, 0] + boxes[:, 2]) / 2,
    },
    "02.1": {
        "plain IoU": lambda a, b: box_iou(a, b).diagonal(),
        "all pairs": box_iou,
        "negative sides multiplied": lambda a, b: generalised_iou(a, b) + shared(a, b, -1e9) - shared(a, b),
    },
    "02.2": {
        "over the union": box_iou,
        "over the first": lambda a, b: shared(a[:, None], b) / box_area(a)[:, None],
        "over the larger": lambda a, b: shared(a[:, None], b) / torch.maximum(box_area(a)[:, None], box_area(b)),
    },
    "02.3": {
        "hard": lambda boxes, scores, sigma: scores * (box_iou(boxes, boxes).triu(1).amax(0) < 0.5),
        "sigma fixed": lambda boxes, scores, sigma: soft_nms(boxes, scores),
        "order of the first scores": lambda boxes, scores, sigma: soft_nms(boxes, scores, sigma, again=False),
        "input changed": soft_nms_in_place,
    },
    "01.1": {
        "north and south swapped": lambda boxes, transform: boxes_to_map(boxes, transform, (0, 1, 2, 3)),
        "x and y swapped": lambda boxes, transform: boxes_to_map(boxes[:, [1, 0, 3, 2]], transform),
        "no corner": lambda boxes, transform: boxes * transform.a,
    },
    "01.2": {
        "one axis is enough": lambda *given: overlaps(*given).any(-1).any(1),
        "touching counts": lambda val, train, size: overlaps(val, train, size + 1).all(-1).any(1),
        "one side only": lambda val, train, size: (
            ((val[:, None] >= train) & overlaps(val, train, size)).all(-1).any(1)
        ),
    },
    "01.3": {
        "right border forgotten": lambda boxes, size: visible_share(boxes, np.inf),
        "left border forgotten": lambda boxes, size: visible_share(boxes, size, -np.inf),
        "negative outside": lambda boxes, size: (
            (np.minimum(boxes[:, 2:], size) - np.maximum(boxes[:, :2], 0)).prod(1)
            / (boxes[:, 2:] - boxes[:, :2]).prod(1)
        ),
    },
    "03.1": {
        "beta forgotten": lambda error, beta: smooth_l1(error, 1.0),
        "sign forgotten": lambda error, beta: torch.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta),
        "averaged": lambda error, beta: smooth_l1(error, beta).mean(),
    },
    "03.2": {
        "height and width swapped": lambda anchors, size: inside(anchors, size[::-1]),
        "border excluded": lambda anchors, size: inside(anchors, size) & (anchors[:, 2] < size[1]),
        "touching is enough": lambda anchors, size: (anchors[:, 2] > 0) & (anchors[:, 0] < size[1]),
    },
    "04.1": {
        "ratios lying only": lambda cells, ratios: number_of_boxes(cells, ratios, each=1),
        "one square": lambda cells, ratios: number_of_boxes(cells, ratios, squares=1),
        "cells of one side": lambda cells, ratios: number_of_boxes([side**0.5 for side in cells], ratios),
    },
    "04.2": {
        "gamma fixed": lambda logits, labels, gamma: focal_loss(logits, labels, 2),
        "weighs the certain": lambda logits, labels, gamma: (
            focal_loss(logits, labels, 0) * logits.softmax(1)[range(len(labels)), labels] ** gamma
        ),
        "averaged": lambda *given: focal_loss(*given).mean(),
        "background for all": lambda logits, labels, gamma: focal_loss(logits, labels * 0, gamma),
    },
    "04.3": {
        "equal areas": lambda grid, zooms, ratios: [
            [zoom / grid * (wide / high) ** 0.5, zoom / grid * (high / wide) ** 0.5]
            for zoom in zooms for wide, high in ratios
        ],
        "ratios outside": lambda grid, zooms, ratios: [
            [zoom * wide / grid, zoom * high / grid] for wide, high in ratios for zoom in zooms
        ],
        "height first": lambda *given: np.array(arcgis_shapes(*given))[:, ::-1].copy(),
        "zooms alone": lambda grid, zooms, ratios: [[zoom / grid, zoom / grid] for zoom in zooms],
    },
    "03.3": {
        "share of proposals": lambda proposals, boxes, iou: (box_iou(proposals, boxes).amax(1) >= iou).float().mean(),
        "bar fixed": lambda proposals, boxes, iou: proposal_recall(proposals, boxes, 0.5),
        "best proposal for all": lambda proposals, boxes, iou: (box_iou(proposals, boxes).amax() >= iou).float(),
    },
    "06.1": {
        "the last wins": lambda masks, scores: one_owner(masks, scores, lambda s: torch.arange(len(s))),
        "the weakest wins": lambda masks, scores: one_owner(masks, -scores),
        "background is 1": lambda masks, scores: one_owner(masks, scores) + 1,
        "ids from 0": lambda masks, scores: (one_owner(masks, scores) - 1).clamp(min=0),
        "one map a mask": lambda masks, scores: masks,
    },
    "06.2": {
        "over the union": lambda a, b: inside_share(a, b, torch.add),
        "over the larger": lambda a, b: inside_share(a, b, torch.maximum),
        "over the first": lambda a, b: inside_share(a, b, lambda one, two: one.expand(-1, two.shape[1])),
    },
    "06.3": {
        "half": lambda scores, right, objects: 0.5,
        "all": lambda scores, right, objects: scores.min(),
        "most precise": lambda *given: best_score(*given, figure=lambda found, kept: found / kept),
        "false ones forgotten": lambda *given: best_score(*given, figure=lambda found, kept: 1.0 * found),
    },
    "06.4": {
        "all pixels": lambda a, b, width: (a & b).sum((1, 2)) / (a | b).sum((1, 2)),
        "width fixed": lambda a, b, width: boundary_iou(a, b, 2),
        "outside as well": lambda a, b, width: boundary_iou(a, b, width, both=lambda mask, near: near),
    },
    "07.1": {
        "not doubled": lambda p, t: soft_dice(p, t, twice=1),
        "one number": lambda p, t: soft_dice(p, t).mean(),
        "each chip apart": lambda p, t: soft_dice(p, t, (2, 3)).mean(0),
        "a smaller 1": lambda p, t: soft_dice(p, t, smooth=1e-6),
        "a score, not a loss": lambda p, t: 1 - soft_dice(p, t),
    },
    "07.2": {
        "nearest twice": lambda masks, sigma: gap_weights(masks, 2**-0.5 * sigma, nearest=1),
        "inside as well": lambda masks, sigma: gap_weights(masks, sigma, inside=None),
        "not squared": lambda masks, sigma: gap_weights(masks, sigma, squared=False),
        "sigma fixed": lambda masks, sigma: gap_weights(masks, 5.0),
    },
    "07.3": {
        "components": lambda segment, pixels: torch.from_numpy(ndimage.label(segment)[0]),
        "not grown back": lambda segment, pixels: split_by_shrinking(segment, pixels, grow=False),
        "grown over the edge": lambda segment, pixels: split_by_shrinking(segment, pixels, bound=False),
    },
    "09.1": {
        "the strangest chip decides": lambda *given: numbers_in_use(*given, average=False),
        "nats of all chips": lambda mean, log_variance, least: numbers_in_use(mean, log_variance, least / len(mean)),
        "chips, not numbers": lambda mean, log_variance, least: numbers_in_use(mean.T, log_variance.T, least),
    },
    "09.2": {
        "the whole chip": lambda errors, side: errors.mean((1, 2, 3)),
        "side by side": lambda errors, side: worst_window(errors, side, stride=max(2, side // 2)),
        "the best window": lambda errors, side: worst_window(errors, side, over=torch.amin),
        "the worst pixel": lambda errors, side: worst_window(errors, 1),
    },
    "09.3": {
        "the sample's share": lambda scores, strange, share, *costs, **more: cheapest(
            scores, strange, float(strange.double().mean()), *costs, **more),
        "costs forgotten": lambda scores, strange, share, cost_missed, cost_false: cheapest(
            scores, strange, share, 1.0, 1.0),
        "flags always": lambda *given, **more: cheapest(*given, **more, highest=None),
    },
    "10.1": {
        "last one left out": lambda *given: windows_needed(
            *given, lambda length, size, step: 1 + (length - size) // step),
        "edge hangs over": lambda *given: windows_needed(*given, lambda length, size, step: -(-length // step)),
        "small scenes take none": lambda *given: windows_needed(
            *given, lambda length, size, step: 1 - (size - length) // step),
    },
    "10.2": {
        "shares added": lambda width, height, size: width / size + height / size,
        "both axes at once": lambda width, height, size: width * height / size**2,
        "large objects": lambda *given: chance_to_be_cut(*given, least=-1e9),
    },
    "10.3": {
        "IoU": lambda a, b, *windows: common(a, b) / (common(a, a) + common(b, b) - common(a, b)),
        "over the smaller, all of it": lambda a, b, *windows: common(a, b) / min(common(a, a), common(b, b)),
        "over the larger": lambda *given: agreement(*given, over=max),
        "in its own window": lambda a, b, window_a, window_b: agreement(a, b, window_b, window_a),
    },
    "05.1": {
        "corners, not centres": lambda boxes, size, grid: objects_lost(boxes[:, [0, 1, 0, 1]], size, grid),
        "columns alone": lambda boxes, size, grid: objects_lost(boxes, size, grid, axes=(0,)),
        "more objects than cells": lambda boxes, size, grid: max(0, len(boxes) - grid**2),
    },
    "05.2": {
        "no sigmoid": lambda t, corner, anchor, stride: decode_v2(t, corner, anchor, stride, torch.nn.Identity()),
        "row before column": lambda t, corner, anchor, stride: decode_v2(t, corner.flip(1), anchor, stride),
        "anchor in cells": lambda t, corner, anchor, stride: decode_v2(t, corner, anchor * stride, stride),
    },
    "05.3": {
        "poolings forgotten": lambda table: receptive_field(table, pool=(1, 1)),
        "strides forgotten": lambda table: receptive_field([row[:2] + [1] * (len(row) > 1) for row in table], (2, 1)),
        "one pixel for each": lambda table: 1 + sum(2 if row == ["pool"] else row[0] for row in table),
    },
}


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_passes(number):
    assert exercises.find(number)(RIGHT[number]) is None


@pytest.mark.parametrize("number, name", [(number, name) for number, wrong in WRONG.items() for name in wrong])
def test_a_wrong_answer_gets_a_counter_example(number, name):
    assert re.search(r"\d.*\.$", exercises.find(number)(WRONG[number][name]))  # a sentence with figures in it


def test_every_check_is_tried():
    for path in Path(exercises.__file__).parent.glob("lecture_*.py"):
        exercises.find(f"{path.stem[-2:]}.1")
    assert set(exercises.CHECKS) == set(RIGHT) == set(WRONG), "give a new check a right answer and wrong ones here"
    assert all(len(wrong) >= 2 for wrong in WRONG.values())
