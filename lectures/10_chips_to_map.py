# %% [markdown] slideshow={"slide_type": "slide"}
# # 10 · From chips to a map
#
# **Models look through a window. A map has no windows: every building once, whole, in its place.**
#
# When you are through, you can
#
# - run any model of this course over a raster of any size, in a fixed amount of memory;
# - say what windows do to objects on their edges, and put the parts together;
# - write a layer that opens in QGIS, with areas, and say how good it is;
# - plan a large job: interruptions, broken files, several machines, hours.
#
# | you need | how much |
# |---|---|
# | lecture 01: windows over a raster, bands, nodata | all of it |
# | lecture 02: IoU, suppression | all of it |
# | one of lectures 03 to 07 | a model to run |
#
# **Time:** 75 minutes, two of them for the computer; exercises 40 minutes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) So far every figure was about chips, and whoever orders a map has never heard of chips.

# %% slideshow={"slide_type": "skip"}
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import geopandas
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rasterio
import shapely
import torch

from geodl_course import datasets, map_plots, plots, scenes, teaching, training
from geodl_course.chips import ChipDataset
from geodl_course.datasets.download import entry
from geodl_course.datasets.sen2ships import port_scene
from geodl_course.evaluation.maps import in_pieces, map_scores, match_maps, near_seams
from geodl_course.measure import stored
from geodl_course.scenes.objects import Objects, join, place_objects
from geodl_course.scenes.output import layer_of
from geodl_course.scenes.reading import corners, open_scene
from geodl_course.teaching import check
from geodl_course.windows import windows

# %% slideshow={"slide_type": "skip"}
# All that depends on your machine: quick suits a laptop, full wants a GPU.
teaching.require("0.1.0")
plots.course_style()
budget = teaching.budget(network=("mask_rcnn", "mask_rcnn_resnet50_fpn"), steps=(150, 4000), size=256, overlap=64)
folder = datasets.find("towns") or datasets.make("towns")
train = ChipDataset(folder, "train", masks=True)
town = folder.with_name("towns_scenes") / "scene_3"           # the validation scene, before it was cut into chips
raster = town.with_suffix(".tif")
truth = geopandas.read_file(town.with_suffix(".gpkg")).rename(columns={"type": "class"})
course = Path(scenes.__file__).parents[2]
checkpoint = course / "runs" / f"lecture_10_{budget.steps}"   # the model is trained once and kept
place = Path(tempfile.mkdtemp())                              # what this lecture writes
budget

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · What a chip cuts
#
# A grid of chips cuts what lies on its lines. For an object of *w* × *h* pixels and chips of *s* pixels, side by side, the
# chance is $1 - (1 - w/s)(1 - h/s)$: small chips cut much, large objects are cut often. Counted, in this town; below it
# the price of the cure, **windows that overlap**: what one edge cuts, the neighbour sees whole, if it is smaller than the
# shared strip.

# %%
info = {name: getattr(train.info, name) for name in ("classes", "bands", "mean", "std", "resolution")}
scene = open_scene(raster, info)

def cut_share(size):
    """Share of each class's objects that the lines of a grid of `size` px chips cut."""
    return pd.Series(near_seams(truth, scene, corners(scene, size, 0), size)).groupby(truth["class"]).mean()

pd.DataFrame({f"cut by chips of {size} px": cut_share(size) for size in (128, 256, 512, 1024)}).round(2)

# %% tags=["nbval-check-output"]
for overlap in (0, 32, 64, 128):
    count = len(windows(scene.height, scene.width, 256, overlap))
    share = count * 256**2 / (scene.height * scene.width)
    print(f"overlap {overlap:3} px: {count:4} windows of 256 px, {share:.2f} times the pixels")

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) A house here is 35 px wide: 1 - (1 - 35/128)² = 0.47 by the formula, 0.48 counted. In training a cut house is
# harmless: half of it on the image, half on the label. On a map it is counted twice, or not at all. How much overlap? For the
# simplest way to merge, the largest object, here 65 px, at 1.9 times the pixels. Part 4 needs less.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · One window of a file that does not fit into memory
#
# rasterio reads the blocks of a file that a window touches; the rest stays on disk. The model needs what a chip had: its
# bands in its order, its resolution, its scaling, and 0 where there is no data.

