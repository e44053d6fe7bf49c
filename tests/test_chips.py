import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from rasterio.transform import from_origin

from geodl_course.chips import (
    Chip,
    ChipDataset,
    ChipError,
    DatasetInfo,
    Targets,
    boxes_from_instances,
    check_targets,
    collate,
    image_files,
    read_chip,
    read_info,
    save_npz,
    valid_pixels,
    validate,
    write_chips,
)

TRANSFORM = from_origin(500_000, 4_400_000, 0.5, 0.5)


def info_of(size=8, bands=3, dtype="uint8", nodata=None, classes=("building", "tank")):
    names = [f"band {i + 1}" for i in range(bands)]
    return DatasetInfo("toy", list(classes), names, dtype, size, 0.5, "EPSG:26917", nodata)


def chip_of(stem, image, **objects):
    return Chip(stem, image, transform=TRANSFORM, crs="EPSG:26917", **objects)


def rasters(size=8):
    return hnp.arrays(np.uint16, (size, size), elements=st.sampled_from([0, 0, 0, 1, 2, 7, 300, 65535]))


@settings(deadline=None)  # the first call imports scipy
@given(rasters())
def test_boxes_are_the_extent_of_each_id(raster):
    ids, boxes = boxes_from_instances(raster)
    assert ids.tolist() == sorted(set(raster[raster > 0].tolist()))
    assert boxes.dtype == np.float32 and boxes.shape == (len(ids), 4)
    for i, (x0, y0, x1, y1) in zip(ids, boxes, strict=True):
        y, x = np.nonzero(raster == i)
        assert (x0, y0, x1, y1) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["building", "tank"]), rasters()), min_size=1, max_size=3))
def test_instances_survive_the_disk(tmp_path_factory, chips):
    folder = tmp_path_factory.mktemp("chips") / "toy"
    image = np.arange(192, dtype=np.uint8).reshape(3, 8, 8)
    write_chips(folder, info_of(), [("train", chip_of(f"{i}", image, instances=c)) for i, c in enumerate(chips)])
    validate(folder)
    for i, instances in enumerate(chips):
        chip = read_chip(folder, "train", f"{i}")
        assert np.array_equal(chip.image, image)
        present = {name: raster for name, raster in instances.items() if raster.any()}
        assert set(chip.instances) == set(present)
        assert all(np.array_equal(chip.instances[name], raster) for name, raster in present.items())
        numbers = [len(set(present[n][present[n] > 0])) if n in present else 0 for n in ("building", "tank")]
        assert chip.labels.tolist() == [1] * numbers[0] + [2] * numbers[1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 7, width=32)] * 2, *[st.floats(0.5, 1, width=32)] * 2), max_size=4))
def test_boxes_survive_the_disk_to_the_bit(tmp_path_factory, rows):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)
    folder = tmp_path_factory.mktemp("chips") / "toy"
    labels = np.arange(len(boxes)) % 2 + 1
    chips = [chip_of("a", np.zeros((3, 8, 8), np.uint8), boxes=boxes, labels=labels),
             chip_of("b", np.zeros((3, 8, 8), np.uint8), boxes=boxes[:0], labels=labels[:0])]
    write_chips(folder, info_of(), [("val", chip) for chip in chips])
    found = read_chip(folder, "val", "a")
    assert found.instances is None
    assert np.array_equal(found.boxes, boxes) and np.array_equal(found.labels, labels)
    assert len(read_chip(folder, "val", "b").boxes) == 0
    validate(folder)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 4, 5])
