# %% [markdown] slideshow={"slide_type": "slide"}
# # 02 · Boxes, anchors, suppression
#
# **The parts that every detector of this course shares, each small enough to hold in your head.**
#
# When you are through, you can
#
# - say how well two boxes agree, for thousands of pairs at once;
# - lay anchors over a feature map, and measure which of your objects they can reach;
# - decide which anchor answers for which object, and what the network is asked to predict for it;
# - thin out a heap of boxes with non-maximum suppression, and know when it goes wrong;
# - compute average precision from nothing but a sorted list.
#
# **You need** lecture 01: chips and boxes; tensors and broadcasting met once.
#
# **Time:** 70 minutes with the exercises. Nothing is trained; all cells together run in under a minute.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) No network today, on purpose: each part is about ten lines, proved equal to a second implementation. Lecture 03
# plugs them together.

# %% slideshow={"slide_type": "skip"}
import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torchvision

from geodl_course import datasets, evaluation, plots, widgets
from geodl_course.chips import ChipDataset, Targets
from geodl_course.teaching import check, check_same, random_boxes, require
from geodl_course.windows import windows

require("0.1.0")
plots.course_style()
chips = ChipDataset(datasets.find("towns") or datasets.make("towns"), "train", limit=256)
targets = evaluation.targets_of(chips)                                   # per chip: boxes (M, 4), labels (M,)
labels = torch.cat([target["labels"] for target in targets])             # of all objects of all chips

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · A detection is a box, a class and a probability
#
# A detector answers *what is where, and how many*: each **instance** of each class gets a box of its own, single pixels get
# nothing. The same box is written in many ways, and mixing them up raises no error:
#
# | convention | numbers | who |
# |---|---|---|
# | **xyxy, half-open** | x0, y0, x1, y1; x1 is the first column *outside* | this course, torchvision |
# | xyxy, inclusive | x1 is the last column *inside* | PASCAL VOC's own files (other tools write its tags half-open) |
# | xywh | corner, width, height | COCO |
# | cxcywh | centre, width, height, as shares of the chip | YOLO |
# | map coordinates | west, south, east, north, in metres; **y points up** | GIS layers (exercise 01.1) |

# %%
variety = [(len(target["labels"].unique()), len(target["labels"])) for target in targets]
rich = sorted(range(len(chips)), key=variety.__getitem__)[-16:]          # the 16 chips with most classes and objects
image, example = chips.images[rich[-1]], targets[rich[-1]]
_ = plots.show_chip(image, example["boxes"], example["labels"], chips.classes, info=chips.info)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Let them find what a box cannot say: the roof's angle, the tree inside. Ask what it costs to mix up the first
# two rows; section 2 answers.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · How well do two boxes agree?
#
# A detector never returns exactly the box that the annotator drew. We need one number for *how close is close enough*.
# **Intersection over union (IoU)**: the area that two boxes share, over the area that they cover together. 1 is the same
# box, 0 means that they share nothing, and 0.5 is the usual bar for "found it".

# %%
# First, the definition, word for word. Slow, and hard to get wrong.
def iou_with_loops(a, b):
    """IoU of every box in a (N, 4) with every box in b (M, 4) → (N, M)."""
    out = torch.zeros(len(a), len(b))
    for i, (ax0, ay0, ax1, ay1) in enumerate(a.tolist()):
        for j, (bx0, by0, bx1, by1) in enumerate(b.tolist()):
            width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
            shared = max(width, 0) * max(height, 0)   # boxes apart give a negative side, not a negative area
            out[i, j] = shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)
    return out

car, shifted = torch.tensor([[10, 10, 20, 20.0]]), torch.tensor([[11, 11, 21, 21.0]])
iou_with_loops(car, shifted)

# %% [markdown]
# A chip has tens of objects and thousands of anchors, a batch has sixteen chips: no loop can do that. Broadcasting can.
# Boxes become `(B, N, 1, 4)` and `(B, 1, M, 4)`; every pair meets in the middle, `(B, N, M)`. Two implementations that
# were written differently and agree on random input are worth more than one that looks right.

# %% mirror="ops.boxes:box_area,ops.boxes:box_iou" tags=["nbval-check-output"]
check_same(iou_with_loops, box_iou, random_boxes(50), random_boxes(30, seed=1))