# %% mirror="scenes.reading:read_window,scenes.reading:standardise"

# %% tags=["nbval-check-output"]
corner = (1900, 1900)                                  # hangs over the lower right edge, on purpose
with rasterio.open(raster) as source:
    pixels, valid = read_window(source, scene, corner, 256)
    print("window", pixels.shape, f"{valid.mean():.0%} of it has data")
    print("as the file has it:", bool((pixels[:, :148, :148] == source.read()[:, 1900:, 1900:]).all()))

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) A third of this window lies on the scene, the rest is 0. A common fault lives in the second function: raw pixels for a
# model that learned from standardised chips. It does not crash, it finds little, or nonsense. So a checkpoint holds bands,
# means, spreads and resolution. A scene of 0.2 m is averaged to the model's 0.4.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Files made for windows: COG and VRT
#
# A **cloud-optimised GeoTIFF** (COG) is tiled, compressed, and carries smaller copies (overviews): a reader on the net
# fetches the tiles of one window by HTTP range requests. A **VRT** is a text that says which pixels of which files to take:
# a thousand tiles become one raster, and nothing is copied. We write the town as two COGs and join them.

# %% tags=["nbval-check-output"]
halves, parts = {"west.tif": 0, "east.tif": scene.width // 2}, ""
with rasterio.open(raster) as source:
    pixels, crs, start = source.read(), source.crs.to_wkt(), source.transform
for name, col in halves.items():
    half = pixels[:, :, col : col + scene.width // 2]
    profile = {"driver": "COG", "dtype": half.dtype, "crs": crs, "transform": start * start.translation(col, 0)}
    profile |= {"count": 3, "height": half.shape[1], "width": half.shape[2], "blocksize": 256}
    with rasterio.open(place / name, "w", **profile) as out:
        out.write(half)
    size = f'yOff="0" xSize="{half.shape[2]}" ySize="{half.shape[1]}"'
    parts += (f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>BAND</SourceBand>'
              f'<SrcRect xOff="0" {size}/><DstRect xOff="{col}" {size}/></SimpleSource>')
bands = "".join(f'<VRTRasterBand dataType="Byte" band="{b}">{parts.replace("BAND", b)}</VRTRasterBand>' for b in "123")
(place / "town.vrt").write_text(f'<VRTDataset rasterXSize="{scene.width}" rasterYSize="{scene.height}"><SRS>{crs}</SRS>'
                                f'<GeoTransform>{str(start.to_gdal())[1:-1]}</GeoTransform>{bands}</VRTDataset>')
with rasterio.open(place / "west.tif") as west, rasterio.open(place / "town.vrt") as whole:
    print("one half: tiles of", west.block_shapes[0], "and copies at 1 /", west.overviews(1))
    print("VRT:", whole.shape, "the same pixels:", bool((whole.read() == pixels).all()))

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Copies at a half, a quarter, an eighth; through the VRT two files read as one. With GDAL's tools:
# `gdalbuildvrt town.vrt *.tif`; here you see that it is only text.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · A model, window by window
#
# Lecture 06's Mask R-CNN, because it gives boxes *and* outlines. Any other would do: what follows knows only `per_image()`,
# which all have. `fit` keeps it in `runs/` and does not train again what is there: weights (`.safetensors`) and a text
# with all that is needed. Neither can hold code, so a stranger's checkpoint can be loaded.

# %%
torch.manual_seed(0)
model = training.make_model("mask_rcnn", budget.network, train)
history = training.fit(model, train, steps=budget.steps, checkpoint=checkpoint, resume=True)
model.cpu()
print(*sorted(path.name for path in checkpoint.iterdir()))
print(json.loads((checkpoint / "model.json").read_text())["data"])

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) While it trains: what would you write into model.json, for a colleague in five years? Ours says classes, bands,
# scaling, resolution. Pickle files, the usual kind, may run any program as they load.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Into the scene's pixels
#
# What a window finds is shifted by the window's corner. One thing only the window knows: does the box **touch an inner
# edge**? Then it may go on beyond it. `place_objects` does both, and turns masks into outlines. We keep scores above 0.5.

# %% mirror="scenes.objects:EDGE,scenes.objects:touches_inner_edge"

@torch.no_grad()
def look_everywhere(size, overlap):
    """All that the model finds in all windows of the scene → Objects: shapes, scores, labels, windows, cut."""
    found = []
    with rasterio.open(raster) as source:
        for corner in corners(scene, size, overlap):
            pixels, valid = read_window(source, scene, corner, size)
            one = model(torch.from_numpy(standardise(pixels, valid, info))[None]).per_image()[0]
            sure = {name: part[one["scores"] > 0.5] for name, part in one.items()}
            found.append(place_objects(sure, corner, size, (scene.height, scene.width), valid))
    return join(found)

outlined = look_everywhere(budget.size, budget.overlap)
boxed = replace(outlined, shapes=shapely.envelope(outlined.shapes))     # the box around each
print(f"{len(boxed)} found, {boxed.cut.sum()} of them touch an inner edge; the town has {len(truth)} objects")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) About as many found as there are; it means nothing: shared strips were seen two or four times, much is missed.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Three ways to make one map of it
#
# **First try: suppression, as always.** Lecture 02's rule, across windows: of two boxes with an IoU above one half the better
# one stays (`best_first`). Only pairs of one class that overlap and come from *different* windows are compared; a spatial
# index (an R-tree) finds them without comparing all with all.

