# %% [markdown] slideshow={"slide_type": "slide"}
# # 01 · Geospatial chips
#
# **From one large raster and a layer of objects to something that a detector can learn from.**
#
# When you are through, you can
#
# - say what a detector must be told that a scene classifier need not;
# - cut a raster and a vector layer into chips whose masks, boxes and coordinates survive;
# - split by place, and show what a random split hides;
# - find what is broken in a chip folder;
# - choose a chip size knowing what it costs.
#
# **You need** Python and NumPy in daily use; a convolutional network, GeoTIFF and vector layers met once.
#
# **Time:** 60 minutes with the exercises. Nothing is trained; all cells run in under a minute.
#
# **Data:** *towns*, generated scenes that look like orthophotos. Their labels are exact, because the program that drew
# the buildings also wrote down where they stand. The first run makes them in about half a minute.

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Ask who has ever labelled imagery, and how long one object took. A wrong CRS, a leaking split or a JPEG mask
# spoils every model that follows, and no loss curve tells you.

# %% slideshow={"slide_type": "skip"}
import io, json, math, shutil, tempfile
from pathlib import Path
from textwrap import fill

import geopandas
import matplotlib.pyplot as plt
import numpy as np
import rasterio
import shapely
import torch
from affine import Affine
from PIL import Image
from rasterio.features import rasterize
from scipy import ndimage, spatial

from geodl_course import datasets, diagrams, plots
from geodl_course.chips import ChipDataset, ChipError, collate, read_chip, read_info, validate
from geodl_course.datasets.chipping import chip_scene, drop_touching
from geodl_course.datasets.formats import Annotation, read_coco, read_voc, write_coco, write_voc
from geodl_course.teaching import check, check_same, require

require("0.1.0")
plots.course_style()

towns = datasets.find("towns") or datasets.make("towns")
scratch = Path(tempfile.mkdtemp())                         # all that this lecture writes goes here
info = read_info(towns)
train = ChipDataset(towns, "train")                        # all training chips, decoded
print(len(train), "training chips,", info.classes, info.bands, f"{info.resolution} m a pixel")

# %% slideshow={"slide_type": "skip"}
def side_by_side(pictures, size=2.3):
    """Show {title: picture} in a row."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(size * len(pictures), size + 0.3))
    for ax, (title, picture) in zip(axes, pictures.items()):
        ax.imshow(picture)
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    return axes

def colour_ids(ids):
    """A raster of ids (H, W) as a picture (H, W, 3): each id a colour of its own, background pale."""
    palette = np.random.default_rng(3).uniform(0.2, 0.9, (int(ids.max()) + 1, 3))
    palette[0] = 0.93
    return palette[ids]

def show_place(ax, col, row, size, title):
    """Show a square of the scene of section 3 with the outlines of its objects, drawn in map coordinates."""
    (left, top), (right, bottom) = transform * (col, row), transform * (col + size, row + size)
    step = max(1, size // 256)                             # a screen shows no more
    ax.imshow(plots.to_rgb(picture[:, row:row + size:step, col:col + size:step]), extent=(left, right, bottom, top))
    for label, (name, part) in enumerate(objects.groupby("type"), start=1):
        if step == 1:
            colour, style = plots.class_look(label)
            part.boundary.plot(ax=ax, color=colour, linestyle=style, linewidth=1.3, label=name)
    ax.set(xlim=(left, right), ylim=(bottom, top), title=title, xlabel="easting (m)", ylabel="northing (m)")
    ax.set(xticks=np.linspace(left, right, 3).round(), yticks=np.linspace(bottom, top, 3).round())
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.grid(False)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · What must a detector be told?
#
# | task | it answers | the label that you must make |
# |---|---|---|
# | scene classification | what is in this picture? | one class a picture |
# | semantic segmentation | which class is this pixel? | one class a pixel |
# | **object detection** | which things, and where? | a class and a **box** for each thing |
# | **instance segmentation** | which pixels belong to which thing? | a class and a **mask** for each thing |
#
# A trained detector returns a class, a box and a probability for each thing, and no pixels. Semantic segmentation knows
# the pixels and cannot count: houses that share a wall are one blob.

# %% tags=["nbval-check-output"]
inner = [i for i in range(256) if 0 < i // 16 < 15 and 0 < i % 16 < 15]         # of the first scene, off its edge
most = max(inner, key=lambda i: (train[i][1]["labels"] == 1).sum())            # the most buildings
chip = read_chip(towns, "train", train.stems[most])
buildings = chip.instances["building"]                     # (128, 128): 0 = background, 1, 2, 3 ... = instances
rgb = plots.to_rgb(chip.image)                             # (128, 128, 3)
axes = side_by_side({"scene: “built-up”": rgb, "semantic: blobs": colour_ids(1 * (buildings > 0)),
                     "detection: boxes": rgb, "instances: ids": colour_ids(buildings)})
plots.draw_boxes(axes[2], chip.boxes[chip.labels == 1], plots.GROUND_TRUTH)
print("blobs:", ndimage.label(buildings > 0)[1], " instances:", buildings.max())

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Let the room count the buildings in the second panel, then in the fourth. Ask what each label costs: a scene
# class is one click, a box two, an outline dozens. Boxes are enough to count ships; the area of roofs needs masks.
# Lectures 03-05 learn from boxes, 06-07 from masks.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · A raster is an array and six numbers
#
# The array knows rows and columns. The **transform** says where they lie in the **coordinate reference system** (CRS):
#
# `x = c + a · col + b · row` and `y = f + d · col + e · row`
#
# For a north-up raster `b = d = 0`; `a` is the width of a pixel, and `e` is negative: rows count down, northings up.
# `(c, f)` is the outer **corner** of the first pixel, whose centre is the point `(0.5, 0.5)`. `int` turns a point into
# the pixel that holds it. The map says x first, the array says row first.

# %% tags=["nbval-check-output"]
scene_path = towns.parent / f"{towns.name}_scenes" / "scene_0.tif"
with rasterio.open(scene_path) as scene:
    picture, transform, crs, bounds = scene.read(), scene.transform, scene.crs, scene.bounds
print(picture.shape, picture.dtype, crs, "(UTM zone 17 north)")
print("a, b, c, d, e, f =", tuple(transform)[:6])

def pixel_to_map(transform, col, row):
    """Map coordinates (x, y) of the point (col, row)."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return c + a * col + b * row, f + d * col + e * row

