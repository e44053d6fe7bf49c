"""sentinel_coast: 64-px chips of land, water and both, cut side by side from the Sentinel-2 ports of sen2ships.

What a chip is comes from its own pixels by the rule of land_water.py: nobody mapped it. Sun glint raises MNDWI's
denominator and lowers its distance from 0 (median of Algiers' water 0.09, of Durban's 0.82), so glinting water breaks
into specks of land and its chips may be "mixed" or even "land": of 10 of the 512 chips of land more than half the
pixels are as dark as water in NIR (below 0.08), 9 of them in Algiers and Athens. Ships, quays and
surf make water chips mixed as well.

Split by port, as sen2ships: Busan and Casablanca validate, the others train; no test port. Each entry of covers.json
also names its port. Values are 16 bit as published; dividing by 65535 gives about reflectance.
"""

from pathlib import Path

from geodl_course.chips import DatasetInfo, write_chips
from geodl_course.datasets.land_water import BANDS, KINDS, cut_chips, is_water, kind_of
from geodl_course.datasets.sen2ships import VALIDATION, check_bands, port_folders, read_bands

NOTE = (
    "Values / 65535 are about reflectance. Cells are 10 m of EPSG:3857, 8.0 to 9.3 m on the ground in these ports; "
    "swir was measured at 20 m. Durban is a mosaic with a visible seam; Algiers and Busan have sun glint."
)


def import_sentinel_coast(raw, out, size=64, progress=True):
    """Chip folder `out` from the fetched folder `raw` of sen2ships (PORT/B02.tif ...), counts per port printed.

    Returns the path. Windows do not overlap; the rest of a port at its right and lower edge is left out, and so are
    windows with pixels of 0 in all bands, which hold no data: the rule would call them land. Raises
    ChipError for bands that are not on one grid, or a port smaller than a chip.
    """
    from tqdm import tqdm

    ports = port_folders(Path(raw))
    for port in ports:
        check_bands(port)
    counts = {port.name: dict.fromkeys(KINDS, 0) for port in ports}
    work = tqdm(ports, desc="ports of sentinel_coast", disable=not progress, delay=1)
    chips = (
        ("val" if port.name in VALIDATION else "train", chip) for port in work for chip in _chips(port, size, counts)
    )
    done = write_chips(out, _info(size, counts), chips)
    for port, kinds in counts.items():
        print(f"{port}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items()))
    return done


def _chips(port, size, counts):
    pixels, transform, crs = read_bands(port)
    water, empty = is_water(pixels), ~pixels.any(0)

    def say(rows, cols):
        if empty[rows, cols].any():
            return None
        share = float(water[rows, cols].mean())
        counts[port.name][kind_of(share)] += 1
        return {"water": round(share, 6), "kind": kind_of(share), "port": port.name}

    yield from cut_chips(port.name, pixels, transform, crs, size, say)


def _info(size, counts):
    from geodl_course.datasets.download import entry

    source = entry("sentinel_coast")
    return DatasetInfo(
        "sentinel_coast", [], BANDS, "uint16", size, 10.0, "EPSG:3857",
        licence=source["licence"], citation=source["citation"],
        recipe={
            "made_by": "import_sentinel_coast", "note": NOTE, "about": source["about"], "test": "none: too few ports",
            "validation": ", ".join(VALIDATION), "ports": counts,
            "rule": "water: MNDWI > 0 and nir < 0.15; kind: over 99 % water, under 5 % land, else mixed",
        },
    )
