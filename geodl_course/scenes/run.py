"""map_scene: any of the course's models over a scene of any size, in blocks of windows that can be done anywhere."""

import contextlib
import functools
import hashlib
import os
import time
import warnings
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import torch

from geodl_course.scenes.merging import cores, keep_core, merge_parts, suppress
from geodl_course.scenes.objects import join, place_objects
from geodl_course.scenes.output import check_ending, layer_of, write_layer
from geodl_course.scenes.reading import corners, open_scene, read_ahead
from geodl_course.scenes.whole import refuse_open
from geodl_course.scenes.work import Block, Job, begin, open_work, read_block, sources_of, write_block
from geodl_course.training import load_model, save_model
from geodl_course.training.checkpoints import read_data

BLOCK = 8  # batches: what is stored at once, and what goes to another process at once
CACHED = 2**18  # pixels of a batch on a CPU: what larger ones compute falls out of its cache; measured, 256 px windows


def map_scene(
    raster, model, out=None, *, info=None, size=None, overlap=None, score=0.5, merge="parts", simplify=0.0, bands=None,
    batch_size=None, device=None, executor=None, progress=True,
):  # fmt: skip
    """Raster file and model → GeoDataFrame of what the model finds in the scene: class, score, area, perimeter, id.

    raster: GeoTIFF, COG or VRT with a CRS in metres or feet, or several of one grid, such as a file a band; it is never
    held as a whole. model: the folder of a checkpoint, or a model with `info`, the DatasetInfo of the chips that it
    learned from. Windows of `size` px at the model's resolution (by default the model's own size, or its chips') share
    `overlap` px (a quarter of them); objects under `score` are dropped. merge: "parts" puts objects together that
    window edges have cut, "core" keeps what is centred in a window's core, "nms" is plain suppression, None keeps all.
    simplify: metres by which outlines may be simplified. bands: numbers in the file, where names do not tell. device:
    as torch names it, by default a GPU if there is one. batch_size: windows at a time, by default 16 on a GPU, and on a
    CPU as many as have 512 x 512 px.

    out: .gpkg, .geojson, .json (COCO) or .tif (the best score over each pixel, a band a class) to write; an older file
    is replaced when the new one is whole. An interrupted run with `out` goes on where it stopped. executor: any
    concurrent.futures.Executor, such as what dask.distributed's client.get_executor() returns or a ProcessPoolExecutor
    (with mp_context=multiprocessing.get_context("spawn"): a fork after torch has run may hang); the result is the same
    as without. What it fails to do is done in this process, with a warning.

    The layer's attrs hold size and number of windows, failed (bounds and reason of those that could not be read or in
    which the model failed, twice each), pixels, seconds of reading, model, shapes, merging, writing and all. Raises
    ValueError for a raster, model or output that does not fit, OSError for a disk that does not take it.
    """
    start = time.perf_counter()
    check_output(raster, out, merge)
    with open_work(out) as work:
        job = make_job(raster, model, info, bands, size, score, batch_size, device, work)
        overlap = job.size // 4 if overlap is None else overlap
        at = corners(job.scene, job.size, overlap)
        step = BLOCK * job.batch_size
        blocks = [at[i : i + step] for i in range(0, len(at), step)]
        begin(work, job, overlap)
        done = do_blocks(job, blocks, executor, work, progress)
        merging = time.perf_counter()
        objects = MERGE[merge](join([block.objects for block in done]), job, at)
        layer = layer_of(objects, job.scene, job.data["classes"], simplify)
        writing = time.perf_counter()
        if out is not None:
            write_layer(layer, out, job.data["classes"], job.scene)
        layer.attrs = summary(done, job, at, (start, merging, writing))
    return layer


def merged_core(objects, job, at):
    rows, columns = zip(*at, strict=True)
    return keep_core(objects, (cores(rows, job.size, job.scene.height), cores(columns, job.size, job.scene.width)))


MERGE = {
    "parts": lambda objects, job, at: merge_parts(objects),
    "core": merged_core,
    "nms": lambda objects, job, at: suppress(objects),
    None: lambda objects, job, at: objects,
}


