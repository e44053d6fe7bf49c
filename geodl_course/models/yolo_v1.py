"""YOLO v1 (Redmon et al. 2016, arXiv 1506.02640) on whole batches: one look, one grid, no loop over cells or objects.

Symbols: B images, S x S cells, P boxes a cell (the paper calls them B), K classes, M objects, D = 5 P + K numbers a
cell: x, y, w, h, confidence of each box, then the K class scores of the cell. x, y: where in its cell the centre is,
0..1; w, h: square roots of the sides as shares of the image.
"""

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.detections import best_detections
from geodl_course.models.settings import change
from geodl_course.models.yolo_v1_layers import convolutions, copying_layers, dense_layers, first_guess, map_of
from geodl_course.models.yolo_v1_settings import check_settings, paper_settings, small_settings
from geodl_course.ops.boxes import box_iou, clip_boxes, take, to_centres
from geodl_course.plumbing import check_batch, check_size, feature_maps, prepare


def split_cells(output, classes):
    """Output (B, S, S, 5 P + K) → coded boxes (B, S², P, 4), confidence (B, S², P), class scores (B, S², K).

    Raises ValueError where no number of boxes P fits the output.
    """
    images, rows, columns, numbers = output.shape
    boxes, rest = divmod(numbers - classes, 5)
    if rows != columns or boxes < 1 or rest:
        raise ValueError(f"{tuple(output.shape)} is not (B, S, S, 5 P + K) for K = {classes} and any P of 1 or more")
    cells = output.flatten(1, 2)  # row by row
    each = cells[..., : 5 * boxes].unflatten(-1, (boxes, 5))
    return each[..., :4], each[..., 4], cells[..., 5 * boxes :]


def cell_corners(grid, like):
    """Column and row of each of the S² cells, row by row → (S², 2), device and type those of the tensor `like`."""
    number = torch.arange(grid, device=like.device, dtype=like.dtype)
    return torch.stack((number.repeat(grid), number.repeat_interleave(grid)), dim=-1)


def encode_cells(boxes, size, grid):
    """One box a cell (B, S², 4) in pixels of an image (H, W) → x, y, √w, √h as the network says them (B, S², 4)."""
    x, y, width, height = to_centres(boxes)
    corner = cell_corners(grid, boxes)
    x, y = x * grid / size[1] - corner[:, 0], y * grid / size[0] - corner[:, 1]
    # Roots: a pixel more or less must cost a car more than a warehouse.
    return torch.stack((x, y, (width / size[1]).sqrt(), (height / size[0]).sqrt()), dim=-1)


def decode_cells(coded, size, grid):
    """What the network says, (B, S², P, 4) → boxes (B, S², P, 4) in pixels of an image (H, W)."""
    corner = cell_corners(grid, coded)[:, None]
    centre = (coded[..., :2] + corner) / grid  # 0..1 of the image
    side = coded[..., 2:].square()
    scale = coded.new_tensor([size[1], size[0]])
    return torch.cat((centre - side / 2, centre + side / 2), dim=-1) * scale.repeat(2)


def assign_cells(targets, size, grid):
    """Which object each cell answers for, on images of size (H, W) → index (B, S²), has (B, S²).

    The cell that holds an object's centre answers for it, and for one object only: of several the first listed stays,
    the others teach nothing. (The authors' code keeps the first of a shuffled list.)
    """
    x, y, _, _ = to_centres(targets.boxes)  # (B, M)
    column, row = ((at * grid / side).long().clamp(0, grid - 1) for at, side in ((x, size[1]), (y, size[0])))
    inside = F.one_hot(row * grid + column, grid**2) * targets.valid[..., None]  # (B, M, S²)
    return inside.argmax(dim=1), inside.any(dim=1)


def choose_boxes(coded, goal, iou, has):
    """Which box of each cell is responsible, from coded (B, S², P, 4), goal (B, S², 4), iou (B, S², P) → (B, S², P).

    The one that overlaps the cell's object most now. Where none overlaps it, the one whose numbers are nearest, which
    the paper leaves open and the authors' code does. None in a cell without an object (has (B, S²)).
    """
    nearness = -(coded - goal[:, :, None]).square().sum(dim=-1)
    best = torch.where(iou.amax(dim=-1) > 0, iou.argmax(dim=-1), nearness.argmax(dim=-1))
    return F.one_hot(best, iou.shape[-1]).bool() & has[..., None]


