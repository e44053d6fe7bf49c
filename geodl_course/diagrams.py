"""Data-flow drawings in one visual language: what is data, what is learned, what is only computed, what is compared.

A lecture writes a drawing down as a table of boxes and a few chains of arrows, so that the picture is as easy to
change as the sentence beside it. Boxes differ by outline as well as by colour: they read the same in grey.
"""

from __future__ import annotations

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
BOX = (0.84, 0.58)  # width and height of a box, in columns and rows
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
        for start, end in zip(names, names[1:], strict=False):
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
