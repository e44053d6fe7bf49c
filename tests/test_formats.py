import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as reference
from pycocotools.coco import COCO

from geodl_course.chips import ChipError
from geodl_course.datasets.formats import (
    Annotation,
    read_coco,
    read_kitti,
    read_voc,
    write_coco,
    write_kitti,
    write_voc,
)
from geodl_course.datasets.formats.coco import SHAPES

NAMES = ["ship", "storage tank", "æøå & <b>"]


@st.composite
def annotations(draw, masks=False, whole=False):
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    number = draw(st.integers(0, 4))
    numbers = st.integers(0, 500) if whole else st.floats(0, 500, width=32)
    rows = [(x, y, x + 1 + w, y + 1 + h) for x, y, w, h in draw(st.lists(st.tuples(*[numbers] * 4), min_size=number,
                                                                       max_size=number))]
    found = Annotation(draw(st.sampled_from(["a.tif", "b c.jpg"])), size, np.array(rows, np.float64).reshape(-1, 4))
    found.names = draw(st.lists(st.sampled_from(NAMES), min_size=number, max_size=number))
    if masks and number:
        found.masks = draw(hnp.arrays(bool, (number, *size)))
        found.crowd = draw(st.lists(st.booleans(), min_size=number, max_size=number))
    return found


def assert_same(before, after):
    assert (after.file, after.size, after.names) == (before.file, before.size, before.names)
    assert np.array_equal(after.boxes, before.boxes)
    assert (after.masks is None) == (before.masks is None)
    assert before.masks is None or np.array_equal(after.masks, before.masks)


@settings(max_examples=50, deadline=None)
@given(annotations())
def test_voc_there_and_back_changes_nothing(tmp_path_factory, annotation):
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    write_voc(path, annotation)
    assert_same(annotation, read_voc(path))


@settings(max_examples=50, deadline=None)
@given(annotations())
def test_kitti_there_and_back_changes_nothing(tmp_path_factory, annotation):
    path = tmp_path_factory.mktemp("kitti") / "a.txt"
    write_kitti(path, annotation)
    assert_same(annotation, read_kitti(path, annotation.file, annotation.size))


@pytest.mark.parametrize("name", ["", " ", "a\nb", " tank", "tank "])
def test_kitti_refuses_names_that_would_not_come_back(tmp_path, name):
    with pytest.raises(ChipError, match="a.txt: class .* cannot stand in a line"):
        write_kitti(tmp_path / "a.txt", Annotation("a.tif", (4, 4), np.array([[0, 0, 2, 2]]), [name]))


def test_kitti_as_its_makers_write_it(tmp_path):
    first = "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
    (tmp_path / "000.txt").write_text(first + "\n  7 0 0 0 1 2 3 4 " + "0 " * 7)
    found = read_kitti(tmp_path / "000.txt")
    assert found.file == "000.tif" and found.names == ["Car", "7"]
    assert found.boxes.tolist() == [[587.01, 173.33, 614.12, 200.12], [1, 2, 3, 4]]
    (tmp_path / "001.txt").write_text(first, encoding="utf-8-sig")  # Windows marks UTF-8 in front
    assert read_kitti(tmp_path / "001.txt").names == ["Car"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Car 0 0 0 1 2 3", "a.txt, line 1: .*no KITTI object"),
        ("Car 0 0 0 1 2 3 4 0 0 0 0 0 0 0\nCar 0 0 0 1 2 3 x 0 0 0 0 0 0 0", "a.txt, line 2: .*no KITTI object"),
        ("0 0 0 1 2 3 4 0 0 0 0 0 0 0", "a.txt, line 1: .*no KITTI object"),
        ("Car 0 0 0 3 2 3 4 0 0 0 0 0 0 0", "a.txt: line 1 has box .*no area"),
        ("Car 0 0 0 1 2 nan 4 0 0 0 0 0 0 0", "a.txt: line 1 has box .*no area"),
        (b"\xff\xfe", "a.txt: not a text file in UTF-8"),
    ],
)
def test_what_is_no_kitti_is_told(tmp_path, text, message):
    (tmp_path / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ChipError, match=message):
        read_kitti(tmp_path / "a.txt")
    with pytest.raises(ChipError, match="b.txt is missing"):
        read_kitti(tmp_path / "b.txt")


