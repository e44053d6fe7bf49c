# %% [markdown] slideshow={"slide_type": "slide"}
# # 00 · Welcome
#
# **Deep learning for geospatial imagery, beyond classification and semantic segmentation.**
#
# A classifier names a picture. A segmentation names every pixel. Neither can *count* the buildings of a town, hand a
# crew the outline of each tree, or say that a scene looks like nothing seen before. This course builds the systems
# that can, one part at a time, on imagery with coordinates.
#
# | in this notebook | minutes |
# |---|---|
# | 1 · Is this machine ready? | 8 |
# | 2 · What the course builds | 9 |
# | 3 · How to work with a lecture | 8 |
# | 4 · Where to go from here | 2 |
#
# You need Python, a first neural network behind you (you have trained *something* in PyTorch), and a rough idea of
# what a raster and a coordinate reference system are. You do not need a GPU.

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Start with a question instead of a definition: "Here is an aerial image of your home town. What would you
# want to know from it?" Collect answers on the board and sort them into three columns without naming them: *what is
# this pixel*, *which things are there and where*, *is this normal*. The first column is the course before this one.
# The other two are this course. Let everybody open this notebook now; installs that fail are best found in the first
# ten minutes.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · Is this machine ready?
#
# Each cell below runs with **Shift + Enter**. The first one loads the course's helper package and stops with a plain
# message if the package and this notebook are of different versions.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from geodl_course import datasets, doctor, plots, teaching
from geodl_course.chips import ChipDataset

teaching.require("0.1.0")
plots.course_style()

# %% [markdown]
# Now the doctor. It looks at one thing after the other and writes a line for each: `OK`, a `NOTE` (the course runs, but
# could run better), or `FAIL` with the command that repairs it. In a terminal the same is `python -m
# geodl_course.doctor`.

# %%
verdict = doctor.main()

# %% [markdown]
# The line to care about is *torch and torchvision*: the two must be built for each other. When they are not, everything
# else looks fine until the first detector is imported. The next cell is the short form of that line: two boxes
# with two thirds of their area in common, and a compiled operator that must keep one of them.

# %% tags=["nbval-check-output"]
from torchvision.ops import nms

boxes = torch.tensor([[0, 0, 10, 10], [0, 2, 10, 12.0]])
print("kept:", nms(boxes, scores=torch.tensor([0.9, 0.8]), iou_threshold=0.5).tolist())

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Run the three cells together with the room and wait. Somebody will have a FAIL: read the line aloud, it holds
# the command. The usual one is a torch without CUDA beside a torchvision with it, or the other way round; both come
# from the same place or neither works. Do not debug a broken install during the lecture: `make lab` in a fresh folder
# is quicker. A laptop without a GPU is fine for everything that follows, and that is what the stored outputs were
# made on.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The data to practise on
#
# The course generates its own imagery, so that nothing has to be downloaded and every label is exact: **towns**, with
# buildings, storage tanks and vehicles, cut into chips of 128 × 128 pixels. If they are not on disk yet, the next cell
# makes them, in less than a minute.

# %% tags=["nbval-check-output"]
towns = ChipDataset(datasets.make("towns"), "train", masks=True)
print(f"{len(towns)} chips of {towns.info.chip_size} px at {towns.info.resolution} m, bands {', '.join(towns.info.bands)}")
print("classes:", ", ".join(towns.classes))

# %% [markdown]
# Here are eight of them, among those with the most objects. Each object is known three ways: its class, its box, and
# the exact pixels that it covers.

