"""How near are the generated coasts to real Sentinel-2 ports, band by band?

    python -m tests.benchmarks.coast_spectra

Compares the chips of one kind, land or water, of coast (val and test) and sentinel_coast (all): 5th, 50th and 95th
percentile of the pixels of each band, of NDVI and of MNDWI, the median deviation within a chip, and the mean step from
one pixel to the next, which is what texture and noise make. Chips with cloud are left out.
"""

import argparse

import numpy as np

from geodl_course.chips import ChipDataset, covers
from geodl_course.datasets import make
from geodl_course.datasets.land_water import BANDS, REFLECTANCE, mndwi
from tests.benchmarks import results

COMMAND = "python -m tests.benchmarks.coast_spectra"


def chips_of(folder, splits, kind):
    """Images (N, 5, H, W) float32 of one kind in reflectance."""
    found = []
    for split in splits:
        data = ChipDataset(folder, split)
        said = covers(data)
        found += [image for image, one in zip(data.images, said, strict=True)
                  if one["kind"] == kind and one.get("cloud", 0) == 0]  # fmt: skip
    return np.stack(found).astype(np.float32) / np.float32(REFLECTANCE)


def measure(images):
    """Figures of images (N, 5, H, W): {band or index: {"pixels": 3 percentiles, ...}}."""
    red, nir = (images[:, BANDS.index(name)] for name in ("red", "nir"))
    values = dict(zip(BANDS, images.swapaxes(0, 1), strict=True))
    values["NDVI"] = (nir - red) / np.maximum(nir + red, 1e-6)
    values["MNDWI"] = mndwi(images.swapaxes(0, 1))
    return {
        name: {
            "pixels": np.percentile(one, [5, 50, 95]).tolist(),
            "deviation in a chip": float(np.median(one.std((1, 2)))),
            "step": float(np.abs(np.diff(one, axis=2)).mean()),
        }
        for name, one in values.items()
    } | {"chips": len(images)}  # fmt: skip


def main(arguments=None):
    argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0]).parse_args(arguments)
    found = {}
    for kind in ("land", "water"):
        pair = {"coast": chips_of(make("coast"), ("val", "test"), kind)}
        pair["sentinel_coast"] = chips_of(make("sentinel_coast"), ("train", "val"), kind)
        found[kind] = {name: measure(images) for name, images in pair.items()}
        for name, figures in found[kind].items():
            print(f"{kind}, {figures['chips']} chips of {name}")
            for band in (*BANDS, "NDVI", "MNDWI"):
                pixels, inside, step = figures[band].values()
                shown = " ".join(f"{value:7.3f}" for value in pixels)
                print(f"  {band:6}{shown}   in a chip {inside:.4f}   step {step:.4f}")
    print(results.store("coast_spectra", found, COMMAND))


if __name__ == "__main__":
    main()
