"""Turn an export of ArcGIS Pro, or images with a COCO file, into a chip folder, and a chip folder into an export:

python data_scripts/convert.py EXPORT OUT --split spatial
python data_scripts/convert.py data/towns OUT --to RCNN_Masks
"""

import argparse
import sys
from pathlib import Path


def main(arguments=None):
    from geodl_course.datasets.formats import MODES, read_arcgis, write_arcgis

    parser = argparse.ArgumentParser(description="ArcGIS Pro export to chip folder, or chip folder to export.")
    parser.add_argument("source", help="chip folder, or export (images/ beside labels/ or a COCO file labels.json)")
    parser.add_argument("out", help="folder to make; it must not exist")
    parser.add_argument("--to", choices=MODES, help="chip folder to export: format of the export (default: RCNN_Masks)")
    parser.add_argument("--split", default="train", choices=["spatial", "train", "val", "test"],
                        help="export to chip folder: where its chips go (default: train)")
    parser.add_argument("--val", type=float, default=0.2, help="share for validation of a spatial split (default: 0.2)")
    parser.add_argument("--test", type=float, default=0.2, help="share for testing of a spatial split (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="decides where val and test lie (default: 0)")
    parser.add_argument("--resolution", type=float, help="metres a pixel, where the export does not say it")
    settings = vars(parser.parse_args(arguments))
    source, out, to = Path(settings.pop("source")), settings.pop("out"), settings.pop("to")
    try:
        if (source / "dataset.json").is_file():
            print(write_arcgis(source, out, to or MODES[0]))
        elif to:
            parser.error(f"{source} has no dataset.json, so it is no chip folder that --to could export")
        else:
            print(read_arcgis(source, out, **settings))
    except (ValueError, OSError) as error:
        print(f"convert.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
