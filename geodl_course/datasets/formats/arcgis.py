"""ArcGIS Pro exports (Export Training Data For Deep Learning): read into a chip folder, and written from one.

    images/000000000.tif  labels/...  map.txt  stats.txt  esri_model_definition.emd  esri_accumulated_stats.json

    RCNN_Masks              labels/<class name>/<stem>.tif: ids of instances, 0 = background; a class absent has no file
    PASCAL_VOC_rectangles   labels/<stem>.xml, in which an object's name is its class value
    KITTI_rectangles        labels/<stem>.txt, in which the first column is the class value
    COCO_rectangles         labels.json beside images/; masks in it are read and written too

Rules of reading; what they did is counted in dataset.json, recipe["read"]:

* The order of the classes is that of their values. A label folder may be called by a class's name or value. Without the
  two JSON files, the classes are the folders or names that occur, sorted.
* One id is one instance, also where its parts lie apart ("instances_in_parts"); an instance may be a single pixel. Ids
  are kept; a raster whose ids go beyond 65535 gets the ids 1, 2, 3 ... ("rasters_renumbered").
* A label raster of several bands holds overlapping instances. A pixel has one instance of a class here, so the later
  band wins, as the later object does among COCO masks ("pixels_covered_twice"); an instance that is covered wholly, or
  that never had a pixel, is gone ("instances_without_pixel").
* In RCNN_Masks, an image without label raster has no object. With .xml and .txt labels that is so only where map.txt
  lists the image without a label; else it is an error, as is each file that map.txt lists and that does not exist.
* Boxes are cut at the image's border ("boxes_clipped"); among COCO masks, an object without one gets its box as mask
  ("boxes_drawn_as_masks"). iscrowd=1 is an object like any other ("crowd_taken_as_objects").
* Pixels other than uint8 and uint16 become float32. A CRS that the images lack is taken from the JSON files.

A chip folder is written as one export for each split, and read back from there unchanged: pixels, ids, CRS, transform,
file names, and dataset.json but for recipe["read"]. COCO alone counts the ids anew.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from geodl_course.chips import SPLITS, Chip, ChipError, DatasetInfo, image_files, read_info, write_chips
from geodl_course.chips.rasters import raster_env, read_raster, write_raster
from geodl_course.chips.reading import check_same_place, read_split
from geodl_course.chips.record import DTYPES, check_chip
from geodl_course.chips.writing import refuse_existing, whole_or_nothing
from geodl_course.datasets.chipping import band_name, drop_touching, metres, spatial_split
from geodl_course.datasets.formats.annotation import Annotation, box_masks
from geodl_course.datasets.formats.arcgis_facts import Tally, composed, write_map
from geodl_course.datasets.formats.arcgis_labels import MODES, SUFFIX, open_export, places
from geodl_course.datasets.formats.coco import write_coco
from geodl_course.datasets.formats.instances import instance_rasters, one_band
from geodl_course.datasets.formats.kitti import write_kitti
from geodl_course.datasets.formats.voc import write_voc

COUNTED = (
    "images_without_object", "instances_in_parts", "rasters_renumbered", "pixels_covered_twice",
    "instances_without_pixel", "boxes_clipped", "boxes_drawn_as_masks", "crowd_taken_as_objects",
    "chips_dropped_between_splits",
)
UNFIT = '<>:"/\\|?*'  # what a folder on Windows, where ArcGIS Pro runs, cannot be called

# ------------------------------------------------------------------------------------------------- read


def read_arcgis(folder, out, split="train", *, val=0.2, test=0.2, seed=0, resolution=None, progress=True):
    """Chip folder `out` of an ArcGIS Pro export, or of a folder with an export in each of train/, val/, test/.

    split: where the chips of a single export go: "train", "val", "test", or "spatial" for blocks that do not touch (see
    chipping.py; `val` and `test` are shares). resolution: metres a pixel, where nothing in the export says it. The
    rules are in the module's docstring. Returns the path; raises ChipError naming file and next step, and leaves
    nothing behind then.
    """
    from tqdm import tqdm

    out = Path(out)
    refuse_existing(out)
    exports = {name: open_export(place) for name, place in places(Path(folder), split).items()}
    first = next(iter(exports.values()))
    for export in exports.values():
        if (export.mode, export.classes) != (first.mode, first.classes):
            raise ChipError(
                f"{export.folder}: {export.mode} of {export.classes}, but {first.folder} is {first.mode} of "
                f"{first.classes}. Exports of one data set must agree: export again, or read them one by one."
            )
    info = _info(first, out, resolution)
    chips = [
        (name, export, stem)
        for split, export in exports.items()
        for stem, name in _splits(export, info, split, val, test, seed).items()
    ]
    masks = any(export.masks for export in exports.values())
    if masks:
        info.recipe["read"]["boxes_drawn_as_masks"] = sum(export.unmasked for export in exports.values())
    bar = tqdm(chips, desc=f"chips of {info.name}", unit="chip", disable=not progress, delay=1)
    return write_chips(out, info, ((name, _chip(export, stem, info, masks)) for name, export, stem in bar))


def _info(export, out, resolution):
    import rasterio

    facts, ours, path = export.facts, export.facts.ours, next(iter(export.images.values()))
    with raster_env():
        read_raster(path)  # a damaged file is told
    with raster_env(), rasterio.open(path) as src:
        named = facts.bands if len(facts.bands) == src.count else [""] * src.count
        bands = [src.descriptions[i] or named[i] or band_name(src, i + 1) for i in range(src.count)]
        dtype, nodata, crs = src.dtypes[0], src.nodata, src.crs or facts.crs
        resolution = resolution or ours.get("resolution") or _metres(path, src.transform, crs, facts.cell)
        size = src.width
    dtype = dtype if dtype in DTYPES else "float32"
    if dtype == "float32" and nodata is not None:
        nodata = float(np.float32(nodata))
    read = {"made_by": "read_arcgis", "export": export.folder.name, "format": export.mode, **dict.fromkeys(COUNTED, 0)}
    return DatasetInfo(
        ours.get("name") or out.name, export.classes, bands, dtype, size, resolution,
        ours.get("crs") or (crs.to_string() if crs else ""), nodata, licence=ours.get("licence", ""),
        citation=ours.get("citation", ""), recipe={**ours.get("recipe", {}), "read": read},
    )


def _metres(path, transform, crs, cell):
    if transform.is_identity and cell:
        transform = transform.scale(*cell)
    if crs is None or transform.is_identity:
        raise ChipError(f"{path}: neither the image nor the export's JSON files say how large a pixel is. Name it in "
                        "metres: --resolution 0.5")
    return metres(SimpleNamespace(name=str(path), transform=transform, crs=crs))


def _splits(export, info, split, val, test, seed):
    """{stem: split} of the chips to keep."""
    import rasterio

    if split != "spatial":
        return dict.fromkeys(export.images, split)
    corners = {}
    with raster_env():
        for stem, path in export.images.items():
            with rasterio.open(path) as src:
                crs = src.crs or export.facts.crs
                if src.transform.is_identity or crs is None or crs.to_string() != info.crs:
                    raise ChipError(f"{path} has no place on the map of {info.crs or 'a known CRS'}, so it cannot be "
                                    "split by place. Choose --split train.")
                around = ((0, 0), (src.width, 0), (src.width, src.height), (0, src.height))
                corners[stem] = [src.transform * corner for corner in around]
    found = spatial_split([(y, x) for (x, y), *_ in corners.values()], val, test, seed)
    kept = drop_touching(list(corners.values()), found)
    for name in SPLITS:
        if name not in kept and (name in found or {"val": val, "test": test}.get(name, 0) > 0):
            raise ChipError(
                f"{export.folder}: of {len(found)} chips, {list(found).count(name)} lay in {name}, and none is left "
                "that touches no other split. Export with a stride of the tile's size, or change --val and --test."
            )
    info.recipe["read"]["chips_dropped_between_splits"] += int((kept == "").sum())
    return {stem: name for stem, name in zip(corners, kept, strict=True) if name}


def _chip(export, stem, info, masks):
    path, told = export.images[stem], info.recipe["read"]
    image, transform, crs = read_raster(path)
    image = image if image.dtype.name in DTYPES else image.astype(np.float32)
    chip = Chip(stem, image, transform=transform, crs=crs or export.facts.crs)
    objects, rasters = export.objects[stem], {}
    if export.mode == "RCNN_Masks":
        rasters = objects
        chip.instances = {name: _ids(label, path, (image, transform, crs), told) for name, label in rasters.items()}
    else:
        annotation, labels = objects(image.shape[1:]), objects.args[0]
        names = [export.named(name, labels, name_first=annotation.crowd is not None) for name in annotation.names]
        told["crowd_taken_as_objects"] += sum(annotation.crowd or ())
        if masks:
            masked = box_masks(annotation.boxes, annotation.size) if annotation.masks is None else annotation.masks
            chip.instances = instance_rasters(masked, names, told)
        else:
            chip.boxes = _cut(annotation, labels, told)
            chip.labels = np.array([info.classes.index(name) + 1 for name in names], np.int64)
    check_chip(chip, info, path, rasters)
    objects = any(r.any() for r in chip.instances.values()) if masks else len(chip.boxes)
    told["images_without_object"] += not objects
    return chip


def _ids(path, image_path, place, told):
    image, *place = place
    bands, *where = read_raster(path)
    check_same_place(path, where, image_path, place)
    if bands.shape[1:] != image.shape[1:]:
        raise ChipError(f"{path}: the label raster is {bands.shape[1:]} (rows, columns), its image {image_path} is "
                        f"{image.shape[1:]}. Export both again with one tile size.")
    return one_band(bands, path, told)


def _cut(annotation, path, told):
    """Boxes cut at the image's border."""
    height, width = annotation.size
    cut = annotation.boxes.clip(0, [width, height, width, height])
    gone = (cut[:, 2:] <= cut[:, :2]).any(1)
    if gone.any():
        raise ChipError(f"{path}: box {annotation.boxes[gone][0].tolist()} lies outside the image of {width} x "
                        f"{height} pixels. Correct or remove it.")
    told["boxes_clipped"] += int((cut != annotation.boxes).any(1).sum())
    return cut


