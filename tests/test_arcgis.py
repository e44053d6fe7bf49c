"""ArcGIS Pro exports, there and back, and as they lie on real disks; the files follow samples of real exports."""

import json
import re
import shutil

import numpy as np
import pytest
import rasterio
from pycocotools.coco import COCO
from rasterio.transform import Affine, from_origin

from geodl_course.chips import (
    SPLITS,
    Chip,
    ChipError,
    DatasetInfo,
    image_files,
    read_chip,
    read_info,
    validate,
    write_chips,
)
from geodl_course.datasets.formats import MODES, read_arcgis, write_arcgis

CLASSES = ["Lagerhaus groß", "tank", "Ölbehälter 2"]
MASKS, VOC, KITTI, COCO_MODE = MODES


def chips_of(rng, info, split, number, masks):
    """Chips with objects that overlap across classes, in parts and of one pixel; some without any."""
    size = info.chip_size
    for n in range(number):
        image = rng.integers(0, 200, (len(info.bands), size, size)).astype(info.dtype)
        if info.nodata is not None:
            image[:, :2] = info.nodata
        transform = from_origin(500_000 + 100 * n, 4_400_000, 0.6, 0.6)
        chip = Chip(f"Kachel {n} ü", image, transform=transform, crs=rasterio.CRS.from_epsg(26917 if n % 2 else 32633))
        number = int(rng.integers(0, 4)) if n else 3
        if masks:
            chip.instances = {}
            for name in info.classes[: 1 + n % 3]:
                raster = np.zeros((size, size), np.uint16)
                for _ in range(number):
                    y, x = rng.integers(0, size, 2)
                    raster[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = rng.integers(1, 65536)
                chip.instances[name] = raster
        else:
            corner = rng.random((number, 2)).astype(np.float32) * (size - 9)
            chip.boxes = np.concatenate([corner, corner + rng.random((number, 2)).astype(np.float32) * 8 + 0.5], 1)
            chip.labels = rng.integers(1, len(info.classes) + 1, number)
        yield split, chip


def random_folder(out, seed, masks=True):
    rng = np.random.default_rng(seed)
    dtype, nodata = [("uint8", None), ("uint16", 0.0), ("float32", float("nan"))][seed % 3]
    bands = [["red", "green", "blue"], ["nir"], ["red", "green", "blue", "nir", "swir"]][seed % 3]
    info = DatasetInfo("Städte", CLASSES, bands, dtype, 24, 0.6, "EPSG:26917", nodata, licence="CC0", citation="me",
                       recipe={"made_by": "a test", "seed": seed})
    chips = [c for split in SPLITS[: 1 + seed % 3] for c in chips_of(rng, info, split, 4, masks)]
    return write_chips(out, info, chips)


def same(a, b):
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


def assert_same_folders(before, after, ids=True):
    old, new = read_info(before), read_info(after)
    new.recipe.pop("read")
    assert repr(old) == repr(new)  # as text, in which NaN equals NaN
    for split in old.counts:
        stems = list(image_files(before, split))
        assert stems == list(image_files(after, split))
        for stem in stems:
            a, b = read_chip(before, split, stem), read_chip(after, split, stem)
            assert a.image.dtype == b.image.dtype and same(a.image, b.image)
            assert (a.transform, a.crs) == (b.transform, b.crs)
            assert same(a.boxes, b.boxes) and same(a.labels, b.labels)
            if ids and a.instances is not None:
                assert a.instances.keys() == b.instances.keys()
                assert all(same(a.instances[name], b.instances[name]) for name in a.instances)


@pytest.mark.parametrize("seed", range(6))
def test_masks_there_and_back_change_nothing(tmp_path, seed):
    before = random_folder(tmp_path / "chips", seed)
    export = write_arcgis(before, tmp_path / "export", progress=False)
    assert_same_folders(before, read_arcgis(export, tmp_path / "back", progress=False))


@pytest.mark.parametrize("mode", [VOC, KITTI, COCO_MODE])
@pytest.mark.parametrize("seed", range(3))
def test_boxes_there_and_back_change_nothing(tmp_path, mode, seed):
    before = random_folder(tmp_path / "chips", seed, masks=False)
    export = write_arcgis(before, tmp_path / "export", mode, progress=False)
    assert_same_folders(before, read_arcgis(export, tmp_path / "back", progress=False))


@pytest.mark.parametrize("seed", range(3))
def test_coco_keeps_masks_and_others_read_them(tmp_path, seed):
    before = random_folder(tmp_path / "chips", seed)
    export = write_arcgis(before, tmp_path / "export", COCO_MODE, progress=False)
    after = read_arcgis(export, tmp_path / "back", progress=False)
    assert_same_folders(before, after, ids=False)
    reference = COCO(export / "train/labels.json")
    for stem in image_files(before, "train"):
        a, b = read_chip(before, "train", stem), read_chip(after, "train", stem)
        assert a.instances.keys() == b.instances.keys()
        for name in a.instances:
            masks = [a.instances[name] == i for i in np.unique(a.instances[name])[1:]]
            assert same(masks, [b.instances[name] == i for i in range(1, len(masks) + 1)])
        (key,) = [i for i, entry in reference.imgs.items() if entry["file_name"] == f"{stem}.tif"]
        theirs = [(r["category_id"], reference.annToMask(r)) for r in reference.loadAnns(reference.getAnnIds(key))]
        ours = [(CLASSES.index(n) + 1, a.instances[n] == i)
                for n in CLASSES if n in a.instances for i in np.unique(a.instances[n])[1:]]
        assert [k for k, _ in theirs] == [k for k, _ in ours]
        assert all(same(mask.astype(bool), ours[i][1]) for i, (_, mask) in enumerate(theirs))


def test_masks_written_as_rectangles_keep_their_boxes(tmp_path):
    before = random_folder(tmp_path / "chips", 0)
    after = read_arcgis(write_arcgis(before, tmp_path / "e", VOC, progress=False), tmp_path / "back", progress=False)
    for stem in image_files(before, "train"):
        a, b = read_chip(before, "train", stem), read_chip(after, "train", stem)
        assert b.instances is None and same(a.boxes, b.boxes) and same(a.labels, b.labels)


# --- the files of facts


def test_the_files_of_facts_are_as_arcgis_writes_them(tmp_path):
    before = random_folder(tmp_path / "chips", 1)  # uint16, one band, nodata 0
    place = write_arcgis(before, tmp_path / "export", progress=False) / "train"
    chips = [read_chip(before, "train", stem) for stem in image_files(before, "train")]
    emd = json.loads((place / "esri_model_definition.emd").read_text("utf-8"))
    stats = json.loads((place / "esri_accumulated_stats.json").read_text("utf-8"))
    assert emd["MetaDataMode"] == stats["MetaDataMode"] == "RCNN_Masks"
    assert [(c["Value"], c["Name"]) for c in emd["Classes"]] == [(1, CLASSES[0]), (2, CLASSES[1]), (3, CLASSES[2])]
    assert (emd["ImageHeight"], stats["TileSizeX"], stats["NumBands"], stats["NumTiles"]) == (24, 24, 1, 4)
    assert emd["MinCellSize"]["x"] == 0.6 and emd["MinCellSize"]["spatialReference"]["latestWkid"] == 26917
    pixels = np.concatenate([c.image[0][c.image[0] > 0] for c in chips]).astype(float)
    band, all_tiles = stats["BandStatsState"][0], emd["AllTilesStats"][0]
    assert (band["Min"], band["Max"], band["Num"]) == (pixels.min(), pixels.max(), len(pixels))
    assert band["M1"] == pytest.approx(pixels.mean()) and band["M2"] == pytest.approx(pixels.var() * len(pixels))
    assert all_tiles["BandName"] == "nir" and all_tiles["StdDev"] == pytest.approx(pixels.std())
    features = stats["FeatureStats"]
    numbers = [sum(len(np.unique(c.instances[n])) - 1 for c in chips if n in c.instances) for n in CLASSES]
    assert features["NumFeaturesPerClass"] == numbers and features["NumFeaturesTotal"] == sum(numbers)
    assert features["NumImagesPerClass"] == [sum(n in c.instances for c in chips) for n in CLASSES]
    area = features["FeatureAreaPerClass"][0]
    covered = sum((c.instances[CLASSES[0]] > 0).sum() for c in chips if CLASSES[0] in c.instances)
    assert area["Sum"] == pytest.approx(0.36 * covered) and area["Count"] == numbers[0]
    text = (place / "stats.txt").read_text("utf-8").splitlines()
    assert text[:2] == ["images = 4 *1*24*24", f"features = {sum(numbers)}"] and text[3] == "classes = 3"
    assert text[4].split() == "cls name cls value images features min size mean size max size".split()
    assert text[6].split()[:4] == ["tank", "2", str(features["NumImagesPerClass"][1]), str(numbers[1])]
    lines = (place / "map.txt").read_text("utf-8").splitlines()
    assert all(line.endswith(" ") and "/" not in line for line in lines)
    labels = {line.split("  ")[1].strip() for line in lines if "labels" in line}
    assert labels == {str(p.relative_to(place)).replace("/", "\\") for p in (place / "labels").rglob("*.tif")}
    assert {line.split(".tif")[0] for line in lines} == {f"images\\{c.stem}" for c in chips}


def test_a_reader_that_splits_at_blanks_finds_box_and_class_of_kitti(tmp_path):
    """arcgis.learn cuts a line where blanks stand between digits, and takes columns 4 to 8 as the box."""
    before = random_folder(tmp_path / "chips", 0, masks=False)
    place = write_arcgis(before, tmp_path / "export", KITTI, progress=False) / "train"
    for stem in image_files(before, "train"):
        chip = read_chip(before, "train", stem)
        lines = (place / "labels" / f"{stem}.txt").read_text().splitlines()
        words = [re.sub(r"(?<=[0-9])\s+(?=[0-9])", ",", line).split(",") for line in lines]
        assert all(len(w) == 15 for w in words)
        assert same(np.array([w[4:8] for w in words], float).reshape(-1, 4), chip.boxes.astype(float))
        assert [int(w[0]) for w in words] == chip.labels.tolist()


# --- exports as they come


EMD = {
    "MetaDataMode": "RCNN_Masks", "ImageSpaceUsed": "MAP_SPACE",
    "MinCellSize": {"x": 0.5, "y": 0.5, "spatialReference": {"wkid": 102100, "latestWkid": 3857}},
    "InputRastersProps": {"RasterCount": 1, "SensorName": "Undefined", "BandNames": ["", "Grün", ""]},
    "Classes": [
        {"Value": 7, "Name": "Öltank", "Color": [1, 2, 3]}, {"Value": 2, "Name": "Haus am See", "Color": [-1, -1, -1]},
    ],
}
HERE = from_origin(1_000_000, 6_000_000, 0.5, 0.5)


def write(path, bands, transform=HERE, crs="EPSG:3857", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.asarray(bands)
    driver = {".png": "PNG", ".jpg": "JPEG"}.get(path.suffix.lower(), "GTiff")
    with rasterio.open(path, "w", driver=driver, count=bands.shape[0], height=bands.shape[1], width=bands.shape[2],
                       dtype=bands.dtype, crs=crs, transform=transform, **more) as dst:
        dst.write(bands)
    return path


def square(y0, y1, x0, x1, value=1, dtype=np.uint8):
    raster = np.zeros((1, 16, 16), dtype)
    raster[0, y0:y1, x0:x1] = value
    return raster


def make_export(folder, emd=EMD, lines=None):
    """Two images of 16 px; a house in one, a tank and a house in the other."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8)
    for n in range(2):
        write(folder / f"images/00000000{n}.tif", pixels[n], HERE * Affine.translation(16 * n, 0))
    write(folder / "labels/Haus am See/000000000.tif", square(2, 6, 3, 9))
    write(folder / "labels/Haus am See/000000001.tif", square(2, 6, 3, 9, 4), HERE * Affine.translation(16, 0))
    write(folder / "labels/Öltank/000000001.tif", square(5, 16, 8, 16), HERE * Affine.translation(16, 0))
    if emd:
        (folder / "esri_model_definition.emd").write_text(json.dumps(emd), encoding="utf-8-sig")
    lines = lines or [
        r"images\000000000.tif  labels\Haus am See\000000000.tif ",
        r"images\000000001.tif  labels\Haus am See\000000001.tif labels\Öltank\000000001.tif ",
    ]
    (folder / "map.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def export(tmp_path):
    return make_export(tmp_path / "export")


def read(export, **settings):
    out = read_arcgis(export, export.parent / "chips", progress=False, **settings)
    validate(out)
    return out


def refused(export, *words, **settings):
    with pytest.raises(ChipError) as error:
        read_arcgis(export, export.parent / "chips", progress=False, **settings)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, f"{word!r} is not in: {message}"
    assert [p.name for p in export.parent.iterdir() if p.name.startswith("chips")] == []  # nothing, nor half of it


def told(out):
    return {key: value for key, value in read_info(out).recipe["read"].items() if isinstance(value, int) and value}


def test_an_export_as_arcgis_writes_it(export):
    out = read(export)
    info = read_info(out)
    assert info.classes == ["Haus am See", "Öltank"]  # by value: 2, 7
    assert info.bands == ["red", "Grün", "blue"] and info.crs == "EPSG:3857" and info.resolution == 0.5
    assert (info.name, info.chip_size, info.dtype) == ("chips", 16, "uint8")
    one, two = (read_chip(out, "train", f"00000000{n}") for n in range(2))
    assert one.boxes.tolist() == [[3, 2, 9, 6]] and one.labels.tolist() == [1]
    assert two.boxes.tolist() == [[3, 2, 9, 6], [8, 5, 16, 16]] and two.labels.tolist() == [1, 2]
    assert np.unique(two.instances["Haus am See"]).tolist() == [0, 4]  # ids are kept
    with rasterio.open(export / "images/000000001.tif") as src:
        assert same(src.read(), two.image) and src.transform == two.transform
    assert told(out) == {}


def test_nothing_but_images_and_labels(export):
    for name in ("esri_model_definition.emd", "map.txt"):
        (export / name).unlink()
    assert read_info(read(export)).classes == ["Haus am See", "Öltank"]


@pytest.mark.parametrize("file", ["esri_model_definition.emd", "esri_accumulated_stats.json"])
def test_classes_by_their_older_names(tmp_path, file):
    rows = [{"ClassValue": 0, "ClassName": "nothing"}, {"ClassValue": 2, "ClassName": "Öltank"},
            {"ClassValue": 1, "ClassName": "Haus am See"}]
    export = make_export(tmp_path / "export", emd=None)
    (export / file).write_text(json.dumps({"Classes": rows, "MetaDataMode": "RCNN_Masks"}), encoding="utf-8")
    assert read_info(read(export)).classes == ["Haus am See", "Öltank"]


def test_folders_called_by_value_and_umlauts_of_two_characters(export):
    (export / "labels/Haus am See").rename(export / "labels/2")
    (export / "labels/Öltank").rename(export / "labels/O\u0308ltank")
    (export / "map.txt").unlink()
    assert read_info(read(export)).counts["train"] == {"chips": 2, "Haus am See": 2, "Öltank": 1}


@pytest.mark.parametrize("line", [
    r"images\000000000.tif labels\Haus am See\000000000.tif ", "images/000000000.tif\tlabels/Haus am See/000000000.tif",
    r"Images\000000000.TIF  Labels\Haus am See\000000000.TIF",
    r"images\000000000.tif images2\000000000.tif labels\Haus am See\000000000.tif ", "",
])
def test_map_txt_is_read_as_it_is(tmp_path, line):
    read(make_export(tmp_path / "export", lines=[line]))


def test_map_txt_lists_classes_whose_names_look_like_folders(tmp_path):
    names = ["old images", "Dr. labels", "No.1 pit"]
    info = DatasetInfo("odd", names, ["grey"], "uint8", 16, 0.5, "EPSG:3857")
    ids = {name: square(2 * n, 2 * n + 2, 3, 9, n + 1)[0] for n, name in enumerate(names)}
    chip = Chip("my images", np.ones((1, 16, 16), np.uint8), ids, transform=HERE, crs=rasterio.CRS.from_epsg(3857))
    before = write_chips(tmp_path / "before", info, [("train", chip)])
    place = write_arcgis(before, tmp_path / "export", progress=False)
    assert_same_folders(before, read_arcgis(place, tmp_path / "after", progress=False))


def test_map_txt_of_windows_has_its_own_umlauts(export):
    text = (export / "map.txt").read_text("utf-8")
    (export / "map.txt").write_bytes(text.replace("\n", "\r\n").encode("cp1252"))
    read(export)


@pytest.mark.parametrize("suffix", [".tiff", ".TIF", ".png", ".jpg"])
def test_other_endings_and_world_files(tmp_path, suffix):
    export = tmp_path / "export"
    image = np.full((3, 16, 16), 90, np.uint8)
    write(export / f"images/a{suffix}", image)
    label = ".png" if suffix == ".jpg" else suffix
    write(export / f"labels/Öltank/a{label}", square(2, 6, 3, 9, 3))
    for path in export.rglob("*.aux.xml"):
        path.unlink()
    for kind in ("images", "labels/Öltank"):  # what ArcGIS Pro leaves beside
        for more in ("ovr", "vat.dbf", "vat.cpg"):  # overviews, and the table of a raster's values
            (export / kind / f"a{label}.{more}").write_bytes(b"")
    if suffix in (".png", ".jpg"):
        world = f"0.5\n0\n0\n-0.5\n{HERE.c + 0.25}\n{HERE.f - 0.25}\n"  # centre of the first pixel
        (export / f"images/a{'.pgw' if suffix == '.png' else '.jgw'}").write_text(world)
    (export / "esri_model_definition.emd").write_text(json.dumps(EMD), encoding="utf-8")
    (export / "map.txt").write_text(f"images\\a{suffix}  labels\\Öltank\\a{label} \n", encoding="utf-8")
    for path in export.rglob("*.ovr"):
        path.unlink() if suffix.lower().startswith(".tif") else None  # GDAL would read an empty overview of a TIFF
    out = read(export)
    chip = read_chip(out, "train", "a")
    assert read_info(out).resolution == 0.5 and chip.crs.to_epsg() == 3857
    assert tuple(chip.transform)[:6] == pytest.approx(tuple(HERE)[:6])
    assert chip.boxes.tolist() == [[3, 2, 9, 6]] and np.abs(chip.image.astype(int) - 90).max() <= 1


def test_images_without_place_need_a_resolution(tmp_path):
    export = tmp_path / "export"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(export / "images/a.png", np.full((3, 16, 16), 90, np.uint8), Affine.identity(), None)
        write(export / "labels/tank/a.png", square(2, 6, 3, 9), Affine.identity(), None)
    refused(export, "a.png", "how large a pixel is", "--resolution")
    refused(export, "a.png", "no place on the map", "--split train", split="spatial", resolution=0.3)
    out = read(export, resolution=0.3)
    assert read_info(out).resolution == 0.3 and read_info(out).crs == ""
    again = write_arcgis(out, export.parent / "again", progress=False)
    assert_same_folders_but_for_place(out, read_arcgis(again, export.parent / "back", progress=False))


def assert_same_folders_but_for_place(before, after):
    a, b = read_chip(before, "train", "a"), read_chip(after, "train", "a")
    assert same(a.image, b.image) and same(a.instances["tank"], b.instances["tank"]) and b.crs is None


# --- what is lost in one raster, and what is not


def test_bands_of_a_label_raster_are_instances_that_overlap(export):
    path = export / "labels/Öltank/000000001.tif"
    bands = np.concatenate([square(0, 4, 0, 4, 1), square(2, 6, 2, 6, 1), square(9, 10, 9, 10, 3)])
    bands[1, 12, 12] = 2
    write(path, bands, HERE * Affine.translation(16, 0))
    out = read(export)
    ids = read_chip(out, "train", "000000001").instances["Öltank"]
    assert np.unique(ids).tolist() == [0, 1, 2, 3, 6]  # 1; 1 + 1, 2 + 1; 3 + 3
    assert (ids == 1).sum() == 12 and (ids == 2).sum() == 16 and (ids == 3).sum() == 1  # the later band wins
    assert told(out) == {"pixels_covered_twice": 4}


def test_an_instance_that_others_cover_is_counted(export):
    bands = np.concatenate([square(2, 4, 2, 4), square(0, 8, 0, 8)])
    write(export / "labels/Öltank/000000001.tif", bands, HERE * Affine.translation(16, 0))
    out = read(export)
    assert told(out) == {"pixels_covered_twice": 4, "instances_without_pixel": 1}
    assert read_info(out).counts["train"]["Öltank"] == 1


def test_one_id_in_two_places_is_one_instance(export):
    raster = square(0, 2, 0, 2, 5) + square(9, 12, 10, 16, 5) + square(2, 4, 2, 4, 6) + square(4, 6, 4, 6, 6)
    write(export / "labels/Öltank/000000001.tif", raster, HERE * Affine.translation(16, 0))
    out = read(export)
    chip = read_chip(out, "train", "000000001")
    assert chip.boxes[1:].tolist() == [[0, 0, 16, 12], [2, 2, 6, 6]]  # 6 touches itself at a corner
    assert told(out) == {"instances_in_parts": 1}


@pytest.mark.parametrize(("place", "box"), [((4, 5, 7, 8), [7, 4, 8, 5]), ((4, 5, 0, 16), [0, 4, 16, 5]),
                                            ((0, 16, 15, 16), [15, 0, 16, 16])])
def test_an_instance_of_one_pixel_or_row_is_an_instance(export, place, box):
    write(export / "labels/Öltank/000000001.tif", square(*place), HERE * Affine.translation(16, 0))
    assert read_chip(read(export), "train", "000000001").boxes[1:].tolist() == [box]


def test_ids_beyond_65535_count_anew(export):
    raster = square(0, 2, 0, 2, 65_535, np.uint32) + square(4, 9, 4, 9, 70_000, np.uint32)
    write(export / "labels/Öltank/000000001.tif", raster, HERE * Affine.translation(16, 0))
    out = read(export)
    ids = read_chip(out, "train", "000000001").instances["Öltank"]
    assert np.unique(ids).tolist() == [0, 1, 2] and (ids == 2).sum() == 25
    assert told(out) == {"rasters_renumbered": 1}
    raster[0] = 70_000 + np.arange(256).reshape(16, 16)  # without background
    write(export / "labels/Öltank/000000001.tif", raster, HERE * Affine.translation(16, 0))
    shutil.rmtree(out)
    ids = read_chip(read(export), "train", "000000001").instances["Öltank"]
    assert same(ids, np.arange(1, 257).reshape(16, 16))


# --- bad exports


LABEL = "labels/Öltank/000000001.tif"


def test_files_that_are_missing(export):
    (export / LABEL).unlink()
    refused(export, "map.txt, line 2", "Öltank\\000000001.tif", "does not exist", "Restore")
    (export / "map.txt").unlink()
    assert told(read(export)) == {}  # without map.txt, a class that is absent has no file
    shutil.rmtree(export.parent / "chips")
    shutil.rmtree(export / "labels/Haus am See")
    out = read(export)
    assert told(out) == {"images_without_object": 2} and read_info(out).classes == ["Haus am See", "Öltank"]
    shutil.rmtree(out)
    shutil.rmtree(export / "labels")
    refused(export, "labels is missing", "Restore")


def test_an_image_that_is_missing(export):
    (export / "images/000000001.tif").unlink()
    refused(export, "map.txt, line 2", "images\\000000001.tif", "does not exist")
    (export / "map.txt").unlink()
    refused(export, "000000001.tif: no image of this name", "remove the label")


def test_an_image_in_a_format_that_is_not_read(export):
    (export / "images/000000001.tif").rename(export / "images/000000001.mrf")
    text = (export / "map.txt").read_text("utf-8").replace("1.tif  ", "1.mrf  ")
    (export / "map.txt").write_text(text, encoding="utf-8")
    refused(export, "000000001.mrf", "no GeoTIFF, PNG or JPEG")
    shutil.rmtree(export / "images")
    (export / "images").mkdir()
    refused(export, "images", "holds no GeoTIFF, PNG or JPEG")
    refused(export.parent / "nowhere", "no folder images/", "map.txt")


@pytest.mark.parametrize(
    ("bands", "more", "words"),
    [
        (np.ones((1, 8, 16), np.uint8), {}, ["(8, 16)", "(16, 16)", "tile size"]),
        (square(2, 4, 2, 4), {"crs": "EPSG:32633"}, ["EPSG:32633", "EPSG:3857", "Make the labels again"]),
        (square(2, 4, 2, 4), {"transform": HERE}, ["elsewhere", "column -16.00", "same window"]),
        (square(2, 4, 2, 4), {"transform": HERE * Affine.translation(16, 0) * Affine.scale(2)}, ["2 times as wide"]),
        (square(2, 4, 2, 4, 1.5, np.float32), {}, ["float32", "whole numbers"]),
        (square(2, 4, 2, 4, -2, np.int16), {}, ["int16 from -2", "whole numbers"]),
    ],
)
def test_label_rasters_that_do_not_fit(export, bands, more, words):
    write(export / LABEL, bands, **{"transform": HERE * Affine.translation(16, 0)} | more)
    refused(export, LABEL, *words)


def test_a_label_raster_without_place_is_taken_as_it_lies(export):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(export / LABEL, square(2, 4, 2, 4), Affine.identity(), None)
    assert read_chip(read(export), "train", "000000001").boxes[1].tolist() == [2, 2, 4, 4]


def test_what_else_lies_among_the_labels(export):
    write(export / "labels/Turm/000000001.tif", square(0, 2, 0, 2), HERE * Affine.translation(16, 0))
    refused(export, "labels/Turm", "'Turm' is none of Haus am See (value 2), Öltank (value 7)", "emd")
    shutil.rmtree(export / "labels/Turm")
    (export / "labels/Öltank/000000001.npy").write_bytes(b"")
    refused(export, "000000001.npy", "no label raster")
    (export / "labels/Öltank/000000001.npy").unlink()
    shutil.copytree(export / "labels/Öltank", export / "labels/7")
    refused(export, "class 'Öltank' has", "Keep one")


@pytest.mark.parametrize("text", ["{", "[]", '{"Classes": 3}', '{"Classes": [3]}', '{"MinCellSize": {"x": 1}}',
                                  '{"Classes": [{"Value": "a", "Name": "b"}]}'])
def test_facts_that_are_broken(export, text):
    (export / "esri_model_definition.emd").write_text(text)
    refused(export, "esri_model_definition.emd", "xport again")


def test_classes_that_are_listed_twice(tmp_path):
    export = make_export(tmp_path / "export", EMD | {"Classes": [*EMD["Classes"], {"Value": 2, "Name": "Haus"}]})
    refused(export, "class 2 ('Haus') is listed twice")


@pytest.mark.parametrize("mode", ["Classified_Tiles", "Labeled_Tiles", "Export_Tiles"])
def test_formats_without_instances(tmp_path, mode):
    refused(make_export(tmp_path / "export", EMD | {"MetaDataMode": mode}), mode, "RCNN_Masks, PASCAL_VOC_rectangles")


def test_pixels_of_classes_are_no_instances(export):
    shutil.rmtree(export / "labels")
    write(export / "labels/000000000.tif", square(2, 4, 2, 4))
    (export / "map.txt").unlink()
    refused(export, "no class folders", "not instances")


def test_splits_that_disagree(export, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(export, both / "train")
    make_export(both / "val", EMD | {"Classes": EMD["Classes"][:1] + [{"Value": 9, "Name": "Haus am See"}]})
    refused(both, "val", "must agree")


def test_an_existing_folder_is_kept(export):
    (export.parent / "chips").mkdir()
    with pytest.raises(ChipError, match="chips exists already"):
        read_arcgis(export, export.parent / "chips")


# --- rectangles


XML = """<?xml version="1.0"?>
<annotation><filename>000000000.tif</filename><source><annotation>ESRI ArcGIS Pro</annotation></source>
<size><width>16</width><height>16</height><depth>3</depth></size>
<object><name>7</name><bndbox><xmin>2.52</xmin><ymin>1.44</ymin><xmax>9.25</xmax><ymax>16.01</ymax></bndbox></object>
<object><name>Haus am See</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object>
</annotation>"""
LINES = "7 0.00 0 0.00 2.52 1.44 9.25 16.01 0.00 0.00 0.00 0.00 0.00 0.00 0.00 \n" \
        "Haus am See 0 0 0 0 0 3 3 0 0 0 0 0 0 0\n"


def rectangles(tmp_path, mode, text, first=True):
    export, suffix = make_export(tmp_path / "export", EMD | {"MetaDataMode": mode}), ".xml" if mode == VOC else ".txt"
    shutil.rmtree(export / "labels")
    (export / "labels").mkdir()
    (export / f"labels/000000000{suffix}").write_text(text, encoding="utf-8")
    lines = [f"images\\000000000.tif  labels\\000000000{suffix} ", "images\\000000001.tif "]
    (export / "map.txt").write_text("".join(line + "\n" for line in lines))
    return export


@pytest.mark.parametrize(("mode", "text"), [(VOC, XML), (KITTI, LINES)])
def test_rectangles_as_arcgis_writes_them(tmp_path, mode, text):
    export = rectangles(tmp_path, mode, text)
    (export / "labels/000000000.tif.aux.xml").write_text("<PAMDataset/>")
    out = read(export)
    assert read_info(out).classes == ["Haus am See", "Öltank"]
    one, two = (read_chip(out, "train", f"00000000{n}") for n in range(2))
    assert one.labels.tolist() == [2, 1]
    assert one.boxes == pytest.approx(np.array([[2.52, 1.44, 9.25, 16], [0, 0, 3, 3]], np.float32))
    assert len(two.boxes) == 0 and told(out) == {"boxes_clipped": 1, "images_without_object": 1}
    shutil.rmtree(out)
    (export / "map.txt").unlink()
    refused(export, "000000001", "is missing", "Restore")


@pytest.mark.parametrize("mode", [VOC, KITTI])
def test_rectangles_without_facts(tmp_path, mode):
    export = rectangles(tmp_path, mode, XML if mode == VOC else LINES)
    (export / "esri_model_definition.emd").unlink()
    assert read_info(read(export)).classes == ["7", "Haus am See"]


@pytest.mark.parametrize(
    ("mode", "old", "new", "words"),
    [
        (VOC, "<xmin>2.52", "<xmin>9.25", ["000000000.xml", "object 0", "no area"]),
        (VOC, "<name>7", "<name>8", ["000000000.xml", "class '8' is none of", "Öltank (value 7)"]),
        (VOC, "<width>16", "<width>17", ["000000000.xml", "(16, 17)", "(16, 16)"]),
        (VOC, "<xmin>2.52</xmin><ymin>1.44</ymin><xmax>9.25", "<xmin>17</xmin><ymin>1</ymin><xmax>18",
         ["000000000.xml", "outside the image of 16 x 16"]),
        (VOC, "</size>", "", ["000000000.xml", "not a PASCAL VOC file"]),
        (KITTI, "2.52 ", "", ["000000000.txt, line 1", "is no KITTI object"]),
        (KITTI, "2.52 1.44", "a 1.44", ["000000000.txt, line 1", "is no KITTI object"]),
        (KITTI, "2.52 1.44", "9.25 1.44", ["000000000.txt", "line 1", "no area"]),
        (KITTI, "Haus am See 0", "Haus 0", ["000000000.txt", "class 'Haus' is none of"]),
    ],
)
def test_rectangles_that_are_wrong(tmp_path, mode, old, new, words):
    text = XML if mode == VOC else LINES
    assert old in text
    refused(rectangles(tmp_path, mode, text.replace(old, new, 1)), *words)


# --- COCO in an export


def coco_export(tmp_path, annotations, images=("000000000.tif", "images\\000000001.tif")):
    export = make_export(tmp_path / "export", emd=None)
    shutil.rmtree(export / "labels")
    (export / "map.txt").unlink()
    rows = [{"id": i, "image_id": 1, "category_id": 3, "bbox": [2, 3, 4, 5]} | a for i, a in enumerate(annotations)]
    entries = [{"id": i, "file_name": name, "width": 16, "height": 16} for i, name in enumerate(images)]
    categories = [{"id": 3, "name": "2"}, {"id": 1, "name": "tank"}]
    content = {"images": entries, "annotations": rows, "categories": categories}
    (export / "labels.json").write_text(json.dumps(content))
    return export


def ring(x0, y0, x1, y1):
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}


def test_coco_masks_that_overlap_crowds_and_missing_masks(tmp_path):
    rows = [ring(0, 0, 4, 4), ring(2, 2, 6, 6) | {"iscrowd": 1}, {}, ring(0, 0, 4, 4) | {"category_id": 1}]
    out = read(coco_export(tmp_path, rows))
    chip = read_chip(out, "train", "000000001")
    assert read_info(out).classes == ["tank", "2"] and chip.labels.tolist() == [1, 2, 2, 2]
    ids = chip.instances["2"]
    assert [(ids == i).sum() for i in (1, 2, 3)] == [16 - 4, 16 - 12, 20]  # the later one wins
    assert (chip.instances["tank"] == 1).sum() == 16  # another class has its own raster
    assert told(out) == {"pixels_covered_twice": 16, "crowd_taken_as_objects": 1, "boxes_drawn_as_masks": 1,
                         "images_without_object": 1}


def test_coco_categories_of_one_name(tmp_path):
    export = coco_export(tmp_path, [])
    (export / "labels.json").write_text((export / "labels.json").read_text().replace("tank", "2"))
    refused(export, "labels.json", "two categories are called '2'")


def test_coco_of_boxes_alone(tmp_path):
    out = read(coco_export(tmp_path, [{}, {"category_id": 1, "bbox": [10, 10, 9, 2]}]))
    chip = read_chip(out, "train", "000000001")
    assert chip.instances is None and chip.labels.tolist() == [2, 1]
    assert chip.boxes.tolist() == [[2, 3, 6, 8], [10, 10, 16, 12]] and told(out)["boxes_clipped"] == 1


@pytest.mark.parametrize(
    ("rows", "images", "words"),
    [
        ([{"image_id": 5}], ("000000000.tif", "000000001.tif"), ["annotation 0", "image_id 5", "not listed"]),
        ([{"category_id": 5}], ("000000000.tif", "000000001.tif"), ["annotation 0", "category_id 5", "not listed"]),
        ([{"iscrowd": "no"}], ("000000000.tif", "000000001.tif"), ["annotation 0", "iscrowd 'no'", "0 or 1"]),
        ([], ("000000000.tif",), ["does not list", "000000001.tif", "Add its entry"]),
        ([], ("000000000.tif", "000000001.tif", "c.tif"), ["c.tif", "is not in images/"]),
        ([], ("000000000.tif", "000000001.tif", "000000001.tif"), ["is listed twice"]),
    ],
)
def test_coco_that_does_not_fit_its_images(tmp_path, rows, images, words):
    refused(coco_export(tmp_path, rows, images), "labels.json", *words)


# --- splits by place, and writing


def test_a_spatial_split_keeps_chips_apart(tmp_path):
    export = tmp_path / "export"
    for row in range(9):
        for col in range(9):  # a stride of half a tile, as ArcGIS Pro proposes
            place = HERE * Affine.translation(8 * col, 8 * row)
            write(export / f"images/{row}{col}.tif", np.ones((3, 16, 16), np.uint8), place)
            write(export / f"labels/tank/{row}{col}.tif", square(2, 6, 3, 9), place)
    out = read(export, split="spatial", val=0.15, test=0.15)
    info = read_info(out)
    corner = {s: np.array([[int(stem[0]), int(stem[1])] for stem in image_files(out, s)]) for s in SPLITS}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert (np.abs(corner[a][:, None] - corner[b][None]).max(-1) > 2).all()
    kept = sum(len(c) for c in corner.values())
    assert told(out)["chips_dropped_between_splits"] == 81 - kept > 0
    assert all(info.counts[s]["tank"] == len(corner[s]) for s in SPLITS)
    shutil.rmtree(out)
    refused(export, "none is left", "stride", split="spatial", val=0.4, test=0.4)
    refused(export, "split 'spatail' is none of", split="spatail")


def test_what_cannot_be_written(tmp_path):
    boxes = random_folder(tmp_path / "boxes", 0, masks=False)
    with pytest.raises(ChipError, match="boxes only, no masks. Choose PASCAL_VOC_rectangles"):
        write_arcgis(boxes, tmp_path / "out", progress=False)
    with pytest.raises(ChipError, match="format 'RCNN' is none of RCNN_Masks"):
        write_arcgis(boxes, tmp_path / "out", "RCNN", progress=False)
    (boxes / "val/images").mkdir(parents=True)
    with pytest.raises(ChipError, match="val/images holds no image"):
        write_arcgis(boxes, tmp_path / "out", VOC, progress=False)
    shutil.rmtree(boxes / "val")
    info = read_info(boxes)
    (boxes / "dataset.json").write_text(json.dumps(json.loads((boxes / "dataset.json").read_text())
                                                   | {"classes": ["a:b", *info.classes[1:]]}))
    with pytest.raises(ChipError, match="'a:b' cannot be a folder on Windows"):
        write_arcgis(boxes, tmp_path / "out", progress=False)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("out")]
    with pytest.raises(ChipError, match="boxes exists already"):
        write_arcgis(boxes, boxes, VOC, progress=False)


@pytest.mark.parametrize(("crs", "code"), [("EPSG:3857", 3857), ("", None), ("EPSG:32610, EPSG:32611", None)])
def test_chips_whose_crs_only_dataset_json_names(tmp_path, crs, code):
    info = DatasetInfo("placeless", ["tank"], ["grey"], "uint8", 16, 0.5, crs)
    chip = Chip("a", np.ones((1, 16, 16), np.uint8), {"tank": square(2, 6, 3, 9)[0]}, transform=HERE)
    before = write_chips(tmp_path / "before", info, [("train", chip)])
    export = write_arcgis(before, tmp_path / "export", progress=False)
    after = read_chip(read_arcgis(export, tmp_path / "after", progress=False), "train", "a")
    assert (after.crs and after.crs.to_epsg()) == code and after.boxes.tolist() == [[3, 2, 9, 6]]


def test_classes_that_one_folder_of_windows_would_hold(tmp_path):
    info = DatasetInfo("twins", ["Tank", "tank"], ["grey"], "uint8", 16, 0.5, "EPSG:3857")
    chip = Chip("a", np.ones((1, 16, 16), np.uint8), {"Tank": square(2, 6, 3, 9)[0], "tank": square(9, 12, 3, 9)[0]},
                transform=HERE, crs=rasterio.CRS.from_epsg(3857))
    before = write_chips(tmp_path / "before", info, [("train", chip)])
    with pytest.raises(ChipError, match="classes 'Tank' and 'tank' .* Rename"):
        write_arcgis(before, tmp_path / "out", progress=False)
    write_arcgis(before, tmp_path / "boxes", KITTI, progress=False)  # its classes are no folders
