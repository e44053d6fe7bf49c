"""What detectors return for a batch of images."""

from dataclasses import dataclass

import torch

from geodl_course.ops.boxes import batched_nms, take


@dataclass
class Detections:
    """Boxes (B, D, 4) in pixels, scores (B, D) in 0..1, labels (B, D) in 1..K, valid (B, D): the rest is padding.

    Best first; padding is zero. masks (B, D, H, W), bool, from systems that find them.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    masks: torch.Tensor | None = None

    def per_image(self):
        """B dicts boxes (D, 4), scores (D,), labels (D,), masks (D, H, W) if there are any, without padding."""
        parts = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        parts |= {} if self.masks is None else {"masks": self.masks}
        return [{name: part[i][valid] for name, part in parts.items()} for i, valid in enumerate(self.valid)]


def best_detections(boxes, scores, labels, valid, threshold, keep):
    """Candidates: boxes (B, N, 4), scores (B, N), labels (B, N), valid (B, N) → Detections, at most keep an image.

    Of two boxes of a class whose IoU is above threshold the better one wins.
    """
    index, valid = batched_nms(boxes, scores, labels, valid, threshold, keep)
    boxes, scores, labels = (take(part, index) for part in (boxes, scores, labels))
    return Detections(boxes * valid[..., None], scores * valid, labels * valid, valid)