# %% [markdown]
# ### Small objects pay more for the same mistake
#
# What a shift leaves of the IoU depends on nothing but the shift *relative to the size*. A car of 8 pixels falls below 0.5
# within two pixels; a building of 60 hardly notices.

# %%
shifts = torch.linspace(0, 8, 81)
for side, style in ((8, ":"), (20, "--"), (60, "-")):
    square = torch.tensor([[0.0, 0, side, side]])
    plt.plot(shifts, box_iou(square, square + shifts[:, None])[0], style, label=f"{side} px")
plt.axhline(0.5, color="#888888", linewidth=0.8)
plt.gca().set(xlabel="shift in x and in y (px)", ylabel="IoU", xlim=(0, 8), ylim=(0, 1))
_ = plt.legend(title="side of the object")

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) Slide one sheet of paper over another: shared area goes up, covered area goes down, so IoU moves faster than
# people expect. Ask before you run the first cell: two 10-pixel cars, one pixel off in x and y? And two 100-pixel
# buildings? (0.68 and 0.96.) An off-by-one convention is such a mistake: an 8 x 12 car read as 9 x 13 has IoU 0.82 with
# itself, before any detector has erred.

# %% [markdown] slideshow={"slide_type": "skip"}
# **Exercise 02.1.** Two boxes that do not touch have IoU 0 however far apart they are, so IoU cannot tell a near miss
# from a far one. *Generalised IoU* can: from the IoU, subtract the share of the smallest enclosing box that neither box
# covers. Work on pairs: row i of `a` with row i of `b`.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def generalised_iou(a, b):
    """Generalised IoU of boxes a (N, 4) and b (N, 4), pair by pair → (N,), in (-1, 1]."""
    # solution-begin
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = box_area(a) + box_area(b) - inner
    enclosing = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return inner / union - (enclosing - union) / enclosing
    # solution-end

check("02.1", generalised_iou)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · Anchors: boxes to start from
#
# A network has a fixed number of outputs; a chip has any number of objects. So we give it fixed boxes, **anchors**, and ask
# two questions about each: *is there an object?* and *how must I move and stretch you to fit it?*
#
# Anchors sit on the **cells of a feature map**, not on every pixel: a backbone with stride 4 turns 128 × 128 pixels into
# 32 × 32 cells. Each cell carries several sizes and aspect ratios; a network with several maps has anchors on each. All
# are scored; only a small subset is proposed.

# %% mirror="ops.anchors:cell_anchors"
cell_anchors(sizes=(16, 32), ratios=(0.5, 1.0, 2.0))   # 3 ratios x 2 sizes, around (0, 0)

# %% mirror="ops.anchors:grid_anchors,models.rpn:pyramid_anchors" tags=["nbval-check-output"]

sizes, ratios, stride, grid = (8, 16, 32, 64), (0.5, 1.0, 2.0), 4, 32
anchors = pyramid_anchors([torch.zeros(1, 96, grid, grid)], (128, 128), [sizes], [ratios])[0]    # one map, one list each
print(f"{grid} x {grid} cells x {len(sizes) * len(ratios)} anchors: {tuple(anchors.shape)}")

# %%
# The twelve anchors of one cell, a colour for each size, and all cells as dots.
middle = anchors.view(grid, grid, -1, 4)[grid // 2, grid // 2]
ax = plots.show_chip(image, info=chips.info)
for k, colour in enumerate(plots.CLASS_COLOURS[:len(sizes)]):
    plots.draw_boxes(ax, middle[k::len(sizes)], colour, width=1.2)
y, x = torch.meshgrid(torch.arange(grid) * stride, torch.arange(grid) * stride, indexing="ij")
ax.scatter(x, y, s=0.8, color="white", alpha=0.5)
plots.name_below(ax.figure, [plots.line(colour, "-", f"{size} px") for size, colour in zip(sizes, plots.CLASS_COLOURS)])

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) A size is the square root of the area, so the three ratios of one size cover the same area. Anchors on every
# pixel would be sixteen times as many, for positions that the network cannot tell apart. They are centred on the cells'
# upper left corners, as in torchvision.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Which objects can these anchors reach?
#
# Before any training, one number tells whether a set of anchors fits a data set: for each object, the **best IoU** that
# any anchor has with it. What no anchor comes near is hard to learn.