def yolo_losses(output, targets, size, classes, coordinates, empty):
    """The paper's equation 3 for output (B, S, S, 5 P + K) against targets → four sums, each over B.

    {"coordinates", "object", "no_object", "classes"}, with their weights: coordinates (paper: 5) and empty (0.5).
    """
    (coded, confidence, scores), grid = split_cells(output, classes), output.shape[1]
    index, has = assign_cells(targets, size, grid)
    truth = take(targets.boxes, index)  # (B, S², 4); cells without an object hold one that counts for nothing
    goal, now = encode_cells(truth, size, grid), coded.detach()
    iou = box_iou(decode_cells(now, size, grid), truth[:, :, None])[..., 0]  # (B, S², P)
    chosen = choose_boxes(now, goal, iou, has)
    labels = F.one_hot(take(targets.labels, index).clamp(min=1) - 1, classes)
    losses = {
        "coordinates": coordinates * (coded - goal[:, :, None])[chosen].square().sum(),
        "object": (confidence - iou)[chosen].square().sum(),  # confidence shall say how well its box fits
        "no_object": empty * confidence[~chosen].square().sum(),  # nearly all boxes: without the weight they win
        "classes": (scores - labels)[has].square().sum(),  # once a cell, not once a box
    }
    return {name: loss / len(output) for name, loss in losses.items()}


def detect_cells(output, size, classes, score, threshold, keep, smallest):
    """Detections from output (B, S, S, 5 P + K): each of S² P boxes with K scores, P(class | object) * confidence.

    score: the lowest to report; threshold: IoU above which the better of two boxes of a class wins; keep: at most so
    many an image; smallest: shortest side in pixels.
    """
    coded, confidence, class_scores = split_cells(output, classes)
    boxes = clip_boxes(decode_cells(coded, size, output.shape[1]), size)  # (B, S², P, 4)
    scores = confidence.clamp(0, 1)[..., None] * class_scores.clamp(0, 1)[:, :, None]  # (B, S², P, K)
    labels = torch.arange(1, classes + 1, device=output.device).expand_as(scores)
    boxes = boxes[..., None, :].expand(*scores.shape, 4)
    valid = (scores > score) & ((boxes[..., 2:] - boxes[..., :2]) >= smallest).all(dim=-1)
    candidates = (part.flatten(1, 3) for part in (boxes, scores, labels, valid))  # (B, S² * P * K, ...)
    return best_detections(*candidates, threshold, keep)


class YOLOv1(nn.Module):
    """Images (B, C, H, W), in training with Targets → a dict of losses in training, Detections in evaluation."""

    def __init__(self, features, dense, settings):
        super().__init__()
        self.features, self.dense, self.settings = features, dense, settings

    def cells(self, images):
        """What the network says of images (B, C, H, W) → (B, S, S, 5 P + K)."""
        inputs, size = prepare(images, self.settings["transform"], self.training)
        check_size(size, [self.settings["size"]] * 2)
        maps = feature_maps(self.features, inputs, self.training)["0"]  # (B, C', H', W')
        grid = self.settings["grid"]
        return self.dense(maps).unflatten(1, (grid, grid, -1)).to(images.dtype)

    def forward(self, images, targets=None):
        settings, size, classes = self.settings, tuple(images.shape[-2:]), self.settings["classes"]
        check_batch(images, targets, self.features, classes, self.training)
        output = self.cells(images)  # in shares of the image: whatever size it has, boxes are in its pixels
        if self.training:
            return yolo_losses(output, targets, size, classes, **settings["loss"])
        return detect_cells(output, size, classes, **settings["detect"])


def yolo_v1(classes, bands=3, size=128, **changes):
    """The quick model for K = classes on chips of size x size pixels with bands bands.

    changes: any of small_settings, nested, e.g. detect={"score": 0.3}. Lecture 05 lists what differs from the paper.
    Raises ValueError for settings that make no grid.
    """
    return assemble(change(small_settings(classes, size), {"bands": bands, **changes}))


def yolo_v1_paper(classes=20, **changes):
    """The paper's network: 24 convolutions and 2 fully connected layers, 448 x 448 in, 7 x 7 x 30 out."""
    return assemble(change(paper_settings(classes), changes))


def assemble(settings):
    """An untrained YOLOv1 of these settings."""
    check_settings(settings)
    (channels, side), grid = map_of(settings["layers"], settings["size"]), settings["grid"]
    numbers = 5 * settings["boxes"] + settings["classes"]
    features = convolutions(settings["bands"], settings["layers"], settings["norm"])
    if settings["dense"]["start"] == "copy":
        if side != grid:
            raise ValueError(f"a copy needs a map of {grid} x {grid} cells, these layers make {side} x {side} ones")
        features.append(first_guess(channels, settings["boxes"], settings["classes"]))
        return YOLOv1(features, copying_layers(numbers, grid**2), settings)
    hidden, dropout = settings["dense"]["hidden"], settings["dense"]["dropout"]
    return YOLOv1(features, dense_layers(channels * side**2, hidden, grid**2 * numbers, dropout), settings)
