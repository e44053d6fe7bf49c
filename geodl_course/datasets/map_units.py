"""What a unit of a map is on the ground: a metre, a foot, or on a Mercator map less, the farther from the equator."""

import numpy as np
import pyproj
import shapely


def metres_per_unit(crs, shapes):
    """Metres per unit of a CRS at each of shapes (N,): its unit's, but on a Mercator map, which stretches the north."""
    crs = pyproj.CRS.from_user_input(crs)
    unit = crs.axis_info[0].unit_conversion_factor
    method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    if not method.startswith(("Mercator", "Popular Visualisation")) or not len(shapes):
        return unit
    x, y = shapely.get_coordinates(shapely.centroid(shapes)).T
    degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform
    east, north = (crs.get_geod().inv(*degrees(x, y), *degrees(x + dx, y + 1 - dx))[2] for dx in (1, 0))
    return np.sqrt(east * north)