# ------------------------------------------------------------------------------------------------ write


def write_arcgis(folder, out, mode="RCNN_Masks", progress=True):
    """Write chip folder `folder` as `out`: an export in each of train/, val/, test/ that it has. Returns the path.

    Rectangles hold the boxes alone; "RCNN_Masks" needs instances. The export appears when it is whole, or not at all.
    Raises ChipError.
    """
    from tqdm import tqdm

    folder, out = Path(folder), Path(out)
    info = read_info(folder)
    if mode not in MODES:
        raise ChipError(f"format '{mode}' is none of {', '.join(MODES)}. Choose one of them.")
    for name in info.classes if mode == "RCNN_Masks" else ():
        if not name or set(name) & set(UNFIT) or name[0] == "." or name[-1] in ". " or name != composed(name):
            raise ChipError(f"class '{name}' cannot be a folder on Windows, where ArcGIS Pro runs. Rename the class.")
    folded = [name.casefold() for name in info.classes]
    for k, name in enumerate(info.classes if mode == "RCNN_Masks" else ()):
        first = folded.index(folded[k])
        if first < k:
            raise ChipError(f"classes '{info.classes[first]}' and '{name}' would be one folder on Windows, where "
                            "ArcGIS Pro runs. Rename one of them.")
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    if not splits:
        raise ChipError(f"{folder} has none of the folders {', '.join(SPLITS)}. Make the data set again.")
    for split in splits:
        if not image_files(folder, split):
            raise ChipError(f"{folder / split / 'images'} holds no image. Remove {folder / split}, or make the data "
                            "set again.")
    with whole_or_nothing(out) as part:
        for split in splits:
            chips = tqdm(read_split(folder, split), desc=f"{split} of {info.name}", unit="chip", disable=not progress,
                         delay=1)
            _write_export(part / split, chips, info, mode)
    return out