# %% mirror="scenes.merging:suppress,scenes.merging:overlaps,scenes.merging:best_first"

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Doubles go, and that is most of the repair. What goes wrong? Half a house and the whole one have an IoU of one half
# at best: both stay. A part of two thirds has more, and if its score is better it drops the whole. Two parts that share a
# narrow strip have almost none: both stay.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Second try: each window answers for its core
#
# Every pixel of the scene lies in one **core**: the window without the outer half of what it shares. Keep what is centred in
# the core; for the rest the neighbour answers. Fast, simple, and right where objects are smaller than the shared strip.

# %% mirror="scenes.merging:cores,scenes.merging:keep_core"

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) An object wider than the strip is cut in *both* windows, and its parts have other centres: both may be kept, or none.
# Tools for semantic maps do the same with pixels: crop the edges, keep the middle.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Third try: put the parts together
#
# Whole objects first: what lies mostly **in** one of them is its double or its part, and goes. (*Intersection over the
# smaller*: shared area over the smaller object's.) What is cut and still there belongs to its counterpart if both agree on
# what both windows saw. What hangs together becomes one: the box around boxes, the **union** of outlines.

# %% mirror="scenes.merging:merge_parts"

# %% mirror="scenes.merging:clipped,scenes.merging:put_together,scenes.merging:unite" slideshow={"slide_type": "skip"}

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Three steps: whole ones drop, parts agree, groups are united. Why "what both windows saw"? Two parts of a long hall
# share a strip and nothing else: little of the whole parts, all of the strip.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### One building under all three
#
# Chosen for this: one that suppression leaves in pieces. Yellow dashes: the truth; white lines: edges of windows; a colour
# for each found object. Above boxes, below outlines, which the same functions merge.

# %%
at = corners(scene, budget.size, budget.overlap)
seams = [cores(starts, budget.size, end) for starts, end in zip(zip(*at), (scene.height, scene.width))]
ways = {"every window": lambda found: found, "suppression": suppress, "cores": lambda found: keep_core(found, seams),
        "parts together": merge_parts}
boxes, outlines = ({name: layer_of(way(found), scene, info["classes"]) for name, way in ways.items()}
                   for found in (boxed, outlined))
boxes_of = truth.set_geometry(truth.geometry.envelope)
whole = np.isin(np.arange(len(truth)), match_maps(boxes["parts together"], boxes_of)[0][:, 1])
pieces, once = (in_pieces(boxes[name], boxes_of) for name in ("suppression", "parts together"))
which = int((truth.area * (1 + 1e6 * (pieces & ~once & whole))).argmax())         # the largest of those
both = {**boxes, **{f"outlines, {name}": layer for name, layer in outlines.items()}}
_ = map_plots.show_one_object(raster, scene, both, truth, which, at, budget.size)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Let them count the colours. A part ends at the white line. Above, suppression keeps both; below it dropped the whole
# house for the part, which had the better score: worse. The others show it once, and whole.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Counted: errors at the seams, and elsewhere
#
# One building is an anecdote. Boxes of this town against boxes of the true outlines: errors as shares of the objects there,
# and **F1** = 2 found / (2 found + false + missed). Then, stored, a larger town and a Faster R-CNN trained for 90 s, beside
# **SAHI** (Akyon et al. 2022), a tool whose greedy merging is our third way's ancestor.