def map_to_pixel(transform, x, y):
    """The point (col, row) of the map coordinates (x, y), for a raster that is not rotated."""
    a, _, c, _, e, f = tuple(transform)[:6]
    return (x - c) / a, (y - f) / e

x, y = pixel_to_map(transform, 700.5, 300.25)
col, row = map_to_pixel(transform, x, y)
print(f"map {x:.2f}, {y:.2f}   point {col:.2f}, {row:.2f}   array index picture[:, {int(row)}, {int(col)}]")
check_same(pixel_to_map, lambda transform, col, row: transform * (col, row), transform, np.arange(50), np.arange(50))

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Two classic mistakes: x and y against row and column, and the half pixel: GeoTIFF gives the corner of the first
# pixel, a world file its centre. Ask: at 0.4 m, how far off is a vehicle then? (0.2 m each way, a tenth of its width.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · The scene and its objects
#
# One file holds the picture, another the objects: polygons in map coordinates with a class in the field `type`.

# %%
objects = geopandas.read_file(scene_path.with_suffix(".gpkg"))
print(objects["type"].value_counts().to_dict(), "in", objects.crs.to_string())
axes = plt.subplots(1, 2, figsize=(6.6, 2.8))[1]
show_place(axes[0], 0, 0, 2048, "the scene, 819 m wide")
show_place(axes[1], 560, 1500, 256, "102 m of it, with its objects")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
objects.head(3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Ask what will be hard. (Roofs under trees, cars of 5 by 12 pixels in shadow, row houses, round things that are
# no tanks.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Why chips?
#
# A training step keeps the feature maps of all layers until the backward pass. For our scene, a first layer of 32
# channels at half resolution alone takes 32 · 1024 · 1024 · 4 bytes = 134 MB, and real scenes are larger. So we cut
# **chips** of one size; then a batch is one array `(B, C, H, W)`, and it mixes places.
#
# The windows are a regular grid. The last row and column are **shifted inward**: every chip is full and no pixel is
# missed. Neighbours may share an **overlap**, so that what one border cuts is whole in the next chip.

# %% mirror="windows:_starts, windows:windows" tags=["nbval-check-output"]
print(windows(300, 300, 128))
print(len(windows(2048, 2048, 128)), "chips of the scene,", len(windows(2048, 2048, 128, overlap=32)), "with overlap")

# %%
axes = plt.subplots(1, 2, figsize=(4.8, 2.7))[1]
for ax, overlap in zip(axes, (0, 32)):
    plots.show_image(picture[:, 1500:1800, 560:860], ax=ax, title=f"overlap {overlap}; orange:\nseen more than once")
    seen = np.zeros((300, 300))
    for row, col in windows(300, 300, 128, overlap):
        seen[row:row + 128, col:col + 128] += 1
        plots.draw_boxes(ax, [(col, row, col + 128, row + 128)], "white", width=0.8)
    ax.imshow(np.ma.masked_less(seen, 2), cmap="Oranges", vmin=0, vmax=5, alpha=0.5, extent=(0, 300, 300, 0))
    plots.draw_boxes(ax, [(col, row, col + 128, row + 128)], plots.MISSED, width=2.5)       # the last window

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Blue is the last window. On the left the last column overlaps by 84 pixels: 300 is no multiple of 128. An object
# in the shared strip counts twice: harmless in training, wrong on a map; lecture 10 merges such doubles.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · From raster and vectors to chips
#
# 1. **One CRS.** Objects often come in degrees.
# 2. **To pixels.** The inverse transform does to all corners at once what `map_to_pixel` did to one point.
# 3. **Rasterise** each window: a pixel belongs to an object when its centre lies inside. Each object gets its own id.

# %%
_ = diagrams.draw_flow(
    {"raster": (0, 0, "data", "raster\n(3, 2048, 2048)"), "objects": (0, 1, "data", "objects\npolygons, class"),
     "cut": (1.2, 0, "fixed", "cut\nwindows"), "crs": (1.2, 1, "fixed", "to pixels\nCRS, transform"),
     "burn": (2.4, 1, "fixed", "rasterise\none id each"), "images": (3.6, 0, "data", "images/\n(3, 128, 128)"),
     "labels": (3.6, 1, "data", "labels/CLASS/\n(128, 128) ids"), "boxes": (4.8, 1, "data", "boxes\n(M, 4)")},
    ["raster cut images", "objects crs burn labels boxes", "cut burn"], legend=False)

# %% tags=["nbval-check-output"]
delivered = objects.to_crs("EPSG:4326")                    # what a client might send: longitude and latitude
frame = shapely.box(*bounds)
print("on the raster as delivered:", delivered.intersects(frame).sum(), "of", len(delivered))
print("after to_crs(raster.crs):  ", delivered.to_crs(crs).intersects(frame).sum())

# %%
polygons = delivered.to_crs(crs).affine_transform((~transform).to_shapely())       # x = column, y = row
polygons = polygons.set_crs(None, allow_override=True)                             # pixels lie in no CRS

def instances_in(row, col, size, polygons):
    """Instance raster (size, size) of the polygons in one window: 0 = background, then 1, 2, 3 ..."""
    near = polygons[polygons.intersects(shapely.box(col, row, col + size, row + size))]
    shapes = [(polygon, number) for number, polygon in enumerate(near, start=1)]
    return rasterize(shapes, out_shape=(size, size), transform=Affine.translation(col, row), dtype="uint16")

col, row = (round(value) for value in map_to_pixel(transform, chip.transform.c, chip.transform.f))   # the chip above
ids = instances_in(row, col, 128, polygons[objects["type"] == "building"])
_ = side_by_side({f"ours: {ids.max()} ids": colour_ids(ids),
                  f"the package: {buildings.max()} ids": colour_ids(buildings),
                  "only in ours": colour_ids(1 * ((ids > 0) & (buildings == 0)))})

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Walk along the arrows. Zero objects on the raster is a loud failure. The quiet one is two datums that differ by
# a few metres: everything lands, slightly beside. Ask why the package has fewer ids than we: see the slivers on the
# right. (Colours go by id, not by building.)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Objects that the border cuts
#
# A rule is needed, and the data set must state it. The package's:
#
# 1. the part inside is an instance of its own if **at least 30 %** of the object's area is inside and the part is at
#    least 2 pixels wide and high;
# 2. smaller rests become background;
# 3. a chip **without objects** stays: it teaches what is *not* a building.

# %%
near = polygons[polygons.intersects(shapely.box(col, row, col + 128, row + 128))]
share = near.intersection(shapely.box(col, row, col + 128, row + 128)).area / near.area   # what this chip can see
ax = plots.show_image(picture[:, row - 20:row + 148, col - 20:col + 148], ax=plt.subplots(figsize=(3, 3.3))[1])
near = near.translate(20 - col, 20 - row)
near[share >= 0.3].boundary.plot(ax=ax, color=plots.TRUE_POSITIVE, linewidth=2)
near[share < 0.3].boundary.plot(ax=ax, color=plots.FALSE_POSITIVE, linestyle=":", linewidth=2.5)
plots.draw_boxes(ax, [(20, 20, 148, 148)], "white", width=2)
plate = {"boxstyle": "round,pad=0.15", "facecolor": "black", "alpha": 0.6, "linewidth": 0}
cut = (share > 0.005) & (share < 0.99)
for place, part in zip(near[cut].centroid, share[cut]):
    ax.annotate(f"{part:.0%}", (place.x, place.y), color="white", ha="center", va="center", fontsize=7, bbox=plate)
_ = ax.set(title="white: the chip\ndotted: under 30 % inside", xlabel="", ylabel="")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) There is no right rule, only a stated one. Keep slivers, and the detector is punished for not knowing a roof by
# two rows of tiles. Drop too much, and it is punished for finding half a house. What overlap makes every object whole in
# some chip? The size of the largest one; its neighbours still see parts.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### All at once, and what lies on the disk
#
# The same steps for your own raster, in a terminal:
#
# `python data_scripts/chip.py scene.tif objects.gpkg --class-field type --size 128 --overlap 0 --split spatial OUT`
#
# One image, one folder a class, one raster of ids for each class that occurs: ArcGIS Pro exports this layout as **RCNN
# Masks**. `dataset.json` holds classes, bands, CRS, licence and how the chips were made. Each chip keeps its own transform.

# %% tags=["nbval-check-output"]
mine = chip_scene(scene_path, scene_path.with_suffix(".gpkg"), scratch / "mine", class_field="type", size=128,
                  split="spatial", val=0.2, test=0.2, progress=False)
for split, number in read_info(mine).counts.items():
    print(f"{split:5}", number)


def tree(folder, indent="", most=2):
    """Print a folder, at most `most` files a level."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        print(f"{indent}{path.name}/")
        tree(path, indent + "    ")
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    if files:
        print(indent + "  ".join(files[:most]), f" ... {len(files)} files" if len(files) > most else "")

tree(mine)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Ask how many tanks a chip has without a file in labels/tank. (None. A missing file is an answer, not an error.)
# Look at the counts of test: no tank. A split by place can lose a rare class, so read the counts before you train.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Boxes follow from masks
#
# Never draw both by hand: they would drift apart. A box `(x0, y0, x1, y1)` is **half-open**: it names the lines between
# pixels, and `x1` is the first column outside. So the width is `x1 - x0`, the array slice is `[y0:y1, x0:x1]`, and
# neighbours share an edge without sharing a pixel. First a loop, then the package's version, one pass over the raster, and
# the proof. Last, a **semantic map from instances**: one line. The way back does not exist, as section 1 showed.

# %%
def boxes_with_a_loop(ids):
    """Ids (M,) and half-open boxes (M, 4) of an instance raster (H, W)."""
    numbers = [number for number in np.unique(ids) if number > 0]
    boxes = np.zeros((len(numbers), 4), np.float32)
    for i, number in enumerate(numbers):
        rows, cols = np.nonzero(ids == number)             # looks at the whole raster once for each instance
        boxes[i] = cols.min(), rows.min(), cols.max() + 1, rows.max() + 1
    return np.array(numbers), boxes

tiny = np.zeros((6, 9), int)
tiny[1:4, 2:7] = 1
_, [box] = boxes_with_a_loop(tiny)
ax = plt.subplots(figsize=(3.6, 2.4))[1]
ax.imshow(colour_ids(tiny), extent=(0, 9, 6, 0))
plots.draw_boxes(ax, [box], plots.MISSED, width=2.5)
_ = ax.set(xticks=range(10), yticks=range(7), title=f"box {box.astype(int).tolist()}: 5 × 3 pixels")

# %% mirror="chips.record:boxes_from_instances" tags=["nbval-check-output"]
check_same(boxes_with_a_loop, boxes_from_instances, ids)
check_same(boxes_with_a_loop, boxes_from_instances, np.random.default_rng(0).integers(0, 60, (128, 128)))

# %%
semantic = np.max([(info.classes.index(name) + 1) * (raster > 0) for name, raster in chip.instances.items()], axis=0)
axes = side_by_side({"semantic: a colour a class": colour_ids(semantic), "boxes, derived from masks": rgb})
plots.draw_classes(axes[1], chip.boxes, chip.labels)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Ask for the box of a single pixel in column 4, row 2: (4, 2, 5, 3). The pattern of the course: say it slowly,
# write it fast, prove that both are the same, here also on noise. What if a tree splits a roof in two? One id, one box.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · Split by place
#
# Near things are alike: same roofs, same field, the same house cut in half. Shuffle the chips, and almost every
# validation chip has a training chip beside it: the score measures **memory**. So cut blocks along a random direction,
# and drop chips that touch another block:

# %% mirror="datasets.chipping:spatial_split"
corners = np.array(windows(2048, 2048, 128))                                   # (256, 2): row, column
edges = [(col, -row - 128, col + 128, -row) for row, col in corners]           # left, bottom, right, top
by_place = spatial_split(corners, val=0.2, test=0.2, seed=0)
at_random = np.random.default_rng(0).permutation(by_place)

# %%
LOOKS = {"train": ("#56B4E9", ""), "val": ("#E69F00", "////"), "test": ("#CC79A7", "xxxx"), "": ("white", "")}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
for ax, splits, title in zip(axes, (at_random, drop_touching(edges, by_place)), ("random", "by place")):
    for (row, col), split in zip(corners, splits):
        colour, hatch = LOOKS[split]
        ax.add_patch(plt.Rectangle((col, row), 128, 128, facecolor=colour, hatch=hatch, edgecolor="white", lw=0.5))
    ax.set(xlim=(0, 2048), ylim=(2048, 0), aspect="equal", title=f"{title}: {(splits == '').sum()} chips dropped")
    ax.axis("off")
handles = [plt.Rectangle((0, 0), 1, 1, facecolor=colour, hatch=hatch, label=name)
           for name, (colour, hatch) in LOOKS.items() if name]
_ = figure.legend(handles=handles, loc="outside lower center", ncols=3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) White chips were dropped: chips that touch, even at a corner, can share objects. Ask whether one block is
# enough. (Better: several; best: other towns, so the towns set uses whole scenes.)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### How much does a random split leak?
#
# Take a "model" that cannot see: for each validation chip it answers with the brightness of the **nearest training
# chip**. It should know next to nothing.

# %%
brightness = np.array([picture[:, row:row + 128, col:col + 128].mean() for row, col in corners])

def know_by_neighbour(splits):
    """Correlation of the validation chips' brightness with that of their nearest training chips."""
    train, val = splits == "train", splits == "val"
    nearest = spatial.cKDTree(corners[train]).query(corners[val])[1]
    return np.corrcoef(brightness[train][nearest], brightness[val])[0, 1]

blocks = [spatial_split(corners, 0.2, 0.2, seed) for seed in range(40)]
scores = {"random": [know_by_neighbour(np.random.default_rng(i).permutation(b)) for i, b in enumerate(blocks)],
          "by place": [know_by_neighbour(drop_touching(edges, splits)) for splits in blocks]}
ax = plt.subplots(figsize=(6, 1.9))[1]
for height, values in enumerate(scores.values()):
    ax.plot(values, height + np.linspace(-0.2, 0.2, 40), "os"[height], alpha=0.6)
    ax.plot([np.mean(values)] * 2, [height - 0.35, height + 0.35], color="#333333")
_ = ax.set(yticks=[0, 1], yticklabels=scores, ylim=(1.5, -0.5), xlabel="correlation; 40 splits each, bar: mean")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Under the random split the correlation is about 0.55 on average, for a model without eyes; split by place about
# 0.1, and it varies with the block. Geographers say spatial autocorrelation, reviewers say leakage. Ask what it does to a
# comparison of two models: it favours the one that memorises.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Formats that you will meet
#
# | format | where the objects are | a box is written as | masks |
# |---|---|---|---|
# | label rasters (ours, *RCNN Masks*) | one GeoTIFF a class and chip | derived | yes |
# | PASCAL VOC | one XML an image | `xmin ymin xmax ymax` | no |
# | COCO | one JSON for all images | `x y width height` | polygons, or run lengths (so many pixels off, so many on) |
# | KITTI, YOLO | one text file an image | corners; centre and size as shares | no |
#
# ArcGIS Pro exports label rasters, VOC and KITTI files among others; its `arcgis.learn` trains Mask R-CNN, Faster R-CNN
# and single-shot detectors on them; torchvision has them too. `python data_scripts/convert.py EXPORT OUT` makes a chip
# folder of an export, and an export of a chip folder.

# %%
note = Annotation(f"{chip.stem}.tif", chip.image.shape[1:], chip.boxes, [info.classes[k - 1] for k in chip.labels])
write_voc(scratch / "chip.xml", note)
write_coco(scratch / "chip.json", [note], info.classes)
print("<object>" + (scratch / "chip.xml").read_text().split("<object>")[1])
print(json.loads((scratch / "chip.json").read_text())["annotations"][0])
for back in (read_voc(scratch / "chip.xml"), read_coco(scratch / "chip.json")[0][0]):
    print(len(back.boxes), "boxes read back, largest difference", np.abs(back.boxes - chip.boxes).max(), "px")

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) The same object twice: VOC's xmax is COCO's x plus width. Take one for the other, and training still runs, on
# wrong boxes. Files also differ on whether xmax is inside: look at an overlay of each new data set.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### JPEG for pictures, never for labels
#
# JPEG stores an image as smooth waves and rounds them. An eye forgives that. An id does not: 7.4 is no building.
#
# Pictures may be JPEG or PNG. They carry no place, so a **world file** lies beside them: six numbers, the last two the
# **centre** of the first pixel, and no CRS.

