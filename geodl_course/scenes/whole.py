"""Files that appear when they are whole, and one error for whatever keeps a disk from taking them."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def whole(out):
    """The path to write to in place of out; when the block ends well it takes out's place, else nothing is left."""
    out = Path(out)
    refuse_open(out)
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    clear(part)  # of a run that was killed
    try:
        yield part
        with blame_disk(part):
            os.replace(part, out)
    finally:
        clear(part)


def refuse_open(out):
    """Raise OSError while another program has the GeoPackage `out` open: its journal would spoil the new one."""
    journal = Path(f"{out}-wal")
    if journal.exists():
        raise OSError(f"{out} is open in another program, such as QGIS ({journal.name} is beside it): close it there, "
                      "or choose another output")  # fmt: skip


def clear(part):
    """Remove part and what begins with its name: databases have journals beside them."""
    for left in part.parent.iterdir():
        if left.name.startswith(part.name):
            left.unlink()


@contextlib.contextmanager
def blame_disk(part):
    """What the system, rasterio and pyogrio raise when writing fails becomes one OSError that says what to do."""
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
    from rasterio._err import CPLE_BaseError

    try:
        yield
    except (OSError, CPLE_BaseError, DataLayerError, DataSourceError, FeatureError) as error:
        out = part.with_name(part.stem.removesuffix(".part") + part.suffix)
        why = " ".join(str(error).split())[:120]
        raise OSError(f"{out} could not be written whole: free some space and try again ({why})") from error