# %%
def judged(layer):
    """What is on the map more than once; errors at seams and elsewhere as shares of the objects there; F1."""
    pairs, _ = match_maps(layer, boxes_of)
    alone = [np.isin(np.arange(len(each)), pairs[:, i], invert=True) for i, each in enumerate((layer, boxes_of))]
    near = [near_seams(each, scene, at, budget.size) for each in (layer, boxes_of)]
    row = {"more than once": int(in_pieces(layer, boxes_of).sum())}
    for where, (mine, theirs) in {"at seams": near, "elsewhere": [~each for each in near]}.items():
        row |= {f"{kind}, {where}": f"{(one & chosen).sum() / theirs.sum():.0%}"
                for kind, one, chosen in zip(("false", "missed"), alone, (mine, theirs))}
    return row | {"F1": round(map_scores(layer, boxes_of).loc["all", "f1"], 3)}

pd.DataFrame({name: judged(layer) for name, layer in boxes.items()}).T

# %%
large, race = (stored(name) for name in ("scenes_seams", "scenes_sahi"))
rows = {name: {"more than once": one["in_pieces"], "false": one["false"], "missed": one["missed"],
               **{f"F1 {where.replace('_', ' ')}": one[where]["f1"] for where in ("at_seams", "elsewhere")},
               "F1": one["f1"], "seconds": one["seconds"]["all"]} for run in large[-1:] for name, one in run.items()
        if name in ("nms", "core", "parts")}
rows |= {name: {**run[way][-1], "F1": run[way][-1]["f1"]} for run in race[-1:] for name, way in {
    "race: parts": "ours", "SAHI, our batches": "sahi", "SAHI as it comes": "sahi_default"}.items()}
pd.DataFrame(rows).T.reindex(columns=list(rows.get("parts", {}))).round(3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Read the stored rows first. Suppression leaves 200 of 7,755 objects on the map more than once, cores 4, parts 5.
# By F1 cores (0.781) and parts (0.780) are level with chips in which nothing is cut (0.780, in the file), for hardly an
# object is wider than the strip. At seams all are a little below elsewhere. SAHI: 0.772. As it comes it takes windows one by
# one and the whole scene once more: twice our time; with our batches as fast, for nine tenths of ours are the network's.
# Now our town: suppression takes most doubles. Others lie in *one* window; no merging cures a briefly trained model.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · One call, and a layer that opens in QGIS
#
# `map_scene` does all of this, parts put together. Windows are read while the model works on the ones before, and the output
# appears when it is whole: GeoPackage, GeoJSON (EPSG:4326, as RFC 7946 wants), COCO (pixels), or a tiled GeoTIFF of the
# best score over each pixel. The CRS comes along; areas are in square metres, perimeters in metres; a style (`.qml`)
# colours the classes in QGIS.

# %%
layer = scenes.map_scene(raster, checkpoint, place / "town.gpkg", size=budget.size, overlap=budget.overlap, progress=False)
spent = layer.attrs["seconds"]
print({name: round(value, 1) for name, value in spent.items()}, f"model: {spent['model'] / spent['all']:.0%}")
print(sorted(path.name for path in place.glob("town.*")), layer.crs.name)
layer.drop(columns="geometry").head(3).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Nearly nine tenths of the time are the model's. Drag town.gpkg into QGIS, over the raster (`print(place, raster)`
# says where they lie). What would a surveyor say? Stairs of pixels: `simplify=0.5` allows half a metre.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### How good is the map?
#
# The layer over its image, and the errors over the town. **Pattern** is what to look for: errors in one quarter mean other
# roofs there, errors on a line mean a seam. Counts ("how many") and areas ("how much", `area_error`: mapped over true area,
# less 1) at IoU 0.5, by class and by size of the true outline: small under 100 m², large from 400 m², which none here has.

# %%
_ = map_plots.show_map(raster, layer, truth, size=420)

# %%
map_scores(layer, truth).astype({name: int for name in ("found", "missed", "false")}).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) Near: roofs are found where they stand alone, in rows two become one, and cars in rows are missed. Far: blue gathers
# at the right, where long rows of roofs stand. No line of errors is seen. Table: half of the area is missing, as half of the
# objects are. Where as much is made up as missed, the area looks right, and that is no comfort. Seven in ten small objects
# are vehicles; yet medium ones, nearly all buildings, are missed as often: rows melt together. Which of these numbers would
# you print in a report?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · All five on one scene
#
# A town of 4,096 px that none has seen, each system trained for the same 90 s, judged by buildings alone, since U-Net-ID
# maps nothing else. Stored: `python -m tests.benchmarks.scene_models`. The last column is the price of **a state**: West
# Virginia has 62,755 square kilometres; at half a metre that is 251 gigapixels.