@pytest.mark.parametrize("nodata", [None, 0.0, math.nan])
def test_any_bands_dtype_and_nodata(tmp_path, dtype, bands, nodata):
    if nodata is not None and math.isnan(nodata) and dtype != "float32":
        nodata = 3.0
    rng = np.random.default_rng(1)
    image = rng.integers(10, 250, (2, bands, 8, 8)).astype(dtype)
    image[:, :, :2] = 0 if nodata is None else nodata
    info = info_of(bands=bands, dtype=dtype, nodata=nodata)
    write_chips(tmp_path / "toy", info, [("train", chip_of(f"{i}", image[i], instances={})) for i in range(2)])
    stored = read_info(tmp_path / "toy")
    data = image[:, :, 2 if nodata is not None else 0 :].astype(np.float64)
    assert np.allclose(stored.mean, data.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(stored.std, data.std((0, 2, 3)), atol=1e-4)
    dataset = ChipDataset(tmp_path / "toy", "train")
    assert dataset.images.dtype == dtype
    assert np.array_equal(dataset.images, image, equal_nan=dtype == "float32")
    batch, _ = collate([dataset[i] for i in range(2)])
    assert batch.dtype == torch.float32 and batch.isfinite().all()
    kept = batch if nodata is None else batch[:, :, 2:]
    assert torch.allclose(kept.mean((0, 2, 3)), torch.zeros(bands), atol=1e-4)
    assert torch.allclose(kept.std((0, 2, 3), correction=0), torch.ones(bands), atol=1e-4)
    if nodata is not None:
        assert (batch[:, :, :2] == 0).all()


@pytest.mark.parametrize(
    "names, dtype, colours",
    [
        (["slope", "hillshade", "relief", "height"], "uint8", ["gray", "undefined", "undefined", "undefined"]),
        (["nir", "red", "green"], "uint8", ["gray", "undefined", "undefined"]),
        (["red", "green", "blue"], "uint8", ["red", "green", "blue"]),
        (["Red", "Green", "Blue", "nir"], "uint8", ["red", "green", "blue", "undefined"]),
        (["red", "green", "blue", "nir", "swir"], "uint16", ["red", "green", "blue", "undefined", "undefined"]),
        (["height"], "float32", ["gray"]),
    ],
)
def test_bands_are_colours_only_where_they_are_named_so(tmp_path, names, dtype, colours):
    info = replace(info_of(bands=len(names), dtype=dtype), bands=names)
    image = np.random.default_rng(0).integers(0, 255, (len(names), 8, 8)).astype(dtype)
    write_chips(tmp_path / "toy", info, [("train", chip_of("a", image, instances={}))])
    with rasterio.open(tmp_path / "toy" / "train" / "images" / "a.tif") as src:
        assert [colour.name for colour in src.colorinterp] == colours
        assert list(src.descriptions) == names
        assert src.dataset_mask().all(), "no pixel is see-through"
        np.testing.assert_array_equal(src.read(), image)


def test_a_shadow_that_is_nodata_in_one_band_stays_data():
    image = np.array([[[0, 0]], [[0, 9]]], np.uint8)  # two bands, two pixels
    assert valid_pixels(image, 0).tolist() == [[[False, True]]]


def test_nodata_in_one_band_of_floats_leaves_the_other_bands(tmp_path):
    image = np.full((2, 8, 8), 3.0, np.float32)
    image[0, :4] = -9999
    info = info_of(bands=2, dtype="float32", nodata=-9999.0)
    write_chips(tmp_path / "toy", info, [("train", chip_of("a", image, instances={}))])
    assert read_info(tmp_path / "toy").mean == [3.0, 3.0] and read_info(tmp_path / "toy").std == [1.0, 1.0]
    assert (ChipDataset(tmp_path / "toy", "train")[0][0] == 0).all()


def test_statistics_come_from_train_alone(tmp_path):
    chips = [("train", chip_of("a", np.full((3, 8, 8), 10, np.uint8), instances={})),
             ("val", chip_of("b", np.full((3, 8, 8), 90, np.uint8), instances={}))]
    write_chips(tmp_path / "toy", info_of(), chips)
    assert read_info(tmp_path / "toy").mean == [10.0] * 3
    assert read_info(tmp_path / "toy").std == [1.0] * 3  # a constant band must not divide by zero


def test_counts_and_licence_are_told(chip_folder):
    info = read_info(chip_folder)
    assert info.counts == {"train": {"chips": 12, "building": 3, "tank": 1}}
    assert info.classes == ["building", "tank"] and info.resolution == 0.5 and info.crs == "EPSG:26917"


def test_masks_are_the_instances_of_the_boxes(chip_folder):
    dataset = ChipDataset(chip_folder, "train", masks=True)
    number = 0
    for i in range(len(dataset)):
        _, target = dataset[i]
        assert target["masks"].shape == (len(target["boxes"]), 32, 32)
        for mask, box in zip(target["masks"], target["boxes"], strict=True):
            x0, y0, x1, y1 = box.int().tolist()
            assert mask[y0:y1, x0:x1].all() and mask.sum() == (x1 - x0) * (y1 - y0)  # all objects are rectangles
            number += 1
    assert number == 4
    assert "masks" not in ChipDataset(chip_folder, "train")[0][1]


def test_masks_follow_the_order_of_boxes_across_classes(tmp_path):
    first, second = np.zeros((2, 8, 8), np.uint16)
    first[0:2, 0:3], first[5:8, 5:7] = 9, 4
    second[0:4, 4:8] = 1
    chip = chip_of("a", np.zeros((3, 8, 8), np.uint8), instances={"tank": second, "building": first})
    write_chips(tmp_path / "toy", info_of(), [("train", chip)])
    target = ChipDataset(tmp_path / "toy", "train", masks=True)[0][1]
    assert target["labels"].tolist() == [1, 1, 2]
    assert target["boxes"].tolist() == [[5, 5, 7, 8], [0, 0, 3, 2], [4, 0, 8, 4]]
    assert target["masks"].sum((1, 2)).tolist() == [6, 6, 16]
    assert target["masks"][0, 5:8, 5:7].all() and target["masks"][1, :2, :3].all()


def test_limit_is_spread_over_the_split(chip_folder):
    stems = list(image_files(chip_folder, "train"))
    assert ChipDataset(chip_folder, "train", limit=3).stems == [stems[0], stems[6], stems[11]]
    assert len(ChipDataset(chip_folder, "train", limit=99)) == 12


def test_raw_pixels_without_normalising(chip_folder):
    dataset = ChipDataset(chip_folder, "train", normalise=False)
    assert np.array_equal(dataset[5][0].numpy(), dataset.images[5].astype(np.float32))
    with pytest.raises(IndexError):
        dataset[12]


def test_same_chips_same_bytes(scene, objects, tmp_path):
    from geodl_course.datasets.chipping import chip_scene

    cut = {"class_field": "type", "size": 16, "progress": False}
    folders = [chip_scene(scene, objects, tmp_path / n / "tiny", **cut) for n in "ab"]
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1] and len(files[0]) > 8
    assert all((folders[0] / p).read_bytes() == (folders[1] / p).read_bytes() for p in files[0])


