"""NEON tree crowns: the publisher's plots and PASCAL VOC boxes become a chip folder with boxes.

What is handled: class names vary from file to file and all mean one class, "tree"; plots are 400 px at 0.1 m (one is
370 px wide) and are averaged to 0.2 m; chips that cover them share more pixels than asked for (`overlap_px`), so most
crowns are in several chips; boxes that leave the image are clipped; a chip border cuts a crown by the rule of
chipping.py. What cannot be handled: annotators missed trees in both sites, so a detector is punished for trees
that it finds rightly. dataset.json (`recipe`) tells all of it with counts.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError, DatasetInfo, write_chips
from geodl_course.datasets.box_chips import box_chip, box_layer, cut_boxes, opened
from geodl_course.datasets.chipping import drop_touching
from geodl_course.datasets.formats import check_image, read_voc
from geodl_course.windows import windows

NOTE = "Trees were missed by the annotators in both sites and cannot be repaired: precision reads lower than it is."


def import_trees(raw, out, size=128, resolution=0.2, overlap=0, min_visible=0.3, progress=True):
    """Chip folder `out` from the fetched folder `raw` (SITE/*.tif, SITE/annotations/*.xml). Returns the path.

    Validation is OSBS and every fifth SJER plot, the rest is train, as lecture 03 uses it. `size` is in pixels of
    `resolution` metres. Raises ChipError where a plot lacks its xml, or an xml its image.
    """
    from tqdm import tqdm

    from geodl_course.datasets.download import entry

    plots = _plots(Path(raw))
    told, names, shared, chips = Counter(), Counter(), set(), []
    work = list(zip(plots, _splits(plots), strict=True))
    for (_, image, annotation), split in tqdm(work, desc="plots of neon_trees", disable=not progress, delay=1):
        pixels, transform, crs, nodata, boxes = _read_plot(image, annotation, resolution, told, names)
        places = windows(*pixels.shape[1:], size, overlap)
        shared |= {size - b + a for starts in zip(*places, strict=True) for a, b in pairwise(sorted(set(starts)))}
        for row, col in places:
            inside, seen = cut_boxes(boxes, row, col, size, min_visible)
            stem = f"{image.stem}_{row:03d}_{col:03d}"
            labels = np.ones(seen.sum())  # trees, all of them
            chips.append((split, box_chip(stem, pixels, inside, labels, (row, col), size, transform, crs, nodata)))
    source = entry("neon_trees")
    info = DatasetInfo(
        "neon_trees", ["tree"], ["red", "green", "blue"], "uint8", size, resolution,
        ", ".join(sorted({chip.crs.to_string() for _, chip in chips})), nodata,
        licence=source["licence"], citation=source["citation"],
        recipe={
            "made_by": "import_trees", "overlap": overlap, "overlap_px": sorted(shared), "min_visible": min_visible,
            "note": NOTE, "validation": "OSBS and every fifth SJER plot", "plots": len(plots),
            "names_found": dict(names), **told,
        },
    )
    return write_chips(out, info, chips)


def _plots(raw):
    """[(site, image, xml), ...]; every image has its xml and every xml its image."""
    files = sorted(raw.glob("*/annotations/*.xml"))
    if not files:
        raise ChipError(f"{raw} has no SITE/annotations/*.xml. Fetch it: python data_scripts/fetch.py neon_trees")
    plots = []
    for path in files:
        image = path.parents[1] / read_voc(path).file
        check_image(path, image)
        plots.append((path.parents[1].name, image, path))
    for image in sorted(raw.glob("*/*.tif")):
        if image not in {i for _, i, _ in plots}:
            raise ChipError(
                f"{image} has no annotation file that names it in {image.parent / 'annotations'}. Fetch it again: "
                "python data_scripts/fetch.py neon_trees"
            )
    return plots


def _splits(plots):
    """val for OSBS and every fifth plot of any other site, else train; train plots that touch a val plot raise."""
    number, splits, bounds = Counter(), [], []
    for site, image, _ in plots:
        splits.append("val" if site == "OSBS" or number[site] % 5 == 0 else "train")
        number[site] += 1
        with opened(image, "neon_trees") as src:
            bounds.append(src.bounds)
    for site in number:
        mine = [i for i, (s, _, _) in enumerate(plots) if s == site]  # a site has one CRS, sites differ
        if "" in drop_touching([bounds[i] for i in mine], [splits[i] for i in mine]):
            raise ChipError(f"plots of {site} touch across train and val. Choose the validation plots differently.")
    return splits


def _read_plot(image, annotation, resolution, told, names):
    from rasterio.enums import Resampling

    voc = read_voc(annotation)
    with opened(image, "neon_trees") as src:
        if voc.size != src.shape:
            raise ChipError(f"{annotation}: size is {voc.size}, {image} has {src.shape}. Fetch both again.")
        shape = tuple(max(round(n * abs(src.res[0]) / resolution), 1) for n in src.shape)
        pixels = src.read(out_shape=(src.count, *shape), resampling=Resampling.average)
        scale = np.array([shape[1] / src.width, shape[0] / src.height] * 2)
        transform = src.transform * src.transform.scale(1 / scale[0], 1 / scale[1])
        crs, nodata = src.crs, src.nodata
    told["boxes"] += len(voc.boxes)
    told["names_made_tree"] += sum(name != "tree" for name in voc.names)
    names.update(voc.names)
    clipped = np.clip(voc.boxes, 0, np.array([voc.size[1], voc.size[0]] * 2))
    told["boxes_clipped_to_image"] += int((clipped != voc.boxes).any(1).sum())
    return pixels, transform, crs, nodata, clipped[(clipped[:, 2:] > clipped[:, :2]).all(1)] * scale


def plot_scenes(raw, site="OSBS", resolution=0.1):
    """The plots of a site as scenes → [(path of the image, GeoDataFrame of its trees' boxes with a column class), ...].

    raw: the fetched folder; resolution: in metres, at which the boxes are read. Raises ChipError.
    """
    plots = []
    for name, image, annotation in _plots(Path(raw)):
        if name == site:
            _, transform, crs, _, boxes = _read_plot(image, annotation, resolution, Counter(), Counter())
            plots.append((image, box_layer(boxes, transform, crs, "tree")))
    if not plots:
        raise ChipError(f"{raw} has no plot of {site!r}. Choose SJER or OSBS.")
    return plots
