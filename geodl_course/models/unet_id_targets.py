"""What the three U-Nets learn (Wagner et al. 2020): border, segment and inner maps drawn from instances.

Each instance is shrunk, and has a border, for itself; so a wall that two share is border and in no inner map. All
distances are pixels with a diagonal step as 1 (square windows); what lies outside the chip shrinks nothing.
"""

import torch
import torch.nn.functional as F

MAPS = ("border", "segment", "inner")  # the order of the maps everywhere


def number_pixels(masks, valid):
    """Masks (B, M, H, W) bool, valid (B, M) → number of each pixel's instance (B, 1, H, W) float, 1..M, 0 for none.

    Where instances overlap, the smallest has the pixel: a hut that covers part of a hall stays whole. Of equally large
    ones the first listed has it. Two parts of one mask stay one instance.
    """
    masks = masks & valid[..., None, None]
    claim = masks / masks.sum(dim=(-2, -1), keepdim=True).clamp(min=1)  # the smaller, the stronger
    strongest, index = claim.max(dim=1, keepdim=True)
    return torch.where(strongest > 0, index + 1.0, 0.0)


def own_masks(numbers, most):
    """Numbers (B, 1, H, W) → masks (B, M, H, W) bool for M = most, each pixel in at most one of them."""
    return numbers == torch.arange(1, most + 1, device=numbers.device)[:, None, None]


def widen(values, reach):
    """The largest of values (B, 1, H, W) within reach pixels of each pixel, inside the chip → (B, 1, H, W)."""
    values, side = F.pad(values, (reach,) * 4, value=-torch.inf), 2 * reach + 1
    for dim in (-2, -1):  # columns, then rows of columns
        seen = 1  # each value is the largest of so many
        while seen < side:
            step = min(seen, side - seen)  # two neighbouring windows make one twice as wide
            left = values.shape[dim] - step
            values = torch.maximum(values.narrow(dim, 0, left), values.narrow(dim, step, left))
            seen += step
    return values


def shrink(numbers, reach):
    """Numbers (B, 1, H, W) → True (B, 1, H, W) where all pixels within reach are of the same instance."""
    return (numbers > 0) & (widen(numbers, reach) == -widen(-numbers, reach))


def draw_border(numbers, outside, inside):
    """Numbers (B, 1, H, W) → borders of all instances, united (B, 1, H, W) bool.

    An instance's border reaches `outside` pixels beyond it and `inside` pixels into it.
    """
    largest = widen(numbers, outside)
    nothing = numbers.numel() + 1.0  # larger than any number
    smallest = -widen(-torch.where(numbers > 0, numbers, nothing), outside)
    deep = shrink(numbers, inside) & (largest == smallest)  # deep in one instance, and none other within reach
    return (largest > 0) & ~deep


def innermost(numbers, most, reach):
    """Numbers (B, 1, H, W) → one pixel of each instance that shrinking leaves nothing of (B, M, H, W), M = most.

    It is the pixel with most of its own instance around it, what is near counting more; of several the first.
    """
    masks = own_masks(numbers, most)
    lost = masks.any(dim=(-2, -1)) & ~(masks & shrink(numbers, reach)).any(dim=(-2, -1))  # (B, M)
    alone = masks[lost].float()[:, None]  # (n, 1, H, W)
    around = sum(F.avg_pool2d(alone, 2 * less + 1, 1, less) for less in range(1, reach + 1)) * alone
    kept = torch.zeros_like(masks)
    kept[lost] = F.one_hot(around.flatten(1).argmax(dim=1), masks[0, 0].numel()).bool().view_as(alone[:, 0])
    return kept


def in_pixels(*sizes, scale):
    """Sizes times scale as whole pixels, at least 1 → list of int."""
    return [max(1, int(size * scale + 0.5)) for size in sizes]


def unet_id_targets(masks, valid, shrink_by=2, outside=4, inside=3, scale=1.0):
    """Masks (B, M, H, W) bool and valid (B, M) → border, segment and inner maps (B, 3, H, W) of 0.0 and 1.0.

    shrink_by: how far an instance's inner map stays from its outline; outside, inside: reach of the border. The paper's
    2, 4 and 3 pixels are 0.3 m each; scale multiplies all three. An instance that shrinking leaves nothing of keeps its
    innermost pixel: `vanishing` tells which.
    """
    shrink_by, outside, inside = in_pixels(shrink_by, outside, inside, scale=scale)
    numbers = number_pixels(masks, valid)
    kept = innermost(numbers, masks.shape[1], shrink_by).any(dim=1, keepdim=True)
    maps = draw_border(numbers, outside, inside), numbers > 0, shrink(numbers, shrink_by) | kept
    return torch.cat(maps, dim=1).float()


def vanishing(masks, valid, shrink_by=2, scale=1.0):
    """Which instances (B, M, H, W) shrinking leaves nothing of → (B, M) bool; the inner map holds one pixel of each."""
    [shrink_by] = in_pixels(shrink_by, scale=scale)
    return innermost(number_pixels(masks, valid), masks.shape[1], shrink_by).any(dim=(-2, -1))
