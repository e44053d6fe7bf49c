"""Fixtures that many tests share. With the publishers' files at hand (GEODL_MIRROR), a test on real data that skips is
a test that fails."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # a busy machine is no error
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    real = item.get_closest_marker("real") or "real" in item.path.relative_to(item.config.rootpath).parts
    if report.skipped and not hasattr(report, "wasxfail") and real and os.environ.get("GEODL_MIRROR"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although GEODL_MIRROR is set: {report.longrepr}"
    return report


@pytest.fixture
def scene(tmp_path):
    """GeoTIFF of 3 bands, 96 rows and 128 columns of 0.5 m, EPSG:26917, without a pixel of 0."""
    import numpy as np
    from tiny_scene import write_scene

    image = np.random.default_rng(0).integers(1, 256, (3, 96, 128), dtype=np.uint8)
    return write_scene(tmp_path / "scene.tif", image)


@pytest.fixture
def objects(tmp_path):
    """GeoPackage: a building and a tank inside a chip of 32 px each, and a building cut in halves at x = 64."""
    from tiny_scene import pixel_box, write_objects

    rows = [
        ("building", pixel_box(2, 3, 12, 10)),
        ("tank", pixel_box(40, 40, 47, 48)),
        ("building", pixel_box(56, 70, 72, 80)),
    ]
    return write_objects(tmp_path / "objects.gpkg", rows)


@pytest.fixture
def chip_folder(scene, objects, tmp_path):
    """Chip folder of the tiny scene: 12 chips of 32 px, all train."""
    from geodl_course.datasets.chipping import chip_scene

    return chip_scene(scene, objects, tmp_path / "tiny", class_field="type", size=32, split="train", progress=False)


@pytest.fixture(autouse=True)
def course_look():
    """Every test draws in the course's look, without a screen, whatever an earlier one has set or left open."""
    import matplotlib
    import matplotlib.pyplot as plt

    from geodl_course import plots

    matplotlib.use("agg")
    with plt.rc_context():
        plots.course_style()
        yield
    plt.close("all")


@pytest.fixture
def mirror():
    """Folder with the publishers' files ($GEODL_MIRROR): skips when unset, but set and incomplete is a failure."""
    if not os.environ.get("GEODL_MIRROR"):
        pytest.skip("GEODL_MIRROR is not set: no copy of the publishers' files on this machine")
    folder = Path(os.environ["GEODL_MIRROR"])
    for name in ("neon_trees", "scenes", "sen2ships", "fair_buildings"):
        if not (folder / name).is_dir():
            pytest.fail(f"GEODL_MIRROR is set, but {folder / name} does not exist")
    return folder
