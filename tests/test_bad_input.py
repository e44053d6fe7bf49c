"""Bad data: each error names the file or field and the next step, and nothing half made is taken for whole."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from tiny_scene import pixel_box, write_objects, write_scene

from geodl_course.chips import Chip, ChipDataset, ChipError, DatasetInfo, read_chip, read_info, validate, write_chips
from geodl_course.datasets import find, make
from geodl_course.datasets.box_chips import box_chip, cut_boxes
from geodl_course.datasets.chipping import chip_scene
from geodl_course.datasets.neon_trees import import_trees
from geodl_course.datasets.sen2ships import BANDS, import_ships

ROOT = Path(__file__).parents[1]


def refused(action, *words):
    """The message with which `action` is refused; it must hold all `words`."""
    with pytest.raises(ChipError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, f"{word!r} is not in: {message}"
    return message


def both(folder, *words):
    """A bad folder is refused by `validate` and by `ChipDataset`."""
    refused(lambda: validate(folder), *words)
    refused(lambda: ChipDataset(folder, "train"), *words)


def cut(scene, objects, out, **more):
    settings = {"class_field": "type", "size": 32, "split": "train", "progress": False} | more
    return chip_scene(scene, objects, out, **settings)


def rewrite(path, bands):
    with rasterio.open(path) as src:
        profile = src.profile
    profile |= {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(bands)


def change_info(folder, **fields):
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


IMAGE, LABEL = "train/images/000000.tif", "train/labels/building/000000.tif"


# --- chip folders


@pytest.mark.parametrize("file", [IMAGE, LABEL])
@pytest.mark.parametrize("keep", [0, 60, 0.7])
def test_unreadable_and_truncated_tiff(chip_folder, file, keep):
    path = chip_folder / file
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    both(chip_folder, path, "cannot be read", "again")


def test_a_label_raster_of_another_size(chip_folder):
    rewrite(chip_folder / LABEL, np.ones((1, 16, 32), np.uint16))
    both(chip_folder, chip_folder / LABEL, "(16, 32)", "32 x 32", "same window")


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.full((1, 32, 32), 1.5, np.float32), ["float32", "whole numbers", "uint16"]),
        (np.full((1, 32, 32), -4, np.int16), ["-4", "0..65535", "Renumber"]),
        (np.full((1, 32, 32), 70_000, np.uint32), ["70000", "0..65535", "Renumber"]),
        (np.ones((2, 32, 32), np.uint16), ["one band", "this one 2", "one raster a class"]),
    ],
)
def test_ids_that_are_no_ids(chip_folder, ids, words):
    rewrite(chip_folder / LABEL, ids)
    both(chip_folder, chip_folder / LABEL, *words)


def place(path, **changes):
    """Write a raster again with another CRS or transform."""
    with rasterio.open(path) as src:
        bands, profile = src.read(), src.profile | changes
    path.unlink()
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(bands)


def test_a_label_raster_that_lies_elsewhere_than_its_image(chip_folder):
    with rasterio.open(chip_folder / IMAGE) as src:
        there = src.transform
    place(chip_folder / LABEL, crs="EPSG:26918")
    both(chip_folder, chip_folder / LABEL, "EPSG:26918", "EPSG:26917", chip_folder / IMAGE, "on the image's grid")
    place(chip_folder / LABEL, crs="EPSG:26917", transform=there * there.translation(32, -1))
    both(chip_folder, chip_folder / LABEL, "elsewhere", "column 32.00, row -1.00", "same window")
    place(chip_folder / LABEL, transform=there * there.scale(1.5))
    both(chip_folder, chip_folder / LABEL, "1.5 times as wide")
    place(chip_folder / LABEL, crs=None, transform=there)  # it does not say another CRS
    validate(chip_folder)


def test_one_id_in_two_places_is_one_instance_and_one_pixel_another(chip_folder):
    ids = np.zeros((1, 32, 32), np.uint16)
    ids[0, 0, 0:2] = ids[0, 30, 7] = 9
    ids[0, 31, 31] = 2
    rewrite(chip_folder / LABEL, ids)
    chip = read_chip(chip_folder, "train", "000000")
    assert chip.boxes.tolist() == [[31, 31, 32, 32], [0, 0, 8, 31]]  # by rising id
    assert [len(m) for m in (chip.boxes, ChipDataset(chip_folder, "train", masks=True)[0][1]["masks"])] == [2, 2]


def test_whole_ids_of_another_type_are_no_false_alarm(chip_folder):
    rewrite(chip_folder / LABEL, np.ones((1, 32, 32), np.int32))
    validate(chip_folder)


def test_an_unknown_class_folder(chip_folder):
    (chip_folder / "train/labels/castle").mkdir()
    both(chip_folder, "labels/castle", "unknown to dataset.json", "building, tank", "Rename")


def test_a_label_without_image(chip_folder):
    shutil.copy(chip_folder / LABEL, chip_folder / "train/labels/tank/999.tif")
    both(chip_folder, "tank/999.tif", "no image", "remove")


def test_labels_in_jpeg(chip_folder):
    shutil.copy(chip_folder / LABEL, chip_folder / "train/labels/tank/000000.jpg")
    both(chip_folder, "tank/000000.jpg", "JPEG", "GeoTIFF")


@pytest.mark.parametrize("suffix", [".tiff", ".TIF", ".png", ".PNG"])
def test_label_rasters_are_found_whatever_their_suffix(chip_folder, suffix):
    before = len(ChipDataset(chip_folder, "train").arrays["boxes"])
    for path in list(chip_folder.glob("train/labels/*/*.tif")):
        with rasterio.open(path) as src:
            ids = src.read()
        path.unlink()
        driver = "PNG" if suffix.lower() == ".png" else "GTiff"
        with rasterio.open(path.with_suffix(suffix), "w", driver=driver, count=1, height=32, width=32,
                           dtype="uint16") as dst:
            dst.write(ids)
    validate(chip_folder)
    assert len(ChipDataset(chip_folder, "train").arrays["boxes"]) == before == 4
    path = (chip_folder / LABEL).with_suffix(suffix)
    path.write_bytes(b"")
    both(chip_folder, path, "cannot be read")


def test_what_is_no_label_raster_is_told(chip_folder):
    folder = (chip_folder / LABEL).parent
    for name in (".DS_Store", "aux.xml", "tfw", "vat.dbf", "vat.cpg"):  # left by file managers and GIS programs
        name = name if name[0] == "." else f"000000.tif.{name}"
        (folder / name).write_text("")
    validate(chip_folder)
    (folder / "000000.npy").write_bytes(b"")
    both(chip_folder, folder / "000000.npy", "no label raster", ".tif, .tiff, .png", "Convert")
    (folder / "000000.npy").rename(folder / "000000.png")
    both(chip_folder, "000000.tif", "same stem", "Keep one")


def test_lost_labels_and_lost_splits_are_noticed(chip_folder):
    shutil.rmtree(chip_folder / "train/labels")
    refused(lambda: validate(chip_folder), chip_folder / "train", "0 of building", "counts 3", "again")
    (chip_folder / "train").rename(chip_folder / "val")
    refused(lambda: validate(chip_folder), "train/images is missing", "val")


@pytest.mark.parametrize("size", [16, 48])
def test_a_chip_larger_or_smaller_than_its_data_set(chip_folder, size):
    rewrite(chip_folder / IMAGE, np.ones((3, size, size), np.uint8))
    both(chip_folder, chip_folder / IMAGE, f"(3, {size}, {size})", "(3, 32, 32)", "chip.py")


def test_another_number_of_bands_or_type(chip_folder):
    rewrite(chip_folder / IMAGE, np.ones((4, 32, 32), np.uint8))
    both(chip_folder, chip_folder / IMAGE, "(4, 32, 32)")
    rewrite(chip_folder / IMAGE, np.ones((3, 32, 32), np.uint16))
    both(chip_folder, chip_folder / IMAGE, "uint16", "uint8", "Convert")


def test_nan_pixels(tmp_path):
    image = np.ones((1, 8, 8), np.float32)
    info = DatasetInfo("toy", ["a"], ["height"], "float32", 8, 1.0, "EPSG:26917")
    place = {"transform": rasterio.Affine(1, 0, 0, 0, -1, 0), "crs": "EPSG:26917"}
    folder = write_chips(tmp_path / "toy", info, [("train", Chip("c1", image, instances={}, **place))])
    image[0, 2, 2] = math.nan
    rewrite(folder / "train/images/c1.tif", image)
    both(folder, "images/c1.tif", "1 NaN", "nodata", "Fill")
    chip = Chip("c1", image, instances={}, **place)
    refused(lambda: write_chips(tmp_path / "bad", info, [("train", chip)]), "c1.tif")
    assert not (tmp_path / "bad").exists() and not (tmp_path / "bad.part").exists()
    change_info(folder, nodata="nan")
    validate(folder)


def box_folder(path, *boxes):
    info = DatasetInfo("toy", ["a", "b"], ["gray"], "uint8", 8, 1.0, "EPSG:26917")
    chip = Chip("c1", np.ones((1, 8, 8), np.uint8), boxes=np.array([b[:4] for b in boxes], np.float32),
                labels=np.array([b[4] for b in boxes]), transform=rasterio.Affine(1, 0, 0, 0, -1, 0), crs="EPSG:26917")
    return write_chips(path, info, [("train", chip)])


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([2, 2, 2, 6, 1], ["has no area", "remove"]),
        ([6, 2, 2, 6, 1], ["has no area", "swap the corners"]),
        ([2, 2, 9, 6, 1], ["outside the image of 8 x 8", "Clip"]),
        ([-1, 2, 4, 6, 1], ["outside the image of 8 x 8", "Clip"]),
        ([2, 2, 4, math.nan, 1], ["has no area"]),
        ([2, 2, 4, 6, 3], ["label 3", "K = 2", "a, b", "Add the class"]),
        ([2, 2, 4, 6, 0], ["label 0", "background"]),
    ],
)
def test_bad_boxes_and_labels(tmp_path, box, words):
    refused(lambda: box_folder(tmp_path / "toy", [0, 0, 8, 8, 2], box), "c1.tif", *words)
    folder = box_folder(tmp_path / "toy", [0, 0, 8, 8, 2], [1, 1, 2, 2, 1])
    path = folder / "train/boxes.json"
    coco = json.loads(path.read_text())
    x0, y0, x1, y1, label = box
    coco["annotations"][1] |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": label}
    path.write_text(json.dumps(coco))
    both(folder, "c1.tif" if 0 < label < 3 else "boxes.json")


def test_boxes_that_name_a_missing_image(tmp_path):
    folder = box_folder(tmp_path / "toy", [0, 0, 8, 8, 2])
    path = folder / "train/boxes.json"
    path.write_text(path.read_text().replace("c1.tif", "c2.tif"))
    both(folder, path, "c2.tif", "Restore the image")


def test_boxes_json_that_is_no_coco(tmp_path):
    folder = box_folder(tmp_path / "toy", [0, 0, 8, 8, 2])
    (folder / "train/boxes.json").write_text('{"images": []}')
    both(folder, "boxes.json", "categories")


@pytest.mark.parametrize("kind", ["images", "annotations", "categories"])
def test_boxes_json_with_missing_and_duplicate_ids(tmp_path, kind):
    folder = box_folder(tmp_path / "toy", [0, 0, 8, 8, 2], [1, 1, 2, 2, 1])
    path = folder / "train/boxes.json"
    coco = json.loads(path.read_text())
    if kind == "images":
        shutil.copy(folder / "train/images/c1.tif", folder / "train/images/c2.tif")
        coco["images"].append(coco["images"][0] | {"file_name": "c2.tif"})
    coco[kind][1]["id"] = coco[kind][0]["id"]  # objects of the one would silently go to the other
    path.write_text(json.dumps(coco))
    both(folder, path, f"entries 0 and 1 of {kind}", "same id 1", "remove the copy")
    del coco[kind][1]["id"]
    path.write_text(json.dumps(coco))
    both(folder, path, f"entry 1 of {kind}", "has no id", "Add it")


@pytest.mark.parametrize("bbox", [None, [1, 2, 3], "1 2 3 4", [1, 2, "a", 4]])
def test_boxes_json_with_a_box_that_is_none(tmp_path, bbox):
    folder = box_folder(tmp_path / "toy", [0, 0, 8, 8, 2])
    path = folder / "train/boxes.json"
    coco = json.loads(path.read_text())
    coco["annotations"][0]["bbox"] = bbox
    path.write_text(json.dumps(coco))
    both(folder, path, "annotation 1", "four numbers")


def test_a_missing_and_a_broken_dataset_json(chip_folder):
    change_info(chip_folder, colour="red")
    both(chip_folder, "dataset.json", "colour", "Compare")
    (chip_folder / "dataset.json").write_text("{")
    both(chip_folder, "dataset.json", "not valid JSON", "make the data set again")
    (chip_folder / "dataset.json").unlink()
    both(chip_folder, "dataset.json is missing", "chip.py")


def test_statistics_for_each_band(chip_folder):
    change_info(chip_folder, mean=[1.0])
    both(chip_folder, "dataset.json", "mean and std", "3 bands")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("mean", ["a", 1, 2], "a list of numbers"),
        ("mean", [math.nan, 1, 2], "a list of numbers"),
        ("std", [0, 1, 1], "a list of numbers above 0"),
        ("nodata", "none", "a number"),
        ("bands", 3, "a list of texts"),
        ("classes", "building", "a list of texts"),
        ("chip_size", 32.5, "a whole number"),
        ("chip_size", True, "a whole number"),
        ("resolution", "0.5", "a number of metres"),
        ("crs", None, "text"),
        ("recipe", [], "an object"),
        ("counts", {"train": 5}, "an object that counts"),
        ("counts", {"train": {"chips": "12"}}, "an object that counts"),
    ],
)
def test_fields_of_another_kind(chip_folder, field, value, words):
    change_info(chip_folder, **{field: value})
    both(chip_folder, chip_folder / "dataset.json", f"{field} is {value!r}", words, "Correct it")


def test_a_dataset_json_that_is_a_list(chip_folder):
    (chip_folder / "dataset.json").write_text("[]")
    both(chip_folder, chip_folder / "dataset.json", "holds a list", "Make it again")


def test_a_lost_chip_is_noticed(chip_folder):
    (chip_folder / "train/images/000007.tif").unlink()
    refused(lambda: validate(chip_folder), "11 chips", "counts 12")


def test_a_missing_split_and_a_missing_chip(chip_folder):
    refused(lambda: ChipDataset(chip_folder, "val"), "val/images is missing", "train")
    refused(lambda: read_chip(chip_folder, "train", "nine"), "no image 'nine'")


def test_what_is_there_is_never_overwritten(chip_folder, scene, objects):
    before = (chip_folder / "dataset.json").read_bytes()
    refused(lambda: cut(scene, objects, chip_folder), chip_folder, "exists already", "Remove it")
    refused(lambda: write_chips(chip_folder, read_info(chip_folder), []), "exists already")
    assert (chip_folder / "dataset.json").read_bytes() == before


# --- rasters and vectors


def test_vectors_without_crs(scene, tmp_path):
    layer = write_objects(tmp_path / "o.gpkg", [("a", pixel_box(2, 2, 9, 9))], crs=None)
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "no CRS", "Assign")


def test_a_raster_without_crs(objects, tmp_path):
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 32, 32), np.uint8), crs=None)
    refused(lambda: cut(scene, objects, tmp_path / "out"), scene, "no CRS", "Assign")


def test_a_polygon_that_crosses_itself(scene, tmp_path):
    bow = shapely.Polygon([(500_002, 4_399_990), (500_012, 4_399_980), (500_012, 4_399_990), (500_002, 4_399_980)])
    layer = write_objects(tmp_path / "o.gpkg", [("a", pixel_box(2, 2, 9, 9)), ("a", bow)])
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "feature 2 ", "crosses itself", "Fix geometries")
    shapefile = write_objects(tmp_path / "o.geojson", [("a", bow)])
    refused(lambda: cut(scene, shapefile, tmp_path / "out"), "feature 0 ", "make_valid")


def test_points_are_no_objects(scene, tmp_path):
    layer = write_objects(tmp_path / "o.gpkg", [("a", shapely.Point(500_002, 4_399_990))])
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "feature 1 is a Point", "Buffer")


def test_all_objects_outside_the_raster(scene, tmp_path):
    layer = write_objects(tmp_path / "o.gpkg", [("a", pixel_box(9000, 2, 9010, 9))])
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "all 1 objects lie outside", scene, "CRS")


def test_class_fields(scene, objects, tmp_path):
    refused(lambda: cut(scene, objects, tmp_path / "out", class_field="kind"), objects, "'kind'", "type")
    refused(lambda: cut(scene, objects, tmp_path / "out", class_field="geometry"), "no field 'geometry'", ": type")
    refused(lambda: cut(scene, objects, tmp_path / "out", classes=["tank"]), objects, "'type' holds 'building'", "Add")
    layer = write_objects(tmp_path / "n.gpkg", [("a", pixel_box(2, 2, 9, 9)), (None, pixel_box(2, 2, 9, 9))])
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "'type' is empty in feature 2", "Fill it in")
    layer = write_objects(tmp_path / "p.gpkg", [("a/b", pixel_box(2, 2, 9, 9))])
    refused(lambda: cut(scene, layer, tmp_path / "out"), "'a/b'", "folder name", "Rename")
    layer = write_objects(tmp_path / "q.gpkg", [])
    refused(lambda: cut(scene, layer, tmp_path / "out"), layer, "no object", "--classes")


def test_layers_and_rasters_that_are_none(scene, objects, tmp_path):
    refused(lambda: cut(scene, tmp_path / "gone.gpkg", tmp_path / "out"), "gone.gpkg", "Check path")
    refused(lambda: cut(tmp_path / "gone.tif", objects, tmp_path / "out"), "gone.tif", "Check the path")
    (tmp_path / "text.gpkg").write_text("no layer")
    refused(lambda: cut(scene, tmp_path / "text.gpkg", tmp_path / "out"), "text.gpkg", "format")


def test_a_truncated_scene(scene, objects, tmp_path):
    scene.write_bytes(scene.read_bytes()[:20_000])
    refused(lambda: cut(scene, objects, tmp_path / "out"), scene, "cannot be read", "again")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_nan_pixels_in_a_scene(objects, tmp_path):
    image = np.ones((1, 96, 128), np.float32)
    image[0, 50, 50:53] = math.nan
    scene = write_scene(tmp_path / "s.tif", image)
    refused(lambda: cut(scene, objects, tmp_path / "out"), scene, "3 NaN", "gdal_edit.py -a_nodata nan")


def test_infinite_pixels_name_the_scene(objects, tmp_path):
    image = np.ones((1, 96, 128), np.float32)
    image[0, 50, 50:53], image[0, :2] = math.inf, math.nan
    scene = write_scene(tmp_path / "s.tif", image, nodata=math.nan)
    refused(lambda: cut(scene, objects, tmp_path / "out"), scene, "3 NaN or infinite", "Fill")


def test_a_file_of_several_layers(scene, objects, tmp_path):
    table = geopandas.GeoDataFrame({"type": ["car"]}, geometry=[pixel_box(4, 4, 9, 9)], crs="EPSG:26917")
    styles = table.drop(columns="geometry")
    pyogrio.write_dataframe(styles, objects, layer="styles", append=True)  # without shapes: no second choice
    assert cut(scene, objects, tmp_path / "one").exists()
    table.to_file(objects, layer="cars")
    refused(lambda: cut(scene, objects, tmp_path / "out"), objects, "which layer", "objects, cars", "--layer")
    refused(lambda: cut(scene, objects, tmp_path / "out", layer="roads"), "no layer 'roads'", "objects, cars")
    assert read_info(cut(scene, objects, tmp_path / "cars", layer="cars")).classes == ["car"]


def test_cells_that_are_not_square(objects, tmp_path):
    place = rasterio.Affine(0.5, 0, 500_000, 0, -1, 4_400_000)
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 96, 128), np.uint8), transform=place)
    refused(lambda: cut(scene, objects, tmp_path / "out"), scene, "0.5 x 1", "not square", "gdalwarp -tr 0.5 0.5")


def test_scenes_that_do_not_fit_together(scene, objects, tmp_path):
    from geodl_course.datasets.chipping import chip_scenes

    other = write_scene(tmp_path / "t.tif", np.ones((3, 96, 128), np.uint16))
    pair = [(scene, objects, "train"), (other, objects, "val")]
    refused(lambda: chip_scenes(pair, tmp_path / "out", class_field="type"), other, "dtype is uint16", scene, "convert")


def test_settings_that_make_no_sense(scene, objects, tmp_path):
    refused(lambda: cut(scene, objects, tmp_path / "out", split="half"), "'half'", "spatial, train")
    refused(lambda: cut(scene, objects, tmp_path / "out", split="spatial", val=0.7, test=0.5), "val 0.7", "test 0.5")
    spatial = {"split": "spatial", "size": 48}  # 6 chips
    refused(lambda: cut(scene, objects, tmp_path / "out", **spatial, val=0.05), scene, "6 chips is no val", "--val 0")
    refused(lambda: cut(scene, objects, tmp_path / "out", **spatial, test=0.05), scene, "no test chip", "--test 0")
    refused(lambda: cut(scene, objects, tmp_path / "out", min_visible=30), "min_visible 30", "0 to 1")
    refused(lambda: cut(scene, objects, tmp_path / "out", min_visible=-1), "min_visible -1")
    with pytest.raises(ValueError, match="overlap 40 must"):
        cut(scene, objects, tmp_path / "out", overlap=40)


# --- a full disk, a kill


def test_a_full_disk_leaves_nothing(scene, objects, tmp_path, monkeypatch):
    written, real = [], Path.write_bytes

    def write_bytes(path, data):
        written.append(path)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setenv("GEODL_DATA", str(tmp_path))
    refused(lambda: cut(scene, objects, tmp_path / "out"), tmp_path / "out", "disk is full", "Free some space")
    assert len(written) == 6
    assert not list(tmp_path.glob("out*")) and find("out") is None
    monkeypatch.undo()
    validate(cut(scene, objects, tmp_path / "out"))


KILLED = """
import sys, time
import numpy as np
from geodl_course.chips import Chip, DatasetInfo, write_chips
from rasterio.transform import from_origin

