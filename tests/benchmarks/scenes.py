"""Is the map of a scene as good as its chips, and is making it quick and small? One figure group a word:

    python -m tests.benchmarks.scenes seams      # whole scene against chips in which nothing is cut; seconds by kind
    python -m tests.benchmarks.scenes merge      # 100,000 detections merged
    python -m tests.benchmarks.scenes memory     # peak memory of a large scene against a small one
    python -m tests.benchmarks.scenes sahi       # the same model, scene and overlap through SAHI (pip install sahi)

The scene is a town of 4,096 px that no model has seen; the model is the quick Faster R-CNN after 90 s on towns, kept in
build/scenes. Lecture 10 shows the results.
"""

import argparse
import subprocess
import sys
import time

import geopandas
import numpy as np
import rasterio
import shapely
import torch

from geodl_course import scenes, training
from geodl_course.evaluation.maps import in_pieces, map_scores, match_maps, near_seams
from geodl_course.scenes.merging import merge_parts, suppress
from geodl_course.scenes.objects import Objects
from geodl_course.scenes.output import layer_of
from geodl_course.scenes.reading import corners, open_scene
from geodl_course.training.checkpoints import read_data
from tests.benchmarks import instances, results
from tests.benchmarks.accuracy import fewer_empty
from tests.benchmarks.chip_sizes import peak

KEPT = results.ROOT / "build" / "scenes"
SEED, EXTENT, SIZE, OVERLAP, SCORE = 1000, 4096, 256, 64, 0.5
COMMAND = "python -m tests.benchmarks.scenes"


def town():
    """A scene of its own, EXTENT px a side → its raster, its reference polygons with a column class."""
    from geodl_course.datasets.towns import write_scene

    KEPT.mkdir(parents=True, exist_ok=True)
    raster, vector = KEPT / "town.tif", KEPT / "town.gpkg"
    if not vector.exists():
        write_scene(KEPT, SEED, "town", EXTENT)
    return raster, geopandas.read_file(vector).rename(columns={"type": "class"})


def trained(system="faster_rcnn", seconds=90, seed=0):
    """Folder of the quick model after `seconds` on towns, trained where it is not kept."""
    folder = KEPT / system
    if not (folder / "model.safetensors").exists():
        train = training.open_chips("towns", "train", masks=system in ("mask_rcnn", "unet_id"))
        if system == "unet_id":
            train = train.pick_classes([instances.CLASS])
            model = instances.train_unet_id(fewer_empty(train, instances.EMPTY), seed, seconds)[0]
        else:
            model = train_quick(system, train, seed, seconds)
        training.save_model(model.cpu().eval(), folder, train.info)
    return folder


def train_quick(system, train, seed, seconds):
    torch.manual_seed(seed)
    function, recipe = training.RECIPES[system, "quick"]
    model = training.make_model(system, function, train)
    training.fit(model, train, seed=seed, **{**recipe, "seconds": seconds})
    return model


def seams():
    """F1 of the map by each rule at edges, against chips in which no object is cut; what is doubled; seconds."""
    raster, truth = town()
    model = trained()
    figures = {"objects": len(truth), "chips": whole_chips(raster, truth, model)}
    scene = open_scene(raster, read_data(model))
    at = corners(scene, SIZE, OVERLAP)
    for way in ("nms", "core", "parts"):
        how = {"size": SIZE, "overlap": OVERLAP, "score": SCORE, "merge": way, "progress": False}
        layer = scenes.map_scene(raster, model, KEPT / f"{way}.gpkg", **how)
        seconds = layer.attrs["seconds"]
        figures[way] = {
            **rated(layer, truth), "in_pieces": int(in_pieces(layer, truth).sum()), "seconds": seconds,
            "at_seams": rated(layer, truth, lambda each: near_seams(each, scene, at, SIZE)),
            "elsewhere": rated(layer, truth, lambda each: ~near_seams(each, scene, at, SIZE)),
            "outside_share": 1 - seconds["model"] / seconds["all"],
        }  # fmt: skip
        print(way, results.tidy(figures[way]), flush=True)
    figures["megapixels_per_second"] = EXTENT**2 / 1e6 / figures["parts"]["seconds"]["all"]
    return figures


def rated(layer, truth, chosen=None):
    """found, missed, false and f1, of all or of the chosen objects; matched over the whole map in either case."""
    if chosen is None:
        return map_scores(layer, truth).loc["all", ["found", "missed", "false", "f1"]].to_dict()
    pairs, _ = match_maps(layer, truth)
    mine, theirs = chosen(layer), chosen(truth)
    found = int(theirs[pairs[:, 1]].sum())
    false = int(np.delete(mine, pairs[:, 0]).sum())
    missed = int(theirs.sum()) - found
    return {"found": found, "missed": missed, "false": false, "f1": 2 * found / max(2 * found + false + missed, 1)}