# %%
models = (stored("scene_models") or [{}])[-1]
state = 62_755e6 / 0.5**2
table = {name: {"window, px": one["windows"], "AP50, boxes": one["boxes"]["AP50"], "F1, boxes": one["boxes"]["f1"],
                "F1, outlines": one.get("outlines", {}).get("f1"), "seconds": one["seconds"],
                "megapixels / s": one["megapixels_per_second"], "memory, GB": one["gigabytes"],
                "state, hours": state / one["megapixels_per_second"] / 1e6 / 3600} for name, one in models.items()}
if models:
    map_plots.plot_systems(models)
    plt.show()
pd.DataFrame(table).T.astype(float).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Top right is best: Faster R-CNN, 29 hours for the state; outlines cost 75. SSD has the best AP50, as in lecture 05.
# There SSD and YOLO were the faster ones, all on chips of 128 px; these two take no other window, the rest take 256 px here.
# YOLO's AP is far better than its F1: a bar of 0.5 is not its own. U-Net-ID finds the most outlines and makes up the most;
# Mask R-CNN gets further with longer training (lecture 06).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · Large jobs
#
# What happens to a job that takes a night?
#
# - **Stopped**: finished blocks lie in `OUT.parts`; the same call goes on from there.
# - **Broken**: a window that cannot be read is tried twice, then noted in `layer.attrs["failed"]`; the rest is done.
# - **Slow**: `executor=` takes any pool of `concurrent.futures`: threads here, processes, or Dask's
#   `client.get_executor()` on a cluster.
#
# Blocks need nothing of each other: *embarrassingly parallel* work. A corner of the town by two threads; then stopped after
# the second block, and called again:

# %% tags=["nbval-check-output"]
with rasterio.open(raster) as source:
    with rasterio.open(place / "corner.tif", "w", **source.profile | {"width": 500, "height": 500}) as out:
        out.write(source.read(window=rasterio.windows.Window(0, 0, 500, 500)))
job = {"raster": place / "corner.tif", "model": checkpoint, "size": 128, "overlap": 32, "batch_size": 1, "progress": False}
alone = scenes.map_scene(**job)

from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    print("by a pool of two, the same map:", alone.equals(scenes.map_scene(**job, executor=pool)))

from contextlib import suppress as forgive
from unittest.mock import patch

keep = scenes.run.write_block

def keep_and_stop(folder, number, block):
    keep(folder, number, block)
    if number == 1:
        raise KeyboardInterrupt                                        # the stop button, after the second block

with patch.object(scenes.run, "write_block", keep_and_stop), forgive(KeyboardInterrupt):
    scenes.map_scene(**job, out=place / "night.gpkg")
print("stopped:", sorted(path.name for path in (place / "night.gpkg.parts").glob("0*")),
      "the map is there:", (place / "night.gpkg").exists())
print("and continued, the same map:", alone.equals(scenes.map_scene(**job, out=place / "night.gpkg")))