def chips():
    for i in range(3):
        yield "train", Chip(str(i), np.ones((1, 8, 8), np.uint8), instances={},
                            transform=from_origin(0, 0, 1, 1), crs="EPSG:26917")
    print("three are written", flush=True)
    time.sleep(600)

info = DatasetInfo("toy", ["a"], ["gray"], "uint8", 8, 1.0, "EPSG:26917")
write_chips(sys.argv[1], info, chips())
"""


def test_a_kill_leaves_nothing_that_looks_whole(scene, objects, tmp_path, monkeypatch):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "toy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout.readline() == "three are written\n"
        process.send_signal(signal.SIGKILL)
    monkeypatch.setenv("GEODL_DATA", str(tmp_path))
    left = tmp_path / f"toy.{process.pid}.part"
    assert (left / "train/images/1.tif").exists()  # the kill came in the middle
    assert not (tmp_path / "toy").exists() and find("toy") is None and find(left.name) is None
    validate(cut(scene, objects, tmp_path / "toy"))  # and the next run is not in its way
    assert [p.name for p in tmp_path.glob("toy*") if p.is_dir()] == ["toy"] and find("toy")
    assert not (tmp_path / "toy/train/images/1.tif").exists()


def test_of_two_runs_at_once_the_first_ends_and_the_second_is_whole(scene, objects, chip_folder, tmp_path):
    def chips():
        yield "train", read_chip(chip_folder, "train", "000000")
        cut(scene, objects, tmp_path / "toy")
        yield "train", read_chip(chip_folder, "train", "000001")

    refused(lambda: write_chips(tmp_path / "toy", read_info(chip_folder), chips()), "toy", "another run", "Wait")
    validate(tmp_path / "toy")
    assert not list(tmp_path.glob("toy.*.*"))


def test_a_damaged_set_is_told_with_its_repair(chip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GEODL_DATA", str(tmp_path))
    towns = chip_folder.rename(tmp_path / "towns")
    assert make("towns") == towns
    for number in range(3):
        (towns / f"train/images/00000{number}.tif").unlink()
    repair = "Delete the folder and run: python data_scripts/make.py towns"
    refused(lambda: make("towns"), towns, "9 of 12 train images", repair)
    shutil.rmtree(towns / "train")
    refused(lambda: make("towns"), "train/images is missing", repair)
    assert find("towns") is None and (towns / "dataset.json").exists()
    change_info(towns, counts={})
    refused(lambda: make("towns"), "no chip", repair)


# --- trees: annotation files that do not fit their images


@pytest.fixture
def raw_trees(tmp_path):
    """Publisher's layout with one OSBS and six SJER plots of 40 px at 0.1 m, and odd class names."""
    names = ["Tree", "None", "Tree\\"]
    for i, site in enumerate(["OSBS", *["SJER"] * 6]):
        folder = tmp_path / "raw" / site
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        place = rasterio.Affine(0.1, 0, 500_000 + 100 * i, 0, -0.1, 4_400_000)
        image = np.random.default_rng(i).integers(0, 200, (3, 40, 40), dtype=np.uint8)
        write_scene(folder / f"{site}_{i:03d}.tif", image, transform=place)
        objects = f"<object><name>{names[i % 3]}</name><bndbox><xmin>4</xmin><ymin>6</ymin><xmax>30</xmax>" \
                  "<ymax>44</ymax></bndbox></object>"
        text = f"<annotation><filename>{site}_{i:03d}.tif</filename><size><width>40</width><height>40</height></size>"
        (folder / f"annotations/{site}_{i:03d}.xml").write_text(f"{text}{objects}</annotation>")
    return tmp_path / "raw"


