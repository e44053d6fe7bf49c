"""What moves from towns to real ground? Real scenes, each mapped whole by three models that have not seen it.

    python -m tests.benchmarks.real_scenes ships --seeds 0 1 2
    python -m tests.benchmarks.real_scenes buildings --seeds 0 1 2
    python -m tests.benchmarks.real_scenes trees --seeds 0 1 2
    python -m tests.benchmarks.real_scenes ships --how scratch          # one of the three, beside what is stored

zero_shot has learned one class of towns, the nearest there is: vehicles for ships, buildings for buildings, the round
tanks for trees (towns have trees, but none is labelled). fine_tuned goes on from there on the real training chips,
scratch takes as many steps on these alone. All three see red, green and blue: towns have no counterpart of the ships'
near and short-wave infrared. What comes in is scaled by the real chips' mean and spread, for which no label is needed,
and read at the real chips' resolution; buildings are read at towns' own by zero_shot.

The scenes are of places not trained on: the port of Busan, a quarter of Kampala put together from tiles, the four
plots of the site OSBS. Layers are judged at a score of 0.5 (AP: at all scores from 0.05). Models and layers are kept in
build/scenes, and what is kept is not trained again; the ships' layers also lie beside the results, for lecture 10.
"""

import argparse
import shutil
from dataclasses import replace

import pandas as pd
import torch

from geodl_course import scenes, training
from geodl_course.datasets.building_mosaic import mosaic_scene
from geodl_course.datasets.download import fetch
from geodl_course.datasets.neon_trees import plot_scenes
from geodl_course.datasets.sen2ships import port_scene
from geodl_course.evaluation.maps import map_average_precision, map_scores
from geodl_course.scenes.output import write_geojson
from tests.benchmarks import results
from tests.benchmarks.accuracy import fewer_empty

KEPT = results.ROOT / "build" / "scenes"
TOWNS = "towns"  # another set is kept and stored under a name of its own
BANDS = ["red", "green", "blue"]
HOWS = ("zero_shot", "fine_tuned", "scratch")
SIZE, OVERLAP, SCORE, LEAST, LOOSE = 128, 64, 0.5, 0.05, 0.3
EMPTY = 0.2  # of the chips without an object, this share is trained on
PLACES = {  # towns: the class that comes nearest; resolution: metres at which zero_shot reads, None as the real chips
    "ships": {"real": "sen2ships", "towns": "vehicle", "system": "faster_rcnn", "steps": 300, "resolution": None,
              "scenes": lambda: [port_scene(fetch("sen2ships") / "busan", KEPT / "busan.tif")]},
    "buildings": {"real": "buildings", "towns": "building", "system": "mask_rcnn", "steps": 120, "resolution": 0.4,
                  "scenes": lambda: [mosaic_scene(fetch("buildings"), KEPT / "kampala.tif")]},
    "trees": {"real": "neon_trees", "towns": "tank", "system": "faster_rcnn", "steps": 150, "resolution": None,
              "scenes": lambda: plot_scenes(fetch("neon_trees"))},
}  # fmt: skip
COMMAND = "python -m tests.benchmarks.real_scenes"


def open_chips(name, system, classes=None):
    """Training chips of a data set in red, green and blue, of these classes only, few of them empty."""
    chips = training.open_chips(name, "train", masks=system in training.MASKED).pick_bands(BANDS)
    return fewer_empty(chips.pick_classes(classes) if classes else chips, EMPTY)


def trained(which, how, seed, towns):
    """Folder of one of the three models of a place, trained where it is not kept."""
    learns_from = TOWNS if how == "scratch" else towns  # scratch sees no town
    folder, place = KEPT / results.name_for(f"real_{which}_{how}_{seed}", learns_from, TOWNS), PLACES[which]
    if (folder / "model.safetensors").exists():
        return folder
    chips = open_chips(place["real"], place["system"])
    learned, info = chips, chips.info
    if how == "zero_shot":
        learned = open_chips(towns, place["system"], [place["towns"]])
        info = replace(info, resolution=place["resolution"] or info.resolution)
    torch.manual_seed(seed)
    if how == "fine_tuned":
        model = training.load_model(trained(which, "zero_shot", seed, towns))
    else:
        model = training.make_model(place["system"], training.RECIPES[place["system"], "quick"][0], learned)
    way = {"checkpoint": KEPT / "unfinished" / folder.name, "resume": True}  # goes on where it was stopped
    history = training.fit(model, learned, steps=place["steps"], seed=seed, progress=False, **way)
    print(f"{folder.name}: {history.step} steps, {history.seconds:.0f} s", flush=True)
    return training.save_model(model.cpu().eval(), folder, info)


def measure(which, how, seed, towns):
    """Map the scenes of a place with one model → its figures, the layers put together."""
    model, layers, truths = trained(which, how, seed, towns), [], []
    for number, (raster, truth) in enumerate(PLACES[which]["scenes"]()):
        out = KEPT / f"{model.name}_{number}.gpkg"
        shutil.rmtree(f"{out}.parts", ignore_errors=True)  # of a stopped run: the scene has been written again since
        layers.append(scenes.map_scene(raster, model, out, size=SIZE, overlap=OVERLAP, score=LEAST, progress=False))
        truths.append(truth)
    layer, truth = (pd.concat(each, ignore_index=True) for each in (layers, truths))
    if which == "ships" and seed == 0:
        keep_layer(layer[layer["score"] >= SCORE], results.name_for(f"real_scenes_ships_{how}", towns, TOWNS))
    return rated(layer, truth)


def rated(layer, truth):
    """AP at an IoU of 0.5; found, missed, false, precision, recall, f1, area_error; f1 where an IoU of 0.3 will do."""
    sure = layer[layer["score"] >= SCORE].reset_index(drop=True)
    loose = map_scores(sure, truth, LOOSE).loc["all", "f1"]
    return {"objects": len(truth), "AP50": map_average_precision(layer, truth),
            **map_scores(sure, truth).loc["all"].to_dict(), f"f1_iou_{LOOSE}": loose}  # fmt: skip


def keep_layer(layer, name):
    """Ships found in Busan beside the results, in degrees, as GeoJSON wants them."""
    path = results.folder() / f"{name}.geojson"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_geojson(layer, path, None, None)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=PLACES)
    parser.add_argument("--how", nargs="+", choices=HOWS, default=HOWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--towns", default=TOWNS, help="a data set's name, a chip folder or an .npz")
    chosen = parser.parse_args(arguments)
    KEPT.mkdir(parents=True, exist_ok=True)
    name = results.name_for(f"real_scenes_{chosen.which}", chosen.towns, TOWNS)
    towns = "" if chosen.towns == TOWNS else f" --towns {chosen.towns}"
    command = f"{COMMAND} {chosen.which}{towns} --seeds {' '.join(map(str, chosen.seeds))}"
    for seed in chosen.seeds:
        known = [run["figures"] for run in results.runs(name) if run["seed"] == seed]
        figures = {"steps": PLACES[chosen.which]["steps"], **(known[0] if known else {})}
        for how in chosen.how:
            figures[how] = measure(chosen.which, how, seed, chosen.towns)
            print(seed, how, results.tidy(figures[how]), flush=True)
            results.store(name, {key: figures[key] for key in ("steps", *HOWS) if key in figures}, command, seed)


if __name__ == "__main__":
    main()
