"""The generated coasts: spectra of real ones, kinds that follow from the pixels, splits without shared ground."""

import json

import numpy as np
import pytest
import rasterio
from scipy.ndimage import binary_erosion

from geodl_course.chips import ChipDataset, ChipError, covers, image_files, read_chip, read_info, validate
from geodl_course.datasets.coast import PLACES, Scene, make_coast, make_scene, scene_chips
from geodl_course.datasets.coast_parcels import FIELD, FOREST, TOWN, make_parcels
from geodl_course.datasets.coast_relief import make_relief, power_noise
from geodl_course.datasets.coast_spectra import COVERS, REAL, SPECTRA
from geodl_course.datasets.land_water import BANDS, is_water, kind_of, mndwi

SIZE = 256


@pytest.fixture(scope="module")
def scenes():
    """Two coasts, an open sea and a town inland."""
    return [make_scene(seed, SIZE) for seed in (0, 2, 4, 7)]


@pytest.fixture(scope="module")
def coast(tmp_path_factory):
    return make_coast(tmp_path_factory.mktemp("data") / "coast", train=2, val=1, test=1, extent=128, progress=False)


# ------------------------------------------------------------------------------------------- pictures


def pixels_of(scenes, wet):
    """Pixels (5, N) of land or water that lie 6 px from the shore, as nearly all of a real chip of one kind does."""
    inner = [binary_erosion((scene.known == 0) == wet, iterations=6) & (scene.cloud == 0) for scene in scenes]
    return np.concatenate([scene.image[:, own] for scene, own in zip(scenes, inner, strict=True)], axis=1) / 65535


@pytest.mark.parametrize("kind", ["land", "water"])
def test_reflectances_lie_where_real_ports_have_them(scenes, kind):
    """5th and 95th percentile of a band lie in the real ports' span, widened by a half of itself and 0.02."""
    pixels = pixels_of(scenes, kind == "water")
    for band, values in zip(BANDS, pixels, strict=True):
        low, high = REAL[kind][band]
        slack = 0.5 * (high - low) + 0.02
        found = np.percentile(values, [5, 95])
        assert low - slack < found[0] < found[1] < high + slack, f"{band} of {kind}: {found} against {low}, {high}"


def test_indices_of_plants_and_water_have_their_signs(scenes):
    land, water = pixels_of(scenes, False), pixels_of(scenes, True)  # (5, N)
    assert np.median(mndwi(water[:, None])) > 0.05 > -0.2 > np.median(mndwi(land[:, None]))
    red, nir = BANDS.index("red"), BANDS.index("nir")
    woods = np.concatenate([scene.image[:, scene.known == FOREST] for scene in scenes], axis=1).astype(float)
    ndvi = (woods[nir] - woods[red]) / (woods[nir] + woods[red])
    assert np.median(ndvi) > 0.5
    assert np.median((water[nir] - water[red]) / (water[nir] + water[red])) < 0.05


def test_the_rule_finds_the_known_water_again(scenes):
    for scene in scenes:
        clear = scene.cloud < 0.01
        same = is_water(scene.image)[clear] == (scene.known[clear] == 0)
        assert same.mean() > 0.95


def test_short_wave_infrared_is_coarser_than_the_other_bands(scenes):
    land = scenes[3].image.astype(float)
    step = [np.abs(np.diff(band)).mean() / band.std() for band in land]
    assert step[4] < 0.75 * min(step[:4])


def test_same_seed_same_bytes_and_another_seed_another_place():
    one, same, other = make_scene(9, 128), make_scene(9, 128), make_scene(17, 128)
    assert np.array_equal(one.image, same.image) and np.array_equal(one.known, same.known)
    assert 9 % len(PLACES) == 17 % len(PLACES) and (one.image != other.image).mean() > 0.9
    assert one.origin != other.origin


def test_scenes_hold_what_their_place_says(scenes):
    shares = [np.bincount(scene.known.ravel(), minlength=len(COVERS)) / SIZE**2 for scene in scenes]
    for share, seed in zip(shares, (0, 2, 4, 7), strict=True):
        place = PLACES[seed]
        assert share[0] == pytest.approx(place["sea"] + place["lakes"], abs=0.12)
    assert shares[0][FIELD] > 0.05 and shares[3][TOWN] > 0.05 and shares[0][FOREST] > 0.02


# ---------------------------------------------------------------------------------------------- parts


def test_noise_has_its_wavelengths():
    for longest, shortest in ((64, None), (16, None), (64, 6.0)):
        noise = power_noise(np.random.default_rng(0), 128, 2.0, longest, shortest)
        assert noise.mean() == pytest.approx(0, abs=1e-4) and noise.std() == pytest.approx(1, abs=1e-3)
        power = np.abs(np.fft.rfft2(noise)) ** 2
        frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128))
        assert power[frequency < 0.5 / longest].sum() < 1e-6 * power.sum()
        if shortest:
            assert power[frequency > 2 / shortest].sum() < 1e-2 * power.sum()