# %%
crowded = np.argsort([-len(towns[i][1]["boxes"]) for i in range(len(towns))], kind="stable")
_ = plots.show_chips(towns, crowded[:200:25])

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Why not start on real imagery? Because real labels are wrong in places, and while you learn how a detector
# works you want to know that the fault is yours. Every lecture that trains a detector returns to real imagery at its
# end. Ask what is hard in these chips: shadows, vehicles of a few pixels, houses in rows whose boxes touch. All three
# come back as failures of the models.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · What the course builds
#
# Seven systems, in three families. They differ in what they *return*:
#
# | family | system | returns | built in lecture |
# |---|---|---|---|
# | detection | Faster R-CNN | boxes with classes, from proposals | 03 |
# | detection | SSD | the same, from boxes on grids of several sizes | 04 |
# | detection | YOLO v1 | the same, from one coarse grid | 05 |
# | instance segmentation | Mask R-CNN | a mask for each box | 06 |
# | instance segmentation | U-Net-ID | borders, segments and cores, grown to instances | 07 |
# | generation | DCGAN | new imagery from random numbers | 08 |
# | generation | autoencoder, VAE | the image rebuilt from few numbers; where that fails is an anomaly | 09 |

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Read the third column aloud, not the second. Names change every year; what a system returns decides whether
# it answers a question. Go back to the answers on the board and put one of the seven next to each. The picture on the
# next slide shows the same table on one chip.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The same chip, seven answers
#
# To see what that column means, take one chip and draw the *shape* of each answer on it. No model runs here: the
# drawings are made from the labels, with noise where a model would guess.

# %% slideshow={"slide_type": "skip"}
def one_mask(target):
    """Instances of a target as one raster (H, W): 0 background, 1..M the objects."""
    ids = torch.arange(1, len(target["masks"]) + 1)[:, None, None]
    return (target["masks"] * ids).amax(0).numpy()


def three_maps(instances, width=2):
    """Border, segment and core of every instance (H, W) as red, green and blue (H, W, 3): what U-Net-ID predicts."""
    inside = instances > 0
    core = inside.copy()
    for axis in (0, 1):
        for step in range(-width, width + 1):
            core &= np.roll(instances, step, axis) == instances
    return np.stack([inside & ~core, inside, core], -1).astype(float)


# %% [markdown] slideshow={"slide_type": "skip"}
# Boxes for the detectors: proposals scattered around the objects for Faster R-CNN, the default boxes of two grids for
# SSD, and for YOLO the grid cells that hold the centre of an object.

# %% slideshow={"slide_type": "skip"}
def proposals(boxes, copies=4, spread=5, size=128):
    """Copies of boxes (M, 4) moved at random, as a proposal network scatters them → (M * copies, 4)."""
    generator = torch.Generator().manual_seed(0)
    around = boxes.repeat(copies, 1)
    return (around + spread * torch.randn(around.shape, generator=generator)).clamp(0, size)