# %%
def best_overlap(sizes, stride):
    """The best IoU (objects,) that each object of our chips finds among anchors of these sizes and this stride."""
    anchors = grid_anchors(cell_anchors(sizes, ratios), (128 // stride, 128 // stride), (stride, stride))
    return torch.cat([box_iou(anchors, target["boxes"]).amax(0) for target in targets])

rows = {}
for name, design in {"128, 256, 512 on stride 16": ((128, 256, 512), 16), "16, 32, 64 on stride 16": ((16, 32, 64), 16),
                     "8, 16, 32, 64 on stride 16": (sizes, 16), "8, 16, 32, 64 on stride 4": (sizes, 4)}.items():
    best = best_overlap(*design)
    rows[name] = {(f"% with IoU ≥ {bar}", kind): 100 * (best[labels == k] >= bar).float().mean().item()
                  for bar in (0.5, 0.7) for k, kind in enumerate(chips.classes, 1)}
pd.DataFrame(rows).T.round().astype(int)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) First row: the sizes of the Faster R-CNN paper, made for photographs of 600 x 1000 pixels. Third row: a smaller
# size alone hardly helps: a vehicle of 8 x 12 pixels slips between cells that are 16 pixels apart. Fourth row: the finer
# grid does it. But see vehicles at 0.7, the bar of the next section.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Which anchor answers for which object?
#
# Training needs a verdict on every anchor. Faster R-CNN's rule:
#
# | verdict | rule | what training does with it |
# |---|---|---|
# | **positive** | IoU ≥ 0.7 with an object, **or** the best anchor that an object has | "object", and learns its box |
# | **negative** | IoU < 0.3 with every object | "background" |
# | **ignored** | in between | no loss: neither answer would be fair |
#
# The second half of the first rule is what saves small objects. How many have no positive anchor without it?

# %% mirror="ops.matching:anchor_iou,ops.matching:match_boxes"
batch = Targets.from_list([targets[i] for i in rich])          # boxes (16, M, 4), padded; valid says which rows are real
iou = anchor_iou(anchors, batch.boxes, batch.valid)            # anchors (N, 4) meet objects (16, M, 4): (16, N, M)
matched, state = match_boxes(iou, None, positive=0.7, negative=0.3, force_best=True)   # None: padding has IoU -1

# %%
def verdicts(force_best):
    """Anchors per verdict in our batch, and objects that no positive anchor is matched to."""
    matched, state = match_boxes(iou, None, 0.7, 0.3, force_best)
    spoken_for = {(int(image), int(matched[image, place])) for image, place in torch.nonzero(state == 1)}
    return {"positive": (state == 1).sum(), "ignored": (state == -1).sum(), "negative": (state == 0).sum(),
            "objects": batch.valid.sum(), "objects left out": batch.valid.sum() - len(spoken_for)}

mine = state[-1]                                 # our example chip is the last of the batch
ax = plots.show_anchors(image, anchors[mine == 1], boxes=example["boxes"], info=chips.info)
ax.scatter(*anchors[mine == -1].view(-1, 2, 2).mean(1).T, s=1, color="white")   # the ignored ones: their centres
pd.DataFrame({name: verdicts(force) for name, force in (("IoU alone", False), ("with the best anchor", True))}).astype(int)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Without the rule 74 of 116 objects have no positive anchor. Their best anchors are among the *ignored*: nothing
# says "object" there, everything around says "background", so the network would never learn them. Ignored anchors (dots)
# form a halo around each object. Always saying "background" is right more than 99 times in 100. Lecture 03 samples,
# lecture 04 mines hard negatives.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Move over the feature map
#
# Choose a stride, sizes and ratios, then walk with the arrow keys. Can you find a vehicle that has a positive anchor
# *without* the forced match? Marks show the best verdict in every cell: × positive, ● ignored, a small dot negative.

# %%
row, col = divmod(int((mine.view(grid * grid, -1) == 1).sum(1).argmax()), grid)     # the cell with most positive anchors
widgets.anchors(image, example["boxes"], info=chips.info, sizes=sizes, row=row, col=col)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Stride 4 to 16: the crosses thin out. Switch sizes off until only 64 is left: each vehicle keeps a cross,
# forced, with an IoU below 0.1. Then lower the upper bar to 0.5, the value of Faster R-CNN's second look.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · Box coding: what the network is asked to predict
#
# Not coordinates, but four corrections of a matched anchor. The object has its centre at (x, y) and the sides w and h; the
# index a marks the anchor's own:
#
# $$t_x = \frac{x - x_a}{w_a} \qquad t_y = \frac{y - y_a}{h_a} \qquad t_w = \log\frac{w}{w_a} \qquad t_h = \log\frac{h}{h_a}$$
#
# * **Divided by the anchor's sides:** five pixels are a lot for a car and nothing for a warehouse.
# * **Logarithm:** half as wide and twice as wide are equally far from zero, and no prediction makes a negative width.

# %% mirror="ops.boxes:to_centres,ops.boxes:encode_boxes"

# %% mirror="ops.boxes:decode_boxes,ops.boxes:clip_boxes" tags=["nbval-check-output"]
def there_and_back(boxes, anchors):
    return decode_boxes(encode_boxes(boxes, anchors), anchors)

check_same(there_and_back, lambda boxes, anchors: boxes, random_boxes(512), anchors[::24], tolerance=1e-3)

# %%
# Is it worth the trouble? The shift in x that every anchor with an IoU of at least 0.5 must learn, per class.
candidate, verdict = match_boxes(iou, None, 0.5, 0.3, force_best=False)
chip, place = torch.nonzero(verdict == 1, as_tuple=True)
truth, kind = batch.boxes[chip, candidate[chip, place]], batch.labels[chip, candidate[chip, place]]
shift = {"in pixels": to_centres(truth)[0] - to_centres(anchors[place])[0],
         "coded": encode_boxes(truth, anchors[place])[:, 0]}
spread = {name: [values[kind == k].std().item() for k in (1, 2, 3)] for name, values in shift.items()}
pd.DataFrame(spread, index=chips.classes).T.round(2).rename_axis("standard deviation")

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) One case on the board: anchor 32 wide, object 16 wide: log 0.5 = -0.69; object 64 wide: +0.69. The cap in the
# decoder is for untrained networks, whose wild predictions an exponential would turn into infinity. The table: in pixels
# buildings would rule the loss; coded, all classes spread by about 0.1. Faster R-CNN's second look multiplies by 10 to
# undo just that.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Non-maximum suppression
#
# Neighbouring anchors see the same object, so a detector returns it several times. **NMS** keeps the most probable of
# overlapping boxes (or masks) and drops the others. We have no detector yet, so we pretend: shifted copies of each object,
# scored by how well they fit, give or take luck, and a few inventions.