# %%
# the state again, with the speed that this machine has just had, as one picture of three bytes a pixel
hours = state / (layer.attrs["pixels"] / spent["all"]) / 3600
print(f"{state / 1e9:,.0f} gigapixels, {3 * state / 1e12:.2f} TB; {hours:,.0f} hours here, {hours / 100:,.1f} hours on 100 machines")
limits = {f"memory with a stand-in for the network, scene of {side} px": f"{run[side]['gigabytes']:.2f} GB"
          for run in stored("scenes_memory")[-1:] for side in ("4096", "20000")}
limits |= {f"{run['detections']:,} detections merged": f"{run['parts']['seconds']:.1f} s"
           for run in stored("scenes_merge")[-1:]}
pd.Series(limits, name="python -m tests.benchmarks.scenes memory, merge")

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Three times the same map, and none was there while the job was half done. Part 6 had other hours: seconds belong to
# a machine and what else it does. 20,000 px are 24 times the pixels, and memory hardly moves (a network adds its own). What
# saves hours? Forests and lakes need not be searched for roofs: a coarse model first, the fine one where it says so.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Your own raster
#
# Three cells: **point** at a file, **label** or take the model that you have, **map** (here, and from a shell).
# `data_scripts/chip.py` (lecture 01) makes the chips, any lecture's training the model. Then draw thirty reference polygons
# in QGIS and call `map_scores`.

# %%
mine = raster                                          # 1: your GeoTIFF, COG or VRT, with a CRS in metres or feet
with rasterio.open(mine) as source:
    print(source.shape, source.crs, source.res, source.dtypes[0], source.descriptions)

# %%
my_model = checkpoint                                  # 2: or the folder of a model trained on chips of your own, made by
print("python data_scripts/chip.py scene.tif objects.gpkg --class-field type my_chips")

# %%
mine = place / "corner.tif"                            # 3: here a corner, so that it is quick; delete this line
my_map = scenes.map_scene(mine, my_model, place / "mine.gpkg", score=0.7, progress=False)
print(len(my_map), "objects in", my_map.attrs["windows"], "windows;", len(my_map.attrs["failed"]), "not read")

script, words = course / "data_scripts" / "map_scene.py", "scene.tif --model checkpoint map.geojson --simplify 0.5"
names = {"scene.tif": place / "corner.tif", "checkpoint": checkpoint}
words_here = [str(names.get(word, word)) for word in words.split()]
done = subprocess.run([sys.executable, script, *words_here], cwd=place, capture_output=True, text=True)
print("$ python data_scripts/map_scene.py", words, done.stdout or done.stderr, sep="\n")

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Let everybody try a raster of theirs. The shell finds more, for its bar is 0.5 and ours was 0.7.
# No CRS or other bands stop with a sentence that says what to do, another resolution is resampled.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · From made-up towns to real ground
#
# Three real scenes of places that no model has seen: the port of Busan, a quarter of Kampala (98 whole buildings; lecture
# 07's 113 were cut by chips), four plots of trees. **Zero-shot**: towns alone (vehicles for ships, buildings, round tanks
# for trees). **Fine-tuned**: from there, as many steps on real chips as **from scratch** takes on these alone. Stored:
# `python -m tests.benchmarks.real_scenes ships`, `buildings`, `trees`; F1 at an IoU of 0.5 and 0.3.

# %%
rows = {}
for kind in ("ships", "buildings", "trees"):
    runs = stored(f"real_scenes_{kind}")
    for how in ("zero_shot", "fine_tuned", "scratch"):
        seeds = pd.DataFrame([run[how] for run in runs if how in run])
        if len(seeds):
            means = seeds[["objects", "found", "false", "f1", "f1_iou_0.3", "AP50"]].astype(float).mean()
            rows[kind, how] = {**means, "seeds": len(seeds)}
pd.DataFrame(rows).T.round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Zero-shot first: one ship of 54 among hundreds of false ones, no building at 0.5, a few trees. Towns are not the
# world: other sensors, sizes, ground. After as many real steps the start from towns has the higher AP in all three pairs.
# With trees both end below zero-shot: so few steps unlearn round tanks sooner than they teach crowns. None of these is a
# map to sell, and one seed shows no difference of a few hundredths.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Ships over a port
#
# Busan under the stored layer of the fine-tuned model, at an IoU of 0.5, against the publisher's boxes.