def cells(boxes, size, step):
    """The cells of a grid that hold the centres of boxes (M, 4), grown to `size` pixels → (M, 4)."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 // step + 0.5) * step
    return torch.cat([centre - size / 2, centre + size / 2], 1)


# %% [markdown] slideshow={"slide_type": "skip"}
# And one small function that rebuilds the chip from 16 × 16 averages, which is about how little an autoencoder keeps.

# %% slideshow={"slide_type": "skip"}
def rebuilt(image, keep=16):
    """Image (C, H, W) squeezed to keep x keep cells and back: a stand-in for an autoencoder."""
    small = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(image).float()[None], keep)
    return torch.nn.functional.interpolate(small, image.shape[-2:], mode="bicubic")[0].clamp(0, 255).byte().numpy()


# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) The helper cells are skipped on the slides and are there for those who read at home. Each draws one idea that a
# later lecture builds for real: scattered proposals, cells of a grid, borders and cores, an image from few numbers.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### From boxes to masks to new imagery
#
# Read it row by row: what goes in, three ways to box it, two ways to outline it, two ways to make it anew.

# %% slideshow={"slide_type": "-"}
chosen = int(crowded[50])
image, target = towns.images[chosen], towns[chosen][1]
figure, axes = plots.grid(8, columns=4, size=2.3, legend=False)
names = ["the chip", "Faster R-CNN: proposals", "SSD: grids of boxes", "YOLO: cells in charge", "Mask R-CNN: masks",
         "U-Net-ID: border yellow", "DCGAN: in goes noise", "VAE: rebuilt, errors marked"]
for ax, name in zip(axes, names):
    plots.show_image(image, ax=ax, title=name)
plots.draw_boxes(axes[1], proposals(target["boxes"]), plots.IGNORED, width=0.6)
plots.draw_boxes(axes[1], target["boxes"], plots.GROUND_TRUTH)
for size, step, style in ((40, 32, "--"), (16, 16, "-")):
    plots.draw_boxes(axes[2], cells(target["boxes"], size, step), plots.CLASS_COLOURS[1], style, width=1)
plots.draw_boxes(axes[3], cells(target["boxes"], 128 / 7, 128 / 7), plots.CLASS_COLOURS[2])
instances = one_mask(target)
axes[4].imshow(np.ma.masked_equal(instances, 0), cmap="tab20", alpha=0.75, extent=(0, 128, 128, 0))
axes[5].imshow(three_maps(instances), extent=(0, 128, 128, 0))
axes[6].imshow(np.random.default_rng(0).random((8, 8)), cmap="gray", extent=(0, 128, 128, 0))
error = np.abs(image.astype(float) - rebuilt(image)).mean(0)
axes[7].imshow(plots.to_rgb(rebuilt(image)), extent=(0, 128, 128, 0))
_ = axes[7].imshow(np.ma.masked_less(error, 45), cmap="autumn_r", extent=(0, 128, 128, 0))

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Go through the eight panels once; the DCGAN's shows what goes in, for what comes out would be a chip like the
# first. The three in the upper row return the same thing, boxes, and reach it from different sets of candidates: a few
# hundred proposals, thousands of boxes on grids, 49 cells. That choice is what lectures 03 to 05 are about. In the YOLO
# panel look for a cell with two objects: version 1 can return only one class there, and that is its best-known
# weakness. In the last panel, marked pixels are where 16 x 16 numbers cannot rebuild the chip. Ask what they have in
# common: edges, not strangeness. "High error is an anomaly" is a belief to be tested, and lecture 09 tests it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · How to work with a lecture
#
# **Run it top to bottom, then break it.** Every cell shows its result right below. The model code in the cells is the
# package's own code, word for word, so a change that you make in the notebook changes what happens from there on.
# To get the original back: *Kernel → Restart*, and undo your edit.
#
# Naive versions come first, slow and hard to get wrong. Then the real one, and then a proof that both agree:

# %%
def area_with_loops(boxes):
    """Area of boxes (N, 4) → (N,), one box at a time."""
    return torch.tensor([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes.tolist()])


def area(boxes):
    """Area of boxes (N, 4) → (N,), all at once."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


