"""RoIAlign: features of boxes of any size, cut out of a map and brought to one size, without rounding a coordinate."""

import torch

from geodl_course.plumbing import WeightedRows


def sample_points(low, high, bins, scale, sampling_ratio, aligned):
    """Sampling points along one side of RoIs from low to high (..., ) → points (..., bins, S), weights (..., bins, S).

    Points in units of map cells; the weights of one bin's points sum to 1. sampling_ratio points a bin; with
    sampling_ratio <= 0 as many as the bin is cells long (rounded up), so S is that of the longest RoI and shorter
    ones carry weight 0. aligned moves by half a cell: pixel i covers i..i+1, its value sits at i + 0.5.
    """
    low, high = low * scale - 0.5 * aligned, high * scale - 0.5 * aligned
    length = high - low if aligned else (high - low).clamp(min=1)  # the older rule stretched tiny RoIs to one cell
    if sampling_ratio > 0:
        longest, count = sampling_ratio, torch.full_like(length, sampling_ratio)[..., None, None]
    else:
        count = (length / bins).ceil().clamp(min=0)[..., None, None]
        longest = max(1, int(count.max()) if count.numel() else 0)
    step = torch.arange(longest, dtype=low.dtype, device=low.device)  # (S,)
    first = torch.arange(bins, dtype=low.dtype, device=low.device)[:, None]  # (bins, 1)
    size = (length / bins)[..., None, None]
    points = low[..., None, None] + first * size + (step + 0.5) * (size / count.clamp(min=1))
    return points, (step < count).expand_as(points) / count.clamp(min=1)


def keep_inside(points, weights, size):
    """Points and weights (..., S) on a map of size cells → points on the map, weights, both (..., S).

    A point off the map by more than a cell counts 0, one nearer takes the border's value: the rules of the common
    implementations, without which boxes on the border would differ.
    """
    weights = weights * ((points >= -1) & (points <= size))
    return points.clamp(0, size - 1), weights


def bin_weights(low, high, size, bins, scale, sampling_ratio, aligned):
    """How much each of size cells counts in each bin of RoIs from low to high (..., ) → (..., bins, size)."""
    points, weights = sample_points(low, high, bins, scale, sampling_ratio, aligned)  # (..., bins, S)
    points, weights = keep_inside(points, weights, size)
    cells = torch.arange(size, dtype=points.dtype, device=points.device)
    hat = (1 - (points[..., None] - cells).abs()).clamp(min=0)  # linear interpolation is a hat around the point
    return (hat * weights[..., None]).sum(dim=-2)


def roi_align_separable(features, boxes, output_size, scale, sampling_ratio=2, aligned=True):
    """Bins of boxes (B, R, 4) on features (B, C, H, W), scale = map / image → (B, R, C, n, n).

    The sampling grid is regular, so rows and columns can be weighed one after the other: out = Wy · F · Wxᵀ, two
    matrix products for the whole batch. Cost grows with H * W, so this is for small maps.
    """
    n, (images, channels, height, width) = output_size, features.shape
    x0, y0, x1, y1 = boxes.unbind(-1)
    across = bin_weights(x0, x1, width, n, scale, sampling_ratio, aligned)  # (B, R, n, W)
    down = bin_weights(y0, y1, height, n, scale, sampling_ratio, aligned)  # (B, R, n, H)
    rows = features.permute(0, 2, 3, 1).reshape(images, height, -1)  # (B, H, W * C)
    rows = (down.flatten(1, 2) @ rows).reshape(-1, width, channels)  # (B * R * n, W, C)
    across = across[:, :, None].expand(-1, -1, n, -1, -1).reshape(-1, n, width)  # each row of bins has the same columns
    bins = across @ rows  # (B * R * n, n, C)
    return bins.reshape(images, boxes.shape[1], n, n, channels).permute(0, 1, 4, 2, 3)


def corners(low, high, size, bins, scale, sampling_ratio, aligned):
    """The cells that bins of RoIs (...,) touch along one side → index (..., bins, 2S), weights (..., bins, 2S)."""
    points, weights = sample_points(low, high, bins, scale, sampling_ratio, aligned)
    points, weights = keep_inside(points, weights, size)
    before = points.floor()
    after = points - before  # how far from the cell before towards the cell after
    index = torch.cat((before, (before + 1).clamp(max=size - 1)), dim=-1).int()  # half the memory of long
    return index, torch.cat((weights * (1 - after), weights * after), dim=-1)


def roi_align_flat(features, boxes, image, output_size, scale, sampling_ratio=2, aligned=True):
    """Bins of boxes (N, 4) of images (N,) on features (B, C, H, W) → (N, C, n, n), by gathering.

    Each bin is a weighted sum of a few cells of the map: 16 with 2 x 2 sampling points of 4 corners each. Cost grows
    with the number of boxes and not with the size of the map.
    """
    n, (_, channels, height, width) = output_size, features.shape
    x0, y0, x1, y1 = boxes.unbind(-1)
    ix, wx = corners(x0, x1, width, n, scale, sampling_ratio, aligned)  # (N, n, 2S)
    iy, wy = corners(y0, y1, height, n, scale, sampling_ratio, aligned)
    row = (image.int()[:, None, None] * height + iy) * width  # where the row begins in the table of all cells
    index = row[:, :, None, :, None] + ix[:, None, :, None, :]  # (N, n, n, 2S, 2S)
    weights = wy[:, :, None, :, None] * wx[:, None, :, None, :]
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    index, weights = index.flatten(3).flatten(0, 2), weights.flatten(3).flatten(0, 2)  # (N * n * n, 4S²)
    bins = WeightedRows.apply(table, index, weights)  # (N * n * n, C)
    return bins.reshape(len(boxes), n, n, channels).permute(0, 3, 1, 2)


def roi_align_gather(features, boxes, output_size, scale, sampling_ratio=2, aligned=True):
    """Bins of boxes (B, R, 4) on features (B, C, H, W), by gathering, for large maps → (B, R, C, n, n)."""
    image = torch.arange(len(boxes), device=boxes.device)[:, None].expand(boxes.shape[:2])
    flat = boxes.flatten(0, 1), image.flatten()
    bins = roi_align_flat(features, *flat, output_size, scale, sampling_ratio, aligned)
    return bins.unflatten(0, boxes.shape[:2])


def roi_align(features, boxes, output_size, scale, sampling_ratio=2, aligned=True, crossover=3):
    """Bins of boxes (B, R, 4), in image pixels, on features (B, C, H, W), scale = map / image → (B, R, C, n, n).

    Each of the n x n bins is the mean of bilinear samples. aligned=True puts pixel values at pixel centres (the
    half-pixel fix); weights from torchvision's detectors need False. Chooses by size: matrix products on maps of up to
    crossover cells a bin, gathering above (measured on two cores, forward and backward: they meet near 12 x 12 cells
    for 7 x 7 bins, 24 x 24 for 14 x 14). Mask R-CNN (arXiv 1703.06870), section 3. Built in lecture 03.
    """
    height, width = features.shape[-2:]
    align = roi_align_separable if height * width <= crossover * output_size**2 else roi_align_gather
    return align(features, boxes, output_size, scale, sampling_ratio, aligned)