def test_odd_names_and_boxes_beyond_the_image_are_told(raw_trees, tmp_path):
    folder = import_trees(raw_trees, tmp_path / "trees", size=16, progress=False)
    info = read_info(folder)
    assert info.classes == ["tree"] and info.resolution == 0.2
    assert info.recipe["names_found"] == {"Tree": 3, "None": 2, "Tree\\": 2}
    assert info.recipe["names_made_tree"] == 7 and info.recipe["boxes_clipped_to_image"] == 7
    assert "missed" in info.recipe["note"]
    assert info.recipe["overlap_px"] == [12]  # plots of 20 pixels: chips start at 0 and 4
    assert {s: c["chips"] for s, c in info.counts.items()} == {"val": 12, "train": 16}  # OSBS 0 and SJER 1, 6
    assert read_chip(folder, "val", "OSBS_000_000_000").boxes.tolist() == [[2, 3, 15, 16]]
    assert read_chip(folder, "val", "OSBS_000_004_004").boxes.tolist() == [[0, 0, 11, 16]]
    validate(folder)


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ([17, 5, 27, 9], [[17, 5, 20, 9]]),  # 0.3 of it is inside
        ([18, 5, 28, 9], []),  # 0.2 is not enough
        ([18.5, 5, 21, 9], []),  # 0.6, but less than 2 pixels wide
        ([19, 5, 20, 6], [[19, 5, 20, 6]]),  # whole, however small
        ([-4, -4, 24, 24], [[0, 0, 20, 20]]),
        ([20, 5, 24, 9], []),
    ],
)
def test_crowns_at_a_chip_border(box, seen):
    found, which = cut_boxes(np.array([box]) + [7, 3, 7, 3], 3, 7, 20, 0.3)
    assert found.tolist() == seen and which.tolist() == [bool(seen)]


