"""Scenes that the course draws itself, made side by side: what every generated data set does before it cuts chips."""

import contextlib
import os
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context, parent_process
from pathlib import Path


@contextlib.contextmanager
def scenes_beside(out, write_scene, seed, splits, *settings, workers=2, progress=True):
    """[(image, objects, split), ...] for chip_scenes: a scene for each of `splits`, in the folder `out`_scenes.

    write_scene(folder, seed, name, *settings) writes one and returns its two paths; `workers` processes do so. Scenes
    of an earlier run give way; where the block that cuts them fails they are removed. Raises ValueError for a split
    without a scene, and ChipError where `out` exists or the folder of its scenes holds anything else.
    """
    from tqdm import tqdm

    from geodl_course.chips.writing import refuse_existing, whole_or_nothing

    out = Path(out)
    if len(set(splits)) < 3:
        raise ValueError(f"{out.name} needs at least 3 scenes, one for each split.")
    refuse_existing(out)
    folder = out.with_name(f"{out.name}_scenes")
    _clear_scenes(folder)
    seeds = [100 * seed + index for index in range(len(splits))]
    names = [f"scene_{index}" for index in range(len(splits))]
    start = dict(mp_context=get_context("spawn"), initializer=_end_with_parent)
    with whole_or_nothing(folder) as part, ProcessPoolExecutor(min(workers, len(splits)), **start) as pool:
        made = pool.map(write_scene, repeat(part), seeds, names, *map(repeat, settings))
        written = list(tqdm(made, f"scenes of {out.name}", len(splits), unit="scene", disable=not progress, delay=1))
    try:
        yield [(*(folder / path.name for path in pair), split) for pair, split in zip(written, splits, strict=True)]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # a full disk gets all of its space back
        raise


def _clear_scenes(folder):
    """Remove the scenes of an earlier run; raise ChipError for a folder that holds anything else."""
    from geodl_course.chips import ChipError

    foreign = [path.name for path in sorted(folder.glob("*")) if not path.name.startswith("scene_")]
    if foreign:
        raise ChipError(
            f"{folder} is needed for the scenes, but holds {foreign[0]}, which is none. Rename the folder, or choose "
            "another name."
        )
    shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent():
    """In a worker: end when the parent is gone, for a kill -9 of it reaches no other process."""

    def wait():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
