"""Objects of a batch as padded tensors: what a model learns from."""

from dataclasses import dataclass

import torch

from geodl_course.chips.record import ChipError


@dataclass
class Targets:
    """Objects of a batch, padded: boxes (B, M, 4), labels (B, M), valid (B, M), masks (B, M, H, W) or None.

    M is the largest number of objects in the batch, at least 1. Padding has valid False, label 0 and the unit box
    (0, 0, 1, 1), which can be coded without dividing by zero. Lecture 01 builds it.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    masks: torch.Tensor | None = None

    @classmethod
    def from_list(cls, targets):
        """Targets from a list of B dicts boxes (M, 4), labels (M,) and, if all have it, masks (M, H, W) bool."""
        if not targets:
            raise ChipError("no targets: give one dict for each image, with boxes (0, 4) for one without objects.")
        counts = torch.tensor([len(t["boxes"]) for t in targets])
        most = max(int(counts.max()), 1)
        valid = torch.arange(most) < counts[:, None]
        boxes = torch.tensor([0, 0, 1, 1.0]).repeat(len(targets), most, 1)
        labels = torch.zeros(len(targets), most, dtype=torch.int64)
        boxes[valid] = torch.cat([t["boxes"].reshape(-1, 4) for t in targets]).float()
        labels[valid] = torch.cat([t["labels"].reshape(-1) for t in targets]).long()
        masks = None
        if all("masks" in t for t in targets):
            check_counts(targets)
            masks = torch.zeros(len(targets), most, *targets[0]["masks"].shape[-2:], dtype=torch.bool)
            masks[valid] = torch.cat([t["masks"].bool() for t in targets])
        return check_targets(cls(boxes, labels, valid, masks))

    def to(self, device, **settings):
        """The same targets on `device`."""
        parts = (self.boxes, self.labels, self.valid, self.masks)
        return Targets(*(None if p is None else p.to(device, **settings) for p in parts))

    def to_list(self):
        """B dicts boxes (M, 4), labels (M,) and masks (M, H, W) if there are any, without padding."""
        rows = []
        for i, valid in enumerate(self.valid):
            rows.append({"boxes": self.boxes[i, valid], "labels": self.labels[i, valid]})
            if self.masks is not None:
                rows[-1]["masks"] = self.masks[i, valid]
        return rows


def check_targets(targets, size=None, classes=None):
    """Return `targets`; raise ChipError, naming image and box, for one that no model can learn from.

    Refused are boxes without area or reversed and labels beyond K = `classes`; for images of `size` (H, W) also boxes
    outside them, masks of another size, masks without a pixel, or reaching more than a pixel beyond their box.
    """
    boxes, labels = targets.boxes, targets.labels
    flat = (boxes[..., 2:] <= boxes[..., :2]).any(-1) | ~boxes.isfinite().all(-1)
    wrong = {"has no area (x1 <= x0 or y1 <= y0): swap reversed corners or remove it": flat}
    if size is not None:
        corner = torch.tensor([size[1], size[0]], device=boxes.device) + 1e-3
        outside = (boxes[..., :2] < -1e-3).any(-1) | (boxes[..., 2:] > corner).any(-1)
        wrong[f"reaches outside the image of {size[1]} x {size[0]} pixels: clip it"] = outside
    if classes is not None:
        beyond = (labels < 1) | (labels > classes)
        wrong[f"has a label outside 1..K with K = {classes}: build the model with more classes"] = beyond
    if targets.masks is not None and size is not None:
        wrong |= wrong_masks(targets, size)
    for reason, bad in wrong.items():
        if (bad & targets.valid).any():
            image, box = (bad & targets.valid).nonzero()[0].tolist()
            what = f"box {box} {boxes[image, box].tolist()} (label {int(labels[image, box])})"
            raise ChipError(f"image {image} of the batch: {what} {reason}.")
    return targets


def wrong_masks(targets, size):
    """Masks of `targets` that no model can learn from → {reason: bad (B, M)}; raises ChipError for another size."""
    numbers = targets.masks.view(torch.uint8)  # any() of bool takes five times as long
    rows, columns = (numbers.amax(dim=side).bool() for side in (-1, -2))  # (B, M, H), (B, M, W)
    found = rows.shape[-1], columns.shape[-1]
    if found != tuple(size):
        raise ChipError(f"masks are of {found[1]} x {found[0]} pixels, images of {size[1]} x {size[0]}: cut or turn "
                         "masks as their images.")
    x0, y0, x1, y1 = targets.boxes[..., None].unbind(-2)  # each (B, M, 1)
    beyond = torch.zeros_like(targets.valid)
    for touched, low, high in ((rows, y0, y1), (columns, x0, x1)):
        pixel = torch.arange(touched.shape[-1], device=touched.device)
        beyond |= (touched & ((pixel < low - 1) | (pixel + 1 > high + 1))).any(dim=-1)
    return {
        "has a mask without a pixel: remove the object": ~rows.any(dim=-1),
        "has a mask that reaches beyond the box: masks and boxes in the same order? boxes follow from masks": beyond,
    }


def check_counts(targets):
    """Raise ChipError unless each of B dicts has a mask (H, W) for every box, all of one size."""
    size = targets[0]["masks"].shape[-2:]
    for i, target in enumerate(targets):
        expected = (len(target["boxes"]), *size)
        if tuple(target["masks"].shape) != expected:
            raise ChipError(f"image {i} of the batch: masks are {tuple(target['masks'].shape)}, expected {expected}: "
                             "give one mask (H, W) for each box, all chips of one size.")


def collate(samples):
    """Images (B, C, H, W) and Targets of a list of B samples (image (C, H, W), target dict)."""
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), Targets.from_list(targets)