def test_boxes_cut_at_a_chip_keep_their_classes(tmp_path):
    boxes, labels = np.array([[2, 2, 9, 9], [30, 4, 38, 9], [14, 3, 24, 7], [19, 3, 29, 7]]), np.array([2, 1, 1, 2])
    inside, seen = cut_boxes(boxes, 0, 0, 20, 0.3)
    pixels, place = np.full((1, 40, 40), 5, np.uint8), rasterio.transform.from_origin(500_000, 4_400_000, 0.5, 0.5)
    chip = box_chip("a", pixels, inside, labels[seen], (0, 0), 20, place, "EPSG:26917", None)
    info = DatasetInfo("toy", ["house", "shed"], ["grey"], "uint8", 20, 0.5, "EPSG:26917")
    folder = write_chips(tmp_path / "toy", info, [("train", chip)])
    stored = read_chip(folder, "train", "a")
    assert dict(zip(stored.labels.tolist(), stored.boxes.tolist(), strict=True)) == {2: [2, 2, 9, 9], 1: [14, 3, 20, 7]}
    assert read_info(folder).counts["train"] == {"chips": 1, "house": 1, "shed": 1}


def test_a_box_mostly_beyond_the_image_is_cut_at_the_image(raw_trees, tmp_path):
    path = raw_trees / "OSBS/annotations/OSBS_000.xml"
    path.write_text(path.read_text().replace("<xmin>4<", "<xmin>-90<"))
    path = raw_trees / "SJER/annotations/SJER_001.xml"  # wholly beyond: nothing of it is left
    path.write_text(path.read_text().replace("<xmin>4<", "<xmin>41<").replace("<xmax>30<", "<xmax>60<"))
    folder = import_trees(raw_trees, tmp_path / "trees", size=20, progress=False)
    assert read_chip(folder, "val", "OSBS_000_000_000").boxes.tolist() == [[0, 3, 15, 20]]
    assert read_chip(folder, "val", "SJER_001_000_000").boxes.tolist() == []
    assert read_info(folder).recipe["boxes_clipped_to_image"] == 7


