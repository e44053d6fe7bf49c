"""What stands on which page of a deck: from an executed notebook to a notebook with one page after the other.

A slide of a lecture holds text, code and results, more than 1280 x 720 pixels show at a size that the last row reads.
Here it becomes one or more pages: heights are estimated, text and code go on until a page is full, a picture stands
below the text or beside it, whichever shows it larger. `decks.py` renders the pages; the browser tunes font sizes.
"""

import base64
import math
import re
import struct

import nbformat

WIDTH, ROOM, GAP = 1208, 580, 14  # px under a page's title
TEXT, TEXT_LINE, CODE_LINE, ROW = 22, 29, 20.5, 29  # the small end of the sizes in deck_template/deck.css
ROWS = 12  # a longer table is set tighter
LEFT, RIGHT = 520, 664  # px of two columns
CODE_LINES, FEWEST_LINES, PRINT_LINES = 20, 12, 22
LARGEST, SMALLEST = 1.6, 0.85  # a picture's scale; at 1 its lettering has 14 px
MINUTES = re.compile(r"\((\d+) min\)")
WORTH_SHOWING = re.compile(r"^(def|class) |\bfit\w*\(", re.M)  # beside a picture, code that defines or trains
PROGRESS = re.compile(r"^100% #+ ")


# --- the slides of a lecture ------------------------------------------------------------------------------------------


def slides_of(notebook):
    """The slides of a notebook: dicts with title, part (the section it belongs to), blocks, notes and minutes."""
    slides, part = [], ""
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "skip" or (kind == "notes" and not slides):
            continue
        if kind == "notes":
            said = re.sub(r"^> ?", "", cell.source, flags=re.M).replace("*Presenter notes*", "").strip()
            slides[-1]["notes"].append(said)
            continue
        headings, text = split_headings(cell.source) if cell.cell_type == "markdown" else ([], "")
        part = next((title for level, title in headings if level == 2), part)
        if kind in ("slide", "subslide") or not slides:
            title = headings[-1][1] if headings else slides[-1]["title"]
            slides.append({"title": title, "part": part, "blocks": [], "notes": []})
        elif headings:
            slides[-1]["blocks"].append({"kind": "title", "text": headings[-1][1]})
        if cell.cell_type == "markdown":
            slides[-1]["blocks"] += [{"kind": "text", "text": text}] if text else []
        elif len(slides) > 1:  # code under the lecture's title sets the notebook up
            slides[-1]["blocks"] += code_blocks(cell)
    for slide in slides:
        slide["minutes"] = sum(int(found[1]) for found in map(MINUTES.match, slide["notes"]) if found)
    return slides


def split_headings(source):
    """The headings that open a Markdown cell, as (level, title), and the text below them."""
    lines, headings = source.strip().splitlines(), []
    while lines and (not lines[0].strip() or lines[0].startswith("#")):
        line = lines.pop(0)
        if line.strip():
            headings.append((len(line) - len(line.lstrip("#")), line.lstrip("#").strip()))
    return headings, "\n".join(lines).strip()


def code_blocks(cell):
    """A code cell and its outputs as blocks. Code that only draws a picture is left to the notebook."""
    outputs = []
    call = re.search(r"\bwidgets\.\w+", cell.source)
    for block in filter(None, map(output_block, cell.outputs)):
        if block.get("live"):
            block["live"] = call[0] if call else "a widget"
        if outputs and block["kind"] == outputs[-1]["kind"] == "print":
            outputs[-1]["lines"] += block["lines"]
        else:
            outputs.append(block)
    lines = re.sub(r"\n{3,}", "\n\n", cell.source.strip()).splitlines()
    drawn = any(block["kind"] == "figure" for block in outputs)
    hidden = drawn and not WORTH_SHOWING.search(cell.source)
    return [*([] if hidden or not lines else [{"kind": "code", "lines": lines}]), *outputs]


def output_block(output):
    """An output of a cell as a block, or None for a progress line."""
    data = output.get("data", {})
    if "image/png" in data:
        width, height = struct.unpack(">II", base64.b64decode(data["image/png"][:64])[16:24])
        live = "Run this cell" in data.get("text/plain", "")  # a widget's picture
        return {"kind": "figure", "width": width, "height": height, "output": output, "live": live}
    if "text/html" in data:
        return {"kind": "table", "rows": data["text/html"].count("<tr"), "output": output}
    text = output.get("text", data.get("text/plain", "")).rstrip()
    return {"kind": "print", "lines": text.splitlines()} if text and not PROGRESS.match(text) else None