def whole_chips(raster, truth, model):
    """The same model on a grid of chips, of whose objects only those count that no edge cuts: what none can beat."""
    scene = open_scene(raster, read_data(model))
    layer = scenes.map_scene(raster, model, size=SIZE, overlap=0, score=SCORE, merge=None, progress=False)
    at = corners(scene, SIZE, 0)
    cut = near_seams(truth, scene, at, SIZE)
    pairs, _ = match_maps(layer, truth)
    found = int((~cut[pairs[:, 1]]).sum())
    alone = np.delete(np.arange(len(layer)), pairs[:, 0])
    on_cut = shapely.STRtree(truth.geometry.to_numpy()[cut]).query(layer.geometry.to_numpy()[alone], "intersects")[0]
    false = len(alone) - len(np.unique(on_cut))  # what lies on a cut object is neither right nor wrong
    missed = int((~cut).sum()) - found
    return {"found": found, "missed": missed, "false": false, "f1": 2 * found / (2 * found + false + missed)}


def merge(count=100_000):
    """Seconds to merge `count` detections that windows have cut from a regular layout, and did all come out whole?"""
    objects, whole = cut_layout(count)
    figures = {"detections": len(objects), "objects": len(whole)}
    for name, rule in (("nms", suppress), ("parts", merge_parts)):
        start = time.perf_counter()
        merged = rule(objects)
        figures[name] = {"seconds": time.perf_counter() - start, "left": len(merged)}
    bounds = shapely.bounds(merged.shapes)
    figures["parts"]["exact"] = bool(np.array_equal(bounds[np.lexsort(bounds.T)], whole[np.lexsort(whole.T)]))
    return figures


def cut_layout(count, pitch=60):
    """At least count pieces, as windows cut them from rectangles that do not touch → Objects, the rectangles (N, 4)."""
    rng, side = np.random.default_rng(0), int((count / 2) ** 0.5) + 1
    corner = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) * pitch + 5.0
    whole = np.concatenate((corner, corner + rng.integers(15, 46, corner.shape)), axis=1)
    starts = np.array(sorted({col for _, col in squares(side * pitch + 10)}), float)
    touched = [(starts < whole[:, i + 2, None]) & (starts + SIZE > whole[:, i, None]) for i in (0, 1)]
    which, across, down = np.nonzero(touched[0][:, :, None] & touched[1][:, None, :])
    window = np.stack((starts[across], starts[down], starts[across] + SIZE, starts[down] + SIZE), axis=1)
    first, last = np.maximum(whole[which, :2], window[:, :2]), np.minimum(whole[which, 2:], window[:, 2:])
    piece = np.concatenate((first, last), axis=1)
    cut = (piece != whole[which]).any(axis=1)
    return Objects(shapely.box(*piece.T), rng.random(len(piece)), np.ones(len(piece), int), window, cut), whole


def squares(extent):
    from geodl_course.windows import windows

    return windows(extent, extent, SIZE, OVERLAP)


def memory():
    """Peak memory (GB) of mapping 4,096 and 20,000 px a side, each in a process of its own, with a stub model."""
    tile = town()[0]
    figures = {}
    for extent in (EXTENT, 20_000):
        words = [sys.executable, "-m", "tests.benchmarks.scenes", "one", str(vrt(tile, extent)), str(trained())]
        done = subprocess.run(words, cwd=results.ROOT, capture_output=True, text=True, check=True)
        gigabytes, seconds = map(float, done.stdout.split()[-2:])
        figures[str(extent)] = {"gigabytes": gigabytes, "seconds": seconds}
        print(extent, figures[str(extent)], flush=True)
    return {**figures, "ratio": figures["20000"]["gigabytes"] / figures[str(EXTENT)]["gigabytes"]}