def test_trees_are_averaged_to_the_wanted_cells(raw_trees, tmp_path):
    folder = import_trees(raw_trees, tmp_path / "trees", size=16, progress=False)
    chip = read_chip(folder, "train", "SJER_002_004_000")
    with rasterio.open(raw_trees / "SJER/SJER_002.tif") as src:
        pixels, place = src.read().astype(float), src.transform
    mean = pixels.reshape(3, 20, 2, 20, 2).mean((2, 4))[:, 4:20, :16]
    assert abs(chip.image - mean).max() <= 0.51
    assert tuple(chip.transform)[:6] == pytest.approx((0.2, 0, place.c, 0, -0.2, place.f - 0.8))


def test_an_annotation_that_names_a_missing_image(raw_trees, tmp_path):
    (raw_trees / "SJER/SJER_003.tif").unlink()
    refused(lambda: import_trees(raw_trees, tmp_path / "trees"), "SJER_003.xml", "SJER_003.tif", "does not exist",
            "Restore")
    assert not (tmp_path / "trees").exists()


def test_an_image_without_annotation(raw_trees, tmp_path):
    (raw_trees / "SJER/annotations/SJER_003.xml").unlink()
    refused(lambda: import_trees(raw_trees, tmp_path / "trees"), "SJER_003.tif", "no annotation", "fetch.py")
    refused(lambda: import_trees(tmp_path, tmp_path / "trees"), "annotations", "fetch.py neon_trees")


