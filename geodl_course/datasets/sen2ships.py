"""sen2ships: vessels in Sentinel-2 images of ports; bands in single files and COCO boxes become a chip folder.

What is handled: each band is a file of its own, and they are stacked; every object is marked iscrowd=1 and is an
ordinary object here; a COCO file lists up to two pictures of the one scene, and its annotations use the id of one of
them or of neither, so the scene is taken for the one image of its file. What must be known: cells are 10 m of Web
Mercator, which is 8.0 to 9.3 m on the ground in these ports, and the short-wave infrared was measured at 20 m. Values
are 16 bit as published; dividing them by 65535 gives about reflectance. dataset.json (`recipe`) tells it with counts.

Ports are split by port, never by chip: Busan and Casablanca validate, the others train. There is no test port: with
192 vessels in six ports, one more port taken away would cost more than it tells.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError, DatasetInfo, write_chips
from geodl_course.chips.coco import load_coco
from geodl_course.chips.rasters import write_raster
from geodl_course.datasets.box_chips import box_chip, box_layer, cut_boxes, opened
from geodl_course.datasets.chipping import drop_touching
from geodl_course.datasets.formats import coco_annotations
from geodl_course.windows import windows

BANDS = {"B04": "red", "B03": "green", "B02": "blue", "B08": "nir", "B11": "swir"}  # red, green, blue first
VALIDATION = ("busan", "casablanca")
NOTE = (
    "Values / 65535 are about reflectance. Cells are 10 m of EPSG:3857, 8.0 to 9.3 m on the ground in these ports; "
    "swir was measured at 20 m. Moored vessels without a box are seen in several ports: precision reads lower than it "
    "is. Durban is a mosaic with a visible seam."
)


def import_ships(raw, out, size=128, overlap=0, min_visible=0.3, progress=True):
    """Chip folder `out` from the fetched folder `raw` (PORT/B02.tif ... PORT/coco.json). Returns the path.

    Chips are windows of `size` pixels over each port; a vessel that a window's border cuts keeps its part inside when
    that is at least `min_visible` of its box and 2 pixels wide and high. Windows without a vessel are chips too. The
    last row and column of windows overlap their neighbours, so a vessel there is in both chips. Raises ChipError.
    """
    from tqdm import tqdm

    told, boxes, bounds = Counter(), {}, {}
    for port in port_folders(Path(raw)):
        boxes[port], bounds[port] = _read_port(port, size, told)
    splits = ["val" if port.name in VALIDATION else "train" for port in boxes]
    if "" in drop_touching(list(bounds.values()), splits):
        raise ChipError(f"{raw}: ports touch across train and val. Choose the validation ports differently.")
    work = tqdm(list(zip(boxes, splits, strict=True)), desc="ports of sen2ships", disable=not progress, delay=1)
    chips = (
        (split, chip) for port, split in work for chip in _chips(port, boxes[port], size, overlap, min_visible)
    )
    return write_chips(out, _info(size, overlap, min_visible, boxes, told), chips)


def _info(size, overlap, min_visible, boxes, told):
    from geodl_course.datasets.download import entry

    source = entry("sen2ships")
    return DatasetInfo(
        "sen2ships", ["vessel"], list(BANDS.values()), "uint16", size, 10.0, "EPSG:3857",
        licence=source["licence"], citation=source["citation"],
        recipe={
            "made_by": "import_ships", "overlap": overlap, "min_visible": min_visible, "note": NOTE,
            "about": source["about"], "validation": ", ".join(VALIDATION), "test": "none: too few ports",
            "ports": {port.name: len(rows) for port, rows in boxes.items()}, **told,
        },
    )


def port_scene(port, out):
    """A whole port as one raster → (the path `out`, GeoDataFrame of its vessels' boxes with a column class).

    port: its folder among the fetched files; out: the GeoTIFF to write, with BANDS by name. Raises ChipError.
    """
    boxes, _ = _read_port(Path(port), 1, Counter())
    pixels, transform, crs = read_bands(Path(port))
    part = Path(f"{out}.part")
    write_raster(part, pixels, transform, crs, names=list(BANDS.values()), tiled=True)
    part.replace(out)
    return Path(out), box_layer(boxes, transform, crs, "vessel")


def port_folders(raw):
    """The folders of the fetched ports, in order."""
    ports = sorted(path.parent for path in raw.glob("*/coco.json"))
    if not ports:
        raise ChipError(f"{raw} has no PORT/coco.json. Fetch it: python data_scripts/fetch.py sen2ships")
    return ports


def _read_port(port, size, told):
    """Boxes (M, 4) of a port and its bounds on the map; every file of it is looked at before a chip is written."""
    path = port / "coco.json"
    shape, bounds = check_bands(port)
    if min(shape) < size:
        raise ChipError(
            f"{port} is {shape[1]} x {shape[0]} pixels, too small for chips of {size}. Choose smaller chips."
        )
    (scene,), _ = coco_annotations(_one_image(load_coco(path), path, told), path)
    if scene.size != shape:
        raise ChipError(f"{path}: the image is {scene.size} (rows, columns), the bands are {shape}. Fetch both again.")
    told["boxes"] += len(scene.boxes)
    told["crowd_taken_as_objects"] += sum(scene.crowd)
    height, width = shape
    outside = (scene.boxes < 0) | (scene.boxes > [width, height, width, height])
    if outside.any():
        raise ChipError(f"{path}: box {scene.boxes[outside.any(1)][0].tolist()} leaves the image. Fetch it again.")
    return scene.boxes, bounds


def _one_image(coco, path, told):
    """The COCO content with one image, the scene, whose id is the one that the annotations use."""
    used = {a["image_id"] for a in coco["annotations"]} or {None}
    sizes = {(i.get("height"), i.get("width")) for i in coco["images"]}
    if len(used) > 1 or len(sizes) != 1:
        raise ChipError(
            f"{path}: {len(used)} images have annotations and the listed sizes are {sorted(sizes, key=str)}; a port "
            "has one image of one size. Fetch it again: python data_scripts/fetch.py sen2ships"
        )
    told["images_ignored"] += len(coco["images"]) - 1
    told["ports_whose_image_id_is_not_listed"] += not used & {None, *(i["id"] for i in coco["images"])}
    return coco | {"images": [coco["images"][0] | {"id": used.pop()}]}


def check_bands(port):
    """(rows, columns) and bounds of the bands of a port, which must lie on one grid of 16-bit cells."""
    grids = {}
    for band in BANDS:
        with opened(port / f"{band}.tif", "sen2ships") as src:
            grids[band] = (src.count, src.dtypes[0], src.shape, src.transform, src.crs)
            shape, bounds = src.shape, src.bounds
    first = grids[next(iter(BANDS))]
    for band, grid in grids.items():
        if grid[:2] != (1, "uint16") or grid != first or grid[4].to_epsg() != 3857:
            raise ChipError(
                f"{port / band}.tif: {grid[0]} band of {grid[1]}, {grid[2]}, {grid[4]}: not the one uint16 band in "
                "EPSG:3857 on the grid of the other bands. Fetch it again: python data_scripts/fetch.py sen2ships"
            )
    return shape, bounds


def read_bands(port):
    """Pixels (5, H, W) uint16 of a port in the order of BANDS, their transform and CRS."""
    pixels = []
    for band in BANDS:
        with opened(port / f"{band}.tif", "sen2ships") as src:
            pixels.append(src.read(1))
            transform, crs = src.transform, src.crs
    return np.stack(pixels), transform, crs


def _chips(port, boxes, size, overlap, min_visible):
    pixels, transform, crs = read_bands(port)
    for row, col in windows(*pixels.shape[1:], size, overlap):
        inside, seen = cut_boxes(boxes, row, col, size, min_visible)
        stem, labels = f"{port.name}_{row:04d}_{col:04d}", np.ones(seen.sum())  # vessels, all of them
        yield box_chip(stem, pixels, inside, labels, (row, col), size, transform, crs, None)