def test_relief_has_its_share_of_sea_and_a_river_that_reaches_it():
    relief = make_relief(np.random.default_rng(1), 192, sea=0.4, lakes=0.0, river=6, metres=40)
    assert (relief.water == 1).mean() == pytest.approx(0.4, abs=0.02)
    assert (relief.height[relief.water == 1] <= 0).all()
    river = relief.water == 3
    assert 0.005 < river.mean() < 0.15
    x, y = (int(v) for v in relief.mouth)
    assert relief.water[y, x] == 1 and river[max(y - 12, 0) : y + 12, max(x - 12, 0) : x + 12].any()


def test_parcels_have_edges_where_their_numbers_change():
    parcels = make_parcels(np.random.default_rng(0), 128, 200, 20, 12)
    changes = parcels.number[:, 1:] != parcels.number[:, :-1]
    assert 0.03 < changes.mean() < 0.3
    near = np.minimum(parcels.edge[:, 1:], parcels.edge[:, :-1])
    assert near[changes].max() < 1.2 and np.median(near[~changes]) > 1.5


def test_spectra_are_reflectances():
    table = np.stack(list(SPECTRA.values()))
    assert table.shape[1] == len(BANDS) and (table > 0).all() and (table < 0.7).all()


# ---------------------------------------------------------------------------------------------- chips


def test_chips_are_whole_and_splits_share_no_ground(coast):
    validate(coast)
    info = read_info(coast)
    assert (info.bands, info.classes, info.dtype, info.chip_size) == (BANDS, [], "uint16", 64)
    assert info.counts == {"train": {"chips": 8}, "val": {"chips": 4}, "test": {"chips": 4}}
    places = {}
    for split in info.counts:
        for stem in image_files(coast, split):
            chip = read_chip(coast, split, stem)
            places[chip.transform.c, chip.transform.f] = stem
    assert len(places) == 16
    apart = np.array(sorted(places)) / 10
    assert all((abs(apart - one).max(1) >= 64).sum() == 15 for one in apart)


def test_what_is_said_of_chips_follows_from_map_and_pixels(coast):
    for split in ("train", "val", "test"):
        data = ChipDataset(coast, split)
        for image, said in zip(data.images, covers(data), strict=True):
            assert said["kind"] == kind_of(said["water"]) and said["cover"] in COVERS
            if said["cloud"] == 0:
                assert is_water(image).mean() == pytest.approx(said["water"], abs=0.12)


def test_the_test_scenes_stay_with_their_maps(coast):
    folder = coast.with_name("coast_scenes")
    assert sorted(p.name for p in folder.iterdir()) == ["scene_3.tif", "scene_3_cover.tif"]
    with rasterio.open(folder / "scene_3.tif") as image, rasterio.open(folder / "scene_3_cover.tif") as known:
        assert image.descriptions == tuple(BANDS) and image.bounds == known.bounds and image.res == (10, 10)
        pixels, shown = image.read(), known.read(1)
    chip = read_chip(coast, "test", "scene03_0064_0000")
    assert np.array_equal(chip.image, pixels[:, 64:, :64])
    said = json.loads((coast / "test/covers.json").read_text())["scene03_0064_0000"]
    assert said["water"] == pytest.approx((shown[64:, :64] == 0).mean(), abs=1e-6)
    assert said["cover"] == COVERS[np.bincount(shown[64:, :64].ravel()).argmax()]


def test_scenes_smaller_than_a_chip_and_folders_that_exist_are_refused(coast, tmp_path):
    with pytest.raises(ChipError, match="exists already"):
        make_coast(coast)
    with pytest.raises(ChipError, match="scene00 is 48 x 48 pixels, too small for chips of 64"):
        make_coast(tmp_path / "small", train=1, val=0, test=1, extent=48, progress=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="at least one scene"):
        make_coast(tmp_path / "none", train=0, val=0, test=0)


def test_clouds_come_where_their_place_has_them():
    assert make_scene(3, 128).cloud.mean() > 0.01 < make_scene(5, 128).cloud.mean()
    assert not make_scene(4, 128).cloud.any()


def test_each_chip_says_its_own_cloud_and_commonest_cover():
    known, cloud = np.full((64, 128), COVERS.index("field"), np.uint8), np.zeros((64, 128), np.float32)
    known[:40, 64:], cloud[:, 64:96] = 0, 0.5
    image = np.full((5, 64, 128), 5000, np.uint16)
    left, right = (chip.cover for chip in scene_chips(Scene(image, known, cloud, (0.0, 0.0)), "a", 64))
    assert left == {"cover": "field", "water": 0, "kind": "land", "cloud": 0}
    assert right == {"cover": "water", "water": 0.625, "kind": "mixed", "cloud": 0.25}


def test_chips_of_a_scene_lie_side_by_side():
    scene = make_scene(1, 140)
    stems = [chip.stem for chip in scene_chips(scene, "a", 64)]
    assert stems == ["a_0000_0000", "a_0000_0064", "a_0064_0000", "a_0064_0064"]