def test_a_plot_that_is_damaged_or_of_another_size(raw_trees, tmp_path):
    path = raw_trees / "SJER/SJER_003.tif"
    rewrite(path, np.ones((3, 40, 50), np.uint8))
    refused(lambda: import_trees(raw_trees, tmp_path / "trees"), "SJER_003.xml", "(40, 40)", "(40, 50)", "Fetch")
    path.write_bytes(path.read_bytes()[:200])
    refused(lambda: import_trees(raw_trees, tmp_path / "trees"), "SJER_003.tif", "cannot be read", "fetch.py")


def test_plots_of_two_splits_that_touch(raw_trees, tmp_path):
    place = rasterio.Affine(0.1, 0, 500_100 + 4, 0, -0.1, 4_400_000 - 4)  # corner to corner with SJER_001, which is val
    write_scene(raw_trees / "SJER/SJER_003.tif", np.ones((3, 40, 40), np.uint8), transform=place)
    refused(lambda: import_trees(raw_trees, tmp_path / "trees"), "SJER", "touch", "differently")


# --- ships: COCO files and bands that do not fit each other


@pytest.fixture
def raw_ships(tmp_path):
    """Fetched layout with a train and a val port of 40 x 50 px, whose COCO files have the publisher's oddities."""
    for i, (port, ids, used) in enumerate([("athens", [1, 2], 13), ("busan", [1, 2], 2)]):
        folder = tmp_path / "raw" / port
        folder.mkdir(parents=True)
        place = rasterio.Affine(10, 0, 100_000 * i, 0, -10, 4_400_000)
        for k, band in enumerate(BANDS):
            image = np.random.default_rng(10 * i + k).integers(0, 65536, (1, 40, 50), dtype=np.uint16)
            write_scene(folder / f"{band}.tif", image, crs="EPSG:3857", transform=place)
        images = [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 50} for n in ids]
        rows = [{"id": n, "image_id": used, "category_id": 1, "bbox": bbox, "iscrowd": 1}
                for n, bbox in enumerate([[3, 4, 8, 5], [14, 30, 20, 7]], start=1)]
        coco = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "vessel"}]}
        (folder / "coco.json").write_text(json.dumps(coco))
    return tmp_path / "raw"


