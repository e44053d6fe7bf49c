"""What one mapping of a scene is made of, and how it is kept on disk until the map is whole."""

import contextlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from geodl_course.scenes import objects as objects_file
from geodl_course.scenes.objects import Objects
from geodl_course.scenes.reading import Scene, files_of, open_source
from geodl_course.training.checkpoints import blame, replace_file


@dataclass(frozen=True)
class Job:
    """All that a block of windows needs to be done, wherever it is done. model: folder of the checkpoint; version:
    SHA-256 of its settings and weights; data: which images it takes (classes, bands, mean, std, resolution)."""

    scene: Scene
    model: str
    version: str
    data: dict
    size: int
    batch_size: int
    score: float
    device: str


@dataclass
class Block:
    """What came out of a block of windows: objects, failed {corner: why}, seconds by kind, windows that hold data."""

    objects: Objects
    failed: dict
    seconds: dict
    windows: int


def sources_of(raster):
    """A raster, or several → set of the paths of all files that they read: a VRT's with those that it names, and so on.

    Raises ValueError for what is no raster.
    """
    top = files_of(raster)
    found, new = set(), top
    while new:
        found |= set(new)
        named = set()
        for path in new:
            with contextlib.nullcontext() if path in top else contextlib.suppress(ValueError):  # read_window tells it
                with open_source(path) as source:
                    named |= set(source.files)
        found |= {path for path in named if not path.lower().endswith(".vrt")}
        new = named - found
    return {Path(path) for path in found}


@contextlib.contextmanager
def open_work(out):
    """Folder for what is done before the map `out` is whole: OUT.parts, which an interrupted run finds again.

    Raises ValueError where this name is taken by what no run has begun.
    """
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    folder = Path(f"{out}.parts")
    if folder.exists() and not (folder / "job.json").exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} is no map begun here, and this name is needed for the work: move it, or choose "
                         "another output")
    folder.mkdir(exist_ok=True)
    whole = False
    try:
        yield folder
        whole = True
    finally:
        if whole or not any(folder.glob("*.npz")):  # what is worth going on with
            shutil.rmtree(folder)


def begin(folder, job, overlap):
    """Note in folder what is being done; raises ValueError where something else was begun there."""
    note, files = folder / "job.json", sorted(sources_of(job.scene.path))
    files = [path for path in files if not path.name.endswith(".aux.xml")]  # a GIS that opens the scene writes these
    states = [path.stat() for path in files if path.exists()]  # /vsicurl/ and other names of GDAL are no files
    said = {**asdict(job), "scene": job.scene.path, "bands": job.scene.bands, "overlap": overlap, "model": job.version,
            "changed": [state.st_mtime for state in states], "bytes": [state.st_size for state in states],
            "version": None, "device": None}  # fmt: skip
    said = json.loads(json.dumps(said))
    if note.exists():
        with blame(note, f"is damaged: delete {folder} to begin again"):
            then = json.loads(note.read_text("utf-8"))
        other = sorted(name for name in said if then.get(name) != said[name])
        if other:
            raise ValueError(f"{folder} holds part of a map with another {', '.join(other)}. Finish that one with the "
                             "same settings, or delete the folder to begin again.")
    replace_file(note, lambda path: path.write_text(json.dumps(said, indent=1), "utf-8"))


def write_block(folder, number, block):
    """Keep a finished Block."""
    rest = {"failed": [[*corner, why] for corner, why in block.failed.items()], "seconds": block.seconds,
            "windows": block.windows}  # fmt: skip
    replace_file(folder / f"{number:06}.npz", lambda path: objects_file.save(block.objects, path))
    replace_file(folder / f"{number:06}.json", lambda path: path.write_text(json.dumps(rest), "utf-8"))


def read_block(folder, number):
    """The Block of this number if it is finished, else None. Raises ValueError for a damaged one."""
    path = folder / f"{number:06}.json"
    if not path.exists():  # written last
        return None
    with blame(path, f"or its .npz is damaged: delete {folder} to begin again"):
        rest = json.loads(path.read_text("utf-8"))
        failed = {(row, col): why for row, col, why in rest["failed"]}
        return Block(objects_file.load(path.with_suffix(".npz")), failed, rest["seconds"], rest["windows"])
