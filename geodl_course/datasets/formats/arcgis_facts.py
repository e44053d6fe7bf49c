"""The files of facts beside an ArcGIS Pro export: what they say, and how they are written.

esri_model_definition.emd and esri_accumulated_stats.json (JSON) hold format, classes with their values, band names,
cell size and statistics; stats.txt is the same for people; map.txt lists images and their labels.
"""

import json
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geodl_course.chips import ChipError, valid_pixels

EMD, STATS, MAP = "esri_model_definition.emd", "esri_accumulated_stats.json", "map.txt"
BETWEEN = re.compile(  # two files of a line of map.txt: an ending, blanks, one of the folders
    r"(?:(?<=\.\w{3})|(?<=\.\w{4}))\s+(?=(?:images2?|labels)[\\/])", re.I
)
OURS = "GeodlCourse"  # a field of our own in the .emd, so that name, licence, citation and recipe come back


@dataclass
class Facts:
    """What an export says of itself; every field may be empty."""

    mode: str | None = None
    classes: dict[int, str] = field(default_factory=dict)  # name by value, in rising order of the values
    bands: list[str] = field(default_factory=list)
    cell: tuple[float, float] | None = None  # width and height in units of the map
    crs: object = None
    ours: dict = field(default_factory=dict)


def read_facts(folder):
    """Facts of an export. Both JSON files may be missing; raises ChipError for one that is broken."""
    emd, stats = (_read_json(Path(folder) / name) for name in (EMD, STATS))
    cell = emd.get("MinCellSize") or stats.get("MinCellSize") or {}
    rasters = emd.get("InputRastersProps") or stats.get("InputRastersProps") or {}
    source, rows = (EMD, emd.get("Classes")) if emd.get("Classes") else (STATS, stats.get("Classes"))
    try:
        return Facts(
            stats.get("MetaDataMode") or emd.get("MetaDataMode"), _classes(rows or [], Path(folder) / source),
            list(rasters.get("BandNames") or []), (float(cell["x"]), float(cell["y"])) if cell else None,
            _crs(cell.get("spatialReference") or {}), dict(emd.get(OURS) or {}),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ChipError):
            raise
        raise ChipError(
            f"{folder}: {EMD} or {STATS} is not as ArcGIS Pro writes it ({error!r}). Export again, or remove both "
            "files: format and classes are then taken from the labels."
        ) from error


