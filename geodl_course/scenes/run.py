"""map_scene: any of the course's models over a scene of any size, in blocks of windows that can be done anywhere."""

import functools
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch

from geodl_course.scenes.merging import cores, keep_core, merge_parts, suppress
from geodl_course.scenes.objects import join, place_objects
from geodl_course.scenes.output import check_ending, layer_of, write_layer
from geodl_course.scenes.reading import corners, open_scene, read_batch
from geodl_course.scenes.work import Block, Job, begin, open_work, read_block, write_block
from geodl_course.training import load_model, save_model

BLOCK = 8  # batches: what is stored at once, and what goes to another process at once


def map_scene(
    raster, model, out=None, *, info=None, size=256, overlap=64, score=0.5, merge="parts", simplify=0.0, bands=None,
    batch_size=16, device=None, executor=None, progress=True,
):  # fmt: skip
    """Raster file and model → GeoDataFrame of what the model finds in the scene: class, score, area, perimeter, id.

    raster: GeoTIFF, COG or VRT with a CRS in metres or feet; it is never held as a whole. model: the folder of a
    checkpoint, or a model with `info`, the DatasetInfo of the chips that it learned from. Windows of `size` px at the
    model's resolution share `overlap` px; objects under `score` are dropped. merge: "parts" puts objects together that
    window edges have cut, "core" keeps what is centred in a window's core, "nms" is plain suppression, None keeps all.
    simplify: metres by which outlines may be simplified. bands: numbers in the file, where names do not tell. device:
    as torch names it, by default a GPU if there is one.

    out: .gpkg, .geojson or .json (COCO) to write; it appears when it is whole. An interrupted run with `out` goes on
    where it stopped. executor: any concurrent.futures.Executor, such as a ProcessPoolExecutor or what
    dask.distributed's client.get_executor() returns; the result is the same as without.

    The layer's attrs hold windows, failed (bounds and reason of windows that could not be read), pixels, seconds of
    reading, model, shapes, merging and all. Raises ValueError for a raster, model or output that does not fit.
    """
    start = time.perf_counter()
    check_output(raster, out, merge)
    with open_work(out) as work:
        job = make_job(raster, model, info, bands, size, score, batch_size, device, work)
        at = corners(job.scene, job.size, overlap)
        blocks = [at[i : i + BLOCK * batch_size] for i in range(0, len(at), BLOCK * batch_size)]
        begin(work, job, overlap)
        done = do_blocks(job, blocks, executor, work, progress)
        merging = time.perf_counter()
        objects = MERGE[merge](join([block.objects for block in done]), job, at)
        layer = layer_of(objects, job.scene, job.data["classes"], simplify)
        layer.attrs = told(done, job, at, start, merging)
        if out is not None:
            write_layer(layer, out, job.data["classes"], job.scene)
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
    if out.resolve() == Path(raster).resolve():
        raise ValueError(f"{out} is the scene itself: give the map another name")


def make_job(raster, model, info, bands, size, score, batch_size, device, folder):
    """The Job of map_scene; a model that is not stored yet is stored in `folder`."""
    if isinstance(model, torch.nn.Module):
        if info is None:
            raise ValueError("a model alone does not say which bands it takes: give info=train.info, or its checkpoint")
        model = save_model(model.eval(), folder / "model", info)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    data = read_data(model)
    job = Job(open_scene(raster, data, bands), str(model), weights_of(model), data, size, batch_size, score, device)
    model_of(job.model, job.weights, job.device)  # a damaged one is refused before any window is read
    return job


def weights_of(folder):
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise ValueError(f"{path} is missing: bring the whole folder, or train again")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_data(folder):
    """What model.json says of a checkpoint's images: classes, bands, mean, std, resolution. Raises ValueError."""
    path = Path(folder) / "model.json"
    try:
        data = json.loads(path.read_text("utf-8"))["data"]
        return {name: data[name] for name in ("classes", "bands", "mean", "std", "resolution")}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say which images its model takes ({error}). Store it again with "
                         "training.save_model(model, folder, train.info)") from error