# --- JPEG and PNG with world files


@pytest.mark.parametrize(("suffix", "world"), [(".jpg", ".jgw"), (".jpg", ".wld"), (".png", ".pgw"), (".jpeg", ".wld")])
def test_jpeg_and_png_with_world_files(chip_folder, suffix, world):
    chip = read_chip(chip_folder, "train", "000000")
    images = chip_folder / "train" / "images"
    (images / "000000.tif").unlink()
    Image.fromarray(np.moveaxis(chip.image, 0, -1)).save(images / f"000000{suffix}")
    (images / f"000000{world}").write_text("0.5\n0\n0\n-0.5\n500000.25\n4399999.75\n")  # centre of the first pixel
    found = read_chip(chip_folder, "train", "000000")
    assert tuple(found.transform)[:6] == (0.5, 0, 500000, 0, -0.5, 4400000)
    assert found.crs == "EPSG:26917"  # neither format stores one
    assert np.array_equal(found.boxes, chip.boxes)
    if suffix == ".png":
        assert np.array_equal(found.image, chip.image)
    validate(chip_folder)
    assert len(ChipDataset(chip_folder, "train")) == 12


# --- .npz


def test_npz_holds_the_same_chips(chip_folder, tmp_path):
    dataset = ChipDataset(chip_folder, "train", masks=True)
    dataset.save(tmp_path / "tiny.npz")
    loaded = ChipDataset.load(tmp_path / "tiny.npz", masks=True)
    assert loaded.stems == dataset.stems and loaded.info == dataset.info and loaded.split == "train"
    for i in range(12):
        (image, target), (image2, target2) = dataset[i], loaded[i]
        assert torch.equal(image, image2) and target.keys() == target2.keys()
        assert all(torch.equal(target[k], target2[k]) for k in target)
    few = ChipDataset.load(tmp_path / "tiny.npz", masks=True, limit=3)
    assert few.stems == ChipDataset(chip_folder, "train", limit=3).stems
    for i, j in enumerate([0, 6, 11]):
        assert all(torch.equal(few[i][1][k], dataset[j][1][k]) for k in few[i][1])
    assert not list(tmp_path.glob("*.part"))


