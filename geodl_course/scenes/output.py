"""Maps on disk: GeoPackage and GeoJSON with a style for QGIS, COCO, and scores as a raster. Each appears when whole."""

import json
from pathlib import Path

import geopandas
import numpy as np
import shapely

from geodl_course.datasets.map_units import metres_per_unit
from geodl_course.datasets.polygons import in_pixels
from geodl_course.scenes.rasters import write_scores
from geodl_course.scenes.reading import files_of, open_source
from geodl_course.scenes.whole import blame_disk, whole

COLOURS = ("204,121,167", "86,180,233", "230,159,0", "0,158,115", "213,94,0", "0,114,178", "240,228,66")
COLUMNS = ("id", "class", "score", "area_m2", "perimeter_m", "cut")


def layer_of(objects, scene, classes, simplify=0.0):
    """Objects in scene pixels → GeoDataFrame of COLUMNS and geometry in the scene's CRS, best score first.

    simplify: how far, in metres, an outline may be moved to need fewer corners (Douglas and Peucker 1973). Areas and
    perimeters are in metres, also where the CRS counts in feet; what a Mercator map (EPSG:3857) stretches is taken out.
    cut: does it lack a part, at the end of the scene read?
    """
    a, b, c, d, e, f = tuple(scene.transform)[:6]
    order = np.argsort(-objects.scores, kind="stable")
    shapes = shapely.transform(objects.shapes[order], lambda p: p @ np.array([[a, d], [b, e]]) + [c, f])
    metres = metres_per_unit(scene.crs, shapes)
    if simplify:
        shapes = shapely.simplify(shapes, simplify / metres)
    shapes = shapely.normalize(shapes)
    names = np.array(["", *classes], object)[objects.labels[order]]
    table = {"id": np.arange(1, len(order) + 1), "class": names, "score": objects.scores[order].astype(float),
             "area_m2": shapely.area(shapes) * metres**2, "perimeter_m": shapely.length(shapes) * metres,
             "cut": objects.cut[order]}  # fmt: skip
    return geopandas.GeoDataFrame(table, geometry=list(shapes), crs=scene.crs)


def write_layer(layer, out, classes, scene=None):
    """Write a layer as .gpkg or .geojson (in EPSG:4326), each with a style beside it, as COCO's .json, or its scores as
    a raster, .tif → the path.

    COCO has one image, the scene, and polygons in its file's pixels; their holes are filled, for it knows none. An
    older file is replaced when the new one is whole.
    Raises ValueError for any other ending, OSError where the disk does not take it.
    """
    out = Path(out)
    check_ending(out)
    with whole(out) as part:
        WRITERS[out.suffix](layer, part, classes, scene)
        if out.suffix in STYLED:
            with whole(out.with_suffix(".qml")) as qml, blame_disk(qml):
                qml.write_text(style(classes), "utf-8")
    return out


def check_ending(out):
    if out.suffix not in WRITERS:
        raise ValueError(f"{out}: the map can be written as {', '.join(WRITERS)}; give it one of these endings")


def write_geopackage(layer, path, classes, scene):
    save(layer, path, "GPKG", layer="objects")


def write_geojson(layer, path, classes, scene):
    save(layer.to_crs(4326), path, "GeoJSON", RFC7946="YES")


def save(table, path, driver, **options):
    """An empty layer keeps its columns and says that it is of polygons. GDAL may only log a full disk: so read it."""
    with blame_disk(path):
        path.unlink(missing_ok=True)
        table.to_file(path, driver, engine="pyogrio", geometry_type="MultiPolygon", promote_to_multi=True, **options)
        again = geopandas.read_file(path, engine="pyogrio")
        if len(again) != len(table) or len(table) and not again["id"].equals(table["id"].astype(again["id"].dtype)):
            raise OSError(f"{len(again)} of {len(table)} objects are there")


def write_coco(layer, path, classes, scene):
    with open_source(scene.path) as source:  # pixels of the file: the model's may be others
        (height, width), grid = source.shape, source.transform
    pixels = in_pixels(layer.geometry, grid)
    image = {"id": 1, "file_name": Path(files_of(scene.path)[0]).name, "width": width, "height": height}
    found = [annotation(row, shape, classes) for row, shape in zip(layer.itertuples(), pixels, strict=True)]
    names = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    with blame_disk(path):
        path.write_text(json.dumps({"images": [image], "annotations": found, "categories": names}), "utf-8")


def annotation(row, shape, classes):
    x0, y0, x1, y1 = shape.bounds
    rings = [np.array(part.exterior.coords)[:-1].ravel().round(2).tolist() for part in shapely.get_parts(shape)]
    return {"id": int(row.id), "image_id": 1, "category_id": classes.index(row[2]) + 1, "score": round(row.score, 4),
            "segmentation": rings, "area": shape.area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}  # fmt: skip


WRITERS = {".gpkg": write_geopackage, ".geojson": write_geojson, ".json": write_coco, ".tif": write_scores}
STYLED = ".gpkg", ".geojson"


def style(classes):
    """A QGIS style (.qml): a colour for each class, outlines over a faint fill."""
    rows, symbols = [], []
    for i, name in enumerate(classes):
        colour = COLOURS[i % len(COLOURS)]
        label = name.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        rows.append(f'<category value="{label}" label="{label}" symbol="{i}" render="true"/>')
        symbols.append(
            f'<symbol type="fill" name="{i}" alpha="1"><layer class="SimpleFill" enabled="1"><Option type="Map">'
            f'<Option type="QString" name="color" value="{colour},50"/>'
            f'<Option type="QString" name="outline_color" value="{colour},255"/>'
            '<Option type="QString" name="outline_width" value="0.5"/></Option></layer></symbol>'
        )
    return ('<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n<qgis styleCategories="Symbology">'
            f'<renderer-v2 type="categorizedSymbol" attr="class"><categories>{"".join(rows)}</categories>'
            f'<symbols>{"".join(symbols)}</symbols></renderer-v2></qgis>\n')  # fmt: skip