# %% slideshow={"slide_type": "skip"}
def pretend(target, copies=5, blur=0.07, seed=0):
    """What an untidy detector might return for a chip's target: dict with boxes (D, 4), scores (D,), labels (D,)."""
    luck = torch.Generator().manual_seed(seed)
    truth = target["boxes"].repeat_interleave(copies, 0)                      # (M * copies, 4)
    sides = (truth[:, 2:] - truth[:, :2]).repeat(1, 2)
    found = truth + blur * sides * torch.randn(truth.shape, generator=luck)
    scores = box_iou(found, truth).diagonal() * (1 - 0.5 * torch.rand(len(truth), generator=luck))
    invented, doubt = random_boxes(4, seed=seed), 0.6 * torch.rand(4, generator=luck)
    labels = torch.cat([target["labels"].repeat_interleave(copies), torch.ones(4, dtype=torch.long)])
    return {"boxes": torch.cat([found, invented]), "scores": torch.cat([scores, doubt]), "labels": labels}

# %%
houses = [target["boxes"][target["labels"] == 1] for target in targets]
crowded = max(range(len(chips)), key=lambda i: (box_iou(houses[i], houses[i]) > 0.15).sum())   # row houses
heap = pretend(targets[crowded])
_ = plots.show_chip(chips.images[crowded], heap["boxes"], heap["labels"], chips.classes, info=chips.info)

