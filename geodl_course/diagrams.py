"""Data-flow drawings in one visual language: what is data, what is learned, what is only computed, what is compared.

A lecture writes a drawing down as a table of boxes and a few chains of arrows, so that the picture is as easy to
change as the sentence beside it. Boxes differ by outline as well as by colour: they read the same in grey.
"""

from __future__ import annotations

from itertools import pairwise, product

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# kind: (fill, outline, line width, line style, corner radius, name in the legend)
KINDS = {
    "data": ("#FFFFFF", "#333333", 1.0, "-", 0.0, "data: a tensor and its shape"),
    "learned": ("#D6ECFA", "#0072B2", 2.2, "-", 0.1, "learned: holds weights"),
    "fixed": ("#F0F0F0", "#555555", 1.2, "--", 0.1, "computed: no weights"),
    "loss": ("#FFF2CC", "#B37700", 1.4, ":", 0.1, "loss: training only"),
    "slow": ("#FBE0D2", "#D55E00", 2.2, "-.", 0.1, "the bottleneck"),
}
BOX = (0.86, 0.64)  # width and height of a box, in columns and rows
CELL = (1.75, 1.0)  # inches that one column and one row take


def draw_flow(nodes: dict, chains: list[str], ax=None, legend: bool = True):
    """Draw a data flow: nodes {name: (column, row, kind, text)}, chains ["name name name"] → matplotlib Axes.

    ``column`` and ``row`` may be fractions; rows count downward. ``kind`` is a key of ``KINDS``. The first line of
    ``text`` is the name of the thing, the lines after it (shapes, counts) are set in a fixed-width face. A chain
    "a b c" draws the arrows a → b and b → c. Without ``ax`` a figure of fitting size is made.
    Raises ValueError for a kind or a name that does not exist. First used in lecture 03.
    """
    columns, rows = [node[0] for node in nodes.values()], [node[1] for node in nodes.values()]
    left, right, top, bottom = min(columns) - 0.5, max(columns) + 0.5, min(rows) - 0.4, max(rows) + 0.4
    width, height = (right - left) * CELL[0], (bottom - top) * CELL[1]
    kinds = [kind for kind in KINDS if any(node[2] == kind for node in nodes.values())] if legend else []
    per_line = min(len(kinds), max(1, int(width // 2.4)))  # a legend entry is at most 2.4 inches wide
    if ax is None:
        lines = -(-len(kinds) // per_line) if kinds else 0
        ax = plt.subplots(figsize=(width, height + 0.28 * lines), layout="constrained")[1]
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.axis("off")
    patches = {name: _draw_node(ax, name, node) for name, node in nodes.items()}
    for chain in chains:
        names = chain.split()
        for start, end in pairwise(names):
            _draw_arrow(ax, patches, nodes, start, end)
    if kinds:
        handles = [_box(0, 0, 1, 1, kind) for kind in kinds]
        ax.legend(handles, [KINDS[kind][5] for kind in kinds], loc="upper center", bbox_to_anchor=(0.5, 0.0),
                  ncols=per_line, frameon=False, fontsize=9, handlelength=1.6)
    return ax


def _box(x: float, y: float, width: float, height: float, kind: str) -> FancyBboxPatch:
    fill, outline, line, style, radius, _ = KINDS[kind]
    shape = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
    return FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=fill, edgecolor=outline, linewidth=line,
                          linestyle=style)


def _draw_node(ax, name: str, node: tuple) -> FancyBboxPatch:
    column, row, kind, text = node
    if kind not in KINDS:
        raise ValueError(f"draw_flow: node '{name}' has the kind '{kind}'; choose one of {', '.join(KINDS)}")
    patch = ax.add_patch(_box(column - BOX[0] / 2, row - BOX[1] / 2, *BOX, kind))
    title, *lines = text.split("\n")
    step = 0.17
    y = row - step * len(lines) / 2
    ax.text(column, y, title, ha="center", va="center", fontsize=10, weight="bold", color="#111111")
    for i, line in enumerate(lines, start=1):
        ax.text(column, y + i * step, line, ha="center", va="center", fontsize=8.5, family="monospace", color="#333333")
    return patch


def _draw_arrow(ax, patches: dict, nodes: dict, start: str, end: str) -> None:
    for name in (start, end):
        if name not in nodes:
            raise ValueError(f"draw_flow: an arrow names '{name}', which is not among the nodes {', '.join(nodes)}")
    ax.add_patch(FancyArrowPatch(nodes[start][:2], nodes[end][:2], patchA=patches[start], patchB=patches[end],
                                 shrinkA=2, shrinkB=2, arrowstyle="-|>", mutation_scale=13, color="#333333", lw=1.3))


def rcnn_family():
    """R-CNN, Fast R-CNN and Faster R-CNN as three rows → nodes and chains for draw_flow. Lecture 03."""
    searched, pooled = ("slow", "selective search\n300 regions"), ("fixed", "RoI pooling\n300 times")
    backbone, head = ("learned", "backbone\nonce"), ("learned", "box head\n300 times")
    rows = {
        "R-CNN": [("slow", "selective search\n300 crops"), ("slow", "backbone\n300 times"), None, head],
        "Fast R-CNN": [searched, backbone, pooled, head],
        "Faster R-CNN": [backbone, ("learned", "RPN\n300 regions"), pooled, head],
    }
    nodes, chains = {}, []
    for row, (name, parts) in enumerate(rows.items()):
        used = [(column, part) for column, part in enumerate([("data", f"{name}\none chip"), *parts]) if part]
        nodes |= {f"{row}-{column}": (column, row, *part) for column, part in used}
        chains.append(" ".join(f"{row}-{column}" for column, _ in used))
    return nodes, chains


def faster_rcnn_flow(size=128, channels=96, stride=4, anchors=12, bins=7, losses=True):
    """Faster R-CNN with the shapes of its tensors → nodes and chains for draw_flow, for a lecture to add to.

    size: of a chip in pixels; channels and stride: of the feature map; anchors: per cell; bins: of RoIAlign.
    Lecture 03; lecture 06 adds the mask branch.
    """
    cells = size // stride
    count = cells * cells * anchors
    nodes = {
        "chips": (0, 1, "data", f"chips\n(B, 3, {size}, {size})"),
        "backbone": (1, 1, "learned", "backbone"),
        "features": (2, 1, "data", f"feature map\n(B, {channels}, {cells}, {cells})"),
        "rpn": (2, 0, "learned", "RPN head"),
        "scores": (3, 0, "data", f"scores, deltas\n(B, {count})\n(B, {count}, 4)"),
        "propose": (4, 0, "fixed", "propose\ndecode, clip, NMS"),
        "proposals": (4, 1, "data", "proposals\n(B, P, 4)"),
        "align": (3, 1, "fixed", "RoIAlign"),
        "rois": (3, 2, "data", f"pooled\n(B, P, {channels}, {bins}, {bins})"),
        "head": (4, 2, "learned", "box head"),
        "classes": (5, 2, "data", "classes, deltas\n(B, P, K+1)\n(B, P, K+1, 4)"),
        "detect": (6, 2, "fixed", "detect\ndecode, clip, NMS"),
        "detections": (6, 1, "data", "detections\nbox, class, score"),
    }
    chains = ["chips backbone features rpn scores propose proposals align rois head classes detect detections",
              "features align"]
    if losses:
        nodes |= {"rpn_loss": (3, -1, "loss", "RPN losses"), "box_loss": (5, 1, "loss", "box losses")}
        chains += ["scores rpn_loss", "classes box_loss"]
    return nodes, chains


def mask_rcnn_flow(size=128, channels=96, stride=4, classes=1, losses=True):
    """Mask R-CNN with the shapes of its tensors → nodes and chains for draw_flow: what lecture 06 adds to lecture 03.

    size: of a chip in pixels; channels and stride: of the feature map; classes: K. The upper row is lecture 03's
    detector, drawn small; the lower one hangs on the same feature map.
    """
    cells = size // stride
    nodes = {
        "chips": (0, 0, "data", f"chips\n(B, 3, {size}, {size})"),
        "backbone": (1, 0, "learned", "backbone"),
        "features": (2, 0, "data", f"feature map\n(B, {channels}, {cells}, {cells})"),
        "rpn": (3, 0, "learned", "RPN\nproposals"),
        "box": (4, 0, "learned", "RoIAlign 7 x 7\nbox head"),
        "detections": (5, 0, "data", "detections\nbox, class, score\n(B, D, 4)"),
        "align": (2, 1, "fixed", "RoIAlign\n14 x 14"),
        "pooled": (3, 1, "data", f"pooled\n(B, D, {channels}, 14, 14)"),
        "head": (4, 1, "learned", "mask head\nconvolutions only"),
        "maps": (5, 1, "data", f"mask logits\n(B, D, {classes}, 28, 28)"),
        "pick": (5, 2, "fixed", "pick one map\nof the class found"),
        "paste": (4, 2, "fixed", "paste\ninto the boxes"),
        "masks": (3, 2, "data", f"masks\n(B, D, {size}, {size})"),
    }
    chains = ["chips backbone features rpn box detections", "features align pooled head maps pick paste masks"]
    if losses:
        nodes |= {"goals": (6, 2, "fixed", "true masks\ncut to the regions"), "loss": (6, 1, "loss", "mask loss")}
        chains += ["maps loss", "goals loss"]
    return nodes, chains


def ssd_flow(size=128, channels=96, cells=(32, 16, 8, 4), boxes=6, losses=True):
    """SSD with the shapes of its tensors → nodes and chains for draw_flow.

    size: of a chip in pixels; channels: of each feature map; cells: along a side of each map; boxes: per cell. Lecture
    04.
    """
    last, total = len(cells), sum(side * side * boxes for side in cells)
    nodes = {"chips": (0, 0, "data", f"chips\n(B, 3, {size}, {size})")}
    for k, side in enumerate(cells):
        nodes |= {
            f"stage{k}": (k + 1, 0, "learned", "coarser stage" if k else "backbone"),
            f"map{k}": (k + 1, 1, "data", f"map {k}\n(B, {channels}, {side}, {side})"),
            f"head{k}": (k + 1, 2, "learned", f"3 x 3 head\n{side * side * boxes} boxes"),
        }
    nodes |= {
        "told": (last / 2 + 0.5, 3, "data", f"classes, deltas\n(B, {total}, K+1)\n(B, {total}, 4)"),
        "detect": (last / 2 + 1.6, 3, "fixed", "detect\ndecode, clip, NMS"),
        "detections": (last / 2 + 2.7, 3, "data", "detections\nbox, class, score"),
    }
    chains = [f"stage{k} map{k} head{k} told" for k in range(last)]
    chains += ["chips " + " ".join(f"stage{k}" for k in range(last)), "told detect detections"]
    if losses:
        nodes["loss"] = (last / 2 - 0.6, 3, "loss", "SSD losses\nmatch, mine")
        chains.append("told loss")
    return nodes, chains


def two_ways():
    """Top-down and bottom-up instance segmentation as two rows → nodes and chains for draw_flow. Lecture 07."""
    rows = [
        [("data", "top-down (06)\none chip"), ("learned", "backbone\none feature map"),
         ("learned", "a box an object\nfirst things ..."), ("learned", "a mask a box\n... then pixels"),
         ("data", "instances\nmay overlap")],
        [("data", "bottom-up (07)\none chip"), ("learned", "three U-Nets\nno boxes"),
         ("data", "three maps\nfirst pixels ..."), ("fixed", "label and grow\n... then things"),
         ("data", "instances\nnever overlap")],
    ]  # fmt: skip
    nodes = {f"{row}-{column}": (column, row, *part) for row, parts in enumerate(rows) for column, part in
             enumerate(parts)}
    return nodes, [" ".join(f"{row}-{column}" for column in range(5)) for row in range(2)]


def unet_flow(size=128, base=32, bands=3, depth=4):
    """A U-Net with the shapes of its tensors → nodes and chains for draw_flow: down, across, up.

    size: of a chip in pixels; base: channels of the finest level, each coarser one has twice as many; depth: how often
    the size is halved. Lecture 07.
    """
    shapes = [f"(B, {base * 2**k}, {size // 2**k}, {size // 2**k})" for k in range(depth + 1)]
    nodes = {"chips": (0, 0, "data", f"chips\n(B, {bands}, {size}, {size})")}
    for k in range(depth):
        nodes |= {f"down{k}": (1, k, "learned", f"2 convolutions\n{shapes[k]}"),
                  f"up{k}": (3, k, "learned", f"2 convolutions\n{shapes[k]}")}
    nodes |= {"bottom": (2, depth, "learned", f"2 convolutions\n{shapes[depth]}"),
              "map": (4, 0, "data", f"1 x 1: a map\n(B, 1, {size}, {size})")}
    way = [f"down{k}" for k in range(depth)] + ["bottom"] + [f"up{k}" for k in reversed(range(depth))]
    return nodes, [f"chips {' '.join(way)} map", *(f"down{k} up{k}" for k in range(depth))]


def unet_id_flow(size=128, bands=3, losses=True):
    """U-Net-ID with the shapes of its tensors → nodes and chains for draw_flow; size of a chip in px. Lecture 07."""
    one, three = f"(B, 1, {size}, {size})", f"(B, 3, {size}, {size})"
    nodes = {
        "chips": (0, 1, "data", f"chips\n(B, {bands}, {size}, {size})"),
        "maps": (3, 1, "fixed", f"concatenate\n{three}"),
        "logits": (5, 1, "data", f"logits\n{three}"),
        "grow": (6, 1, "fixed", "label and grow"),
        "ids": (6, 0, "data", f"instances\n(B, {size}, {size})"),
    }
    chains = ["logits grow ids"]
    for row, name in enumerate(("border", "segment", "inner")):
        nodes |= {
            f"unet{row}": (1, row, "learned", f"U-Net\n{name}"),
            f"map{row}": (2, row, "data", f"sigmoid\n{one}"),
            f"tail{row}": (4, row, "learned", f"refine {name}\n3 > 64 > 32 > 1"),
        }
        chains.append(f"chips unet{row} map{row} maps tail{row} logits")
    if losses:
        nodes["loss"] = (6, 2, "loss", "BCE + Dice\nof each map")
        chains.append("logits loss")
    return nodes, chains


def draw_pooling(ax, box, stride, bins, rounded):
    """Draw over a chip how a RoI's box (4,) in pixels is cut into bins x bins on cells of stride pixels → None.

    rounded=True: RoIPool, which moves box and bins to whole cells; False: RoIAlign, which leaves them where they are
    and interpolates at four points a bin. Lecture 03.
    """
    low, high = [float(value) / stride for value in box[:2]], [float(value) / stride for value in box[2:]]
    if rounded:
        low, high = [round(value) for value in low], [round(value) + 1 for value in high]
        edges = [[a + i * (b - a) // bins for i in range(bins)] + [b] for a, b in zip(low, high, strict=True)]
    else:
        edges = [[a + i * (b - a) / bins for i in range(bins + 1)] for a, b in zip(low, high, strict=True)]
    xs, ys = ([stride * value for value in side] for side in edges)
    for x in xs:
        ax.plot([x, x], [ys[0], ys[-1]], color="white", lw=1.4)
    for y in ys:
        ax.plot([xs[0], xs[-1]], [y, y], color="white", lw=1.4)
    if not rounded:
        across, down = ([(1 - t) * a + t * b for a, b in pairwise(side) for t in (0.25, 0.75)] for side in (xs, ys))
        ax.plot(*zip(*product(across, down), strict=True), ".", color="white", ms=4)
    ax.add_patch(plt.Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, ec="#F0E442", lw=2.4))
