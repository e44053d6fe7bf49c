# %% [markdown] slideshow={"slide_type": "slide"}
# # 05 · YOLO v1
#
# **One look, one grid: every cell says at once what is in it, and where.**
#
# When you are through, you can
#
# - say which cell answers for which object, and which objects are lost before training begins;
# - write the loss of the paper word for word, and again for a whole batch;
# - train a small YOLO, and explain what its fully connected layers gain and cost;
# - compare three detectors fairly: same chips, same time, one table.
#
# **You need** lectures 02 and 03, and the idea of 04: one shot.
#
# **Time:** 80 minutes, two of them for the computer; exercises 35 minutes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) YOLO v1 came half a year before SSD. It is taught for its loss, its limits, and the family that grew from it.

# %% slideshow={"slide_type": "skip"}
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from geodl_course import datasets, diagrams, evaluation, plots, teaching, widgets, yolo_plots
from geodl_course.chips import ChipDataset, collate
from geodl_course.datasets.towns import make_towns
from geodl_course.measure import stored
from geodl_course.models.detections import best_detections
from geodl_course.models.layers import FlattenBins, conv_block
from geodl_course.models.yolo_v1_layers import PAPER_LAYERS, SMALL_LAYERS
from geodl_course.models.yolo_v1_settings import small_settings
from geodl_course.ops.boxes import box_iou, clip_boxes, take, to_centres
from geodl_course.plumbing import check_batch, check_size, feature_maps, prepare
from geodl_course.teaching import check, check_same
from geodl_course.training import fit

teaching.require("0.1.0")
plots.course_style()

# %% slideshow={"slide_type": "skip"}
# All that depends on your machine: quick suits a laptop, full wants a GPU.
budget = teaching.budget(overfit_steps=(120, 300), towns_steps=(450, 6000))
folder = datasets.find("towns") or make_towns(datasets.data_root() / "towns")
towns, towns_val = ChipDataset(folder, "train"), ChipDataset(folder, "val")
busiest = sorted(range(len(towns)), key=lambda i: -len(towns[i][1]["boxes"]))
eight = towns.take(busiest[40:240:25])            # eight busy chips: the batch of parts 1 to 5
images, targets = collate([eight[i] for i in range(8)])
budget

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · A grid that answers
#
# Faster R-CNN asks thousands of anchors, SSD thousands of default boxes. **YOLO v1 asks S × S cells**. One rule:
#
# > The cell that holds an object's **centre** answers for that object.
#
# Below: a parking lot and 7 × 7 cells, as in the paper. Move S, row and column.

# %%
crowd = max(range(len(towns_val)), key=lambda i: len(towns_val[i][1]["boxes"]))
image, objects = towns_val.images[crowd], towns_val[crowd][1]
widgets.grid(image, objects["boxes"], objects["labels"], towns.classes, grid=7)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Yellow cells answer. The diamonds are what the white cell should say of its object. Blue dashes: a second object in a
# cell that has one already; no cell answers for it. Ask before moving S: how fine must the grid be until the last blue box
# is gone? And what does that cost?

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What one cell says: 5 P + K numbers
#
# | number | meaning | how many |
# |---|---|---|
# | x, y | where in its cell the centre lies, 0 to 1 | for each of P boxes |
# | √w, √h | **square roots** of the sides, as shares of the image | for each of P boxes |
# | confidence | is there an object, and how well does this box fit it: an IoU | for each of P boxes |
# | class scores | what it is, if it is something | **once a cell**, K numbers |
#
# The paper has S = 7, P = 2 (it writes B) and K = 20: 7 × 7 × 30 numbers, and 98 boxes for an image. A detection's score
# is confidence times class score.

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Let them compute 5 P + K for two boxes and our three classes: 13. Two boxes, but one class vector: of a car and a
# tank in one cell it can say only one.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · The network of the paper
#
# Twenty-four convolutions shrink 448 × 448 pixels to a map of 7 × 7 cells; two **fully connected** layers turn the whole
# map into the whole answer.

# %%
_ = diagrams.draw_flow(*yolo_plots.yolo_v1_flow(size=448, channels=1024, grid=7, classes=20))

# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) Follow the arrows: pixels become a map, the map one vector, the vector seven times seven answers of thirty
# numbers. White is data with its shape, blue is learned, dashed is computed.

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### The convolutions and the fully connected layers
#
# The network is a table, `PAPER_LAYERS`: kernel, channels and stride of each layer. On PyTorch's *meta* device tensors have
# shapes but no memory, so a gigabyte of weights can be counted for free.

# %% mirror="models.yolo_v1_layers:plain_block,models.yolo_v1_layers:convolutions,models.yolo_v1_layers:dense_layers"

# %% tags=["nbval-check-output"]
with torch.device("meta"):
    convolutional, maps = convolutions(3, PAPER_LAYERS, norm=False), torch.empty(1, 3, 448, 448)
    dense = dense_layers(1024 * 7 * 7, 4096, 7 * 7 * 30, dropout=0.5)
rows = []
for row, layer in zip(PAPER_LAYERS, convolutional):
    maps = layer(maps)
    name = "max pooling" if row == ["pool"] else "{0} × {0} convolution{1}".format(row[0], ", stride 2" * (row[2] == 2))
    rows.append((name, "{1} × {2} × {3}".format(*maps.shape), sum(p.numel() for p in layer.parameters())))
rows += [("fully connected", f"{one.out_features}", sum(p.numel() for p in one.parameters())) for one in (dense[1], dense[4])]
count = [sum(p.numel() for p in part.parameters()) for part in (convolutional, dense)]
kinds = [layer.__class__.__name__ for layer in (*convolutional.modules(), *dense)]
print(f"{kinds.count('Conv2d')} convolutions: {count[0] / 1e6:.1f} million weights")
print(f"{kinds.count('Linear')} fully connected layers: {count[1] / 1e6:.1f} million, {count[1] / sum(count):.0%} of all")
print(f"together {sum(count) / 1e6:.1f} million, {4 * sum(count) / 1e9:.2f} GB")
table = pd.DataFrame(rows, columns=["layer", "output", "weights of one"])
table.groupby(list(table), sort=False).size().rename("times").reset_index()

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Leaky ReLU: what is negative counts a tenth. Where do the weights sit? In one layer, 50,176 inputs times 4096. It
# connects every place with every cell, but shares nothing between places: what it learns about cars at the top left it must
# learn again at the bottom right. And an image of any other size does not fit.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What the authors released is not quite the paper
#
# | | paper | released configuration (`yolov1.cfg`) |
# |---|---|---|
# | batch norm | none | after every convolution |
# | first fully connected layer | 4096 units | a 3 × 3 layer of 256 channels, weights of its own for each place |
# | boxes a cell | 2 | 3 |
#
# Their code settles what the paper leaves open: where no box overlaps the object, the **nearest** answers; of several
# objects in a cell the first of a shuffled list stays.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) We follow the text, and the code where it is silent.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · From boxes to cells and back
#
# Boxes become the numbers that a cell should say, and back.

# %% mirror="models.yolo_v1:split_cells,models.yolo_v1:cell_corners,models.yolo_v1:encode_cells,models.yolo_v1:decode_cells"

# %% mirror="models.yolo_v1:assign_cells" tags=["nbval-check-output"]

index, has = assign_cells(targets, size=(128, 128), grid=8)
owned = take(targets.boxes, index)                               # (8, 64, 4): each cell's object
coded = encode_cells(owned, (128, 128), grid=8)
back = decode_cells(coded[:, :, None], (128, 128), grid=8)[:, :, 0]
print("cells", tuple(has.shape), "answer:", int(has.sum()), "for", int(targets.valid.sum()), "objects")
print("there and back again, within a thousandth of a pixel:", bool((back - owned)[has].abs().max() < 1e-3))

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) No loop: each object's cell as a one-hot row; argmax finds the first in each cell. Nine objects have no cell.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Lost before training begins
#
# How many objects share their cell with an earlier one? No network is needed to tell.

# %%
def lost_share(dataset, grid):
    """Share of the objects of each class, and of all, that no cell answers for."""
    _, everything = collate([dataset[i] for i in range(len(dataset))])
    index, has = assign_cells(everything, dataset.images.shape[-2:], grid)
    kept = take(everything.labels, index)[has]
    counts = [(int((kept == k).sum()), int((everything.labels == k).sum())) for k in range(1, len(dataset.classes) + 1)]
    counts.append((len(kept), int(everything.valid.sum())))
    return [1 - taught / all_of_them for taught, all_of_them in counts]

