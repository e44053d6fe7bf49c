"""Cut your own raster and vector layer into a chip folder:

python data_scripts/chip.py scene.tif objects.gpkg --class-field type --size 128 --overlap 0 --split spatial OUT
"""

import argparse
import sys
import warnings


def _names(text):
    return text.split(",")  # one word, so that it cannot swallow what follows


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Raster and vector layer to a chip folder.")
    parser.add_argument("scene", help="raster with a CRS, for example a GeoTIFF")
    parser.add_argument("objects", help="vector layer with a CRS, for example a GeoPackage")
    parser.add_argument("out", help="chip folder to make; it must not exist")
    parser.add_argument("--class-field", required=True, help="field of the layer that holds the class")
    parser.add_argument("--layer", help="layer of the file, where it has several")
    parser.add_argument("--classes", type=_names, help="order of the classes, as house,car (default: sorted)")
    parser.add_argument("--size", type=int, default=128, help="chip side in pixels (default: 128)")
    parser.add_argument("--overlap", type=int, default=0, help="pixels that neighbours share (default: 0)")
    parser.add_argument("--split", default="spatial", choices=["spatial", "train", "val", "test"])
    parser.add_argument("--val", type=float, default=0.2, help="share of the chips for validation (default: 0.2)")
    parser.add_argument("--test", type=float, default=0.2, help="share of the chips for testing (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="decides where val and test lie (default: 0)")
    parser.add_argument("--min-visible", type=float, default=0.3, help="share of a cut object that keeps it (0.3)")
    parser.add_argument("--licence", default="", help="stored in dataset.json")
    parser.add_argument("--citation", default="", help="stored in dataset.json")
    settings = vars(parser.parse_intermixed_args(arguments))
    warnings.showwarning = lambda message, *rest, **more: print(f"chip.py: {message}", file=sys.stderr)

    from geodl_course.datasets.chipping import chip_scene

    try:
        print(chip_scene(settings.pop("scene"), settings.pop("objects"), settings.pop("out"), **settings))
    except (ValueError, OSError) as error:
        print(f"chip.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
