"""Terrain as pictures: from a digital elevation model (DEM) to slope, hillshade, slopeshade and topographic position.

The rules:

* Heights and cells are in the same unit, metres. Rows run north to south, columns west to east.
* A void is NaN. Slope and all that comes from it looks at 3 x 3 cells, so a cell is void where any of them is: no slope
  is made up. Topographic position takes the mean of the valid cells of its window and is void only where the cell is.
* At the raster's edge the surface goes on with the slope it has there, so that a plane is a plane up to its edge.
* A band is stored in 8 bits: 1 to 255 from the lower to the upper end of its range in BANDS, 0 = void. The GeoTIFF says
  so by scale and offset, and a GIS shows the real values.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

BANDS = {"slopeshade": (0, 1), "slope": (0, 90), "hillshade": (0, 1), "topographic position": (-30, 30)}
STEEPEST = 60.0  # degrees that slopeshade draws black
LOWEST, HIGHEST = -500.0, 9000.0  # metres: the shore of the Dead Sea and Mount Everest lie within
STRIP = 1024  # rows of a scene that are worked on at a time


def gradient(dem, cell):
    """dem (H, W) → rise to the east, rise to the north (H, W): metres a metre, by Horn's weights (1981)."""
    wide = np.pad(np.asarray(dem, np.float64), 1, mode="reflect", reflect_type="odd")
    south_north = wide[:-2] - wide[2:]
    west_east = wide[:, 2:] - wide[:, :-2]
    east = (west_east[:-2] + 2 * west_east[1:-1] + west_east[2:]) / (8 * cell)
    north = (south_north[:, :-2] + 2 * south_north[:, 1:-1] + south_north[:, 2:]) / (8 * cell)
    void = np.isnan(wide)
    near = np.lib.stride_tricks.sliding_window_view(void, (3, 3)).any((2, 3)) if void.any() else False
    return np.where(near, np.nan, east), np.where(near, np.nan, north)


def slope(dem, cell):
    """dem (H, W) → degrees (H, W), 0 = flat."""
    return np.degrees(np.arctan(np.hypot(*gradient(dem, cell)))).astype(np.float32)


def hillshade(dem, cell, azimuth=315.0, altitude=45.0):
    """dem (H, W) → light (H, W), 0 = dark to 1 = facing the sun, which stands at `azimuth` (from north, clockwise).

    The cosine between the surface's normal and the way to the sun; no cast shadows.
    """
    east, north = gradient(dem, cell)
    azimuth, altitude = np.radians(azimuth), np.radians(altitude)
    flat = np.cos(altitude)
    light = np.sin(altitude) - flat * np.sin(azimuth) * east - flat * np.cos(azimuth) * north
    return np.clip(light / np.sqrt(1 + east**2 + north**2), 0, 1).astype(np.float32)


def slopeshade(dem, cell, steepest=STEEPEST):
    """dem (H, W) → grey (H, W), 1 = flat and white, falling with the slope to 0 = black at `steepest` degrees.

    The picture that Maxwell et al. (2020, Remote Sensing 12(3), 547) gave to Mask R-CNN: unlike a hillshade it does not
    depend on where the sun stands. Which degree their grey scale ends at could not be read; 60 is our choice.
    """
    return np.clip(1 - slope(dem, cell) / np.float32(steepest), 0, 1)


def topographic_position(dem, cell, reach=50.0):
    """dem (H, W) → metres (H, W) that a cell stands above the mean of the square window of `reach` metres around it.

    Ridges are positive, valleys negative, plains and even slopes 0. At the edge and beside voids the window holds the
    cells that are there.
    """
    from scipy.ndimage import uniform_filter

    dem = np.asarray(dem, np.float64)
    valid = np.isfinite(dem)
    if not valid.any():
        return np.full(dem.shape, np.nan, np.float32)
    heights = np.where(valid, dem - dem[valid].mean(), 0)
    window = 2 * max(round(reach / cell), 1) + 1
    total, count = (uniform_filter(part, window, mode="constant") for part in (heights, valid.astype(np.float64)))
    return np.where(valid, heights - total / np.maximum(count, 0.5 / window**2), np.nan).astype(np.float32)