sizes = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28)
lost = pd.DataFrame([lost_share(towns_val, grid) for grid in sizes], index=sizes, columns=[*towns.classes, "all"])
ax = lost.plot(style=["-", "--", ":", "-"], color=[*plots.CLASS_COLOURS[:3], plots.INK], figsize=(6.4, 3), ylim=(0, None))
ax.set(xlabel="S", ylabel="share of objects lost")
ax.axvline(7, color="#999999", linewidth=1)
ax.text(7.1, 0.3, "the paper's S = 7")
ax.axvline(8, color="#999999", linewidth=1, linestyle=":")
ax.text(8.1, 0.26, "ours, S = 8")
lost.loc[[7, 8, 16]].round(3).rename_axis("S")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Centres of buildings are far apart; cars park door to door. With our S = 8 one car in ten is lost by design, with
# S = 16 one in seventy. Why not S = 28? Our fully connected layers have (S² · 13)² weights each: sixteen times as many for S
# twice as large.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · The loss, word for word
#
# $$\begin{aligned} L =\; & 5 \sum_{\text{responsible}} \big[(x - x^*)^2 + (y - y^*)^2 + (\sqrt{w} - \sqrt{w^*})^2 + (\sqrt{h} - \sqrt{h^*})^2\big] \\
# & + \sum_{\text{responsible}} (c - \text{IoU})^2 \;+\; 0.5 \sum_{\text{all other boxes}} c^2 \;+\; \sum_{\text{cells with an object}} \sum_{k} (p_k - p_k^*)^2 \end{aligned}$$
#
# With a star: what the object says; c is confidence, $p_k$ the class scores.
#
# - **Responsible** is, in a cell with an object, the box that overlaps the object most *at this moment*. So the boxes of a
#   cell specialise, one on flat things, one on tall things.
# - Confidence learns to be an **IoU**, of a box that moves while it learns.
# - Squares for all, classes too. **5** because boxes matter, **0.5** because empty cells are many.
#
# First as loops: an object for each cell, the overlap of two boxes, the loss of one cell, the sum over cells and chips.

# %%
def owners(boxes, size, grid):
    """The object that each cell answers for, {(row, column): index}; of several the first stays."""
    found = {}
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        found.setdefault((int((y0 + y1) / 2 / size * grid), int((x0 + x1) / 2 / size * grid)), i)
    return found