def _write_export(place, chips, info, mode):
    (place / "images").mkdir(parents=True)
    if mode != "COCO_rectangles":
        (place / "labels").mkdir()
    tally, lines, coco = Tally(info, mode), [], []
    with raster_env():
        for chip in chips:
            image = f"images/{chip.stem}.tif"
            write_raster(place / image, chip.image, chip.transform, chip.crs, info.nodata, info.bands)
            if mode == "RCNN_Masks":
                labels = _write_rasters(place, chip, info)
            elif mode == "COCO_rectangles":
                coco.append(_annotation(chip, info))
                labels = []
            else:
                labels = [f"labels/{chip.stem}{SUFFIX[mode]}"]
                _write_boxes(place / labels[0], chip, info)
            tally.add(chip)
            lines.append((image, labels))
    if mode == "COCO_rectangles":
        write_coco(place / "labels.json", coco, info.classes)
    write_map(place, lines)
    tally.write(place)


def _write_rasters(place, chip, info):
    if chip.instances is None:
        raise ChipError(f"{info.name} has boxes only, no masks. Choose {', '.join(MODES[1:])}.")
    labels = []
    for name in info.classes:
        raster = chip.instances.get(name)
        if raster is not None and raster.any():
            (place / "labels" / name).mkdir(exist_ok=True)
            labels.append(f"labels/{name}/{chip.stem}.tif")
            write_raster(place / labels[-1], raster[None].astype(np.uint16), chip.transform, chip.crs)
    return labels


def _write_boxes(path, chip, info):
    values = [str(label) for label in chip.labels]
    annotation = Annotation(f"{chip.stem}.tif", chip.image.shape[1:], chip.boxes, values)
    if path.suffix == ".xml":
        write_voc(path, annotation, len(info.bands), source="ESRI ArcGIS Pro")
    else:
        write_kitti(path, annotation)


def _annotation(chip, info):
    names = [info.classes[label - 1] for label in chip.labels]
    masks = None
    if chip.instances is not None:
        rasters = [chip.instances[name] for name in info.classes if name in chip.instances]
        each = [raster == np.unique(raster[raster > 0])[:, None, None] for raster in rasters]
        masks = np.concatenate([np.zeros((0, *chip.image.shape[1:]), bool), *each])
    return Annotation(f"{chip.stem}.tif", chip.image.shape[1:], chip.boxes, names, masks)
