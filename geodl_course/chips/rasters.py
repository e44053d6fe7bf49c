"""Single image files; rasterio is imported only where one is touched, so that training runs without it."""

import contextlib
import warnings

from geodl_course.chips.record import ChipError


@contextlib.contextmanager
def raster_env():
    """Settings under which many small rasters are read and written."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    # Listing the folder at each open makes reading n chips cost n * n.
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a chip without a place on the map is still a chip
        yield


def read_raster(path):
    """Bands (C, H, W), transform and CRS of an image file. Raises ChipError for one that is damaged."""
    import rasterio

    try:
        with rasterio.open(path) as src:
            return src.read(), src.transform, src.crs
    except rasterio.errors.RasterioIOError as error:
        raise ChipError(
            f"{path}: cannot be read as an image ({error}). The file is damaged or cut short: "
            "make or fetch the data set again."
        ) from error


def write_raster(path, bands, transform, crs, nodata=None, names=None, **layout):
    """Write bands (C, H, W) as a GeoTIFF, in which each band says its name; `layout` goes to GDAL's driver.

    Only bands named red, green, blue, in this order and first, are said to be colours.
    """
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    coloured = [name.lower() for name in names or []][:3] == ["red", "green", "blue"]
    colours = {"photometric": "RGB" if coloured else "MINISBLACK"}  # GDAL would take four of uint8 for RGB and alpha
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, crs=crs, transform=transform,
            nodata=nodata, compress="deflate", zlevel=1, **({"interleave": "band"} | colours | layout),
        ) as dst:
            dst.write(bands)
            dst.descriptions = names or [None] * count
        path.write_bytes(memory.getbuffer())  # Python reports a full disk here; GDAL may only log it on close
