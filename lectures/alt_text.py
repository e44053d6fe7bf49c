"""Alternative text of the pictures that code draws: what a figure shows, said from what stands in it.

The builder (build.py) runs this file in the kernel of a notebook. From then on each picture is stored with its text in
the output's metadata, {"image/png": {"alt": "..."}}, where nbconvert and the decks look for it.
"""

import sys
from collections import Counter
from functools import partial
from itertools import groupby

LONGEST = 600  # characters


def describe(figure):
    """What a matplotlib figure shows, in words: a data flow as its arrows, plots and images by titles, axes, names."""
    drawn = [ax for ax in figure.axes if ax.get_visible() and (ax.axison or ax.images or ax.texts or ax.patches)]
    flows = [text for ax in drawn if (text := flow(ax))]
    if flows:
        return shortened("Data flow: " + " ".join(flows))
    images = sum(bool(ax.images) for ax in drawn)
    kinds = [f"{count} {name}{'s' * (count > 1)}" for count, name in ((images, "image"), (len(drawn) - images, "plot"))
             if count]  # fmt: skip
    parts = [part for part, _ in groupby(filter(None, map(panel, drawn)))]  # panels in a row that say the same
    legend = [text.get_text() for one in figure.legends for text in one.get_texts()]
    told = [one_line(figure.get_suptitle()), "; ".join(parts), f"Marked: {', '.join(legend)}" if legend else ""]
    return shortened(". ".join([" and ".join(kinds) or "Drawing", *filter(None, told)]) + ".")


def panel(ax):
    """What one panel shows: title, axes, the names in its legend or beside its lines."""
    title = next((one_line(text) for side in ("left", "center") if (text := ax.get_title(side))), "")
    axes = " over ".join(filter(None, [one_line(ax.get_ylabel()), one_line(ax.get_xlabel())]))
    legend = ax.get_legend()
    names = [one_line(text.get_text()) for text in (legend.get_texts() if legend else ax.texts)]
    names = list(dict.fromkeys(filter(None, names)))[:8]
    told = f"{title}: {axes}" if title and axes else title or axes
    return f"{told} ({', '.join(names)})" if names and told else told or ", ".join(names)


def flow(ax):
    """The arrows of a drawing as sentences, "chips (B, 3, 128, 128) → backbone; ..."; "" where there are none."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    words, ways = {}, []
    for arrow in [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]:
        if not (isinstance(arrow.patchA, FancyBboxPatch) and isinstance(arrow.patchB, FancyBboxPatch)):
            continue
        if ways and ways[-1][-1] is arrow.patchA:
            ways[-1].append(arrow.patchB)
        else:
            ways.append([arrow.patchA, arrow.patchB])
    for box in {id(box): box for way in ways for box in way}.values():
        inside = [text for text in ax.texts if box.get_bbox().contains(*text.get_position())]
        words[id(box)] = [one_line(text.get_text()) for text in inside]
    titles, told, seen = Counter(lines[0] for lines in words.values() if lines), [], set()
    for way in ways:
        known = [id(box) in seen and titles[words[id(box)][0]] == 1 for box in way]  # its name alone says which it is
        names = [" ".join(words[id(box)][: 1 if short else None]) for box, short in zip(way, known, strict=True)]
        seen.update(map(id, way))
        told.append(" → ".join(names))
    return "; ".join(told) + "." if told else ""


def one_line(text):
    return " ".join(text.split())


def shortened(text):
    """Text of at most LONGEST characters, cut between two words."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def picture_and_text(draw, figure):
    """What the kernel shows of a figure: its picture as `draw` makes it, with the text as metadata."""
    picture = draw(figure)
    data, metadata = picture if isinstance(picture, tuple) else (picture, {})
    try:
        return data, {**metadata, "alt": describe(figure)}
    except Exception as error:  # a picture without words is better than none
        print(f"no alternative text: {type(error).__name__}: {error}", file=sys.stderr)
        return data, metadata


def watch(shell):
    """From now on store the text with each figure that the notebook of this IPython shell shows → None."""

    def put_in(*_):
        formatter = shell.display_formatter.formatters["image/png"]
        figure = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
        draw = figure and formatter.type_printers.get(figure)  # matplotlib puts its own there when it is imported
        if draw and getattr(draw, "func", None) is not picture_and_text:
            formatter.for_type(figure, partial(picture_and_text, draw))

    shell.events.register("pre_run_cell", put_in)
    shell.events.register("post_execute", put_in)  # the cell that drew first; matplotlib shows its figures after this