# %% [markdown]
# ### As a loop over a sorted list
#
# Sort by score. Keep the first. Strike out all that overlap it too much. Repeat with what is left.

# %% tags=["nbval-check-output"]
def nms_with_loop(boxes, scores, threshold):
    """Indices of the boxes (N, 4) that survive, best score first → (K,)."""
    waiting, kept = scores.argsort(descending=True, stable=True), []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        kept.append(best)
        overlap = box_iou(boxes[best, None], boxes[rest])[0]
        waiting = rest[overlap <= threshold]
    return torch.stack(kept) if kept else waiting

crowd = random_boxes(300, size=60), torch.rand(300, generator=torch.Generator().manual_seed(1))
check_same(nms_with_loop, torchvision.ops.nms, *crowd, 0.5)

# %% [markdown]
# ### As a matrix
#
# Compare all pairs of the sorted list and keep the upper triangle: entry (i, j) says that i *would* strike out j. But a
# struck-out box must not strike out others, so one look is not enough. Repeat until nothing changes: the first row is
# right from the start, and each round settles at least one more.

# %% tags=["nbval-check-output"]
def nms_as_matrix(boxes, scores, threshold, overlap=box_iou):
    """The same, all pairs at once → (K,)."""
    order = scores.argsort(descending=True, stable=True)
    beats = (overlap(boxes[order], boxes[order]) > threshold).triu(diagonal=1)   # (N, N): row strikes out column
    before, keep = None, torch.ones(len(boxes), dtype=torch.bool)
    while before is None or not keep.equal(before):
        before, keep = keep, ~(beats & keep[:, None]).any(0)
    return order[keep]

