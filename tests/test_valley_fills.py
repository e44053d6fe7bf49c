"""The generated valley fills: real relief by measured figures, faces as they are built, honest splits, same bytes."""

import hashlib

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt

from geodl_course.datasets import valley_fill_relief as relief
from geodl_course.datasets import valley_fill_works as works
from geodl_course.datasets.terrain import slope
from geodl_course.datasets.valley_fill_figures import closed_basins, figures, relief_per_kilometre, stream_counts
from geodl_course.datasets.valley_fills import make_scene, make_valley_fills, write_scene

SIZE = 1024


@pytest.fixture(scope="module")
def scene():
    return make_scene(3, size=SIZE)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return make_valley_fills(tmp_path_factory.mktemp("data") / "fills", scenes=3, seed=1, extent=512, progress=False)


def a_fill(**changed):
    settings = dict(
        toe=np.array([500.0, 700.0]), height=100.0, axis=np.array([0.0, -1.0]), bow=0.0, rises=np.full(4, 15.0),
        grade=0.5, bench=10.0, level=165.0, drain="groins",
    )  # fmt: skip
    return works.Fill(**settings | changed)


def a_valley(width=500, floor=0.2, side=0.4):
    """A straight valley that rises to the north by `floor`, with even sides."""
    x, y = works.places((width, width))
    return (100 + floor * (700 - y) + side * np.abs(x - 500)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ relief


def test_the_relief_is_as_in_the_appalachians(scene):
    found = figures(scene)
    assert found["slopes of 15 to 35 degrees"] > 0.65
    assert 15 < found["median slope"] < 35
    assert 100 < found["relief in 1 km, median"] < 250
    assert found["closed basins outside the works"] == 0
    assert 2.5 < found["bifurcation ratio"] < 6  # Horton's law: 3 to 5 on nearly all real rivers
    assert found["faces"] >= 2


def test_every_point_of_the_mesh_lies_above_the_one_it_drains_to():
    mesh, points, height, area, receiver = relief.steady_relief(np.random.default_rng(0), 1200.0)
    outlets = receiver == np.arange(len(points))
    assert outlets.any() and (height[~outlets] > height[receiver[~outlets]]).all()
    assert area[outlets].sum() == pytest.approx(len(points) * relief.SPACING**2)  # all rain leaves
    ends, to = mesh.vertex_neighbor_vertices
    assert all(receiver[i] in to[ends[i] : ends[i + 1]] for i in np.flatnonzero(~outlets)[::97])


def test_drained_and_climb_equal_a_walk_down_each_way():
    rng = np.random.default_rng(1)
    receiver = np.array([rng.integers(0, max(i, 1)) for i in range(200)])  # 0 is the outlet
    fall = rng.uniform(0, 1, 200)
    total, count = np.zeros(200), np.zeros(200)
    for start in range(200):
        node = start
        while True:
            count[node] += 1
            if node == receiver[node]:
                break
            total[start] += fall[node]
            node = receiver[node]
    assert relief.climb(receiver, fall) == pytest.approx(total)
    assert relief.drained(receiver) == pytest.approx(count)


def test_basins_are_filled_to_their_outlet_and_counted_outside_the_works_only():
    dem = np.add.outer(np.arange(40.0), np.zeros(40)).astype(np.float32)
    dem[20:23, 10:13] = 5
    dem[30:33, 30:33] = 5
    filled = relief.fill_basins(dem)
    assert filled[21, 11] == 19 and filled[31, 31] == 29 and filled[5, 5] == dem[5, 5]
    made = np.zeros(dem.shape, bool)
    assert closed_basins(dem, made) == 2
    made[31, 31] = True
    assert closed_basins(dem, made) == 1


def test_streams_are_counted_by_strahlers_orders():
    """Two gullies join above a trunk that a third gully joins: three streams of order 1, one of order 2."""
    side = 61
    y, x = np.mgrid[:side, :side].astype(float)
    lines = [((5, 10), (30, 30)), ((5, 50), (30, 30)), ((30, 30), (60, 30)), ((25, 55), (45, 30))]
    ways = shapely.union_all([shapely.LineString([(c, r) for r, c in line]) for line in lines])
    far = shapely.distance(ways, shapely.points(x, y))
    dem = np.kron(200 - y + 4 * far, np.ones((8, 8)))
    assert stream_counts(dem, channel=6e4)[:2] == [3, 1]


def test_relief_in_a_window_of_one_kilometre():
    dem = np.add.outer(np.zeros(1024), np.arange(1024) * works.CELL * 0.1)  # a plane that rises by 10 %
    assert relief_per_kilometre(dem) == pytest.approx(99.8)


# ----------------------------------------------------------------------------------------------- faces


def test_faces_are_100_to_400_m_wide_and_never_on_each_other(scene):
    sizes = []
    for face in scene.faces:
        ring = np.array(face.minimum_rotated_rectangle.exterior.coords)
        sizes.append(sorted(np.hypot(*np.diff(ring[:3], axis=0).T) * works.CELL))
    sizes = np.array(sizes)
    assert sizes.max() < 600 and (sizes[:, 1] > 100).all() and (sizes[:, 0] > 60).all()
    shapes = np.array(scene.faces)
    assert shapely.is_valid(shapes).all() and shapely.contains(shapely.box(0, 0, SIZE, SIZE), shapes).all()
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    assert (one == other).all()


def test_faces_are_stairs_where_the_dem_is_steep_and_flat_in_turn(scene):
    """Along a face heights fall from crest to toe; benches and steps both take their share of it."""
    degrees = slope(scene.dem, works.CELL)
    for face in scene.faces:
        inside = rasterize([face.buffer(-3)], (SIZE, SIZE)) > 0
        assert (degrees[inside] > 20).mean() > 0.4, "steps"
        assert (degrees[inside] < 14).mean() > 0.08, "benches"
        assert 30 < np.ptp(scene.dem[inside]) < 150
        assert scene.made[inside].mean() > 0.97


def test_the_outline_is_where_the_face_ends():
    """A valley with even sides: inside the outline the fill stands above the old ground, outside it does not."""
    ground = a_valley()
    fill = a_fill()
    rows, cols, face, covered = works.lay_fill(ground, fill, np.zeros(ground.shape, bool))
    x, y = works.places(ground.shape, rows=rows, cols=cols)
    surface, along, _, length = works.fill_surface(fill, x, y)
    inner = distance_transform_edt(face) > 5
    outer = (distance_transform_edt(~face) > 8) & (along > 0) & (along < length)
    old = ground[rows, cols]
    assert (surface - old)[inner].min() > 0 and (surface - old)[outer].max() < 0.5
    width = np.ptp(np.nonzero(face)[1]) * works.CELL
    assert width == pytest.approx(2 * (58.8 - 0.2 * length) / 0.4, rel=0.15)  # fill and hillside meet at equal height


def test_a_fill_has_its_steps_benches_and_drains():
    corners, heights = works.profile(a_fill())
    steps = np.diff(heights) / np.diff(corners)
    assert steps[::2] == pytest.approx(0.5) and steps[1::2] == pytest.approx(-0.04)
    assert len(corners) == 8 and heights[-1] == pytest.approx(60 - 3 * 0.4)
    depth = {}
    for drain in ("groins", "centre"):
        dem = a_valley()
        fill = a_fill(drain=drain)
        laid = works.lay_fill(dem, fill, np.zeros(dem.shape, bool))
        works.build_fill(dem, fill, laid, np.random.default_rng(0))
        row = int((700 - 100) / works.CELL)
        depth[drain] = dem[row, [236, 237, 262, 263]].mean() - dem[row, 248:252].mean()
    assert depth["centre"] > 2 > 1 > depth["groins"]


@pytest.mark.parametrize(
    ("ground", "fill", "closed"),
    [
        (a_valley(side=0.05), a_fill(), False),  # too open: the fill would spill
        (a_valley(side=3.0), a_fill(), False),  # too narrow
        (a_valley(floor=0.5), a_fill(), False),  # the valley rises as steeply as the fill
        (a_valley(), a_fill(), True),  # another fill lies there
        (a_valley(), a_fill(toe=np.array([500.0, 10.0])), False),  # not inside the raster
    ],
)
def test_valleys_that_cannot_hold_a_fill_are_left_alone(ground, fill, closed):
    assert works.lay_fill(a_valley(), a_fill(), np.zeros((500, 500), bool)) is not None
    before = ground.copy()
    assert works.lay_fill(ground, fill, np.full(ground.shape, closed)) is None
    assert (ground == before).all()


def test_a_strip_bench_is_flat_at_its_seam_and_moves_nothing_far_away():
    dem = np.broadcast_to(np.arange(0, 100, 1, dtype=np.float32), (5, 100)).copy()
    before = dem.copy()
    works.strip_bench(dem, np.float32(50), np.ones(dem.shape, np.float32), highwall=8)
    assert np.ptp(dem[0, 51:58]) < 0.5  # the bench
    assert np.diff(dem[0, 50:60]).max() > 5  # the highwall
    assert (dem[:, :38] == before[:, :38]).all() and (dem[:, 58:] == before[:, 58:]).all()


def test_a_road_descends_at_its_grade_along_a_hill():
    y, x = np.mgrid[:200, :200] * 8.0
    heights = 500 - 0.5 * x
    slopes = (heights, np.full(x.shape, 0.5), np.zeros(x.shape), 8.0)
    for turn in (1, -1):
        way = works.walk(slopes, (400.0, 800.0), 0.1, turn, 600)
        run = np.hypot(*np.diff(way[:, :2], axis=0).T).sum()
        assert (way[0, 2] - way[-1, 2]) / run == pytest.approx(0.1, rel=0.15)
        assert np.sign(way[-1, 1] - way[0, 1]) == turn


# ----------------------------------------------------------------------------------------------- files


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_seed_same_bytes_and_another_seed_another_place(tmp_path):
    files = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        write_scene(tmp_path / name, seed, size=512)
        files.append([digest(path) for path in sorted((tmp_path / name).iterdir())])
    assert len(files[0]) == 4 and files[0] == files[1]
    assert not set(files[0]) & set(files[2])


def test_files_say_where_they_are_and_what_they_hold(tmp_path):
    import geopandas
    import rasterio

    image, objects = write_scene(tmp_path, 3, size=SIZE)
    table = geopandas.read_file(objects)
    with rasterio.open(image) as raster, rasterio.open(tmp_path / "scene_dem.tif") as dem:
        assert raster.crs.to_epsg() == dem.crs.to_epsg() == table.crs.to_epsg() == 26917
        assert dem.res == (2.0, 2.0) and raster.res == (4.0, 4.0) and raster.bounds == dem.bounds
        assert raster.descriptions == ("slopeshade", "slope", "hillshade", "topographic position")
        assert shapely.contains(shapely.box(*raster.bounds), table.geometry.values).all()
        grey = raster.read(1)
    assert list(table.columns) == ["id", "type", "geometry"] and table["id"].is_unique
    assert set(table["type"]) == {"valley_fill"}
    assert grey.std() > 15 and ((grey == 1) | (grey == 255)).mean() < 0.05


def test_chips_are_whole_and_splits_share_no_ground(chips):
    from geodl_course.chips import read_chip, read_info, validate
    from geodl_course.chips.reading import image_files

    info = read_info(chips)
    validate(chips)
    assert info.classes == ["valley_fill"] and info.chip_size == 128 and info.resolution == pytest.approx(4.0)
    assert info.recipe["cell"] == 4.0 and info.recipe["maker"] == "valley_fills"
    left_out = info.recipe["empty_train_chips_left_out"]
    assert [info.counts[split]["chips"] for split in ("train", "val", "test")] == [9 - left_out, 4, 4]
    boxes = []
    for split in info.counts:
        for stem in image_files(chips, split):
            chip = read_chip(chips, split, stem)
            left, top = chip.transform.c, chip.transform.f
            boxes.append((split, shapely.box(left, top - 512, left + 512, top)))
    apart = [a.disjoint(b) for s, a in boxes for t, b in boxes if s != t]
    assert all(apart)


def test_making_refuses_to_overwrite_and_to_share_ground_between_splits(chips, tmp_path):
    with pytest.raises(ValueError, match="exists already"):
        make_valley_fills(chips, scenes=3, extent=512)
    with pytest.raises(ValueError, match="at least 3 scenes"):
        make_valley_fills(tmp_path / "few", scenes=2)
