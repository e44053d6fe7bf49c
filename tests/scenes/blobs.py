"""A model that cannot err: every connected patch of bright pixels is an object. And scenes for it."""

import json
from types import SimpleNamespace

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from safetensors.torch import save_file
from scipy import ndimage

DATA = {"classes": ["building"], "bands": ["red"], "mean": [0.0], "std": [1.0], "resolution": 0.5}


class Blobs(torch.nn.Module):
    """Images (B, 1, H, W) → boxes of the patches brighter than 0.5, scores brightness / 255, with masks if asked."""

    def __init__(self, masks):
        super().__init__()
        self.masks = masks

    def forward(self, images):
        return SimpleNamespace(per_image=lambda: [self.find(image[0].cpu().numpy()) for image in images])

    def find(self, image):
        number, count = ndimage.label(image > 0.5)
        places = ndimage.find_objects(number)
        boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in places]).reshape(-1, 4).float()
        scores = torch.tensor([float(image[number == i + 1].max()) / 255 for i in range(count)])
        found = {"boxes": boxes, "scores": scores, "labels": torch.ones(count, dtype=torch.long)}
        if self.masks:
            found["masks"] = torch.from_numpy(np.stack([number == i + 1 for i in range(count)])) if count else (
                torch.zeros(0, *image.shape, dtype=torch.bool))  # fmt: skip
        return found


def checkpoint(folder, **changes):
    """A checkpoint folder that says which images it takes; its weights are none."""
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"model": "blobs", "settings": {}, "data": {**DATA, **changes}}))
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def write(path, image, cell=0.5, crs="EPSG:26917", nodata=None, **layout):
    """Image (H, W) or (C, H, W) as a GeoTIFF."""
    image = np.atleast_3d(image.T).T
    transform = layout.pop("transform", from_origin(500000, 4300000, cell, cell))
    with rasterio.open(path, "w", driver="GTiff", count=len(image), height=image.shape[1], width=image.shape[2],
                       dtype=image.dtype, crs=crs, transform=transform, nodata=nodata, **layout) as out:
        out.write(image)
    return path


def patches(height, width, boxes):
    """A dark image (H, W) with bright rectangles x0, y0, x1, y1."""
    image = np.zeros((height, width), np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        image[y0:y1, x0:x1] = 200 + i % 50
    return image


def apart(rng, height, width, most=40, largest=30):
    """Up to `most` boxes, 3 to `largest` px a side, of which none touch."""
    boxes, free = [], np.ones((height, width), bool)
    for _ in range(most):
        w, h = rng.integers(3, largest + 1, 2)
        if w >= width or h >= height:
            continue
        x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
        if free[y : y + h, x : x + w].all():
            free[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1] = False
            boxes.append((int(x), int(y), int(x + w), int(y + h)))
    return boxes