def terrain_bands(dem, cell):
    """dem (H, W) → bands (4, H, W) uint8 in the order and the ranges of BANDS; 0 where any of them is void."""
    makers = {
        "slopeshade": slopeshade, "slope": slope, "hillshade": hillshade, "topographic position": topographic_position,
    }
    bands = np.stack([_code(makers[name](dem, cell), *limits) for name, limits in BANDS.items()])
    return np.where((bands == 0).any(0), np.uint8(0), bands)


def _code(values, low, high):
    grey = np.round(1 + 254 * (np.clip(values, low, high) - low) / (high - low))
    return np.nan_to_num(grey, nan=0).astype(np.uint8)


# -------------------------------------------------------------------------------------------- scenes


def terrain_scene(dem, polygons, folder, name, cell=None, extent=None, kind="valley_fill", height_unit=1.0):
    """Write `name`.tif (the bands of `terrain_bands`) and `name`.gpkg (fields id, type) into `folder`; returns both.

    `dem` is a raster of one band, `polygons` a vector layer with one feature an object, all of class `kind`, and
    `extent` a layer that says where the objects were mapped: outside it bands are void and polygons are cut off. `cell`
    averages the DEM to coarser cells (metres; default: its own). `height_unit` is metres per unit of height. Layers in
    another CRS are brought to the DEM's. Features without geometry stay so, last in the layer, and `chip_scenes` counts
    them (objects_empty). The two files appear when both are whole, and never replace another. Raises ChipError where
    one exists, for a DEM that cannot be read, has no projected CRS (degrees are none), cells that are not square or
    heights that no land has (undeclared voids), for a layer without a CRS, with points or lines or with polygons that
    cross themselves, for an extent that is empty or holds none of the objects, and for a finer cell.
    """
    import rasterio

    from geodl_course.chips import ChipError
    from geodl_course.chips.writing import refuse_existing

    folder = Path(folder)
    targets = [folder / f"{name}.tif", folder / f"{name}.gpkg"]
    for target in targets:
        refuse_existing(target)
    try:
        opened = rasterio.open(dem)
    except rasterio.errors.RasterioIOError as error:
        raise ChipError(f"{dem}: cannot be read as a raster ({error}). Check the path or get it again.") from error
    with opened as src:
        grid = _grid(src, dem, cell)
        outline = None if extent is None else _outline(extent, src)
        table, empty = _read_polygons(polygons, src)
        shapes = table.geometry.to_numpy()
        inside = _clip(shapes, outline)
        if len(shapes) and not len(inside):
            raise ChipError(f"{extent}: all {len(shapes)} objects of {polygons} lie outside it. Check that both belong "
                            "to one area and name the right CRS.")
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=f".{name}.") as part:  # half of a scene is none
            made = [Path(part, target.name) for target in targets]
            _write_bands(made[0], src, grid, outline, height_unit)
            write_polygons(made[1], [*inside, *[None] * empty], kind, src.crs)
            for path, target in zip(made, targets, strict=True):
                path.rename(target)
    return tuple(targets)


def _grid(src, path, cell):
    """Cell in metres, how many DEM cells that is, and height, width and transform of the scene."""
    from geodl_course.chips import ChipError
    from geodl_course.datasets.chipping import metres

    if src.count != 1:
        raise ChipError(f"{path} has {src.count} bands, a DEM has one. Take it out with gdal_translate -b.")
    if src.crs is None or not src.crs.is_projected:
        raise ChipError(
            f"{path} has no projected CRS, so its cells have no size in metres and slopes cannot be computed. "
            "Reproject it, for example with gdalwarp -t_srs EPSG:26917."
        )
    own = metres(src)
    ratio = 1.0 if cell is None else cell / own
    if ratio < 0.999:
        raise ChipError(f"{path} has cells of {own:g} m; {cell:g} m would be finer. Choose {own:g} m or more.")
    height, width = int(src.height / ratio + 1e-6), int(src.width / ratio + 1e-6)
    if min(height, width) < 2:
        raise ChipError(f"{path} is smaller than two cells of {cell or own:g} m. Choose a smaller cell.")
    return cell or own, ratio, height, width, src.transform * src.transform.scale(ratio)