# --- pages ------------------------------------------------------------------------------------------------------------


def height(block, width=WIDTH):
    """About how many px a block other than a figure takes at a width."""
    if block["kind"] == "text":
        return text_height(block["text"], width) + GAP
    if block["kind"] == "table":
        return block["rows"] * (ROW if block["rows"] <= ROWS else ROW - 7) + GAP
    across = (width - 20) // 9.65
    lines = sum(max(1, math.ceil(len(line) / across)) for line in block["lines"][:PRINT_LINES])
    return lines * CODE_LINE + 24 + GAP


def text_height(text, width):
    """About how many px Markdown takes: paragraphs, lists, tables and formulas."""
    across, total = width / (TEXT * 0.46), 0
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()
        if lines[0].startswith("|"):
            total += sum(TEXT_LINE * (1 + len(line) // (across * 1.1)) + 8 for line in lines)
        elif paragraph.startswith("$$"):
            total += 90
        else:
            items = re.split(r"\n(?=\s*(?:[-*]|\d+\.) )", paragraph)
            total += sum(TEXT_LINE * math.ceil(len(re.sub(r"[*`\n]", "", item)) / across) + 4 for item in items) + 10
    return total


def arrange(blocks):
    """The layout ("rows" or "columns") that shows the figures of a page largest, and their scale; 0 if it overflows."""
    figures = [block for block in blocks if block["kind"] == "figure"]
    others = [block for block in blocks if block["kind"] != "figure"]
    if not figures:
        return "rows", float(sum(map(height, others)) <= ROOM)
    wide, high = sum(f["width"] for f in figures), max(f["height"] for f in figures)
    rows = min((ROOM - sum(map(height, others))) / high, (WIDTH - 20 * len(figures)) / wide)
    narrow = all(max(map(len, block["lines"])) <= 50 for block in others if "lines" in block)
    beside = others and narrow and sum(height(block, LEFT) for block in others) <= ROOM
    stack_wide, stack_high = max(f["width"] for f in figures), sum(f["height"] for f in figures)
    columns = min((ROOM - 14 * len(figures)) / stack_high, RIGHT / stack_wide) if beside else 0
    return max(("rows", min(rows, LARGEST)), ("columns", min(columns, LARGEST)), key=lambda way: way[1])


def clip(lines, most):
    """At most `most` lines of code, cut between two definitions where one ends late enough; the last line says so."""
    if len(lines) <= most:
        return lines
    ends = [i for i in range(most * 2 // 3, most) if not lines[i].strip() and not lines[i + 1].startswith((" ", ")"))]
    cut = ends[-1] if ends else most - 1
    return [*lines[:cut], f"# … {len(lines) - cut} more lines in the notebook"]


def pages_of(slide):
    """The pages of a slide: lists of blocks, each list opened by its title."""
    pages, title, blocks = [], slide["title"], slide["blocks"]
    page = []
    for index, block in enumerate(blocks):
        if block["kind"] == "title":
            pages, page, title = [*pages, (title, page)] if page else pages, [], block["text"]
            continue
        if block["kind"] == "code":
            told = blocks[index + 1] if index + 1 < len(blocks) else {}
            needed = height(told) if told.get("kind") == "print" and len(told["lines"]) <= 4 else 0
            most = min(CODE_LINES, int((ROOM - sum(map(height, page)) - needed - 24 - GAP) // CODE_LINE)) if all(
                b["kind"] != "figure" for b in page) else 0  # fmt: skip
            if page and most < min(len(block["lines"]), FEWEST_LINES):
                pages, page, most = [*pages, (title, page)], [], CODE_LINES
            block = {**block, "lines": clip(block["lines"], most)}
        elif page and arrange([*page, block])[1] < enough(block):
            pages, page = [*pages, (title, page)], []
        page.append(block)
    return [*pages, (title, page)] if page or not pages else pages


def enough(block):
    """The least scale at which a figure may join a page; other blocks only have to fit."""
    return min(SMALLEST, (WIDTH - 20) / block["width"]) if block["kind"] == "figure" else SMALLEST


# --- the deck as a notebook -------------------------------------------------------------------------------------------


def deck(notebook):
    """The notebook of pages, and the slides with title, part, minutes and the number of their pages."""
    slides = slides_of(notebook)
    opening, lecture = slides[0], slides[0]["title"]
    cells = page_cells("slide", {"title": lecture, "layout": "opening", "seconds": opening["minutes"] * 60},
                       opening["blocks"], remarks(opening, 1, 1))  # fmt: skip
    parts = agenda(slides[1:])
    lines = "\n".join(f"| {title.replace('|', '/')} | {minutes} min |" for title, minutes in parts)
    total = sum(slide["minutes"] for slide in slides)
    cells += page_cells("slide", {"title": "Agenda", "part": lecture, "layout": "agenda", "seconds": 20},
                        [{"kind": "text", "text": f"| | |\n|---|---:|\n{lines}"}],
                        f"**No time of its own.** {total} minutes are planned in all, exercises not counted. Say where "
                        "you will pause, and that the exercises are in the notebook.")  # fmt: skip
    opening["pages"] = 2
    for slide in slides[1:]:
        pages = pages_of(slide)
        slide["pages"] = len(pages)
        for number, (title, blocks) in enumerate(pages, 1):
            facts = {
                "title": title, "part": slide["part"] if slide["part"] != title else lecture,
                "layout": arrange(blocks)[0], "seconds": round(slide["minutes"] * 60 / len(pages)),
                "page": f"{number}/{len(pages)}" if len(pages) > 1 else "",
            }  # fmt: skip
            kind = "slide" if number == 1 else "subslide"
            live = [f"**Live in JupyterLab:** the cell with `{b['live']}`." for b in blocks if b.get("live")]
            cells += page_cells(kind, facts, blocks, "\n\n".join([remarks(slide, number, len(pages)), *live]))
    metadata = {**notebook.metadata, "title": lecture, "minutes": total}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata), slides


def agenda(slides):
    """The sections of a lecture with their minutes, in order."""
    minutes = {}
    for slide in slides:
        minutes[slide["part"]] = minutes.get(slide["part"], 0) + slide["minutes"]
    return list(minutes.items())


def remarks(slide, number, pages):
    """The presenter's notes on a page, opened by its share of the time."""
    plan = f"**{slide['minutes']} min**" + (f" for {pages} pages; this is page {number}." if pages > 1 else "")
    return "\n\n".join([plan, *(MINUTES.sub("", note, count=1).strip() for note in slide["notes"])])


def page_cells(kind, facts, blocks, notes):
    """The cells of a page: a heading, its blocks, the presenter's notes."""
    cells = [nbformat.v4.new_markdown_cell(facts["title"], metadata={"slideshow": {"slide_type": kind}, "page": facts})]
    figures = [block for block in blocks if block["kind"] == "figure"]
    for block in blocks:
        if block["kind"] == "text":
            cells.append(nbformat.v4.new_markdown_cell(block["text"]))
        elif block["kind"] == "code":
            longest = max(map(len, block["lines"]))
            widest = max(16, min(20, int((WIDTH - 28) / (0.603 * longest))))
            cells.append(nbformat.v4.new_code_cell("\n".join(block["lines"]), metadata={"font_px": widest}))
        elif block["kind"] == "print":
            text = "\n".join(cut_print(block["lines"]))
            cells.append(result([nbformat.v4.new_output("stream", text=text)]))
        elif block["kind"] == "table":
            cells.append(result([block["output"]], tight=block["rows"] > ROWS))
        elif block is figures[0]:
            cells.append(figure_cell(figures, facts["title"]))
    notes = nbformat.v4.new_markdown_cell(notes, metadata={"slideshow": {"slide_type": "notes"}})
    return [*cells, notes]


def cut_print(lines):
    if len(lines) <= PRINT_LINES:
        return lines
    return [*lines[: PRINT_LINES - 1], f"… {len(lines) - PRINT_LINES + 1} more lines in the notebook"]


def result(outputs, **metadata):
    return nbformat.v4.new_code_cell("", outputs=outputs, metadata=metadata)


def figure_cell(figures, title):
    """One cell for the figures of a page, with their sizes and alternative text."""
    sizes = [{"width": f["width"], "height": f["height"], "live": f["live"]} for f in figures]
    return result([f["output"] for f in figures], figures=sizes, alt=f"Picture: {title}")