@settings(max_examples=100, deadline=None)
@given(st.lists(annotations(masks=True, whole=True), max_size=3),
       st.sampled_from(["compressed", "uncompressed", "polygons"]))
def test_coco_there_and_back_changes_nothing(tmp_path_factory, rows, shapes):
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco(path, rows, NAMES, masks=shapes)
    found, classes = read_coco(path)
    assert classes == NAMES and len(found) == len(rows)
    for before, after in zip(rows, found, strict=True):
        assert_same(before, after)
        assert after.crowd == (before.crowd or [False] * len(before.names))


@settings(max_examples=100, deadline=None)
@given(annotations(masks=True, whole=True), st.sampled_from(["compressed", "uncompressed", "polygons"]))
def test_masks_are_read_by_others(tmp_path_factory, annotation, shapes):
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco(path, [annotation], NAMES, masks=shapes)
    others = COCO(path)
    for i, row in enumerate(others.dataset["annotations"] if annotation.masks is not None else []):
        assert np.array_equal(others.annToMask(row).astype(bool), annotation.masks[i])
        assert row["area"] == annotation.masks[i].sum()


CORNER = st.tuples(*[st.floats(-3, 13, width=32)] * 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(CORNER, min_size=3, max_size=6), min_size=1, max_size=3))
def test_polygons_are_read_as_others_read_them(tmp_path_factory, rings):
    shape = [[value for corner in ring for value in corner] for ring in rings]
    path = coco_file(tmp_path_factory.mktemp("coco") / "a.json", shape)
    others = COCO(path)
    assert np.array_equal(read_coco(path)[0][0].masks[0], others.annToMask(others.anns[7]).astype(bool))


def test_polygons_have_no_holes_and_several_parts():
    ring, parts = np.zeros((2, 8, 10), bool)
    ring[1:6, 1:6], ring[3, 3] = True, False
    parts[1:3, 1:3] = parts[3:5, 3:5] = parts[6, 8] = True  # the first two touch at a corner
    assert isinstance(SHAPES["polygons"](ring), dict) and isinstance(SHAPES["polygons"](ring)["counts"], str)
    assert len(SHAPES["polygons"](parts)) == 3
    assert SHAPES["polygons"](SQUARE) in ([[1, 2, 1, 5, 5, 5, 5, 2]], [[1, 2, 5, 2, 5, 5, 1, 5]])
    assert SHAPES["uncompressed"](SQUARE)["counts"] == [10, 3, 5, 3, 5, 3, 5, 3, 43]
    assert SHAPES["uncompressed"](np.ones((2, 3), bool))["counts"] == [0, 6]
    assert SHAPES["uncompressed"](np.zeros((2, 3), bool))["counts"] == [6]


def test_the_mark_that_windows_sets_before_utf_8_is_no_content(tmp_path):
    path = tmp_path / "a.json"
    write_coco(path, [Annotation("a.tif", (4, 4))], ["Öltank"])
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_coco(path)[1] == ["Öltank"]


def test_another_kind_of_mask_is_not_written(tmp_path):
    with pytest.raises(ChipError, match="masks 'polygon' .* compressed, uncompressed, polygons"):
        write_coco(tmp_path / "a.json", [], ["a"], masks="polygon")


@pytest.mark.parametrize("corners", [[np.nan] * 4, [3, 1, 3, 2], [0, 0, np.inf, 2]])
def test_a_box_without_an_area_is_not_written(tmp_path, corners):
    note = Annotation("a.tif", (4, 4), np.array([[0, 0, 2, 2.0], corners]), ["ship", "ship"])
    with pytest.raises(ChipError, match="a.json: object 2 of a.tif has box .* correct or remove it"):
        write_coco(tmp_path / "a.json", [note], NAMES)
    assert not (tmp_path / "a.json").exists()


