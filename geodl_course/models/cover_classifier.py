"""A small classifier of whole chips: what a chip shows, and features that made-up chips are compared in.

Frechet distance and precision/recall are usually computed on the features of an Inception network that was trained on
photographs; here they are those of this network, trained on the course's own chips. Figures on such features cannot be
compared with published ones.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.layers import conv_block


class CoverClassifier(nn.Module):
    """Images (B, C, H, W) in [-1, 1] → logits (B, K), one a class."""

    def __init__(self, classes, bands, width):
        super().__init__()
        widths = [bands, width, 2 * width, 4 * width, 4 * width]
        self.maps = nn.Sequential(*(conv_block(*pair, stride=2) for pair in pairwise(widths)))
        self.last = nn.Linear(4 * width, classes)

    def features(self, images):
        """Images (B, C, H, W) → what the last layer sees (B, 4 width): each channel's mean over the chip."""
        return self.maps(images).mean(dim=(2, 3))

    def forward(self, images):
        return self.last(self.features(images))


def cover_classifier(classes, bands=5, width=16):
    """An untrained classifier for K = classes kinds of cover on chips of C = bands bands."""
    if classes < 2:
        raise ValueError(f"{classes} classes: a classifier tells apart at least two")
    return CoverClassifier(classes, bands, width)


def cover_loss(logits, labels):
    """Logits (B, K), labels (B,) 0..K-1 → scalar, cross-entropy."""
    return F.cross_entropy(logits, labels)


def in_pieces(classifier, function, images, batch=256):
    """What function makes of images (N, C, H, W), batch by batch and without gradient → (N, ...) on the CPU."""
    weight = next(classifier.parameters())
    if images.ndim != 4 or not len(images) or images.shape[1] != weight.shape[1]:
        raise ValueError(f"images are {tuple(images.shape)}, the classifier takes (N, {weight.shape[1]}, H, W), N >= 1")
    classifier.eval()
    with torch.no_grad():
        return torch.cat([function(part.to(weight.device)).cpu() for part in images.split(batch)])


def features_of(classifier, images):
    """Features of images (N, C, H, W) → (N, D), with batch norm at rest."""
    return in_pieces(classifier, classifier.features, images)


def predict_covers(classifier, images):
    """Chances of the K classes for images (N, C, H, W) → (N, K), each row summing to 1."""
    return in_pieces(classifier, lambda part: classifier(part).softmax(dim=1), images)