def _read_json(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ChipError(f"{path}: not valid JSON ({error}). Repair it or export again.") from None
    if not isinstance(content, dict):
        raise ChipError(f"{path}: holds a {type(content).__name__}, not fields. Export again.")
    return content


def _classes(rows, path):
    classes = {}
    for row in rows:
        value, name = row.get("Value", row.get("ClassValue")), row.get("Name", row.get("ClassName"))
        if value in (None, 0, "0") or name is None:
            continue  # 0 is background
        if int(value) in classes or composed(name) in classes.values():
            raise ChipError(f"{path}: class {value} ('{name}') is listed twice. Give each its own value and name.")
        classes[int(value)] = composed(name)
    return dict(sorted(classes.items()))


def _crs(reference):
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    tries = [f"EPSG:{reference[k]}" for k in ("latestWkid", "wkid") if reference.get(k)]
    tries += [f"ESRI:{reference['wkid']}"] if reference.get("wkid") else []
    for text in (*tries, *(reference[k] for k in ("wkt2", "wkt") if reference.get(k))):
        try:
            return CRS.from_user_input(text)
        except CRSError:
            continue
    return None


def composed(text):
    """Text with each umlaut as one character: some file systems and zips store it as two."""
    return unicodedata.normalize("NFC", str(text))


# ------------------------------------------------------------------------------------------------ map.txt


def read_map(folder):
    """{image: [label files]} as map.txt lists them, as paths that exist, or None where there is no map.txt.

    Backslashes, blanks at line ends and in class names, and upper case that differs from the file's are understood.
    Raises ChipError for a file that is listed and does not exist.
    """
    path = Path(folder) / MAP
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what Windows programs write where they do not write UTF-8
    there = {_key(p.relative_to(folder)): p for kind in ("images", "labels") for p in (Path(folder) / kind).rglob("*")}
    listed = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = [w for w in BETWEEN.split(line.strip()) if w]
        files = [w for w in words if not w.lower().startswith("images2")]  # images2 holds a second raster
        for word in files:
            if _key(word) not in there:
                raise ChipError(
                    f"{path}, line {number}, lists {word}, which does not exist. Restore the file, or take the line "
                    f"out of {MAP}."
                )
        if files:
            image, *labels = (there[_key(word)] for word in files)
            listed.setdefault(image, []).extend(labels)
    return listed


def _key(path):
    return composed(path).replace("\\", "/").casefold()


def write_map(folder, lines):
    """Write map.txt of [(image, [labels]), ...], paths inside `folder`: a line for each label of an image."""
    rows = []
    for image, labels in lines:
        rows += [f"{image}  {label} " for label in labels] or [f"{image} "]
    text = "".join(row.replace("/", "\\") + "\n" for row in rows)
    (Path(folder) / MAP).write_text(text, encoding="utf-8")


# ------------------------------------------------------------------------------------------- statistics


class Tally:
    """Counts objects and pixels of the chips of an export, and writes its files of facts."""

    def __init__(self, info, mode):
        self.info, self.mode, self.chip = info, mode, None
        self.tiles, self.per_image, self.areas = 0, [], {name: [] for name in info.classes}
        self.images_of = dict.fromkeys(info.classes, 0)
        self.bands = [[] for _ in info.bands]  # (min, max, sum, sum of squares about the mean, number) of each chip

    def add(self, chip):
        """Count a chip, which has boxes and labels."""
        self.tiles, self.chip = self.tiles + 1, chip
        self.per_image.append(len(chip.labels))
        for k, name in enumerate(self.info.classes, start=1):
            if chip.instances is None:
                boxes = np.asarray(chip.boxes, float)[chip.labels == k]
                pixels = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            else:
                pixels = np.bincount(chip.instances.get(name, np.zeros(1, int)).ravel())[1:]
            self.areas[name] += (pixels[pixels > 0] * self.info.resolution**2).tolist()
            self.images_of[name] += bool((pixels > 0).any())
        valid = np.broadcast_to(valid_pixels(chip.image, self.info.nodata), chip.image.shape)
        for rows, band, seen in zip(self.bands, chip.image, valid, strict=True):
            values = band[seen].astype(float)
            if len(values):
                rows.append((values.min(), values.max(), values.sum(), values.var() * len(values), len(values)))

    def _band(self, rows):
        if not rows:
            return dict.fromkeys(("Min", "Max", "M1", "M2", "Num"), 0)
        low, high, total, within, number = np.array(rows).T
        mean = total.sum() / number.sum()
        between = (number * (total / number - mean) ** 2).sum()
        return {"Min": low.min(), "Max": high.max(), "M1": mean, "M2": within.sum() + between, "Num": int(number.sum())}

    def _shared(self):
        info, transform = self.info, self.chip.transform
        code = self.chip.crs.to_epsg() if self.chip.crs else None
        place = {"wkid": code, "latestWkid": code} if code else {"wkt": self.chip.crs.to_wkt() if self.chip.crs else ""}
        cell = {"x": abs(transform.a), "y": abs(transform.e), "spatialReference": place}
        known = not transform.is_identity
        return {
            "MetaDataMode": self.mode, **({"MinCellSize": cell, "MaxCellSize": cell} if known else {}),
            "InputRastersProps": {"RasterCount": 1, "SensorName": "Undefined", "BandNames": info.bands},
        }

    def write(self, folder):
        """Write the two JSON files and stats.txt into `folder`."""
        info, size = self.info, self.info.chip_size
        bands = [self._band(rows) for rows in self.bands]
        names = list(enumerate(info.classes, start=1))
        emd = {
            "Framework": "e.g. TensorFlow or PyTorch", "ModelConfiguration": "e.g. UNet or FasterRCNN",
            "ModelType": "e.g. ObjectDetection or ImageClassification", "ModelFile": "e.g. ./trained.model",
            "Description": "e.g. which data model was trained on, when, by whom, mAP, etc", "ImageHeight": size,
            "ImageWidth": size, "ExtractBands": "e.g. [0, 1, 2]", **self._shared(), "BlackenAroundFeature": False,
            "IsMultidimensional": False, "CropTileMode": "Fixed_Size", "ImageSpaceUsed": "MAP_SPACE",
            "Classes": [{"Value": value, "Name": name, "Color": [-1, -1, -1]} for value, name in names],
            "AllTilesStats": [
                {"BandName": name, "Min": b["Min"], "Max": b["Max"], "Mean": b["M1"],
                 "StdDev": (b["M2"] / max(b["Num"], 1)) ** 0.5}
                for name, b in zip(info.bands, bands, strict=True)
            ],
            OURS: {key: getattr(info, key) for key in ("name", "resolution", "crs", "licence", "citation", "recipe")},
        }
        stats = {
            "Version": 1, "NumBands": len(info.bands), "TileSizeX": size, "TileSizeY": size, "NumClasses": len(names),
            "NumTiles": self.tiles, "NextTileIndex": self.tiles, "OutputFeatures": True, **self._shared(),
            "Classes": [{"ClassValue": value, "ClassName": name} for value, name in names],
            "FeatureStats": self._features(),
            "BandStatsState": [{"Mean": 0, "StdDev": 0, **b} for b in bands],
        }
        for name, content in ((EMD, emd), (STATS, stats)):
            (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "stats.txt").write_text(self._text(), encoding="utf-8")

    def _features(self):
        return {
            "NumClasses": len(self.areas), "NumImagesTotal": self.tiles, "NumFeaturesTotal": sum(self.per_image),
            "NumImagesPerClass": list(self.images_of.values()),
            "NumFeaturesPerClass": [len(areas) for areas in self.areas.values()],
            "NumFeaturesPerImage": _summary(self.per_image),
            "FeatureAreaPerClass": [_summary(areas) for areas in self.areas.values()],
        }

    def _text(self):
        info, of_image = self.info, _summary(self.per_image)
        rows = [
            f"images = {self.tiles} *{len(info.bands)}*{info.chip_size}*{info.chip_size}",
            f"features = {of_image['Sum']}",
            f"features per image = [min = {of_image['Min']}, mean = {of_image['Mean']:.2f}, max = {of_image['Max']}]",
            f"classes = {len(info.classes)}",
            f"{'cls name':<20}{'cls value':>11}{'images':>11}{'features':>11}"
            + "".join(f"{word:>12}" for word in ("min size", "mean size", "max size")),
        ]
        for value, (name, areas) in enumerate(self.areas.items(), start=1):
            s = _summary(areas)
            rows.append(f"{name:<20}{value:>11}{self.images_of[name]:>11}{s['Count']:>11}"
                        f"{s['Min']:>12.2f}{s['Mean']:>12.2f}{s['Max']:>12.2f}")
        return "\n".join(rows) + "\n"


def _summary(values):
    number = max(len(values), 1)
    return {"Min": min(values, default=0), "Max": max(values, default=0), "Mean": sum(values) / number,
            "Sum": sum(values), "Count": len(values)}