def test_an_object_of_no_class_is_not_written(tmp_path):
    note = Annotation("a.tif", (4, 4), np.array([[0, 0, 2, 2.0]]), ["castle"])
    with pytest.raises(ChipError, match="a.json: an object of a.tif is of class 'castle', which is none of ship"):
        write_coco(tmp_path / "a.json", [note], NAMES)


def coco_file(path, segmentation=None, **changes):
    row = {"id": 7, "image_id": 3, "category_id": 20, "bbox": [1, 2, 4, 3], "iscrowd": 0} | changes
    if segmentation is not None:
        row["segmentation"] = segmentation
    images = [{"id": 3, "file_name": "a.tif", "height": 8, "width": 10}]
    images.append({"id": 9, "file_name": "b.tif", "height": 4, "width": 4})
    categories = [{"id": 20, "name": "tank"}, {"id": 5, "name": "ship"}]
    path.write_text(json.dumps({"images": images, "annotations": [row], "categories": categories}))
    return path


SQUARE = np.zeros((8, 10), bool)
SQUARE[2:5, 1:5] = True


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 5, 2, 5, 5, 1, 5]],
        [[1, 2, 3, 2, 3, 5, 1, 5], [3, 2, 5, 2, 5, 5, 3, 5]],
        {"size": [8, 10], "counts": [10, 3, 5, 3, 5, 3, 5, 3, 43]},
        {"size": [8, 10], "counts": reference.encode(np.asfortranarray(SQUARE.astype(np.uint8)))["counts"].decode()},
    ],
    ids=["polygon", "two rings", "run lengths", "compressed"],
)
def test_every_kind_of_mask(tmp_path, segmentation):
    (first, second), classes = read_coco(coco_file(tmp_path / "a.json", segmentation))
    assert np.array_equal(first.masks, SQUARE[None])
    assert first.boxes.tolist() == [[1, 2, 5, 5]] and first.names == ["tank"]
    assert second.names == [] and second.masks is None and second.boxes.shape == (0, 4)
    assert classes == ["ship", "tank"]  # by category id


def test_a_box_may_come_from_its_mask(tmp_path):
    path = coco_file(tmp_path / "a.json", [[1, 2, 5, 2, 5, 5, 1, 5]])
    coco = json.loads(path.read_text())
    del coco["annotations"][0]["bbox"]
    path.write_text(json.dumps(coco))
    assert read_coco(path)[0][0].boxes.tolist() == [[1, 2, 5, 5]]


def test_voc_as_labelimg_and_arcgis_write_it(tmp_path):
    text = """<annotation><filename>p.tif</filename><size><width>40</width><height>30</height></size>
    <object><name>Tree\\</name><bndbox><ymin>2</ymin><xmin>1</xmin><xmax>12.75</xmax><ymax>9</ymax></bndbox></object>
    <object><name/><difficult>1</difficult><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>
    </object></annotation>"""
    (tmp_path / "p.xml").write_text(text)
    found = read_voc(tmp_path / "p.xml")
    assert found.size == (30, 40) and found.names == ["Tree\\", ""]
    assert found.boxes.tolist() == [[1, 2, 12.75, 9], [0, 0, 40, 30]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": [3]}, r"annotation 7 has image_id \[3\].*not listed"),
        ({"bbox": [5, 5, 3]}, "annotation 7 has bbox .*four numbers: x, y, width, height"),
        ({"bbox": "5 5 3 3"}, "annotation 7 has bbox .*four numbers"),
        ({"bbox": [5, 5, float("nan"), 3]}, "annotation 7 has box .*no area"),
        ({"image_id": 4}, "annotation 7 has image_id 4.*not listed"),
        ({"category_id": 4}, "annotation 7 has category_id 4.*not listed"),
        ({"bbox": [5, 5, 0, 3]}, "no area or is reversed"),
        ({"bbox": [5, 5, -2, 3]}, "no area or is reversed"),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, r"segmentation of annotation 7.*\[4, 4\]"),
        ({"segmentation": [[1, 2]]}, "segmentation of annotation 7"),
        ({"iscrowd": 2}, "annotation 7 has iscrowd 2. It is 0 or 1"),
        ({"iscrowd": "1"}, "annotation 7 has iscrowd '1'. It is 0 or 1"),
    ],
)
def test_bad_coco_names_file_and_annotation(tmp_path, changes, message):
    path = coco_file(tmp_path / "a.json", **changes)
    with pytest.raises(ChipError, match=message) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)


