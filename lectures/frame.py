"""What stands above and below the cells of each notebook: where to go from here, and what the lecture takes.

Both cells are written when a notebook is built and are renewed without running it: they hold links to the lectures
before and after, and figures of docs/results/lectures.json.
"""

import json
import re

import nbformat

TAG = "frame"
UNMEASURED = "not measured yet"


def title_of(path):
    """The title of a lecture source: its first heading."""
    found = re.search(r"^# # (.+)$", path.read_text("utf-8"), re.M)
    return found[1] if found else path.stem


def minutes_of(path):
    """Planned minutes of a lecture: the sum over its presenter notes, each of which starts with "(3 min)"."""
    return sum(map(int, re.findall(r"^# \((\d+) min\)", path.read_text("utf-8"), re.M)))


def costs_of(root, number):
    """Seconds and memory of lecture `number` in words, as `python -m tests.benchmarks.lectures` measured them last."""
    stored = root / "docs" / "results" / "lectures.json"
    figures = json.loads(stored.read_text("utf-8"))["runs"][-1]["figures"].get(number) if stored.exists() else None
    if figures is None:
        return UNMEASURED
    seconds = max(5, 5 * round(figures["seconds"] / 5))  # rounded: a measurement repeated seldom changes the words
    return f"{seconds} s, {figures['gigabytes']:.1f} GB of memory"


def links(root, path):
    """Links from a notebook to the lecture before it, the first page and the one after; the same in both editions."""
    every = sorted((root / "lectures").glob("[0-9][0-9]_*.py"))
    place = every.index(path)
    shown = [f"[← {title_of(one)}]({one.stem}.ipynb)" for one in every[max(0, place - 1) : place]]
    shown += [f"[{title_of(one)} →]({one.stem}.ipynb)" for one in every[place + 1 : place + 2]]
    return " · ".join(shown)


def cells(root, path, edition):
    """The first and the last cell of a notebook, as [first, last]."""
    number, up = path.name[:2], "../.." if edition == "solutions" else ".."
    other = "[exercises](../{}.ipynb)" if edition == "solutions" else "[solutions](solutions/{}.ipynb)"
    ways = " · ".join(filter(None, [links(root, path), f"[glossary]({up}/docs/glossary.md)", other.format(path.stem)]))
    takes = f"All cells, on two CPU cores without a GPU and without a net: {costs_of(root, number)}."
    told = f"{takes} As a talk: {minutes_of(path)} minutes."
    return [cell("first", f"{ways}\n\n{told}"), cell("last", ways)]


def cell(name, source):
    metadata = {"tags": [TAG], "slideshow": {"slide_type": "skip"}}
    return nbformat.v4.new_markdown_cell(source, id=f"frame-{name}", metadata=metadata)


def without(notebook):
    """The cells of a notebook that come from its lecture."""
    return [one for one in notebook.cells if TAG not in one.metadata.get("tags", [])]
