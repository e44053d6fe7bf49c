"""Default boxes of SSD: anchors in shares of the image, each feature map with a scale of its own."""

import math

import torch


def default_shapes(scale, larger, ratios):
    """Widths and heights of one cell's boxes, in shares of the image, for ratios (R,) long : short → (2 + 2R, 2).

    A square of scale, a square between scale and larger (the next map's scale), then each ratio lying and standing,
    with the area of the first. SSD (arXiv 1512.02325), section 2.2. Built in lecture 04.
    """
    between = math.sqrt(scale * larger)
    shapes = [(scale, scale), (between, between)]
    for ratio in ratios:
        root = math.sqrt(ratio)
        shapes += [(scale * root, scale / root), (scale / root, scale * root)]
    return torch.tensor(shapes)


def cell_centres(feature_size, cells):
    """Centres (x, y) of a map's feature_size (H, W) cells, of which cells (y, x) fill the image → (H, W, 2) in 0..1."""
    y, x = ((torch.arange(number) + 0.5) / filled for number, filled in zip(feature_size, cells, strict=True))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y), dim=-1)


def default_boxes(feature_sizes, image_size, scales, ratios, steps=None, clip=False, dtype=torch.float32):
    """Default boxes of maps with feature_sizes [(H, W), ...] on an image of image_size (H, W) → (N, 4) in pixels.

    Map by map, row by row, the boxes of a cell side by side: N is the sum of H * W * A. scales: one a map and one more;
    ratios: one list a map. steps: pixels between cells where a map does not just fill the image (SSD300). clip keeps
    sides within the image's. SSD, section 2.2, equation 4. Built in lecture 04.
    """
    boxes = []
    for k, feature_size in enumerate(feature_sizes):
        cells = feature_size if steps is None else [side / steps[k] for side in image_size]
        centres = cell_centres(feature_size, cells)[:, :, None].to(dtype)  # (H, W, 1, 2)
        sides = default_shapes(scales[k], scales[k + 1], ratios[k]).to(dtype)  # (A, 2)
        sides = sides.clamp(max=1) if clip else sides
        boxes.append(torch.cat((centres - 0.5 * sides, centres + 0.5 * sides), dim=-1).reshape(-1, 4))
    height, width = image_size
    return torch.cat(boxes) * torch.tensor([width, height, width, height])