# %%
def through_jpeg(array):
    """The array as it comes back from a JPEG file of good quality."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "jpeg", quality=90)
    return np.asarray(Image.open(file))

back = through_jpeg(ids.astype(np.uint8))
print("ids before:", ids.max(), " after:", len(np.unique(back)) - 1, f" pixels changed: {(back != ids).mean():.0%},",
      f"of those on objects: {(back != ids)[ids > 0].mean():.0%}")
print(f"the picture: off by {np.abs(through_jpeg(rgb).astype(float) - rgb).mean():.1f} of 255 grey levels on average")
_ = side_by_side({"ids": colour_ids(ids), "after JPEG": colour_ids(back), "changed": colour_ids(1 * (back != ids))})

a, b, c, d, e, f = tuple(chip.transform)[:6]
Image.fromarray(rgb).save(scratch / "chip.jpg", quality=90)
(scratch / "chip.jgw").write_text("\n".join(str(number) for number in (a, d, b, e, *(chip.transform * (0.5, 0.5)))))
with rasterio.open(scratch / "chip.jpg") as jpeg:
    print("the same place:", jpeg.transform.almost_equals(chip.transform), " CRS:", jpeg.crs)

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) The wrong ids sit along the edges, where a box is measured: one stray pixel of id 5 stretches box 5 across the
# chip. Our reader refuses a JPEG in labels/. The CRS, None in the last line, stands in dataset.json.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · From chips to batches
#
# Networks learn best from numbers around 0. Each band has its own mean and spread, measured **once, over the training
# chips**, and stored in `dataset.json`. Pixels without data (**nodata**) are left out of these statistics and become 0,
# the mean: nothing to see. Whole numbers are nodata only where all bands say so, for a shadow may be 0 in one; floats band
# by band.

# %% tags=["nbval-check-output"]
def normalise(image, info):
    """Image (C, H, W) → float32 with mean 0 and spread 1 in each band over the training set; nodata → 0."""
    mean, std = (np.array(value, np.float32)[:, None, None] for value in (info.mean, info.std))
    hole = image == info.nodata                            # nodata None: no hole anywhere
    empty = hole if image.dtype.kind == "f" else hole.all(0)
    return np.where(empty, 0, (image - mean) / std)

check_same(lambda i: normalise(train.images[i], info), lambda i: train[i][0], 5)

edge = train.images[5].copy()
edge[:, :, :50] = 0                                        # the border of a flight strip
print(f"red band, all pixels: {edge[0].mean():.0f}   valid pixels: {edge[0][edge.any(0)].mean():.0f}")

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Ask what to do in another county with other light: keep the statistics of training, for the weights expect them.
# The last line shows why nodata must be declared: black borders darken the mean.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Padded targets
#
# Chips hold different numbers of objects, arrays need one length. `Targets` pads to the fullest chip of the batch:
# `boxes (B, M, 4)` in half-open pixels, `labels (B, M)` with 1..K and 0 for background, `valid (B, M)`, which is False for
# padding, and `masks (B, M, H, W)` where they are asked for.

# %% tags=["nbval-check-output"]
counts = [len(train[i][1]["labels"]) for i in range(len(train))]
shown = np.argsort(counts, kind="stable")[np.linspace(0, len(train) - 1, 6).astype(int)]     # from empty to full
images, targets = collate([train[i] for i in shown])
print("images", tuple(images.shape), " boxes", tuple(targets.boxes.shape), " labels", tuple(targets.labels.shape))
print("objects in each chip:", targets.valid.sum(1).tolist())
_ = plots.show_chips(train, shown, columns=6, size=1.25)

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) One fixed shape lets later lectures match, sample and compute losses for a whole batch without a loop. The waste
# is small beside the pixels. Ask where the empty chip went. (Its row of `valid` is all False.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10 · How large should a chip be?
#
# All chips of a set have one shape, such as `(3, 128, 128)`, `(3, 256, 256)` or `(3, 512, 512)`. A larger one cuts fewer
# objects and costs more. The table is computed now; the figure was **measured beforehand**, on the Faster R-CNN of
# lecture 03, by `python -m tests.benchmarks.chip_sizes`.

# %% tags=["nbval-check-output"]
x0, y0, x1, y1 = polygons.bounds.to_numpy().T
print("size  chips of the scene  batch of 8    objects cut")
for size in (128, 256, 512):
    cut = (x0 // size != x1 // size) | (y0 // size != y1 // size)
    megabytes = torch.zeros(8, 3, size, size).nbytes / 1e6
    print(f"{size:4} {len(windows(2048, 2048, size)):19} {megabytes:9.1f} MB {cut.mean():14.0%}")

# %%
file = Path(plots.__file__).parents[1] / "docs" / "results" / "01_chip_sizes.json"
stored = json.loads(file.read_text())["runs"][-1]
found, sizes = stored["figures"]["sizes"], np.array([128, 256, 512])
axes = plt.subplots(1, 2, figsize=(6.4, 2.4))[1]
for ax, key, title in zip(axes, ("step_seconds", "megabytes"), ("seconds a training step", "peak memory, MB")):
    values = [found[str(size)][key] for size in sizes]
    ax.loglog(sizes, values, "o-")
    ax.loglog(sizes, values[0] * (sizes / 128) ** 2, ":", color="#666666", label="as the pixels")
    ax.set(title=title, xlabel="chip size (px), batch 8", xticks=sizes, xticklabels=sizes)
    ax.set(xlim=(96, 700), ylim=(None, 2.5 * values[-1]))
    ax.minorticks_off()
    for size, value in zip(sizes, values):
        text = f"{value:,.0f}" if value > 100 else f"{value:.2f}"
        ax.annotate(text, (size, value), (0, 6), textcoords="offset points", ha="center")
axes[0].legend(loc="lower right")
print("measured on:", stored["device"])

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Dotted is the fair price: four times the pixels, four times the cost. 256 px pays it. 512 px pays more, for
# training compares each anchor with each object, and both grow with the pixels: by 16 when the side doubles. Ask what
# helps: smaller batches, fewer anchors, a GPU.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11 · Real imagery: tree crowns from the air
#
# The NEON airborne observatory photographs forests at 0.1 m; people drew a box around each crown (Weinstein and others,
# 2019). The import averages to 0.2 m, cuts chips of 128 px, and writes down what it had to decide. There are no masks:
# `boxes.json`, in COCO's format, stands in place of `labels/`.

# %%
trees = datasets.find("neon_trees")
if trees is None:
    print("The trees are not on this machine. This fetches them (20 MB): python data_scripts/fetch.py neon_trees")
    print("Until then the cells below show generated chips.")
real = ChipDataset(trees or towns, "val")
print({key: value for key, value in real.info.recipe.items() if key not in ("note", "made_by")})
fullest = np.argsort([-len(real[i][1]["labels"]) for i in range(len(real))])
figure = plots.show_chips(real, fullest[[0, 4, 20]], columns=3, size=1.5)
_ = figure.suptitle("Real: NEON tree crowns, 0.2 m" if trees else "Generated stand-in: towns", fontsize=11)
print(fill(f"{real.info.citation} Licence: {real.info.licence}", 120))

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Let the room find crowns without a box. A detector that finds those is marked wrong: its precision reads too
# low. Plots of 200 px give chips of 128 that share 56: most crowns count twice or more.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 12 · When data are broken
#
# Another CRS, half a download, a label raster of another size, a misspelt class, ids as floats, reversed boxes, NaN
# pixels: each should stop you **before** training, in a sentence that names the file and what to do. `validate` reads a
# whole folder:

# %%
def break_and_validate(spoil):
    """Print what `validate` says of a copy of our chip folder that `spoil` has damaged."""
    folder = Path(shutil.copytree(mine, scratch / "broken"))
    spoil(folder)
    try:
        validate(folder)
    except ChipError as error:
        print("•", str(error).replace(str(scratch), "..."), "\n")
    shutil.rmtree(folder)

def half_a_download(folder):
    path = sorted((folder / "val" / "images").iterdir())[7]
    path.write_bytes(path.read_bytes()[:9000])

break_and_validate(half_a_download)
break_and_validate(lambda folder: (folder / "val/labels/vehicle").rename(folder / "val/labels/vehicel"))

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Ask which faults no program can find: a small shift, a forgotten house, a wrong class. Those need eyes, before a
# first training.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Exercises
#
# **01.1** A detector answers in pixels; the county wants map coordinates. Write `boxes_to_map`. Mind which edge is north.

# %% tags=["exercise"]
def boxes_to_map(boxes, transform):
    """Pixel boxes (M, 4) of a north-up raster → map boxes (M, 4): west, south, east, north."""
    # solution-begin
    west, north = transform * (boxes[:, 0], boxes[:, 1])
    east, south = transform * (boxes[:, 2], boxes[:, 3])
    return np.stack([west, south, east, north], 1)
    # solution-end

check("01.1", boxes_to_map)

# %% [markdown]
# **01.2** A colleague sends chips that are split already. Which validation chips share pixels with a training chip? Chips
# that only touch do not. Broadcast over all pairs: `val[:, None]` is `(V, 1, 2)`.

# %% tags=["exercise"]
def leaking(val, train, size):
    """Which validation chips overlap a training chip: corners val (V, 2), train (T, 2) in pixels → bool (V,)."""
    # solution-begin
    apart = np.abs(val[:, None] - train[None])
    return (apart < size).all(-1).any(1)
    # solution-end

check("01.2", leaking)

# %% [markdown]
# **01.3** The first part of the rule of section 5, for boxes: how much of each can the chip see?

# %% tags=["exercise"]
def visible_share(boxes, size):
    """Share of the area of each box (M, 4) that lies inside the chip (0, 0, size, size) → (M,), 0 to 1."""
    # solution-begin
    inside = np.clip(boxes, 0, size)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return (inside[:, 2:] - inside[:, :2]).prod(1) / area
    # solution-end

check("01.3", visible_share)

# %% [markdown] slideshow={"slide_type": "notes"}
# (10 min) Common slips: y0 taken for south, `<=` where chips only touch, `any` where both axes must overlap.

# %% [markdown] slideshow={"slide_type": "skip"}
# *Predict, then change a number:* how many chips come out of `windows(2048, 2048, 128, overlap=64)` in part 4, and how
# many of them see a pixel in the middle?
#
# **Project:** chip a raster and a layer of your own, validate, look at fifty chips: what did no program find?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. Pixels of 0.5 m. How far is column 100, row 200 from the raster's upper left corner?
# 2. What does JPEG do to a raster of ids?
# 3. When can instances be had back from a semantic map?
# 4. Chips overlap and are split at random. Is the validation score too high or too low?
# 5. Why keep chips without objects?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: 50 m east, 100 m south. 2: it invents ids along the edges. 3: only where nothing touches. 4: too high: pixels
# were seen in training. 5: they show what is not an object, and count false alarms.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What to remember
#
# - A detector learns from a class and a **box** for each thing, instance segmentation from a class and a **mask**.
# - A raster is an array, a transform and a CRS; pixel boxes go back to the map.
# - Masks first: boxes and semantic maps follow from instance ids, never the other way round.
# - State what happens to cut objects, keep empty chips, split by place.
# - Label rasters are GeoTIFF or PNG, never JPEG; statistics come from the training chips alone.
# - Validate by program, then with your eyes.
#
# **Next:** lecture 02 asks when two boxes agree, lays anchors over a chip, and removes what was found twice.

# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) Ask each for a fault met in their own data.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - [Everingham et al. 2010, PASCAL VOC](https://doi.org/10.1007/s11263-009-0275-4)
# - [Lin et al. 2014, COCO](https://doi.org/10.1007/978-3-319-10602-1_48)
# - [Roberts et al. 2017, splits for spatial data](https://doi.org/10.1111/ecog.02881)
# - [Kattenborn et al. 2022, spatial autocorrelation](https://doi.org/10.1016/j.ophoto.2022.100018)
# - [Weinstein et al. 2019, tree crowns](https://doi.org/10.3390/rs11111309)