# %%
raw, found = datasets.data_root() / "raw" / "sen2ships" / "busan", map_plots.stored_layer("real_scenes_ships_fine_tuned")
if raw.exists() and found is not None:
    port, ships = port_scene(raw, place / "busan.tif")
    map_plots.show_layer(port, found.to_crs(ships.crs), ships, title="Busan, 2022-05-14, Sentinel-2")
    plt.show()
    print(entry("sen2ships")["citation"], "Licence: " + entry("sen2ships")["licence"], sep="\n")
else:
    print("Busan is not here: python data_scripts/fetch.py sen2ships")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) 9 found: single ships on open water and a few large ones at quays. 45 missed: small ones moored side by side, and
# about as many single ones as are found. 66 false: quays, the bridge, stacks of containers. Some moored ships have no box
# (lecture 04), so not every false one is false. Mask out land first.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Exercises
#
# **10.1** How many windows does a large scene take? Do not make the list: for a state it has millions of entries. The last
# row and column are shifted inward, and a scene smaller than a window takes one.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def windows_needed(height, width, size, overlap):
    """Number of windows of size px that share overlap px over a scene (height, width), without listing them."""
    # solution-begin
    step = size - overlap
    return (1 + max(0, -(-(height - size) // step))) * (1 + max(0, -(-(width - size) // step)))
    # solution-end

check("10.1", windows_needed)

# %% [markdown] slideshow={"slide_type": "skip"}
# **10.2** Part 1's formula, for any object: the chance that a box of *w* × *h* pixels, anywhere, is cut by a grid of lines that
# are `size` px apart. What is larger than a chip is always cut.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def chance_to_be_cut(width, height, size):
    """Chance (0..1) that a grid of lines, `size` apart, cuts a box (width, height) at a random place."""
    # solution-begin
    return 1 - max(0, 1 - width / size) * max(0, 1 - height / size)
    # solution-end

check("10.2", chance_to_be_cut)

# %% [markdown] slideshow={"slide_type": "skip"}
# **10.3** Do two parts agree? Take two boxes and the windows that they come from, and measure their intersection against the
# smaller of the two **within the other's window**; 0 where nothing of one of them lies there.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def agreement(a, b, window_a, window_b):
    """Boxes a, b and their windows, each (x0, y0, x1, y1) → shared area over the smaller area seen by both, 0..1."""
    # solution-begin
    def both(one, other):
        sides = [min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
        return max(0, sides[0]) * max(0, sides[1])

    seen = min(both(a, window_b), both(b, window_a))
    return both(a, b) / seen if seen else 0.0
    # solution-end

check("10.3", agreement)

# %% [markdown] slideshow={"slide_type": "skip"}
# *Predict, then change a number:* halve the overlap in part 3. How many windows fewer, how much less time, and which objects
# pay for it?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. A map is put together from chips without overlap. What is wrong along the lines?
# 2. Why does suppression not join two halves of a house?
# 3. A model finds nothing on a new raster, and no error is raised. What was forgotten?
# 4. F1 on chips and F1 on the map differ. Which one do you tell the county?
# 5. A job stops in the middle of a state. What must be done again?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: cut objects count twice, or not at all. 2: halves hardly overlap, so neither strikes the other. 3: the scaling,
# bands or resolution that it learned with. 4: the map's, for it counts each object once. 5: the blocks that were not done.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Summary
#
# - Chips cut objects; in training that is harmless, on a map it is an error on a line.
# - Windows **overlap**; whole objects win, parts that agree on the shared strip are joined, outlines by union.
# - The model's bands, resolution and scaling travel **with** its weights.
# - A map is judged as a map: counts and areas, by class, by size, and at the seams.
# - Blocks that need nothing of each other can be stopped, retried, and done on many machines.
#
# This was the last lecture. **Back:** [00 · Welcome](00_welcome.ipynb).

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Close where the course began: which question does your own map answer, and what would it cost if it were wrong?

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Where this comes from
#
# - F. C. Akyon, S. O. Altinuc, A. Temizel: Slicing Aided Hyper Inference and Fine-Tuning for Small Object Detection. ICIP
#   2022. doi:10.1109/ICIP46576.2022.9897990
# - H. Butler et al.: The GeoJSON Format. RFC 7946, 2016. doi:10.17487/RFC7946