check_same(nms_with_loop, nms_as_matrix, *crowd, 0.5)
check_same(nms_as_matrix, torchvision.ops.nms, heap["boxes"], heap["scores"], 0.3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (8 min) Better boxes tend to score higher: that is all that NMS has to go by. Strike out by hand on the board. Then a
# wrong matrix version: "drop every box that any better box overlaps". Chain A-B-C: A strikes B, B would strike C, C does
# not touch A. The loop keeps C, the wrong version drops it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### One call for a whole batch
#
# A car may park within the box of a turned house: classes must not suppress each other, nor may two chips of a batch.
# So boxes carry a group number, and only boxes of one group compete; torchvision's compiled code compares them. The result
# is padded like `Targets`: `take` picks rows, `trim` drops columns that no chip fills. Every detector of the course ends
# with `best_detections`.

# %% mirror="ops.boxes:unflatten,ops.boxes:batched_nms,ops.boxes:take,ops.boxes:trim"

# %% mirror="models.detections:Detections,models.detections:best_detections" tags=["nbval-check-output"]

def class_by_class(found):
    """Scores of what survives a loop over the classes, best first."""
    each = [{name: values[found["labels"] == k] for name, values in found.items()} for k in (1, 2, 3)]
    kept = [one["scores"][nms_with_loop(one["boxes"], one["scores"], 0.5)] for one in each]
    return torch.cat(kept).sort(descending=True).values

def in_one_call(found):
    row = [found[name][None] for name in ("boxes", "scores", "labels")]             # a batch of one chip
    valid = torch.ones_like(row[2], dtype=torch.bool)
    return best_detections(*row, valid, threshold=0.5, keep=200).per_image()[0]["scores"]

check_same(class_by_class, in_one_call, heap)

# %% [markdown]
# ### Walk through it
#
# On the right stands the sorted list of the loop. Move **step** with the arrow keys: one kept box at a time, and what it
# strikes out. Then lower **IoU** until neighbouring houses strike out each other.

# %%
few = pretend(targets[crowded], copies=3)
widgets.nms(chips.images[crowded], few["boxes"], few["scores"], few["labels"], info=chips.info, score=0.2, step=3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (7 min) Ask for predictions before each step. At IoU 0.5 each house keeps about one box, at 0.7 doubles survive, at 0.1
# houses vanish. The next slide measures what a low threshold costs.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · What NMS cannot do
#
# **It cannot tell a duplicate from a neighbour.** Take a perfect detector: exactly the true boxes. NMS sees row houses
# and parked cars whose boxes overlap, because rows rarely run north-south, and removes some. How many?

# %%
def lost(threshold):
    """How many true objects NMS removes, per class, though every box is right."""
    gone = torch.zeros(len(chips.classes), dtype=torch.long)
    for target in targets:
        for k in target["labels"].unique().tolist():
            mine = target["boxes"][target["labels"] == k]
            gone[k - 1] += len(mine) - len(nms_as_matrix(mine, torch.ones(len(mine)), threshold))
    return gone.tolist()

pd.DataFrame({f"IoU {t}": lost(t) for t in (0.05, 0.1, 0.2, 0.3, 0.5)} | {"objects": labels.bincount()[1:]}, chips.classes)

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) From 0.3 on hardly one is lost. A lower threshold loses neighbours; a higher one keeps doubles. Real detections
# are a little off, so real losses begin at higher thresholds. Masks overlap less than boxes: lectures 06 and 07 return to
# touching buildings.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What NMS can repair: borders between chips
#
# A scene is too large for one pass, so it is cut into windows, and an object on a border is found once in each. Shift all
# boxes back into scene coordinates and run NMS **once over the scene**. Let one chip be the scene, windows have 64 pixels,
# and the detector return whatever part of an object it sees. An overlap as large as the largest object makes each object
# whole in some window, and NMS removes its doubles. Small **pieces** survive: a third of a tank has IoU 0.33 with the whole
# tank. Exercise 02.2 gets rid of them.

# %%
def windowed(target, size=64, overlap=32):
    """Boxes (D, 4) in scene coordinates and scores (D,) of a detector that works window by window."""
    found, scores = [], []
    for row, col in windows(128, 128, size, overlap):
        corner = torch.tensor([col, row, col, row])
        seen = clip_boxes(target["boxes"] - corner, (size, size))            # in the window's own pixels
        share = box_area(seen) / box_area(target["boxes"])
        found.append((seen + corner)[share > 0.1])                           # back to the scene
        scores.append(share[share > 0.1])
    return torch.cat(found), torch.cat(scores)

def suits(found):   # objects that fit into the overlap and stand clear of each other: the rest is section 7 again
    apart = (box_iou(found, found) > 0).sum() == len(found)
    return apart and 0 < len(found) <= 15 and (found[:, 2:] - found[:, :2]).max() <= 32

clear = [i for i, target in enumerate(targets) if suits(target["boxes"])]
cut = max(clear, key=lambda i: len(windowed(targets[i], overlap=0)[0]) - len(targets[i]["boxes"]))
scene, once, twice = targets[cut], windowed(targets[cut], overlap=0), windowed(targets[cut], overlap=32)
kept = nms_as_matrix(*twice, 0.5)

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.5))
panels = {"no overlap": once, "overlap 32": twice, "after NMS in the scene": [values[kept] for values in twice]}
for ax, (title, (found, share)) in zip(axes, panels.items(), strict=True):
    plots.show_chip(chips.images[cut], found, 1 + (share < 1).long(), ["whole", "piece"], ax, chips.info,
                    f"{title}: {(share == 1).sum()} whole, {(share < 1).sum()} pieces")
    ax.plot([64, 64, 64, 0, 128], [0, 128, 64, 64, 64], color="white", linewidth=0.6)
plots.name_below(figure, plots.class_lines([1, 2], ["whole", "piece"]))
print(f"{len(scene['boxes'])} objects")

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Left: no window sees the cut objects whole, and nothing can repair that. Middle: everything is seen, much of it
# twice. Right: each of the 15 objects once, and pieces. Lecture 10 does this on a real scene.

# %% [markdown] slideshow={"slide_type": "skip"}
# **Exercise 02.2.** Give NMS another measure of overlap: intersection over the **smaller** of the two areas. A piece inside
# its object has the value 1, whatever its size. `len(nms_as_matrix(*twice, 0.5, overlap=over_smaller))` should then
# be close to the number of objects. (What would it do to a car within the box of a turned house?)

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def over_smaller(a, b):
    """Intersection over the smaller area of every box in a (N, 4) with every box in b (M, 4) → (N, M)."""
    # solution-begin
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    return (high - low).clamp(min=0).prod(2) / torch.minimum(box_area(a)[:, None], box_area(b))
    # solution-end