def test_taking_chips_takes_their_objects_along(chip_folder):
    dataset = ChipDataset(chip_folder, "train", masks=True)
    chosen = [10, 3, 5, 0]  # objects, none, objects, objects
    few = dataset.take(chosen)
    assert few.stems == [dataset.stems[i] for i in chosen]
    assert [len(few[i][1]["labels"]) for i in range(4)] == [1, 0, 1, 1]
    for i, j in enumerate(chosen):
        assert torch.equal(few[i][0], dataset[j][0])
        assert all(torch.equal(few[i][1][k], dataset[j][1][k]) for k in few[i][1])


def test_npz_holds_several_splits(scene, objects, tmp_path):
    from geodl_course.datasets.chipping import chip_scene

    folder = chip_scene(scene, objects, tmp_path / "tiny", class_field="type", size=16, progress=False)
    path = save_npz(tmp_path / "t.npz", *(ChipDataset(folder, s) for s in ("train", "val")))
    assert ChipDataset.load(path, "val").stems == ChipDataset(folder, "val").stems
    with pytest.raises(ChipError, match="holds the splits train, val"):
        ChipDataset.load(path)
    with pytest.raises(ChipError, match="without masks"):
        ChipDataset.load(path, "val", masks=True)


def test_npz_needs_neither_rasterio_nor_geopandas_nor_jupyter(chip_folder, tmp_path):
    ChipDataset(chip_folder, "train").save(tmp_path / "tiny.npz")
    code = f"""
import sys
for name in ("rasterio", "geopandas", "pyogrio", "shapely", "IPython", "ipywidgets", "scipy"):
    sys.modules[name] = None
from geodl_course.chips import ChipDataset, collate
data = ChipDataset.load({str(tmp_path / "tiny.npz")!r})
images, targets = collate([data[i] for i in range(4)])
print(tuple(images.shape))
"""
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "(4, 3, 32, 32)\n", done.stderr


def test_npz_with_pickles_is_refused(chip_folder, tmp_path):
    dataset = ChipDataset(chip_folder, "train")
    np.savez(tmp_path / "evil.npz", info=np.array({"a": 1}, dtype=object), **{"train/stems": np.array(dataset.stems)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        ChipDataset.load(tmp_path / "evil.npz")


# --- Targets


def target_lists():
    numbers = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 9)] * 2)
    box = numbers.map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
    return st.lists(st.lists(st.tuples(box, st.integers(1, 3)), max_size=4), min_size=1, max_size=4)


def dicts(rows, masks=False):
    out = []
    for i, row in enumerate(rows):
        out.append({"boxes": torch.tensor([b for b, _ in row], dtype=torch.float32).reshape(-1, 4),
                    "labels": torch.tensor([k for _, k in row], dtype=torch.int64)})
        if masks:
            out[-1]["masks"] = torch.rand(len(row), 6, 5, generator=torch.Generator().manual_seed(i)) > 0.5
    return out