@functools.lru_cache(maxsize=1)
def model_of(folder, weights, device):
    """The checkpoint's model, kept for the next block that this process does."""
    return load_model(folder).to(device)


def do_block(job, at):
    """Find the objects in the windows with corners `at`; the next windows are read while the model works → Block."""
    import rasterio

    model = model_of(job.model, job.weights, job.device)
    block = Block([], {}, {"reading": 0.0, "model": 0.0, "shapes": 0.0}, 0)
    batches = [at[i : i + job.batch_size] for i in range(0, len(at), job.batch_size)]
    with rasterio.open(job.scene.path) as source, ThreadPoolExecutor(1) as reader:
        def ask(batch):
            return reader.submit(read_batch, source, job.scene, batch, job.size, job.data)

        coming = ask(batches[0])
        for number in range(len(batches)):
            images, valid, placed, failed = clock(block, "reading", coming.result)
            coming = ask(batches[number + 1]) if number + 1 < len(batches) else None
            block.failed |= failed
            block.windows += len(images)
            if images:
                found = clock(block, "model", look, model, images, job)
                block.objects += clock(block, "shapes", placed_all, found, placed, valid, job)
    block.objects = join(block.objects)
    return block


def placed_all(found, placed, valid, job):
    extent = (job.scene.height, job.scene.width)
    return [place_objects(*one, job.size, extent, held) for *one, held in zip(found, placed, valid, strict=True)]


def clock(block, kind, work, *arguments):
    """work(*arguments), its seconds added to the block's seconds of this kind."""
    start = time.perf_counter()
    result = work(*arguments)
    block.seconds[kind] += time.perf_counter() - start
    return result


@torch.no_grad()
def look(model, images, job):
    """Images, a list of (C, size, size) → what the model finds in each with at least job.score, on the CPU."""
    found = model(torch.from_numpy(np.stack(images)).to(job.device)).per_image()
    return [{name: part[one["scores"] >= job.score].cpu() for name, part in one.items()} for one in found]


def do_blocks(job, blocks, executor, work, progress):
    """All blocks, here or wherever executor does them → list of Block in order. Finished ones are taken from work."""
    from tqdm import tqdm

    done = {i: block for i in range(len(blocks)) if (block := read_block(work, i))}
    waiting = [i for i in range(len(blocks)) if i not in done]
    with tqdm(total=len(blocks), initial=len(done), desc="blocks of windows", disable=not progress) as bar:
        for i, block in results(job, {i: blocks[i] for i in waiting}, executor):
            write_block(work, i, block)
            done[i] = block
            bar.update()
    return [done[i] for i in range(len(blocks))]


def results(job, blocks, executor):
    """Yield (number, Block) as they get done. What an executor fails to do is tried once more, in this process."""
    again = blocks
    if executor:
        again, running = {}, {}
        for i, at in blocks.items():
            try:
                running[executor.submit(do_block, job, at)] = i
            except Exception:  # a pool whose process was killed takes no more work
                again[i] = at
        for future in as_completed(running):
            i = running[future]
            try:
                block = future.result()
            except Exception:
                again[i] = blocks[i]
            else:
                yield i, block
    for i, at in again.items():
        yield i, do_block(job, at)


def told(done, job, at, start, merging):
    """What layer.attrs holds: from Blocks, corners of all windows, and the times at which all and merging began."""
    now = time.perf_counter()
    seconds = {kind: sum(block.seconds[kind] for block in done) for kind in ("reading", "model", "shapes")}
    failed = {corner: why for block in done for corner, why in block.failed.items()}
    return {
        "windows": len(at), "windows_with_data": sum(block.windows for block in done),
        "failed": [{"bounds": job.scene.bounds(corner, job.size), "why": why} for corner, why in failed.items()],
        "pixels": job.scene.height * job.scene.width,
        "seconds": {**seconds, "merging": now - merging, "all": now - start},
    }  # fmt: skip