def compressed(text):
    return {"size": [8, 10], "counts": text}


WHOLE = reference.encode(np.asfortranarray(SQUARE.astype(np.uint8)))["counts"].decode()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [8, 10], "counts": [10, 3, 5]}, "add up to 18, the image has 80 pixels"),
        ({"size": [8, 10], "counts": [10, 300]}, "add up to 310"),
        ({"size": [8, 10], "counts": [10, -3, 73]}, "whole numbers from 0 on"),
        ({"size": [8, 10], "counts": [10, 3.5, 66.5]}, "whole numbers from 0 on"),
        ({"size": [8, 10], "counts": [10, None, 70]}, "whole numbers from 0 on"),
        ({"size": [8, 10]}, "counts"),
        ({"counts": [80]}, "size"),
        (compressed(WHOLE[:-2]), "expected 80"),
        (compressed(WHOLE[:3]), ""),
        (compressed(WHOLE + WHOLE), "exceed"),
        (compressed(WHOLE + "o"), "early end"),
        (compressed("æ€"), ""),
        ("runs", ""),
        (17, ""),
    ],
)
def test_broken_run_lengths_name_file_and_annotation(tmp_path, segmentation, message):
    path = coco_file(tmp_path / "a.json", segmentation)
    with pytest.raises(ChipError, match=f"segmentation of annotation 7 cannot be read .*{message}.*Write") as error:
        read_coco(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["images", "annotations", "categories"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("leave out", "entry 1 of {} .* has no id. Add it, or remove the entry"),
        (None, "entry 1 of {} .* has no id. Add it"),
        ([4], r"entry 1 of {} .* has id \[4\]. Ids are whole numbers: correct it"),
        ("same", "entries 0 and 1 of {} .* have the same id [0-9]+. Give each its own id, or remove the copy"),
    ],
)
def test_missing_and_duplicate_ids_name_file_and_entry(tmp_path, kind, change, message):
    path = coco_file(tmp_path / "a.json")
    coco = json.loads(path.read_text())
    coco["annotations"].append(coco["annotations"][0] | {"id": 8})
    entry = coco[kind][1]
    entry["id"] = coco[kind][0]["id"] if change == "same" else change
    if change == "leave out":
        del entry["id"]
    path.write_text(json.dumps(coco))
    with pytest.raises(ChipError, match=message.format(kind)) as error:
        read_coco(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("images", "file_name", "entry 0 of images .* has no file_name"),
        ("images", "height", "image 3 has height None and width 10"),
        ("annotations", "image_id", "entry 0 of annotations .* has no image_id"),
        ("annotations", "category_id", "entry 0 of annotations .* has no category_id"),
        ("annotations", "bbox", "annotation 7 has neither bbox nor segmentation"),
        ("categories", "name", "entry 0 of categories .* has no name"),
    ],
)
def test_missing_fields_name_file_and_entry(tmp_path, kind, key, message):
    path = coco_file(tmp_path / "a.json")
    coco = json.loads(path.read_text())
    del coco[kind][0][key]
    path.write_text(json.dumps(coco))
    with pytest.raises(ChipError, match=message) as error:
        read_coco(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("entry", [None, 3, "image", []])
def test_an_entry_that_is_no_object(tmp_path, entry):
    path = coco_file(tmp_path / "a.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": [entry]}))
    with pytest.raises(ChipError, match="a.json: entry 0 of images .* has no id"):
        read_coco(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": 1, "annotations": 2, "categories": 3}'])
def test_what_is_no_coco_is_told(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ChipError, match="a.json: not a COCO file.*images, annotations, categories"):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    ["", "<annotation>", "<annotation/>", "<annotation><size><width>4</width><height>4</height></size>"
     "<object><bndbox><xmin>1</xmin></bndbox></object></annotation>"],
)
def test_what_is_no_voc_is_told(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ChipError, match="a.xml: not a PASCAL VOC file.*It needs"):
        read_voc(tmp_path / "a.xml")