@given(target_lists(), st.booleans())
def test_targets_lose_and_add_nothing(rows, masks):
    given_list = dicts(rows, masks)
    targets = Targets.from_list(given_list)
    most = max(1, *(len(r) for r in rows)) if rows else 1
    assert targets.boxes.shape == (len(rows), most, 4) and targets.labels.shape == targets.valid.shape
    assert targets.valid.sum(1).tolist() == [len(r) for r in rows]
    assert (targets.boxes[..., 2:] > targets.boxes[..., :2]).all()  # padding too can be coded
    assert (targets.labels[~targets.valid] == 0).all()
    for before, after in zip(given_list, targets.to("cpu").to_list(), strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)


def test_collate_pads(chip_folder):
    dataset = ChipDataset(chip_folder, "train", masks=True)
    images, targets = collate([dataset[i] for i in range(12)])
    assert images.shape == (12, 3, 32, 32)
    assert targets.boxes.shape == (12, 1, 4) and targets.masks.shape == (12, 1, 32, 32)
    assert targets.valid.sum() == 4


@pytest.mark.parametrize(
    ("box", "label", "message"),
    [
        ([5, 5, 5, 9], 1, "has no area"),
        ([9, 5, 5, 9], 1, "has no area"),
        ([1, 1, math.nan, 4], 1, "has no area"),
        ([-1, 0, 5, 5], 1, "outside the image of 20 x 16"),
        ([0, 0, 5, 17], 1, "outside the image of 20 x 16"),
        ([0, 0, 5, 5], 4, "outside 1..K with K = 3"),
        ([0, 0, 5, 5], 0, "outside 1..K with K = 3"),
    ],
)
def test_targets_that_nothing_can_learn_from_are_refused(box, label, message):
    boxes = torch.tensor([[[0, 0, 20, 16.0], [0, 0, 1, 1]], [[1, 1, 2, 2], box]])
    labels = torch.tensor([[3, 0], [1, label]])
    targets = Targets(boxes, labels, torch.tensor([[True, False], [True, True]]))
    with pytest.raises(ChipError, match=message) as caught:
        check_targets(targets, (16, 20), 3)
    assert "image 1 of the batch: box 1" in str(caught.value)
    targets.valid[1, 1] = False
    assert check_targets(targets, (16, 20), 3) is targets


def test_a_list_without_targets_is_refused():
    with pytest.raises(ChipError, match="no targets: give one dict for each image"):
        Targets.from_list([])


def test_boxes_json_is_coco(tmp_path):
    boxes = np.array([[1, 2, 4, 7]], np.float32)
    chip = chip_of("a", np.zeros((3, 8, 8), np.uint8), boxes=boxes, labels=np.array([2]))
    write_chips(tmp_path / "toy", info_of(), [("train", chip)])
    coco = json.loads((tmp_path / "toy/train/boxes.json").read_text())
    assert coco["annotations"][0]["bbox"] == [1, 2, 3, 5] and coco["annotations"][0]["category_id"] == 2
    with rasterio.open(tmp_path / "toy/train/images/a.tif") as src:
        assert src.crs.to_epsg() == 26917 and src.transform == TRANSFORM
    with pytest.raises(ChipError, match="boxes only, no masks"):
        ChipDataset(tmp_path / "toy", "train", masks=True)


def test_pick_bands_keeps_chips_and_their_statistics(chip_folder):
    dataset = ChipDataset(chip_folder, "train")
    names = dataset.info.bands
    picked = dataset.pick_bands([names[2], names[0]])
    assert picked.info.bands == [names[2], names[0]] and dataset.info.bands == names and len(picked) == len(dataset)
    for (image, target), (whole, expected) in zip(picked, dataset, strict=True):
        assert torch.equal(image, whole[[2, 0]]) and torch.equal(target["boxes"], expected["boxes"])
    for wrong in (["nir"], []):
        with pytest.raises(ChipError, match=f"choose among {', '.join(names)}"):
            dataset.pick_bands(wrong)