def vrt(tile, extent):
    """A virtual raster of extent px a side, the tile over and over."""
    with rasterio.open(tile) as source:
        size, place = source.width, ", ".join(f"{x:.10g}" for x in source.transform.to_gdal())
        crs, count = source.crs.to_wkt(), source.count
    bands, places = [], [(x, y) for x in range(0, extent, size) for y in range(0, extent, size)]
    for band in range(1, count + 1):
        parts = []
        for x, y in places:
            sides = f'xSize="{min(size, extent - x)}" ySize="{min(size, extent - y)}"'
            parts.append(f'<SimpleSource><SourceFilename>{tile}</SourceFilename><SourceBand>{band}</SourceBand>'
                         f'<SrcRect xOff="0" yOff="0" {sides}/><DstRect xOff="{x}" yOff="{y}" {sides}/></SimpleSource>')
        bands.append(f'<VRTRasterBand dataType="Byte" band="{band}">{"".join(parts)}</VRTRasterBand>')
    path = KEPT / f"{extent}.vrt"
    path.write_text(f'<VRTDataset rasterXSize="{extent}" rasterYSize="{extent}"><SRS>{crs.replace("<", "&lt;")}</SRS>'
                    f"<GeoTransform>{place}</GeoTransform>{''.join(bands)}</VRTDataset>", "utf-8")
    return path


def one(raster, model):
    """Map one raster with a model that finds eight boxes in each window, and print peak memory and seconds."""
    from types import SimpleNamespace

    from geodl_course.scenes import run

    x = torch.arange(8.0)
    found = {"boxes": torch.stack((30 * x, 30 * x, 30 * x + 20, 30 * x + 20), 1), "scores": torch.ones(8),
             "labels": torch.ones(8, dtype=torch.long)}  # fmt: skip
    run.model_of = lambda *which: lambda images: SimpleNamespace(per_image=lambda: [found] * len(images))
    start = time.perf_counter()
    scenes.map_scene(raster, model, size=SIZE, overlap=OVERLAP, progress=False)
    print(peak(torch.device("cpu")) / 1e9, time.perf_counter() - start)


def sahi():
    """Seconds and F1 of map_scene and of SAHI with the same model, scene, windows and overlap, in turn, three times.

    sahi: 4 windows at a time as map_scene takes them, and no more. sahi_batch_1: SAHI's own default of one window.
    sahi_default: all as its public function has it by default, which also shows the model the whole scene at once.
    """
    raster, truth = town()
    folder = trained()
    ways = {"ours": lambda: map_with_ours(raster, folder), "sahi": sahi_way(raster, folder, batch_size=4),
            "sahi_batch_1": sahi_way(raster, folder), "sahi_default": sahi_way(raster, folder, whole=True)}  # fmt: skip
    figures = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            start = time.perf_counter()
            layer = way()
            figures[name].append({"seconds": time.perf_counter() - start, **rated(layer, truth)})
            print(name, results.tidy(figures[name][-1]), flush=True)
    medians = {name: float(np.median([each["seconds"] for each in runs])) for name, runs in figures.items()}
    speeds = {name.replace("sahi", "speed"): medians[name] / medians["ours"] for name in medians if name != "ours"}
    return {**figures, **speeds}


def map_with_ours(raster, folder):
    return scenes.map_scene(raster, folder, size=SIZE, overlap=OVERLAP, score=SCORE, progress=False)


def sahi_way(raster, folder, whole=False, **how):
    """What maps the scene with SAHI, its arguments as by default but for `how`; whole: the scene at once, too."""
    from sahi.predict import get_sliced_prediction

    from tests.benchmarks.sahi_model import Wrapped

    data = read_data(folder)
    scene = open_scene(raster, data)
    wrapped = Wrapped(model=(training.load_model(folder), data), confidence_threshold=SCORE, device="cpu")
    if not whole:
        how["perform_standard_pred"] = False

    def way():
        with rasterio.open(raster) as source:
            image = source.read().transpose(1, 2, 0)
        found = get_sliced_prediction(image, wrapped, SIZE, SIZE, OVERLAP / SIZE, OVERLAP / SIZE, verbose=0, **how)
        return layer_of(as_objects(found.object_prediction_list), scene, data["classes"])

    return way


def as_objects(found):
    """SAHI's predictions as Objects."""
    boxes = np.array([one.bbox.to_xyxy() for one in found], float).reshape(-1, 4)
    scores, labels = np.array([one.score.value for one in found]), np.array([one.category.id for one in found], int)
    return Objects(shapely.box(*boxes.T), scores, labels, boxes, np.zeros(len(boxes), bool))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["seams", "merge", "memory", "sahi", "one"])
    parser.add_argument("rest", nargs="*")
    chosen = parser.parse_args(arguments)
    if chosen.what == "one":
        return one(*chosen.rest)
    figures = {"seams": seams, "merge": merge, "memory": memory, "sahi": sahi}[chosen.what]()
    print(results.tidy(figures))
    results.store(f"scenes_{chosen.what}", figures, f"{COMMAND} {chosen.what}")


if __name__ == "__main__":
    main()