def _write_bands(path, src, grid, outline, height_unit):
    """Strip by strip, each read with so many rows around it that no window notices."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.features import geometry_mask
    from rasterio.windows import Window

    cell, ratio, height, width, transform = grid
    halo = round(50 / cell) + 2
    profile = dict(
        driver="GTiff", count=len(BANDS), height=height, width=width, dtype="uint8", crs=src.crs, nodata=0, tiled=True,
        blockxsize=256, blockysize=256, compress="deflate", zlevel=1, transform=transform,
        photometric="MINISBLACK", alpha="NO",  # else the fourth band would be taken for transparency
    )  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        for row in range(0, height, STRIP):
            top, end = max(row - halo, 0), min(row + STRIP + halo, height)
            window = Window(0, top * ratio, width * ratio, (end - top) * ratio)
            heights = src.read(
                1, window=window, masked=True, out_shape=(end - top, width), resampling=Resampling.average
            )  # fmt: skip
            heights = np.ma.masked_invalid(heights).astype(np.float32).filled(np.nan) * np.float32(height_unit)
            _check_heights(heights, src.name)
            bands = terrain_bands(heights, cell)[:, row - top : row - top + min(STRIP, height - row)]
            if outline is not None:
                here = transform * transform.translation(0, row)
                bands[:, geometry_mask([outline], bands.shape[1:], here)] = 0
            raster.write(bands, window=Window(0, row, width, bands.shape[1]))
        raster.descriptions = tuple(BANDS)
        raster.scales = tuple((high - low) / 254 for low, high in BANDS.values())
        raster.offsets = tuple(low - (high - low) / 254 for low, high in BANDS.values())


def _check_heights(heights, path):
    from geodl_course.chips import ChipError

    heights = heights[~np.isnan(heights)]
    low, high = heights.min(initial=0), heights.max(initial=0)
    if low < LOWEST or high > HIGHEST:
        raise ChipError(
            f"{path}: heights run from {low:g} to {high:g} m, which is no land. Declare the value of voids with "
            "gdal_edit.py -a_nodata, or say what a unit of height is: height_unit (0.3048 for feet)."
        )


def _read_polygons(path, src):
    from geodl_course.datasets.polygons import only_polygons, read_layer

    table, empty = only_polygons(read_layer(path), path, src.name)
    return table.to_crs(src.crs), empty


def _outline(path, src):
    from geodl_course.chips import ChipError

    outline = _read_polygons(path, src)[0].geometry.union_all()
    if outline.is_empty:
        raise ChipError(f"{path} has no polygon, so it does not say where the objects were mapped. Draw one.")
    return outline


def _clip(shapes, outline):
    """The parts of the polygons inside the outline; lines and points left by the cut are dropped."""
    import shapely

    if outline is None:
        return shapes
    parts = shapely.intersection(shapes, outline)
    kept = [shapely.union_all([p for p in shapely.get_parts(s) if p.geom_type == "Polygon"]) for s in parts]
    return [shape for shape in kept if not shape.is_empty]


def write_polygons(path, shapes, kind, crs):
    """Write polygons as a GeoPackage with fields id (1, 2, 3 ...) and type; the same polygons give the same bytes."""
    import geopandas
    import pyogrio

    table = geopandas.GeoDataFrame({"id": range(1, len(shapes) + 1), "type": kind}, geometry=list(shapes), crs=crs)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})
    try:
        table.to_file(path, driver="GPKG", layer="objects", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