def check_output(raster, out, merge):
    """Raise ValueError, before anything is done, for a merge or an output that will not do."""
    if merge not in MERGE:
        raise ValueError(f"merge {merge!r}: choose one of {', '.join(map(repr, MERGE))}")
    if out is None:
        return
    out = Path(out)
    check_ending(out)
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ValueError(f"{out.parent} is no folder that can be written to. Make it, or choose another output")
    if out.is_dir() or (out.exists() and not os.access(out, os.W_OK)):
        raise ValueError(f"{out} is a folder or may not be replaced. Remove it, or choose another output")
    refuse_open(out)
    refuse_scene(raster, out)


def refuse_scene(raster, out):
    """Raise ValueError where `out` is a file that the scene is read from, such as one that a VRT names."""
    if Path(out).resolve() in {path.resolve() for path in sources_of(raster)}:
        raise ValueError(f"{out} is the scene itself, or a file of it: give the map another name")


def make_job(raster, model, info, bands, size, score, batch_size, device, folder):
    """The Job of map_scene; a model that is not stored yet is stored in `folder`."""
    if isinstance(model, torch.nn.Module):
        if info is None:
            raise ValueError("a model alone does not say which bands it takes: give info=train.info, or its checkpoint")
        model = save_model(model.eval(), folder / "model", info)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    data, version = read_data(model), version_of(model)
    scene = open_scene(raster, data, bands)
    built = model_of(str(model), version, device, score)  # a damaged one is refused before any window is read
    size = window_size(size, getattr(built, "settings", {}), data)
    batch_size = batch_size or (max(1, CACHED // size**2) if device == "cpu" else 16)
    return Job(scene, str(model), version, data, size, batch_size, score, device)


def window_size(size, settings, data):
    """The pixels of a window: what a model of these settings was built for, else what is asked for, else its chips'.

    Raises ValueError where it was built for another size, or for other classes than data names.
    """
    classes, built = settings.get("classes", len(data["classes"])), settings.get("size")
    if classes != len(data["classes"]):
        raise ValueError(f"the model has {classes} classes, its checkpoint names {len(data['classes'])} "
                         f"({', '.join(data['classes'])}): store it again with training.save_model")
    if not built or settings.get("transform"):  # it takes any size, or resizes what it gets
        return size or data["chip_size"] or 256
    sides = set(built if isinstance(built, list) else [built])
    if len(sides | {size or max(sides)}) > 1:
        raise ValueError(f"size {size}: this model was built for windows of {' x '.join(map(str, sorted(sides)))} px; "
                         "leave size out, or train one on chips of your size")
    return max(sides)


def version_of(folder):
    """SHA-256 of a checkpoint's settings and weights: with other settings the same weights find something else."""
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise ValueError(f"{path} is missing: bring the whole folder, or train again")
    return hashlib.sha256(path.with_name("model.json").read_bytes() + path.read_bytes()).hexdigest()


@functools.lru_cache(maxsize=1)
def model_of(folder, version, device, score):
    """The checkpoint's model, kept for the next block that this process does.

    A detector leaves out what scores under `score` before suppression and masks, since it could drop nothing better;
    what equals it stays.
    """
    model = load_model(folder)
    detect = getattr(model, "settings", {}).get("detect", {})
    if "score" in detect:
        detect["score"] = max(detect["score"], float(np.nextafter(np.float32(score), np.float32(-1))))
    return model.to(device)


def do_block(job, at, told=lambda number: None):
    """Find the objects in the windows with corners `at`, telling how many of them are done → Block.

    Raises what the model raises if it fails in every window: then it is no fault of theirs.
    """
    model = model_of(job.model, job.version, job.device, job.score)
    block = Block([], {}, {"reading": 0.0, "model": 0.0, "shapes": 0.0}, 0)
    batches = [at[i : i + job.batch_size] for i in range(0, len(at), job.batch_size)]
    errors = []
    with contextlib.closing(read_ahead(job.scene, batches, job.size, job.data)) as coming:  # the file, too
        for batch in batches:
            images, valid, placed, failed = clock(block, "reading", next, coming)
            block.failed |= failed
            block.windows += len(images)
            if images:
                found = list(zip(clock(block, "model", look_twice, model, images, job), placed, valid, strict=True))
                wrong = {corner: one for one, corner, _ in found if isinstance(one, Exception)}
                reasons = {corner: " ".join(str(one).split()) for corner, one in wrong.items()}
                block.failed |= {corner: f"the model failed: {why}" for corner, why in reasons.items()}
                errors += wrong.values()
                found = [one for one in found if one[1] not in wrong]
                block.objects += clock(block, "shapes", placed_all, found, job)
            told(len(batch))
    if errors and len(errors) == block.windows:
        raise errors[0]
    block.objects = join(block.objects)
    return block


def placed_all(found, job):
    extent = (job.scene.height, job.scene.width)
    return [place_objects(*one, job.size, extent, held) for *one, held in found]


def clock(block, kind, work, *arguments):
    """work(*arguments), its seconds added to the block's seconds of this kind."""
    start = time.perf_counter()
    result = work(*arguments)
    block.seconds[kind] += time.perf_counter() - start
    return result


def look_twice(model, images, job):
    """What `look` says of each image; if the model fails, each is tried once more alone → list of dicts or errors."""
    try:
        return look(model, images, job)
    except Exception:  # a model's errors come in many kinds
        return [look_alone(model, image, job) for image in images]


def look_alone(model, image, job):
    try:
        return look(model, [image], job)[0]
    except Exception as error:
        return error


@torch.no_grad()
def look(model, images, job):
    """Images, a list of (C, size, size) → what the model finds in each with at least job.score, on the CPU."""
    found = model(torch.from_numpy(np.stack(images)).to(job.device))
    if not hasattr(found, "per_image"):
        raise ValueError(f"{job.model}: a {type(model).__name__} finds no objects. Give a detector or a segmenter")
    found = found.per_image()
    return [{name: part[one["scores"] >= job.score].cpu() for name, part in one.items()} for one in found]


def do_blocks(job, blocks, executor, work, progress):
    """All blocks, here or wherever executor does them → list of Block in order. Finished ones are taken from work."""
    from tqdm import tqdm

    done = {i: block for i in range(len(blocks)) if (block := read_block(work, i))}
    counts = [len(at) for at in blocks]
    waiting = {i: at for i, at in enumerate(blocks) if i not in done}
    before = sum(counts[i] for i in done)
    with tqdm(total=sum(counts), initial=before, desc="windows", unit=" windows", disable=not progress) as bar:
        with contextlib.closing(results(job, waiting, executor, bar.update)) as coming:
            for i, block in coming:
                write_block(work, i, block)
                done[i] = block
    return [done[i] for i in range(len(blocks))]


def results(job, blocks, executor, told):
    """Yield (number, Block) as they get done. What an executor fails to do is tried once more, in this process."""
    left = dict(blocks)
    if executor:
        for i, block in elsewhere(job, blocks, executor):
            told(len(left.pop(i)))
            yield i, block
    for i, at in left.items():
        yield i, do_block(job, at, told)


def elsewhere(job, blocks, executor):
    """Yield (number, Block) of what executor does; warn of the rest. No more is begun when the caller stops asking."""
    running, why = {}, []
    try:
        for i, at in blocks.items():
            try:
                running[executor.submit(do_block, job, at)] = i
            except Exception as error:  # a pool whose process was killed takes no more work
                why.append(error)
        for future in as_completed(running):
            try:
                block = future.result()
            except Exception as error:
                why.append(error)
            else:
                yield running[future], block
    finally:
        for future in running:
            future.cancel()
    if why:
        warnings.warn(f"the executor failed to do {len(why)} of {len(blocks)} blocks of windows; they are done in this "
                      f"process, one after the other ({type(why[0]).__name__}: {why[0]})", stacklevel=2)


def summary(done, job, at, times):
    """What layer.attrs holds: from Blocks, corners of all windows, and when all, merging and writing began."""
    start, merging, writing, now = *times, time.perf_counter()
    seconds = {kind: sum(block.seconds[kind] for block in done) for kind in ("reading", "model", "shapes")}
    failed = {corner: why for block in done for corner, why in block.failed.items()}
    return {
        "size": job.size, "windows": len(at), "windows_with_data": sum(block.windows for block in done),
        "failed": [{"bounds": job.scene.bounds(corner, job.size), "why": why} for corner, why in failed.items()],
        "pixels": job.scene.height * job.scene.width,
        "seconds": {**seconds, "merging": writing - merging, "writing": now - writing, "all": now - start},
    }  # fmt: skip