def change_coco(path, change):
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))


def ships(raw, **settings):
    return import_ships(raw, raw.parent / "ships", **({"size": 32, "progress": False} | settings))


def test_the_oddities_of_the_ships_are_handled_and_told(raw_ships):
    folder = ships(raw_ships)
    validate(folder)
    info = read_info(folder)
    assert info.recipe["boxes"] == info.recipe["crowd_taken_as_objects"] == 4
    assert info.recipe["images_ignored"] == 2 and info.recipe["ports_whose_image_id_is_not_listed"] == 1
    assert {s: c["chips"] for s, c in info.counts.items()} == {"train": 4, "val": 4}
    assert read_chip(folder, "val", "busan_0000_0000").boxes.tolist() == [[3, 4, 11, 9]]  # 0.26 of the other
    assert read_chip(folder, "val", "busan_0008_0000").boxes.tolist() == [[14, 22, 32, 29]]
    assert read_chip(folder, "val", "busan_0008_0018").boxes.tolist() == [[0, 22, 16, 29]]


def test_ships_too_large_for_a_port(raw_ships):
    refused(lambda: ships(raw_ships, size=41), raw_ships / "athens", "50 x 40", "41", "smaller chips")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda coco: coco["annotations"][1].update(segmentation={"size": [40, 50], "counts": [7]}),
         ["segmentation of annotation 2", "add up to 7"]),
        (lambda coco: coco["annotations"][1].update(id=1), ["entries 0 and 1 of annotations", "same id 1"]),
        (lambda coco: coco["annotations"][1].update(image_id=1), ["2 images have annotations", "one image"]),
        (lambda coco: coco["images"][1].update(height=44), ["(40, 50)", "(44, 50)", "one size"]),
        (lambda coco: [image.update(height=44) for image in coco["images"]], ["(44, 50)", "(40, 50)", "Fetch both"]),
        (lambda coco: coco["images"].clear(), ["listed sizes are []"]),
        (lambda coco: coco["annotations"][1].update(bbox=[45, 2, 6, 6]), ["[45.0, 2.0, 51.0, 8.0]", "leaves"]),
        (lambda coco: coco["annotations"][1].pop("category_id"), ["entry 1 of annotations", "no category_id"]),
    ],
)
def test_a_broken_coco_file_leaves_nothing(raw_ships, change, words):
    change_coco(raw_ships / "busan/coco.json", change)  # the second port: the first one is whole
    refused(lambda: ships(raw_ships), raw_ships / "busan/coco.json", *words)
    assert [p.name for p in raw_ships.parent.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((1, 40, 49), np.uint16), ["(40, 49)", "grid of the other bands"]),
        (np.ones((1, 40, 50), np.uint8), ["uint8", "uint16"]),
        (np.ones((2, 40, 50), np.uint16), ["2 band", "one uint16 band"]),
    ],
)
def test_a_band_that_does_not_fit_the_others(raw_ships, image, words):
    rewrite(raw_ships / "busan/B11.tif", image)
    refused(lambda: ships(raw_ships), raw_ships / "busan/B11.tif", *words)
    assert not (raw_ships.parent / "ships").exists()