check("02.2", over_smaller)

# %% tags=["solution"] slideshow={"slide_type": "skip"}
print(f"{len(scene['boxes'])} objects, {len(nms_as_matrix(*twice, 0.5, overlap=over_smaller))} boxes")

# %% [markdown] slideshow={"slide_type": "skip"}
# **Exercise 02.3.** *Soft-NMS* strikes nothing out. Each time a box is kept, the scores of the boxes still waiting are
# multiplied by `exp(-iou² / sigma)` with the kept one; then the best of the waiting is next. Neighbouring houses survive
# with a lower score instead of vanishing. Return the final scores, in the order of the input.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def soft_nms(boxes, scores, sigma=0.5):
    """Scores (N,) of boxes (N, 4) after soft suppression."""
    # solution-begin
    iou, scores = box_iou(boxes, boxes), scores.clone()
    waiting = torch.ones(len(scores), dtype=torch.bool)
    while waiting.any():
        best = torch.where(waiting, scores, -1.0).argmax()
        waiting[best] = False
        scores = torch.where(waiting, scores * torch.exp(-(iou[best] ** 2) / sigma), scores)
    return scores
    # solution-end

check("02.3", soft_nms)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · How good is a detector? Average precision
#
# A detection is **right** if it overlaps a so far unclaimed object of its class by IoU ≥ 0.5; a second box on the same
# object is wrong. Sort all detections by score and go down the list. **Precision**: of the boxes so far, what share is
# right? **Recall**: of all objects, what share has been found?
#
# The zigzag of precision is an accident of the order, so each recall level counts with the best precision reached **there
# or later**. COCO reads that envelope at 101 recall levels and takes the mean; levels never reached count 0.

# %%
right, objects = torch.tensor([1, 1, 0, 1, 0, 1]), 5     # six detections, best score first; five objects in truth
found = right.cumsum(0)
precision, recall = found / torch.arange(1, 7), found / objects
pd.DataFrame({"right": right, "precision": precision, "recall": recall}, index=range(1, 7)).T.round(2).rename_axis(columns="rank")

# %%
def area_under(recall, precision):
    """COCO's average precision of one class from recall (D,) and precision (D,), best score first."""
    envelope = precision.flip(0).cummax(0).values.flip(0)
    levels = torch.linspace(0, 1, 101) - 1e-6       # 7 of 10 found must reach the level 0.70 whatever the rounding
    place = torch.searchsorted(recall, levels)      # the first rank that reaches each level
    return envelope[place[place < len(recall)]].sum() / len(levels)

plt.plot([0, *recall], [1, *precision], "o--", color="#888888", markersize=4, label="precision")
envelope = precision.flip(0).cummax(0).values.flip(0)
plt.fill_between([0, *recall], [envelope[0], *envelope], step="pre", alpha=0.35, label=f"AP {area_under(recall, precision):.2f}")
plt.gca().set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.05), title="Six detections, five objects")
_ = plt.legend(loc="lower left")

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Fill the table by hand before you run it. Going down the list is trying all score thresholds. One object is
# never found, so AP cannot pass about 0.8. PASCAL VOC read the curve at 11 levels, later exactly; COCO at 101: say which
# one you used.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The same for a whole data set: AP50 and AP
#
# Who is right is decided chip by chip, best score first, each object claimed once. Then all chips go into one list. The
# proof: the evaluation of this package, torchmetrics on top of the COCO code, on the same boxes.
#
# **AP50** asks for IoU 0.5, **AP75** for 0.75; **AP**, the mean over IoU 0.50, 0.55 … 0.95, pays for boxes that fit. In the
# table all are means over classes.

# %%
def claims(found, target, bar=0.5):
    """Which of a chip's detections (D,) are right."""
    iou = box_iou(found["boxes"], target["boxes"]) * (found["labels"][:, None] == target["labels"])
    iou = torch.nn.functional.pad(iou, (0, 1))          # one more column: "no object"
    right = torch.zeros(len(iou), dtype=torch.bool)
    for i in found["scores"].argsort(descending=True):
        best = iou[i].argmax()
        right[i] = iou[i, best] >= bar
        iou[:, best] *= ~right[i]                       # claimed: whoever comes later is a double
    return right

