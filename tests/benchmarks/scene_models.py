"""All five detectors and segmenters on one scene that none has seen: accuracy of the map, seconds, memory.

    python -m tests.benchmarks.scene_models                  # every system
    python -m tests.benchmarks.scene_models --only ssd       # one of them

Each is trained on towns for 90 s, kept in build/scenes, and maps the town of the benchmark scenes in a process of its
own. Boxes are compared with the boxes of the reference polygons, since three of the five know nothing else; outlines,
where there are any, with the polygons. U-Net-ID maps buildings alone, so buildings are what all are compared by.
Lecture 10 shows the table.
"""

import argparse
import json
import subprocess
import sys

import torch

from geodl_course import scenes
from geodl_course.evaluation.maps import map_average_precision, map_scores
from tests.benchmarks import results
from tests.benchmarks.chip_sizes import peak
from tests.benchmarks.scenes import EXTENT, KEPT, SCORE, SIZE, town, trained

SYSTEMS = ("faster_rcnn", "ssd", "yolo_v1", "mask_rcnn", "unet_id")
COMMAND = "python -m tests.benchmarks.scene_models"


def measure(system):
    """Map the town with one system → its figures."""
    raster, truth = town()
    folder = trained(system)
    fixed = json.loads((folder / "model.json").read_text("utf-8"))["settings"].get("size")
    how = {"size": None if fixed else SIZE, "score": 0.05, "progress": False}
    layer = scenes.map_scene(raster, folder, KEPT / f"{system}.gpkg", **how)
    gigabytes = peak(torch.device("cpu")) / 1e9
    layer, truth = (each[each["class"] == "building"].reset_index(drop=True) for each in (layer, truth))
    sure = layer[layer["score"] >= SCORE].reset_index(drop=True)
    seconds = layer.attrs["seconds"]
    figures = {"objects": len(truth), "windows": layer.attrs["size"], "seconds": seconds["all"],
               "model_seconds": seconds["model"],
               "megapixels_per_second": EXTENT**2 / 1e6 / seconds["all"], "gigabytes": gigabytes}  # fmt: skip
    kinds = {"boxes": lambda each: each.set_geometry(each.geometry.envelope)}
    if system in ("mask_rcnn", "unet_id"):
        kinds["outlines"] = lambda each: each
    for kind, seen in kinds.items():
        row = map_scores(seen(sure), seen(truth)).loc["all"]
        figures[kind] = {"AP50": map_average_precision(seen(layer), seen(truth)), **row.to_dict()}
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SYSTEMS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        return print(json.dumps(results.tidy(measure(chosen.only))))
    known = results.runs("scene_models")
    figures = dict(known[-1]["figures"]) if known else {}
    for system in [chosen.only] if chosen.only else SYSTEMS:
        trained(system)  # here, so that the process that maps shows what mapping takes
        words = [sys.executable, "-m", "tests.benchmarks.scene_models", "--inside", "--only", system]
        done = subprocess.run(words, cwd=results.ROOT, capture_output=True, text=True, check=True)
        figures[system] = json.loads(done.stdout.splitlines()[-1])
        print(system, figures[system], flush=True)
        results.store("scene_models", figures, COMMAND)


if __name__ == "__main__":
    main()