# %% tags=["nbval-check-output"]
teaching.check_same(area_with_loops, area, teaching.random_boxes(500), tolerance=1e-2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Show the habit live: change a plus to a minus in `area`, run the proof again, and let it fail. The message
# names both functions and the largest difference. Say that this cell is the pattern of the whole course, and that it
# is also how they should check their own code at work.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Budgets: quick and full
#
# A lecture must finish while you wait, on a laptop, and must also be worth running on a real GPU. So each has one
# *knob cell* near the top. Without a CUDA GPU it holds the quick numbers, with one the full numbers; setting the
# environment variable `GEODL_BUDGET` to `quick` or `full` before you start Jupyter overrides that.

# %%
budget = teaching.budget(chips=(200, 4000), epochs=(5, 30), batch_size=8)
budget

# %% [markdown]
# Nothing else in a lecture asks which budget it is. Change a number there and run on. Training always shows a progress
# bar; the **■** button stops it, and what was learned so far is kept.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) The stored outputs were made with the quick numbers on two CPU cores: at most two minutes for a whole lecture.
# If your own machine is slower, halve the chips in the knob cell first, not the epochs. Point at the stop button now;
# in lecture 03 somebody will need it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Widgets
#
# Some things must be moved to be understood. Lecture 02 has an *anchor inspector* and an *NMS inspector*, with sliders
# that redraw a picture. They need a running kernel: run the cell, then move a slider. Where no kernel runs, as on a web
# page or on a slide, the picture of the starting position stays in the notebook.
#
# ### Slides
#
# A lecture is also a talk: `make slides` builds a deck of each, which needs no net when it is shown. In JupyterLab, the
# property inspector (the gears in the right sidebar) shows the slide type of each cell; the cells of type *notes*, such
# as the one below, are what the presenter says.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Students: the notes are not secret. They hold the questions that a teacher would ask, so read them when you
# work alone. Instructors: each note starts with planned minutes, INSTRUCTORS.md adds them up; widgets are shown live in
# JupyterLab, not on a slide.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Exercises check themselves
#
# An exercise is a function whose body is missing. Write it, run the cell, and `check` tries it on fresh random input.
# It answers with *right*, with a counter-example, or with *not done yet*. Try this one:
#
# **Exercise 00.1.** A box is `(x0, y0, x1, y1)` in pixels, where `x1` and `y1` are the first column and row *outside*.
# Return the centre of each box.

# %% tags=["exercise", "nbval-check-output"]
def centres(boxes):
    """Centres (x, y) of boxes (N, 4) → (N, 2)."""
    # solution-begin
    return (boxes[:, :2] + boxes[:, 2:]) / 2
    # solution-end


teaching.check("00.1", centres)

# %% [markdown]
# Stuck? The folder `notebooks/solutions` holds the same notebooks with the exercises solved. An answer that you looked
# up and then wrote again from memory is still worth having.
#
# *Predict, then change a number:* `rebuilt(image, keep=4)` in the cell of eight panels keeps a sixteenth of the numbers.
# Where does the error grow first?
#
# **Project:** find one raster of your own and note its bands, pixel size and CRS. Lecture 01 cuts it into chips, lecture
# 10 maps it.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Let everybody do 00.1 now. It takes one line, and it settles a convention that costs people days: boxes here
# are half-open, like Python slices, so width is `x1 - x0` without a plus one, and a box cuts its own pixels out of an
# image with `image[y0:y1, x0:x1]`. Annotation formats disagree on this; lecture 01 shows which do what.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. A map marks every roof pixel. Why can nobody count the houses from it?
# 2. Which of the seven systems return boxes, which masks, which images?
# 3. What does the doctor's line on torch and torchvision try?
# 4. Where do you say how long a lecture may train?
# 5. Width, height and centre of the box (2, 3, 6, 9)?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: houses that touch are one patch. 2: 03 to 05; 06 and 07; 08 and 09. 3: an operator that works only if both
# were built for each other. 4: in its knob cell, or with `GEODL_BUDGET`. 5: 4, 6 and (4, 6).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Where to go from here
#
# | | lecture | you leave with | here? |
# |---|---|---|---|
# | 00 | Welcome | a working machine | yes |
# | 01 | Geospatial chips | your own raster cut into training chips | yes |
# | 02 | Boxes, anchors, NMS | the parts that all detectors share | yes |
# | 03 | Faster R-CNN | a detector that you built, tried on real trees | yes |
# | 04 | SSD | one look at several maps, tried on real ships | yes |
# | 05 | YOLO v1 | a detector that answers cell by cell, three compared | yes |
# | 06 | Mask R-CNN | an outline for each object; valley fills mapped on terrain | yes |
# | 07 | U-Net-ID | pixels first: what touches told apart; is it the method, or the learning? | yes |
# | 08 | DCGAN | chips from noise, clouds filled; what made-up data is worth | yes |
# | 09 | VAE | codes, compression, and anomalies whose threshold you pick | yes |
# | 10 | From chips to a map | a layer for QGIS from a raster of any size, yours too | yes |
#
# **Next:** [01 · Geospatial chips](01_geospatial_chips.ipynb).

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Close with the order: 01 and 02 are prerequisites of everything after them, 03 of most. Whoever has only one
# evening should read 02 and play with the two inspectors. Homework: find a raster and a layer of objects from your own
# work; lecture 01 ends with the command that cuts them into chips.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### In short
#
# - Detection returns boxes, instance segmentation returns masks, generative models return images: choose by the
#   question.
# - The generated towns have exact labels; real imagery follows at the end of the lectures.
# - A naive version, a fast version, and a proof that they agree: that is how each part is built.
# - Edit the knob cell to spend more or less time; stop a training whenever you like.