@pytest.mark.parametrize("keep", [0, 100, 0.7])
def test_a_band_that_is_missing_or_cut_short(raw_ships, keep):
    path = raw_ships / "busan/B11.tif"
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    refused(lambda: ships(raw_ships), path, "cannot be read", "fetch.py sen2ships")
    path.unlink()
    refused(lambda: ships(raw_ships), path, "cannot be read")
    refused(lambda: ships(raw_ships / "busan"), "coco.json", "fetch.py sen2ships")
    assert [p.name for p in raw_ships.parent.iterdir()] == ["raw"]


def test_ports_of_two_splits_that_touch(raw_ships):
    for band in BANDS:
        with rasterio.open(raw_ships / f"athens/{band}.tif") as src:
            image = src.read()
        place = rasterio.Affine(10, 0, 100_000 - 500, 0, -10, 4_400_000)  # its right edge is the left edge of Busan
        write_scene(raw_ships / f"athens/{band}.tif", image, crs="EPSG:3857", transform=place)
    refused(lambda: ships(raw_ships), "touch", "differently")


def test_geojson_says_where_it_is(scene, tmp_path):
    """A GeoJSON has EPSG:4326 by definition: no false alarm about its CRS."""
    table = geopandas.GeoDataFrame({"type": ["a"]}, geometry=[pixel_box(3, 3, 20, 20)], crs="EPSG:26917")
    table.to_crs(4326).to_file(tmp_path / "o.geojson")
    assert read_info(cut(scene, tmp_path / "o.geojson", tmp_path / "out")).counts["train"]["a"] == 1
