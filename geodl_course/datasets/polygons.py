"""Layers of polygons as every importer reads them: one rule for bad geometry, and the way from the map to pixels.

Features without geometry are left out and counted; a multipolygon is one object, and holes stay holes. Points, lines,
polygons that cross themselves and layers without a CRS are refused with a ChipError. A GeoJSON file without a `crs`
is in degrees (EPSG:4326), as its standard says.
"""

import numpy as np

from geodl_course.chips import ChipError


def read_layer(path, layer=None):
    """GeoDataFrame of the one layer with shapes in a vector file, or of `layer`. Raises ChipError."""
    import geopandas
    import pyogrio

    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]  # None: a table without shapes
        found = [layer] if layer else layers
        if len(found) == 1 and found[0] in layers:
            return geopandas.read_file(path, layer=found[0], engine="pyogrio", fid_as_index=True)
    except Exception as error:  # pyogrio, GDAL and the file system each raise their own kind
        raise ChipError(f"{path}: cannot be read as a vector layer ({error}). Check path and format.") from error
    raise ChipError(
        f"{path}: {f'no layer {layer!r}.' if layer else 'which layer holds the objects?'} Its layers: "
        f"{', '.join(layers) or 'none with shapes'}. Name one: --layer."
    )


def only_polygons(table, path, raster):
    """(the features of `table` that have a geometry, how many have none); `path` and `raster` are what errors name."""
    import shapely

    if table.crs is None:
        raise ChipError(
            f"{path} has no CRS, so it cannot be laid over {raster}. Assign the CRS it was drawn in, for example "
            "with QGIS 'Assign projection'."
        )
    empty = table.geometry.isna() | table.geometry.is_empty
    table = table[~empty]
    kinds = table.geometry.geom_type
    for feature, kind in kinds[~kinds.isin(["Polygon", "MultiPolygon"])].items():
        raise ChipError(f"{path}: feature {feature} is a {kind}; objects must be polygons. Buffer it or remove it.")
    invalid = ~table.geometry.is_valid
    if invalid.any():
        feature = table.index[invalid][0]
        raise ChipError(
            f"{path}: feature {feature} crosses itself ({shapely.is_valid_reason(table.geometry[feature])}), and "
            f"{int(invalid.sum())} in all are invalid. Repair the layer, for example with QGIS 'Fix geometries' or "
            "make_valid() of geopandas, and look at the result."
        )
    return table, int(empty.sum())


def in_pixels(geometry, transform):
    """Shapely polygons (N,) of a GeoSeries in pixel coordinates (x = column, y = row) of a raster."""
    import shapely

    a, b, c, d, e, f = tuple(~transform)[:6]
    return shapely.transform(geometry.to_numpy(), lambda p: p @ np.array([[a, d], [b, e]]) + [c, f])