def overlap(a, b):
    """IoU of two boxes of four numbers each."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

# %%
def loss_of_cell(said, box, label, row, column, size, grid, K=3):
    """The four parts of the loss for what one cell said, 5 P + K numbers; box None: it answers for no object."""
    guesses, classes = [said[i : i + 5] for i in range(0, len(said) - K, 5)], said[-K:]
    if box is None:
        return 0, 0, 0.5 * sum(guess[4] ** 2 for guess in guesses), 0
    x0, y0, x1, y1 = box
    goal = [(x0 + x1) / 2 / size * grid - column, (y0 + y1) / 2 / size * grid - row]
    goal += [((x1 - x0) / size) ** 0.5, ((y1 - y0) / size) ** 0.5]
    fits = []
    for x, y, w, h, _ in guesses:
        x, y, w, h = (column + x) / grid * size, (row + y) / grid * size, w * w * size, h * h * size
        fits.append(overlap(box, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    errors = [sum((a - b) ** 2 for a, b in zip(guess, goal)) for guess in guesses]
    best = fits.index(max(fits)) if max(fits) > 0 else errors.index(min(errors))
    others = sum(guess[4] ** 2 for i, guess in enumerate(guesses) if i != best)
    wrong = sum((p - (k + 1 == label)) ** 2 for k, p in enumerate(classes))
    return 5 * errors[best], (guesses[best][4] - fits[best]) ** 2, 0.5 * others, wrong

# %%
def losses_with_loops(output, targets, size=128):
    """The four parts (4,) for output (B, S, S, 5 P + K), summed over cells, the mean over chips."""
    total, grid = torch.zeros(4), output.shape[1]
    for said, target in zip(output.tolist(), targets.to_list()):
        owner = owners(target["boxes"], size, grid)
        for row, column in ((r, c) for r in range(grid) for c in range(grid)):
            i = owner.get((row, column))
            box, label = (None, None) if i is None else (target["boxes"][i].tolist(), int(target["labels"][i]))
            total += torch.tensor(loss_of_cell(said[row][column], box, label, row, column, size, grid))
    return total / len(output)

# %% [markdown] slideshow={"slide_type": "notes"}
# (8 min) Read the four sums aloud and point at the cell's numbers: which is in which sum? Why is the second box of an object's
# cell taught confidence 0, although it may fit nearly as well? So that one object gets one box. In `loss_of_cell`
# `fits` says who is responsible and, where nothing fits, `errors`.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The same for a whole batch
#
# `choose_boxes` marks the responsible box of each cell; `yolo_losses` has one line for each sum of the formula.

# %% mirror="models.yolo_v1:choose_boxes,models.yolo_v1:yolo_losses"

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
output = torch.rand(8, 8, 8, 13)                                 # random answers, for eight chips of 8 × 8 cells

def batched(output, targets):
    return torch.stack(list(yolo_losses(output, targets, (128, 128), 3, coordinates=5.0, empty=0.5).values()))

check_same(losses_with_loops, batched, output, targets, tolerance=1e-3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Loops and batch agree. `detach`: the IoU is a target here, not to be improved by moving the box that it judges. Change
# the 5 in one of the two and run again.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Why square roots?
#
# The same two pixels too wide, for a car, a house and a warehouse.

# %%
width = pd.Series([11, 31, 60], index=["car, 11 px", "house, 31 px", "warehouse, 60 px"])
right, wrong = width / 128, (width + 2) / 128
pd.DataFrame({"IoU lost": 1 - right / wrong, "plain: 1000 (w - w*)²": 1000 * (wrong - right) ** 2,
              "roots: 1000 (√w - √w*)²": 1000 * (wrong**0.5 - right**0.5) ** 2}).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) To the plain difference all three mistakes are the same, yet the car has lost two and a half times as much IoU as the
# house. With roots the cost falls with the width, about as the lost IoU does. Logarithms (lectures 02 to 04) do so for any
# size.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · A small YOLO that trains here
#
# The paper pretrains on a million labelled pictures, then trains 135 epochs on VOC. We have 768 chips and half a minute.
# Three parts change most (part 7 has the rest): the first six layers are the **small backbone of lecture 03**; S is 8,
# because 128 px halve evenly; and the fully connected layers **start as a copy** of what the convolutions say cell by cell
# (what is negative at a tenth: a leaky ReLU lies between).

# %% mirror="models.yolo_v1_layers:first_guess,models.yolo_v1_layers:ScaledLinear,models.yolo_v1_layers:copying_layers" tags=["nbval-check-output"]

guess = torch.rand(1, 13, 8, 8)
check_same(copying_layers(13, 64), lambda maps: maps.permute(0, 2, 3, 1).flatten(1), guess)    # not negative: a copy

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) A fully connected layer that starts at random must first find out which input belongs to which output. Ours starts
# with the right wiring and may rewire everything; part 6 shows what a random start reaches. The scale 1 / √N: Adam moves
# every weight by about the same step, and 832 small steps in one direction are a large one.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### From numbers to detections, and all together
#
# Each of 128 boxes gets three scores, confidence times class; then suppression within each class.

# %% mirror="models.yolo_v1:detect_cells"

# %% mirror="models.yolo_v1:YOLOv1"

# %%
def small_yolo(classes):
    """An untrained YOLOv1 of the parts above for K = classes, S = 8."""
    torch.manual_seed(0)
    features = convolutions(3, SMALL_LAYERS, norm=True)              # (B, 128, 8, 8)
    features.append(first_guess(128, boxes=2, classes=classes))      # (B, 13, 8, 8)
    return YOLOv1(features, copying_layers(10 + classes, cells=8 * 8), small_settings(classes))

model = small_yolo(classes=3)
{name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}   # weights of each part

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Even here the fully connected layers hold most weights, and they fit one size of map only: hence `check_size`.
# Compare with lecture 03: no proposals, no RoIs, no second head.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Train: eight chips by heart, then all
#
# What cannot learn eight chips has a bug.

# %%
memory = small_yolo(classes=3)
fit(memory, eight, steps=budget.overfit_steps, augment=False)
_ = plots.show_results(eight, evaluation.detect(memory, eight), range(4), score=0.3, size=2.4)

# %%
history = fit(model, towns, steps=budget.towns_steps)
plots.plot_history(history)
detections, truth = evaluation.detect(model, towns_val), evaluation.targets_of(towns_val)
scores = evaluation.average_precision(detections, truth, towns.classes)
curves = {name: evaluation.precision_recall(detections, truth, k + 1) for k, name in enumerate(towns.classes)}
_ = plots.plot_precision_recall(curves, title="Validation chips: IoU of at least 0.5")
pd.DataFrame({"all classes": scores, **scores["classes"]}).T[["AP50", "AP"]].astype(float).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (7 min) By heart: what is missed stands close to another object (part 3: nine share a cell). On all chips *classes* and
# *coordinates* fall, *object* and *no object* do not: confidence runs after an IoU that grows, and speaks up in wrong cells.
# The curve of vehicles ends early: small boxes, shared cells. AP is far below AP50: the boxes are rough. The
# paper found so too: most of YOLO's mistakes are of place.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Look inside: what does each cell say?
#
# The crowded chip again, now with the trained network.

# %%
with torch.no_grad():
    said = model.cells(towns_val[crowd][0][None].to(next(model.parameters()).device))[0]
sure = (said[..., [4, 9]].amax(-1)).argmax()
widgets.grid(image, objects["boxes"], objects["labels"], towns.classes, said, confidence=0.3,
             row=int(sure) // 8, col=int(sure) % 8)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Walk over a row of cars. Which box is responsible, the first or the second? Have they specialised? Then an empty
# cell: both confidences should be low, and nothing is asked of the other numbers.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · What it cannot do, measured
#
# Each object of the validation chips, found (with a score of at least 0.3) or missed, by what makes it hard for a grid.

# %%
_, everything = collate([towns_val[i] for i in range(len(towns_val))])
index, has = assign_cells(everything, (128, 128), grid=8)
answered = [set(i[h].tolist()) for i, h in zip(index, has)]           # of each chip: objects that a cell answers for
rows = []
for found, wanted, own in zip(detections, truth, answered):
    missed = set(evaluation.match_detections(found, wanted, score=0.3).missed.tolist())
    x, y, width, height = (side.tolist() for side in to_centres(wanted["boxes"]))
    cells = list(zip([int(v // 16) for v in y], [int(v // 16) for v in x]))
    near = [sum(max(abs(a - c), abs(b - d)) <= 1 for c, d in cells) - 1 for a, b in cells]
    for i in range(len(x)):
        long_side, short_side = max(width[i], height[i]), min(width[i], height[i])
        rows.append({"found": i not in missed, "no cell answers": i not in own, "alone: no centre in cells around": near[i] == 0,
                     "small group: 1 or 2 around": 1 <= near[i] <= 2, "crowd: 3 or more around": near[i] >= 3,
                     "twice as long as wide, or more": long_side >= 2 * short_side, "nearly square": long_side < 1.3 * short_side,
                     "shorter side under 8 px": short_side < 8})
each = pd.DataFrame(rows).assign(all=True)
pd.DataFrame({"objects": each.iloc[:, 1:].sum(), "share found": [each.found[each[name]].mean() for name in each.columns[1:]]}).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) First row: of the objects that no cell answers for some are found all the same, by a spare or a neighbour's box.
# Crowds are worse than loners, long boxes worse than square ones. But rows overlap: a long box is often a car, or cut by
# the border. No training cures the first.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What the fully connected layers cost
#
# Stored: 90 seconds each, same chips, one seed. *Copy*: as above. *Random*: fully connected layers started at random, as in
# the paper. *None*: the convolutions' own answer, as in version 2. Anew: `python -m tests.benchmarks.yolo_dense`.

# %%
starts = pd.concat([pd.DataFrame(run).T for run in stored("yolo_dense")])
starts.loc[["copy", "random", "none"]].astype({"weights in dense layers": int, "steps": int}).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) From a random start nothing comes of it in this time, not even on the chips that it learns from. The copy works, and
# without these layers it is better still: 1.4 million weights that learn place by place cost more than they bring here.
# Version 2 dropped them; the paper had pretrained convolutions and 135 epochs. One seed: a few hundredths mean nothing.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · The paper, and where we leave it
#
# | | Redmon et al. 2016 | here | why |
# |---|---|---|---|
# | input | 448 × 448 | 128 × 128 | our chips |
# | S, P, K | 7, 2, 20 | 8, 2, 3 | part 5; our classes |
# | convolutions | 24, up to 1024 channels | 10, up to 128 | a laptop |
# | activation, batch norm | leaky ReLU, none | ReLU after batch norm | lecture 03's backbone |
# | fully connected | 4096 units, dropout 0.5, random start | 832 units, no dropout, a copy | part 6 |
# | augmentation | scale, shift, exposure, saturation | flips and quarter turns | seen from above |
# | training | SGD, 135 epochs, batch 64 | AdamW, half a minute, batch 8 | a laptop |
# | target, loss, weights 5 and 0.5, score, output | | **the same** | |
#
# On VOC 2007 the paper reports a mean AP of **63.4 at 45 images a second**; 52.7 at 155 with nine convolutions (Fast
# YOLO). Combined with Fast R-CNN it reached 75.0: the two make different mistakes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Why do two together gain so much? Fast R-CNN sees regions one by one and takes background for objects; YOLO sees
# the whole image and rarely does.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What later versions changed
#
# | version | what changed | source |
# |---|---|---|
# | v2, 2016 | no fully connected layers; anchors, their shapes by clustering; batch norm; several input sizes | arXiv 1612.08242 |
# | v3, 2018 | three maps of different cell size; a sigmoid for each class | arXiv 1804.02767 |
# | v4, 2020 | mosaic augmentation, a loss on the overlap (CIoU) | arXiv 2004.10934 |
# | YOLOX, 2021 | no anchors again; separate heads for class and place; objects matched by cost | arXiv 2107.08430 |
# | v7, 2022; v9, 2024 | extra parts that only help training | arXiv 2207.02696; 2402.13616 |
# | v10, 2024 | one box an object from training on: no suppression | arXiv 2405.14458 |
#
# Versions 5, 8 and 11 came as software without a paper, under the AGPL: read that licence before building on it.

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Which fault of v1 does each mend? Shared cells (finer maps, anchors), shapes from scratch (anchors), squares of
# sizes (overlap losses), one image size (no fully connected layers). Exercise 05.2 builds version 2's box.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Three detectors side by side
#
# The same backbone and chips, **the same 90 seconds of training**, two CPU cores. Stored; anew:
# `python -m tests.benchmarks.side_by_side`. *Small*: under 32 × 32 px. Short strokes in the figure: AP50 of three more runs
# of each, as `python -m tests.benchmarks.accuracy quick --model yolo_v1 --data towns --seeds 0 1 2`.

# %%
names = {"faster_rcnn": "Faster R-CNN", "ssd": "SSD", "yolo_v1": "YOLO v1"}
shown = {"AP": "AP", "AP50": "AP50", "AP_small": "AP small", "AP_medium": "AP medium", "parameters": "million weights",
         "steps": "steps", "images_a_second_1": "images/s, one", "images_a_second_16": "images/s, 16"}
side = pd.concat([pd.DataFrame(run).T for run in stored("side_by_side_towns")[:1]]).rename(index=names)
table = side.assign(parameters=side.parameters / 1e6)[list(shown)].rename(columns=shown)
table.round({name: 0 if name in ("steps", "images/s, one", "images/s, 16") else 2 for name in table}).astype(object)

# %%
ax = plt.subplots(figsize=(6.4, 3.4))[1]
more = "quick_towns", "quick_ssd_towns", "quick_yolo_v1_towns"
for (name, row), seeds, marker, colour in zip(side.iterrows(), more, "so^", ("#0072B2", "#E69F00", "#009E73")):
    both = [row.images_a_second_1, row.images_a_second_16]
    ax.plot(both, [row.AP50] * 2, color=colour, marker=marker, markersize=8)
    ax.plot([sum(both) / 2] * 3, [run["AP50"] for run in stored(seeds)], "_", color=colour, markersize=14)
    ax.annotate(name, (both[1], row.AP50), (7, -13), textcoords="offset points", color=colour, fontweight="bold")
_ = ax.set(xlabel="images a second; left: one at a time, right: 16 at once", ylabel="AP50 on validation chips",
           ylim=(0.5, 1), xlim=(0, 1.25 * side.images_a_second_16.max()))

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Speed: YOLO v1, then SSD, whose heads work on 32 × 32 cells, then Faster R-CNN with its second look; in a batch
# the gap widens. Accuracy: "one-shot is faster and less accurate" holds for YOLO v1; SSD is level with Faster R-CNN or
# ahead. YOLO v1 finds most objects and places them roughly: compare AP50 with AP. AP by size is of one run: a few
# hundredths mean nothing.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Exercises
#
# **05.1** How many objects does a grid lose? Without `assign_cells`, count the objects whose cell an earlier one has taken.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def objects_lost(boxes, size, grid):
    """How many of boxes (M, 4) on a chip of size x size pixels share their cell of grid x grid with an earlier one."""
    # solution-begin
    cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 * grid / size).long().clamp(0, grid - 1)
    return len(cells) - len({(column, row) for column, row in cells.tolist()})
    # solution-end

check("05.1", objects_lost)

# %% [markdown] slideshow={"slide_type": "skip"}
# **05.2** YOLO v2 does not say x and y but numbers t of any size. With the sigmoid σ, the centre stays in its cell:
# x = (column + σ(tx)) · stride; and the sides start from an anchor (a, b): w = a · exp(tw), h = b · exp(th).

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def decode_v2(t, corner, anchor, stride):
    """Boxes (N, 4) xyxy in pixels of t (N, 4), corner (N, 2) column and row, anchor (2,) in pixels, stride in pixels."""
    # solution-begin
    centre = (corner + t[:, :2].sigmoid()) * stride
    half = anchor * t[:, 2:].exp() / 2
    return torch.cat((centre - half, centre + half), dim=1)
    # solution-end

check("05.2", decode_v2)

# %% [markdown] slideshow={"slide_type": "skip"}
# **05.3** How many pixels wide is the window that one cell of the map sees? A kernel of k adds (k - 1) steps, a step being
# the product of all strides before it; a pooling is a kernel of 2 with stride 2. Then ask `SMALL_LAYERS`: can a cell of
# ours see a whole warehouse of 60 px?

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def receptive_field(table):
    """Side in pixels of what one cell sees after the layers of table, rows [kernel, channels, stride] or ["pool"]."""
    # solution-begin
    side, step = 1, 1
    for row in table:
        kernel, stride = (2, 2) if row == ["pool"] else (row[0], row[2])
        side, step = side + (kernel - 1) * step, step * stride
    return side
    # solution-end

check("05.3", receptive_field)

# %% tags=["solution"] slideshow={"slide_type": "skip"}
print("05.3: the paper's cells see", receptive_field(PAPER_LAYERS), "px of 448, ours", receptive_field(SMALL_LAYERS), "of 128")

# %% [markdown] slideshow={"slide_type": "skip"}
# *Predict, then change a number:* what share of the objects does S = 56 lose? Add it to `sizes` in part 3.
#
# **Project:** on chips of your own choose S by `lost_share`, train, and compare with SSD.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. P = 2, K = 3: how many numbers does a cell say, and a grid of 7 × 7?
# 2. Two centres in one cell. What is lost?
# 3. Why roots of width and height?
# 4. Why do empty boxes weigh 0.5?
# 5. S from 7 to 14: what grows?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: 13; 637. 2: one object, before training begins. 3: two pixels matter more to a small box. 4: nearly all are
# empty: their pull would silence the rest. 5: answers fourfold, and the fully connected layer with them.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Summary
#
# - The cell that holds the centre answers; it says 5 P + K numbers, and one class for all its boxes.
# - The loss is squares: place and roots of size of the **responsible** box, confidence towards its IoU, empty boxes
#   towards 0.
# - A grid loses second centres in a cell by design. Finer grids lose fewer and, with fully connected layers, cost more.
# - Side by side: one look was faster; less accurate was YOLO v1 alone.
#
# **Next:** lecture 06 goes back to two looks and asks for more than boxes: **Mask R-CNN** outlines every object.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Ask: in your own imagery, how close do centres come? What S would you need?

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - [Redmon et al. 2016, YOLO](https://doi.org/10.48550/arXiv.1506.02640)
# - [Redmon and Farhadi 2017, YOLO9000](https://doi.org/10.48550/arXiv.1612.08242)
# - [Redmon and Farhadi 2018, YOLOv3](https://doi.org/10.48550/arXiv.1804.02767)
