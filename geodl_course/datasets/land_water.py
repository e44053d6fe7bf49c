"""Land and water by two numbers of a pixel, and chips of a scene that say how much of them is water.

The rule: a pixel is water where MNDWI > 0 and NIR < 0.15, with MNDWI = (green - swir) / (green + swir) (Xu 2006,
International Journal of Remote Sensing 27(14), 3025). A chip is water where over 99 % of its pixels are, land where
under 5 % are, else mixed. The second condition keeps bright clouds and roofs from being water.
"""

import numpy as np

from geodl_course.chips import Chip, ChipError

BANDS = ["red", "green", "blue", "nir", "swir"]  # Sentinel-2 B04 B03 B02 B08 B11, as the course orders them
REFLECTANCE = 65535.0  # the stored value of a reflectance of 1
KINDS = ("land", "water", "mixed")
NEEDED = ("green", "nir", "swir")


def mndwi(image, bands=BANDS):
    """image (C, H, W) → (H, W) float32, -1 to 1: positive over water. Any scale; 0 where both bands are 0."""
    green, swir = (image[_place(bands, name)].astype(np.float32) for name in ("green", "swir"))
    total = green + swir
    return np.divide(green - swir, total, out=np.zeros_like(total), where=total > 0)


def is_water(image, bands=BANDS, scale=REFLECTANCE):
    """image (C, H, W) of stored values → (H, W) bool by the rule; value / `scale` is reflectance.

    Raises ChipError for an image that lacks one of NEEDED, or with NaN in it.
    """
    if len(image) != len(bands):
        raise ChipError(f"image has {len(image)} bands, {len(bands)} names are given ({', '.join(bands)}). Give both.")
    if not np.isfinite(image).all():
        raise ChipError("image holds NaN or infinite pixels, which are neither land nor water. Fill them or leave the "
                        "chip out.")
    return (mndwi(image, bands) > 0) & (image[_place(bands, "nir")] < 0.15 * scale)


def _place(bands, name):
    if name not in bands:
        raise ChipError(f"no band is called {name}: land and water need {', '.join(NEEDED)}, given are "
                        f"{', '.join(bands)}.")
    return list(bands).index(name)


def kind_of(share):
    """Share of a chip's pixels that are water, 0 to 1 → "water", "land" or "mixed"."""
    return "water" if share > 0.99 else "land" if share < 0.05 else "mixed"


def cut_chips(name, pixels, transform, crs, size, say):
    """Yield the chips of `size` px that lie side by side in a scene `pixels` (C, H, W); what is left over is left out.

    say(rows, columns) (slices) → what covers.json says of the chip there, or None for one to leave out. Raises
    ChipError for a scene smaller than a chip.
    """
    height, width = pixels.shape[1:]
    if min(height, width) < size:
        raise ChipError(f"{name} is {width} x {height} pixels, too small for chips of {size}. Choose smaller chips.")
    for row in range(0, height - size + 1, size):
        for col in range(0, width - size + 1, size):
            rows, cols = slice(row, row + size), slice(col, col + size)
            cover = say(rows, cols)
            if cover is None:
                continue
            place = transform * transform.translation(col, row)
            image = np.ascontiguousarray(pixels[:, rows, cols])
            yield Chip(f"{name}_{row:04d}_{col:04d}", image, {}, transform=place, crs=crs, cover=cover)

