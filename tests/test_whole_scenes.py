"""Whole real scenes, on files made here: a port of bands, a mosaic of tiles, the plots of a site."""

import json

import numpy as np
import pytest
import rasterio
from tiny_scene import write_scene

from geodl_course.chips import ChipError
from geodl_course.datasets.building_mosaic import mosaic_scene
from geodl_course.datasets.neon_trees import plot_scenes
from geodl_course.datasets.sen2ships import BANDS, port_scene
from tests.test_building_tiles import SIDE, box, write_tile


def test_a_port_is_one_raster_with_its_vessels(tmp_path):
    rng, images = np.random.default_rng(0), {}
    for band in BANDS:
        images[band] = rng.integers(0, 65536, (1, 40, 50), dtype=np.uint16)
        place = rasterio.Affine(10, 0, 100_000, 0, -10, 4_400_000)
        write_scene(tmp_path / f"{band}.tif", images[band], crs="EPSG:3857", transform=place)
    rows = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [14, 30, 20, 7], "iscrowd": 1}]
    coco = {"images": [{"id": 1, "file_name": "1.png", "height": 40, "width": 50}], "annotations": rows,
            "categories": [{"id": 1, "name": "vessel"}]}  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    path, vessels = port_scene(tmp_path, tmp_path / "port.tif")
    with rasterio.open(path) as port:
        assert np.array_equal(port.read(), np.concatenate([images[band] for band in BANDS]))
        assert port.descriptions == ("red", "green", "blue", "nir", "swir") and port.transform == place
        assert port.crs.to_epsg() == vessels.crs.to_epsg() == 3857
    assert vessels["class"].tolist() == ["vessel"]
    assert vessels.total_bounds.tolist() == [100_140, 4_399_630, 100_340, 4_399_700]
    (tmp_path / "B11.tif").unlink()
    with pytest.raises(ChipError, match="B11"):
        port_scene(tmp_path, tmp_path / "other.tif")
    assert not (tmp_path / "other.tif").exists()


CORNER = 619212, 523272  # of tiles that share one tile of zoom 19


def mosaic_of(raw):
    """Four tiles and the one of the zoom above, in which a house crosses all four → images {(x, y): (3, S, S)}."""
    x, y = CORNER
    images = {(x + i, y + j): write_tile(raw, "val", x + i, y + j, []) for i in (1, 0) for j in (0, 1)}
    write_tile(raw, "val", x // 2, y // 2, [box(SIDE - 4, SIDE - 6, SIDE + 8, SIDE + 2, CORNER)], zoom=19)
    write_tile(raw, "train", x + 40, y, [])
    return images


def test_tiles_become_a_mosaic_with_whole_houses(tmp_path):
    images = mosaic_of(tmp_path)
    path, houses = mosaic_scene(tmp_path, tmp_path / "mosaic.tif")
    with rasterio.open(path) as mosaic:
        pixels, transform = mosaic.read(), mosaic.transform
        assert pixels.shape == (3, 2 * SIDE, 2 * SIDE) and mosaic.crs.to_epsg() == 3857
    for (x, y), image in images.items():
        row, col = (y - CORNER[1]) * SIDE, (x - CORNER[0]) * SIDE
        assert np.array_equal(pixels[:, row : row + SIDE, col : col + SIDE], image)
    metres = 40_075_016.686 / 2**20 / SIDE  # of a pixel, at the equator
    assert (transform.a, transform.e) == pytest.approx((metres, -metres))
    assert houses["class"].tolist() == ["building"] and houses.crs.to_epsg() == 3857
    left, bottom, right, top = houses.total_bounds
    assert [*(~transform * (left, top)), *(~transform * (right, bottom))] == pytest.approx(
        [SIDE - 4, SIDE - 6, SIDE + 8, SIDE + 2], abs=0.01)  # fmt: skip


def test_tiles_that_fill_no_square_are_refused(tmp_path):
    mosaic_of(tmp_path)
    for path in tmp_path.rglob(f"*{CORNER[0]}-{CORNER[1]}-20.*"):
        path.unlink()
    with pytest.raises(ChipError, match="3 val tiles of zoom 20 do not fill"):
        mosaic_scene(tmp_path, tmp_path / "mosaic.tif")
    with pytest.raises(ChipError, match="0 val tiles of zoom 21"):
        mosaic_scene(tmp_path, tmp_path / "mosaic.tif", zoom=21)
    assert not (tmp_path / "mosaic.tif").exists()


def test_plots_of_one_site_with_their_trees(tmp_path):
    for site, east in (("OSBS", 400_000), ("SJER", 500_000)):
        place = rasterio.Affine(0.1, 0, east, 0, -0.1, 4_400_000)
        (tmp_path / site / "annotations").mkdir(parents=True)
        write_scene(tmp_path / site / f"{site}_001.tif", np.ones((3, 40, 40), np.uint8), transform=place)
        (tmp_path / site / "annotations" / f"{site}_001.xml").write_text(
            f"<annotation><filename>{site}_001.tif</filename><size><width>40</width><height>40</height><depth>3</depth>"
            "</size><object><name>Tree</name><bndbox><xmin>4</xmin><ymin>10</ymin><xmax>14</xmax><ymax>30</ymax>"
            "</bndbox></object></annotation>")  # fmt: skip
    [(path, trees)] = plot_scenes(tmp_path, "OSBS")
    assert path == tmp_path / "OSBS/OSBS_001.tif" and trees["class"].tolist() == ["tree"]
    assert trees.total_bounds == pytest.approx([400_000.4, 4_399_997, 400_001.4, 4_399_999], abs=1e-6)
    with pytest.raises(ChipError, match="no plot of 'ELSE'"):
        plot_scenes(tmp_path, "ELSE")
