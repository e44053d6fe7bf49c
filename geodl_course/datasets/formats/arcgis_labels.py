"""What lies in the folder of an ArcGIS Pro export: its images, its classes, and which labels belong to which image."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from geodl_course.chips import SPLITS, ChipError, image_files
from geodl_course.chips.coco import check_reference, load_coco
from geodl_course.chips.reading import by_stem, label_rasters
from geodl_course.datasets.formats.annotation import Annotation
from geodl_course.datasets.formats.arcgis_facts import EMD, MAP, Facts, composed, read_facts, read_map
from geodl_course.datasets.formats.coco import coco_annotations
from geodl_course.datasets.formats.kitti import read_kitti
from geodl_course.datasets.formats.voc import read_voc

SUFFIX = {"PASCAL_VOC_rectangles": ".xml", "KITTI_rectangles": ".txt"}
MODES = ("RCNN_Masks", *SUFFIX, "COCO_rectangles")


@dataclass
class Export:
    """An export, looked through but not read."""

    folder: Path
    mode: str
    facts: Facts
    classes: list[str]
    images: dict[str, Path]  # by stem
    objects: dict = field(default_factory=dict)  # by stem: {class: label raster}, or size -> Annotation
    masks: bool = False  # whether objects have masks
    unmasked: int = 0  # COCO objects without

    def named(self, text, path, name_first=False):
        """The class that the label `path` calls `text`: its value, or else its name (or the other way round)."""
        text, by_value = composed(text), {str(value): name for value, name in self.facts.classes.items()}
        by_name = {name: name for name in self.classes}
        known = by_value | by_name if name_first else by_name | by_value
        if text not in known:
            raise ChipError(
                f"{path}: class '{text}' is none of {', '.join(f'{n} (value {v})' for v, n in by_value.items())}. "
                f"Add it to {EMD}, or correct the label."
            )
        return known[text]


def places(folder, split):
    """{split: folder of an export}: `folder` itself, or the train/, val/ and test/ inside it."""
    if split not in (*SPLITS, "spatial"):
        raise ChipError(f"split '{split}' is none of spatial, {', '.join(SPLITS)}. Choose one of them.")
    if (folder / "images").is_dir():
        return {split: folder}
    found = {name: folder / name for name in SPLITS if (folder / name / "images").is_dir()}
    if not found:
        raise ChipError(f"{folder} has no folder images/. Give the folder that holds images, labels and {MAP}.")
    return found


def open_export(folder):
    """Export of a folder; everything that is missing or unknown is told here, before an image is read."""
    facts, images = read_facts(folder), image_files(folder, ".")
    if not images:
        raise ChipError(f"{folder / 'images'} holds no GeoTIFF, PNG or JPEG image. Export in one of these formats.")
    listed = read_map(folder)
    for path in listed or ():
        if images.get(path.stem) != path:
            raise ChipError(f"{folder / MAP} lists {path}, which is no GeoTIFF, PNG or JPEG. Export in one of these.")
    export = Export(folder, facts.mode or _guess(folder), facts, list(facts.classes.values()), images)
    if export.mode not in MODES:
        raise ChipError(
            f"{folder}: its format is {export.mode}, which has no instances or boxes. Export again as one of "
            f"{', '.join(MODES)}."
        )
    if export.mode == "COCO_rectangles":
        _find_coco(export)
    elif not (folder / "labels").is_dir():
        raise ChipError(f"{folder / 'labels'} is missing. Restore it, or export again.")
    elif export.mode == "RCNN_Masks":
        _find_rasters(export)
    else:
        _find_boxes(export, listed)
    return export


def _guess(folder):
    """The format of an export that does not say it."""
    labels = folder / "labels"
    found = list(labels.iterdir()) if labels.is_dir() else []
    if any(path.is_dir() for path in found):
        return "RCNN_Masks"
    for mode, suffix in SUFFIX.items():
        if _label_files(found, suffix):
            return mode
    if (folder / "labels.json").is_file():
        return "COCO_rectangles"
    raise ChipError(f"{folder} has neither labels/ with class folders, .xml or .txt files, nor labels.json. Export "
                    f"again as one of {', '.join(MODES)}.")


def _label_files(paths, suffix):
    return [p for p in paths if p.suffix.lower() == suffix and not p.name.lower().endswith(".aux.xml")]


def _check_stem(export, stem, path):
    if stem not in export.images:
        raise ChipError(f"{path}: no image of this name in {export.folder / 'images'}. Restore the image, or remove "
                        "the label file.")


def _find_rasters(export):
    folders = sorted(p for p in (export.folder / "labels").iterdir() if p.is_dir())
    if not folders and any((export.folder / "labels").glob("*.tif")):
        raise ChipError(f"{export.folder / 'labels'} holds rasters and no class folders: those are classes of pixels, "
                        "not instances. Export again as RCNN Masks.")
    export.masks, export.classes = True, export.classes or [composed(path.name) for path in folders]
    if not export.classes:
        raise ChipError(f"{export.folder}: neither {EMD} nor a class folder in labels/ says which classes there are. "
                        "Export again.")
    export.objects = {stem: {} for stem in export.images}
    for folder in folders:
        name = export.named(folder.name, folder, name_first=True)
        for stem, path in by_stem(label_rasters(folder)).items():
            _check_stem(export, stem, path)
            if name in export.objects[stem]:
                raise ChipError(f"{path}: class '{name}' has {export.objects[stem][name]} too. Keep one of the two.")
            export.objects[stem][name] = path


def _find_boxes(export, listed):
    suffix, labels = SUFFIX[export.mode], export.folder / "labels"
    found = by_stem(_label_files(labels.iterdir(), suffix))
    for stem, path in found.items():
        _check_stem(export, stem, path)
    read = _voc if suffix == ".xml" else _kitti
    for stem, image in export.images.items():
        path = found.get(stem, labels / f"{stem}{suffix}")
        nothing = stem not in found and listed is not None and listed.get(image) == []
        export.objects[stem] = partial(_nothing if nothing else read, path)
    if not export.classes:
        export.classes = sorted({composed(name) for path in found.values() for name in read(path, None).names})


def _nothing(path, size):
    return Annotation(path.stem, size)


def _kitti(path, size):
    return read_kitti(path, size=size)


def _voc(path, size):
    annotation = read_voc(path)
    if size not in (None, annotation.size):
        raise ChipError(f"{path}: size is {annotation.size} (rows, columns), its image has {size}. Restore the image "
                        "that was exported with it.")
    return annotation


def _find_coco(export):
    path = export.folder / "labels.json"
    coco = load_coco(path)
    entries = {entry["id"]: (entry, []) for entry in coco["images"]}
    categories = {category["id"] for category in coco["categories"]}
    for a in coco["annotations"]:
        check_reference(a, "image_id", entries, path)
        check_reference(a, "category_id", categories, path)
        entries[a["image_id"]][1].append(a)
    export.unmasked = sum(not a.get("segmentation") for a in coco["annotations"])
    export.masks = export.unmasked < len(coco["annotations"])
    export.classes = [composed(name) for name in coco_annotations(coco | {"images": [], "annotations": []}, path)[1]]
    for name in export.classes:
        if export.classes.count(name) > 1:
            raise ChipError(f"{path}: two categories are called '{name}'. Rename one of them.")
    for entry, annotations in entries.values():
        stem = Path(str(entry["file_name"]).replace("\\", "/")).stem
        if stem in export.objects or stem not in export.images:
            problem = "is listed twice" if stem in export.objects else "is not in images/"
            raise ChipError(f"{path}: image '{entry['file_name']}' {problem}. Correct or remove its entry.")
        content = coco | {"images": [entry], "annotations": annotations}
        export.objects[stem] = partial(_coco, path, content)
    for stem, image in export.images.items():
        if stem not in export.objects:
            raise ChipError(f"{path} does not list {image}. Add its entry: an image without objects has one too.")


def _coco(path, content, size):
    annotation = coco_annotations(content, path)[0][0]
    if annotation.size != size:
        raise ChipError(f"{path}: image '{annotation.file}' is {annotation.size} (rows, columns), the file has {size}. "
                        "Correct its height and width.")
    return annotation
