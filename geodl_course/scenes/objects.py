"""Objects found in the windows of a scene, before they are merged into a map."""

import warnings
from dataclasses import dataclass, fields

import numpy as np
import shapely
from rasterio.errors import NotGeoreferencedWarning

# Outlines are drawn of masks, which lie nowhere. rasterio silences its warning itself, but threads undo each other's.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.features")

EDGE = 2  # pixels: a box that comes so near to its window's inner edge is taken to go on beyond it


@dataclass
class Objects:
    """N objects: shapes (N,) shapely polygons in scene pixels (x right, y down), scores (N,) 0..1, labels (N,) 1..K.

    windows (N, 4): x0, y0, x1, y1 of the window that each was found in, in scene pixels; cut (N,): does it touch an
    inner edge of that window?
    """

    shapes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    windows: np.ndarray
    cut: np.ndarray

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, index):
        return Objects(*(getattr(self, part.name)[index] for part in fields(self)))


def nothing():
    """Objects of a window in which nothing was found."""
    return Objects(np.zeros(0, object), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros((0, 4)),
                   np.zeros(0, bool))


def join(parts):
    """List of Objects → all of them in one."""
    parts = [nothing(), *parts]
    return Objects(*(np.concatenate([getattr(one, part.name) for one in parts]) for part in fields(Objects)))


def place_objects(found, corner, size, scene, valid=None):
    """What a model found in one window, a dict as per_image gives it → Objects in scene pixels.

    corner (row, col) of the window of size px; scene (height, width). Boxes become rectangles, masks the outlines of
    their pixels; where masks overlap, the better score has the pixel. What lies outside the scene is cut off, and an
    object whose centre has no data (valid (size, size) False) is dropped.
    """
    row, col = corner
    wide, high = min(size, scene[1] - col), min(size, scene[0] - row)
    boxes = found["boxes"].double().numpy().clip(0, np.tile([wide, high], 2))
    shapes = outlines(found["masks"][:, :high, :wide], found["scores"]) if "masks" in found else shapely.box(*boxes.T)
    x, y = ((boxes[:, i] + boxes[:, i + 2]) / 2 for i in (0, 1))
    keep = ~shapely.is_empty(shapes) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if valid is not None:
        keep &= valid[np.minimum(y.astype(int), size - 1), np.minimum(x.astype(int), size - 1)]
    window = np.array([col, row, col + size, row + size], float)
    moved = shapely.transform(shapes[keep], lambda points: points + window[:2])
    scores, labels = (found[name].numpy()[keep] for name in ("scores", "labels"))
    windows = np.tile(window, (len(moved), 1))
    return Objects(moved, scores, labels, windows, touches_inner_edge(boxes[keep], window, scene))


def touches_inner_edge(boxes, window, scene):
    """Does each of boxes (N, 4), in pixels of its window (x0, y0, x1, y1), touch an edge inside the scene (H, W)?"""
    inside = np.array([window[0] > 0, window[1] > 0, window[2] < scene[1], window[3] < scene[0]])
    size = window[2:] - window[:2]
    near = np.concatenate((boxes[:, :2] <= EDGE, boxes[:, 2:] >= size - EDGE), axis=1)
    return (near & inside).any(axis=1)


def outlines(masks, scores):
    """Masks (D, H, W), bool, with scores (D,) → outlines (D,) of their pixels; empty: better ones have all."""
    from rasterio.features import shapes

    number = np.zeros(masks.shape[1:], np.int32)
    for i in scores.argsort().tolist():  # the best is painted last
        number[masks[i].numpy()] = i + 1
    rings = [[] for _ in range(len(masks))]
    for shape, value in shapes(number, mask=number > 0, connectivity=8):
        rings[int(value) - 1].append(polygon(shape["coordinates"]))
    return np.array([pieces[0] if len(pieces) == 1 else shapely.union_all(pieces) for pieces in rings], object)


def polygon(rings):
    """Rings of one shape, as rasterio gives them → a valid polygon; a ring that touches itself at a corner is split."""
    shape = shapely.Polygon(rings[0], rings[1:])
    return shape if shape.is_valid else shapely.make_valid(shape)


def save(objects, path):
    """Write Objects as .npz, readable without running code."""
    shapes = shapely.to_wkb(objects.shapes)
    rest = {part.name: getattr(objects, part.name) for part in fields(objects) if part.name != "shapes"}
    with open(path, "wb") as file:
        np.savez(file, wkb=np.frombuffer(b"".join(shapes), np.uint8), sizes=[len(one) for one in shapes], **rest)


def load(path):
    """The Objects that `save` wrote."""
    with np.load(path, allow_pickle=False) as held:
        ends, data = held["sizes"].astype(int).cumsum(), held["wkb"].tobytes()
        wkb = [data[end - size : end] for end, size in zip(ends, held["sizes"].astype(int), strict=True)]
        shapes = np.array(shapely.from_wkb(wkb), object).reshape(len(wkb))
        return Objects(shapes, *(held[part.name] for part in fields(Objects) if part.name != "shapes"))
