"""Real rasters through chipping: nodata edges, degrees, several bands, heights in float32."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from geodl_course.chips import ChipDataset, image_files, read_chip, read_info, valid_pixels, validate
from geodl_course.datasets.chipping import chip_scene

pytestmark = pytest.mark.real


def objects_on(scene, path, crs, number=30):
    """A layer of squares of 12 pixels on a grid over the raster, written in `crs`."""
    with rasterio.open(scene) as src:
        at = [(c, r) for r in np.linspace(10, src.height - 30, 6) for c in np.linspace(10, src.width - 30, number // 6)]
        shapes = [shapely.Polygon([src.transform * p for p in ((c, r), (c + 12, r), (c + 12, r + 12), (c, r + 12))])
                  for c, r in at]
        table = geopandas.GeoDataFrame({"kind": ["a", "b"] * (number // 2)}, geometry=shapes, crs=src.crs)
    table.to_crs(crs).to_file(path)
    return path


@pytest.mark.parametrize(
    ("name", "bands", "dtype"),
    [("RGB.byte", 3, "uint8"), ("naip_5m_2020", 4, "uint8"), ("lidar_dem_1m", 1, "float32"), ("sp_srtm", 1, "uint16")],
)
@pytest.mark.parametrize(("crs", "suffix"), [("EPSG:4326", ".geojson"), ("EPSG:3857", ".gpkg")])
def test_a_real_raster_with_vectors_in_another_crs(mirror, tmp_path, name, bands, dtype, crs, suffix):
    scene = mirror / "scenes" / f"{name}.tif"
    layer = objects_on(scene, tmp_path / f"o{suffix}", crs)
    folder = chip_scene(scene, layer, tmp_path / "out", class_field="kind", size=64, progress=False)
    validate(folder)
    info = read_info(folder)
    assert (len(info.bands), info.dtype, set(info.counts)) == (bands, dtype, {"train", "val", "test"})
    with rasterio.open(scene) as src:
        pixels, place, nodata = src.read(), src.transform, src.nodata
    assert info.nodata == pytest.approx(nodata)
    seen = 0
    for split in info.counts:
        for stem in image_files(folder, split):
            chip = read_chip(folder, split, stem)
            col, row = (round(v) for v in ~place * (chip.transform.c, chip.transform.f))
            assert np.array_equal(chip.image, pixels[:, row : row + 64, col : col + 64])
            assert valid_pixels(chip.image, info.nodata).any()
            whole = chip.boxes[((chip.boxes > 0) & (chip.boxes < 64)).all(1)]
            sides = whole[:, 2:] - whole[:, :2]
            assert ((sides >= 11) & (sides <= 13)).all()  # squares of 12 pixels, also after two reprojections
            seen += len(whole)
    assert seen >= 5
    dataset = ChipDataset(folder, "train")
    images = np.stack([dataset[i][0].numpy() for i in range(len(dataset))])
    valid = np.broadcast_to(valid_pixels(dataset.images, info.nodata), images.shape)
    assert np.isfinite(images).all() and (images[~valid] == 0).all()
    assert abs(images[valid].mean()) < 0.01 and abs(images[valid].std() - 1) < 0.01