def curve(found, targets, label):
    """Recall (D,) and precision (D,) of one class over all chips."""
    right = torch.cat([claims(one, target)[one["labels"] == label] for one, target in zip(found, targets, strict=True)])
    scores = torch.cat([one["scores"][one["labels"] == label] for one in found])
    objects = sum((target["labels"] == label).sum() for target in targets)
    hits = right[scores.argsort(descending=True)].cumsum(0)
    return hits / objects, hits / torch.arange(1, len(hits) + 1)

# %% tags=["nbval-check-output"]
def tidy(heap, threshold):
    kept = torchvision.ops.batched_nms(heap["boxes"], heap["scores"], heap["labels"], threshold)
    return {name: values[kept] for name, values in heap.items()}

def ours(found, targets):
    return torch.stack([area_under(*curve(found, targets, k)) for k in (1, 2, 3)])

def theirs(found, targets):
    return torch.tensor([one["AP50"] for one in evaluation.average_precision(found, targets, chips.classes)["classes"].values()])

some = targets[::4]
heaps = [pretend(target, seed=i) for i, target in enumerate(some)]
tidied = [tidy(heap, 0.5) for heap in heaps]
check_same(ours, theirs, tidied, some)

# %%
cases = {"heap of doubles": heaps, "after NMS 0.5": tidied, "after NMS 0.1": [tidy(heap, 0.1) for heap in heaps],
         "blurred twice as much": [tidy(pretend(t, blur=0.14, seed=i), 0.5) for i, t in enumerate(some)]}
rows = {name: evaluation.average_precision(found, some, chips.classes) for name, found in cases.items()}
pd.DataFrame(rows).T[["AP50", "AP75", "AP"]].astype(float).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) The loop over detections stays: whether a box is right depends on what better boxes have claimed. From here on
# we call the package. The table, row 1 to 2: every double is a false detection. Row 3: too eager, neighbours are gone.
# Row 4: blur costs something in AP50 and a lot in AP. For counting cars look at AP50; for digitising roofs at AP. Neither
# chooses a score threshold.

# %% [markdown] slideshow={"slide_type": "skip"}
# *Predict, then change a number:* part 3's table with `(sizes, 32)` as one more design: which class loses most?
#
# **Project:** measure `best_overlap` for objects of your own: which sizes and which stride reach nine in ten with IoU
# 0.5?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. Two boxes of 10 × 10 px, one 5 px further right. Their IoU?
# 2. The best anchor of an object has IoU 0.4. Is the object lost?
# 3. Why are sizes coded as logarithms?
# 4. NMS at 0.9, at 0.1: which mistake does each make?
# 5. All scores are halved. What happens to AP?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: 50 / 150, a third. 2: no, its best anchor answers; but only that one. 3: the same relative error costs the
# same, and decoded sides stay positive. 4: doubles stay; neighbours vanish. 5: nothing, only their order counts.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Summary
#
# | part | in one sentence |
# |---|---|
# | IoU | shared area over covered area; small objects pay more for the same shift |
# | anchors | fixed boxes on the cells of a feature map; measure their reach on *your* objects first |
# | matching | positive, negative, ignored; every object gets its best anchor |
# | coding | shifts in anchor sides, sizes as logarithms: one loss for cars and warehouses |
# | NMS | best score first, strike out what overlaps; per class, and over the scene, not the window |
# | AP | the area under precision over recall, from one sorted list |
#
# **Next:** lecture 03 puts a network between anchors and suppression: Faster R-CNN.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Ask which part they would get wrong first in their own data.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - [Ren et al. 2015, anchors](https://doi.org/10.48550/arXiv.1506.01497)
# - [Everingham et al. 2010, average precision](https://doi.org/10.1007/s11263-009-0275-4)
# - [Lin et al. 2014, COCO](https://doi.org/10.1007/978-3-319-10602-1_48)
# - [Rezatofighi et al. 2019, generalised IoU](https://doi.org/10.48550/arXiv.1902.09630)
# - [Bodla et al. 2017, Soft-NMS](https://doi.org/10.48550/arXiv.1704.04503)
