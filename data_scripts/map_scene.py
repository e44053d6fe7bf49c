"""Map a whole scene with a trained model: python data_scripts/map_scene.py scene.tif --model checkpoint map.gpkg"""

import argparse
import sys


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Map a whole scene with a trained model.")
    parser.add_argument("scene", help="GeoTIFF, COG or VRT with a CRS in metres or feet")
    parser.add_argument("out", help="what to write: .gpkg, .geojson (EPSG:4326), .json (COCO) or .tif (scores)")
    parser.add_argument("--model", required=True, help="folder of a checkpoint, as training.save_model writes it")
    parser.add_argument("--size", type=int, help="pixels of a window (the model's, or its chips')")
    parser.add_argument("--overlap", type=int, help="pixels that neighbouring windows share (a quarter)")
    parser.add_argument("--score", type=float, default=0.5, help="lowest score to keep (0.5)")
    parser.add_argument("--merge", default="parts", choices=["parts", "core", "nms"], help="rule at edges (parts)")
    parser.add_argument("--simplify", type=float, default=0.0, help="metres by which outlines may be simplified (0)")
    parser.add_argument("--bands", type=int, nargs="+", help="band numbers in the model's order, where no names tell")
    parser.add_argument("--batch-size", type=int, help="windows at a time (what suits the device)")
    parser.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the work (1)")
    chosen = parser.parse_args(arguments)
    try:
        print(map_it(**vars(chosen)))
    except (ValueError, OSError) as error:
        print(f"map_scene.py: {error}", file=sys.stderr)
        sys.exit(2)


def map_it(scene, out, model, processes, **settings):
    """Map the scene → what to tell: how much was found where, and which windows failed."""
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from multiprocessing import get_context

    from geodl_course.scenes import map_scene

    apart = get_context("spawn")  # a fork after torch has run may hang
    with ProcessPoolExecutor(processes, mp_context=apart) if processes > 1 else nullcontext() as executor:
        layer = map_scene(scene, model, out, executor=executor, **settings)
    told = layer.attrs
    failed = [f"not mapped: {[round(x, 2) for x in one['bounds']]} ({one['why']})" for one in told["failed"]]
    speed = told["pixels"] / told["seconds"]["all"] / 1e6
    return "\n".join([f"{len(layer)} objects in {told['windows']} windows, {told['seconds']['all']:.1f} s, "
                      f"{speed:.2f} megapixels a second: {out}", *failed])  # fmt: skip


if __name__ == "__main__":
    main()
