"""What detectors return for a batch of images."""

from dataclasses import dataclass

import torch


@dataclass
class Detections:
    """Boxes (B, D, 4) in pixels, scores (B, D) in 0..1, labels (B, D) in 1..K, valid (B, D): the rest is padding.

    Best first; padding is zero.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor

    def per_image(self):
        """B dicts boxes (D, 4), scores (D,), labels (D,) without padding, as torchvision's detectors return them."""
        parts = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        return [{name: part[i][valid] for name, part in parts.items()} for i, valid in enumerate(self.valid)]
