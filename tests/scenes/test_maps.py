"""The accuracy of a map: counts, areas and seams on layouts whose answer is known."""

import geopandas
import numpy as np
import pytest
import shapely
from blobs import write

from geodl_course.evaluation.maps import in_pieces, map_average_precision, map_scores, match_maps, near_seams
from geodl_course.scenes.reading import corners, open_scene


def table(*rows, crs="EPSG:26917"):
    return geopandas.GeoDataFrame({"class": [row[0] for row in rows]}, geometry=[shapely.box(*row[1:]) for row in rows],
                                  crs=crs)


TRUTH = table(("building", 0, 0, 10, 9), ("building", 20, 0, 30, 20), ("tank", 50, 0, 80, 20), ("tank", 90, 0, 92, 2))
FOUND = table(("building", 0, 0, 10, 10), ("building", 19, 0, 29, 20), ("building", 50, 0, 80, 20),
              ("building", 21, 1, 25, 5), ("tank", 200, 0, 210, 10))  # fmt: skip


def test_objects_are_matched_one_to_one_within_their_class():
    pairs, iou = match_maps(FOUND, TRUTH)
    assert pairs.tolist() == [[0, 0], [1, 1]] and iou == pytest.approx([0.9, 9 / 11])
    assert len(match_maps(FOUND, TRUTH, 0.85)[0]) == 1


def test_counts_by_class_and_size():
    scores = map_scores(FOUND, TRUTH)
    assert scores.loc["all", ["found", "missed", "false"]].tolist() == [2, 2, 3]
    assert scores.loc["building", ["found", "missed", "false"]].tolist() == [2, 0, 2]
    assert scores.loc["tank", ["found", "missed", "false"]].tolist() == [0, 2, 1]
    assert scores.loc["all", "f1"] == pytest.approx(4 / 9) and scores.loc["all", "precision"] == pytest.approx(0.4)
    assert scores.loc["building", "area_error"] == pytest.approx((100 + 200 + 600 + 16) / 290 - 1)
    # the found one of 100 square metres counts with the 90 of its reference
    assert scores.loc["small", ["found", "missed", "false"]].tolist() == [1, 1, 1]
    assert scores.loc["large", ["found", "missed", "false"]].tolist() == [0, 1, 1]


@pytest.mark.parametrize(("crs", "feet"), [("EPSG:2263", 3937 / 1200), ("EPSG:26917", 1)])
def test_sizes_are_square_metres_whatever_the_maps_unit(crs, feet):
    """A square of 15 m is medium, in US survey feet as well."""
    side = 15 * feet
    truth = table(("building", 980000, 200000, 980000 + side, 200000 + side), crs=crs)
    scores = map_scores(truth.iloc[:0], truth)
    assert scores.loc[["small", "medium", "large"], "missed"].tolist() == [0, 1, 0]


def test_nothing_found_and_nothing_there():
    none = table()
    assert map_scores(none, TRUTH).loc["all", ["found", "missed", "false"]].tolist() == [0, 4, 0]
    assert np.isnan(map_scores(none, TRUTH).loc["all", "precision"])
    assert map_scores(FOUND, none).loc["all", "false"] == 5
    assert in_pieces(none, TRUTH).tolist() == [False] * 4


def test_another_crs_is_refused():
    with pytest.raises(ValueError, match="to_crs"):
        match_maps(FOUND.to_crs(4326), TRUTH)


def test_what_is_there_more_than_once():
    assert in_pieces(FOUND, TRUTH).tolist() == [False, True, False, False]


def test_what_lies_near_a_seam(tmp_path):
    path = write(tmp_path / "scene.tif", np.ones((64, 112), np.uint8))
    scene = open_scene(path, {"bands": ["red"], "resolution": 0.5})
    at = corners(scene, 64, 16)  # inner edges at columns 48 and 64: 24 and 32 m
    east = [table(("a", 500000 + x, 4299990, 500000 + x + 2, 4299995)) for x in (0, 21, 23, 31.5, 33, 50)]
    layer = geopandas.pd.concat(east)
    assert near_seams(layer, scene, at, 64).tolist() == [False, False, True, True, False, False]
    assert near_seams(layer, scene, at, 64, 1.0).tolist() == [False, True, True, True, True, False]


def test_average_precision_as_coco_counts_it():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    wanted = np.array([(20 * i, 0, 20 * i + 10, 10) for i in range(12)], float)
    moved = wanted[rng.permutation(12)[:9]] + rng.integers(0, 5, (9, 1)) * [1, 0, 1, 0]
    boxes = np.concatenate((moved, moved[:3] + [0, 20, 0, 20]))
    scores = rng.permutation(len(boxes)) / 20
    truth, layer = (table(*[("a", *box) for box in each]) for each in (wanted, boxes))
    coco = COCO()
    coco.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [x, y, 10, 10], "area": 100, "iscrowd": 0}
        for i, (x, y, _, _) in enumerate(wanted)]}  # fmt: skip
    coco.createIndex()
    found = [{"image_id": 1, "category_id": 1, "bbox": [x, y, 10, 10], "score": score}
             for (x, y, _, _), score in zip(boxes, scores, strict=True)]
    judge = COCOeval(coco, coco.loadRes(found), "bbox")
    judge.evaluate()
    judge.accumulate()
    assert map_average_precision(layer.assign(score=scores), truth) == pytest.approx(
        judge.eval["precision"][0, :, 0, 0, -1].mean(), abs=1e-9)
    assert map_average_precision(layer.assign(score=scores)[:0], truth) == 0
