"""From maps to instances: inner segments are numbered and grown back into the whole segments.

How the paper does this could not be read (only its abstract is open); the rule here follows from its three maps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import label
from skimage.segmentation import watershed

from geodl_course.chips import boxes_from_instances


def grow_instances(maps, thresholds=(0.5, 0.5, 0.5), smallest=1):
    """Border, segment and inner maps (B, 3, H, W) in 0..1 → number of each pixel's instance (B, H, W), 0 for none.

    thresholds: of border, segment and inner, in this order; smallest: instances of fewer pixels are dropped.
    """
    maps = maps.detach().float().cpu().numpy()
    found = [drop_small(flood(*each, *thresholds), smallest) for each in maps]
    return torch.from_numpy(np.stack(found))


def flood(border, segment, inner, border_threshold, segment_threshold, inner_threshold):
    """One chip's maps (H, W) in 0..1 → number of each pixel's instance (H, W).

    Each connected piece of the inner map is a source, and its water rises over the border map as over a relief, inside
    the segment: it fills the ground below the threshold first, climbs the border from both sides, and where two
    waters meet, on the ridge, neither crosses. A piece of segment without a source stays dry.
    """
    sources, _ = label(inner > inner_threshold)  # pieces that touch at a corner only are two
    ground = (segment > segment_threshold) | (sources > 0)
    relief = np.maximum(border, border_threshold)  # below the threshold there is no border
    return watershed(relief, sources, connectivity=2, mask=ground)  # diagonals count: as the targets were shrunk


def label_components(segment, threshold=0.5, smallest=1):
    """Segment maps (B, 1, H, W) in 0..1 → number of each pixel's connected piece (B, H, W): what touches is one."""
    segment = segment.detach().float().cpu().numpy()[:, 0] > threshold
    return torch.from_numpy(np.stack([drop_small(label(each)[0], smallest) for each in segment]))


def find_instances(maps, thresholds, smallest):
    """Maps (B, N, H, W) in 0..1 → number of each pixel's instance (B, H, W): of three maps grown, of one its pieces."""
    if len(thresholds) == 1:
        return label_components(maps, *thresholds, smallest)
    return grow_instances(maps, thresholds, smallest)


def drop_small(ids, smallest):
    """Numbers (H, W) with instances under `smallest` pixels taken out, the rest numbered 1, 2, 3 ... → (H, W) int64."""
    keep = np.bincount(ids.ravel()) >= max(smallest, 1)
    keep[0] = False
    return np.where(keep, keep.cumsum(), 0)[ids]


@dataclass
class Instances:
    """Maps (B, N, H, W) in 0..1 and the instances grown from them, ids (B, H, W): 0 for none, 1..D in each image."""

    maps: torch.Tensor
    ids: torch.Tensor

    def per_image(self):
        """B dicts masks (D, H, W) bool, boxes (D, 4), scores (D,), labels (D,), all 1; instance d has the id d + 1.

        A score is the mean of the segment map over the instance's pixels.
        """
        segment = self.maps[:, min(1, self.maps.shape[1] - 1)]  # border, segment, inner; or the segment alone
        return [describe(ids, chance) for ids, chance in zip(self.ids, segment, strict=True)]


def describe(ids, segment):
    """Instances 1..D in ids (H, W), with the segment map (H, W) → dict masks, boxes, scores, labels."""
    numbers, boxes = boxes_from_instances(ids.cpu().numpy())
    masks = ids == torch.from_numpy(numbers).to(ids.device)[:, None, None]
    scores = (masks * segment).sum(dim=(-2, -1)) / masks.sum(dim=(-2, -1))
    labels = torch.ones(len(masks), dtype=torch.int64, device=ids.device)
    return {"boxes": torch.from_numpy(boxes).to(ids.device), "scores": scores, "labels": labels, "masks": masks}
