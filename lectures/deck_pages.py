"""What stands on which page of a deck: the slides of an executed notebook, laid over pages.

A slide of a lecture holds text, code and results, more than 1280 x 720 pixels show at a size that the last row reads.
Here it becomes one or more pages: heights are estimated, text and code go on until a page is full, a picture stands
below the text or beside it, whichever shows it larger. The browser only tunes font sizes (deck_template/deck.js).
"""

import base64
import math
import re
import struct
from collections import Counter

WIDTH, ROOM, GAP = 1208, 572, 14  # px under a page's title
TEXT, TEXT_LINE, CODE_LINE, ROW = 22, 29, 20.5, 29  # the small end of the sizes in deck_template/deck.css
ROWS = 12  # a longer table is set tighter
LEFT, RIGHT = 520, 664  # px of two columns
CODE_LINES, FEWEST_LINES, PRINT_LINES = 20, 12, 22
LARGEST, SMALLEST, BESIDE_PRINT = 1.6, 0.9, 0.75  # a picture's scale; at 1 its lettering has 14 px
BARE = re.compile(r"^(\d+ (image|plot)s?|Drawing)\.$")  # words that say nothing of what a picture shows
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
        (headings, text), *more = sections(cell.source) if cell.cell_type == "markdown" else [([], "")]
        part = next((title for level, title in headings if level == 2), part)
        if kind in ("slide", "subslide") or not slides:
            title = headings[-1][1] if headings else slides[-1]["title"]
            slides.append({"title": title, "part": part, "blocks": [], "notes": []})
        elif headings:
            slides[-1]["blocks"].append({"kind": "title", "text": headings[-1][1]})
        if cell.cell_type == "markdown":
            slides[-1]["blocks"] += [{"kind": "text", "text": text}] if text else []
            for inner, below in more:
                slides[-1]["blocks"].append({"kind": "title", "text": inner[-1][1]})
                slides[-1]["blocks"] += [{"kind": "text", "text": below}] if below else []
        elif len(slides) > 1:  # code under the lecture's title sets the notebook up
            slides[-1]["blocks"] += code_blocks(cell)
    for slide in slides:
        slide["minutes"] = sum(int(found[1]) for found in map(MINUTES.match, slide["notes"]) if found)
    name_pictures(slides)
    return slides


def name_pictures(slides):
    """Give each figure its alternative text, "alt": the slide's title, then what the picture shows; no two alike.

    What it shows stands with the picture (alt_text.py); else in the paragraph above it, or in the first notes below.
    """
    taken = Counter()
    for slide in slides:
        said = [plain(MINUTES.sub("", note, count=1)) for note in slide["notes"][:1]]
        for block in slide["blocks"]:
            if block["kind"] == "text":
                said = [text for text in map(plain, block["text"].split("\n\n")) if text] or said
            elif block["kind"] == "figure":
                still = f"Still picture of {block['live']}. " if block["live"] else ""
                title = re.sub(r"(?<![?!.])$", ".", plain(slide["title"]))
                words = f"{title} {still}{block['told'] or ''.join(said[-1:])}".strip()
                taken[words] += 1
                block["alt"] = words + (f" (picture {taken[words]})" if taken[words] > 1 else "")


def plain(text):
    """A paragraph of Markdown as plain words, at most 400 characters; "" for tables, formulas and code."""
    words = " ".join(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).translate(str.maketrans("", "", "*`")).split())
    if words.startswith(("|", "$$", "#")) or text.startswith("```"):
        return ""
    return words if len(words) <= 400 else words[:399].rsplit(" ", 1)[0] + "…"


def sections(source):
    """The sections of a Markdown cell: the headings that open each, as (level, title), with the text below them."""
    found, fenced = [([], "")], False
    for line in source.strip().splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            if found[-1][1].strip():
                found.append(([], ""))
            found[-1][0].append((len(line) - len(line.lstrip("#")), line.lstrip("#").strip()))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return [(headings, text.strip()) for headings, text in found]


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
        told = BARE.sub("", output.get("metadata", {}).get("image/png", {}).get("alt", ""))
        return {"kind": "figure", "width": width, "height": height, "output": output, "live": live, "told": told}
    if "text/html" in data:
        rows, cells = (len(re.findall(tag, data["text/html"])) for tag in ("<tr", "<t[hd]\\b"))
        return {"kind": "table", "rows": rows, "columns": cells / max(rows, 1), "output": output}
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
            total += sum(0.76 * TEXT_LINE * (1 + len(line) // (across * 1.25)) + 7 for line in lines) + 8
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
    narrow = all(max(map(len, block.get("lines", [""]))) <= 50 and block.get("columns", 0) <= 5 for block in others)
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
    """The pages of a slide: (title, blocks). Text that leads to what opens a page goes with it."""
    pages, page, title = [], [], slide["title"]
    for block, following in zip(slide["blocks"], [*slide["blocks"][1:], {}], strict=True):
        if block["kind"] == "title":
            pages, page, title = [*pages, (title, page)] if page else pages, [], block["text"]
            continue
        while (fitted := placed(page, block, following)) is None:
            stay = len(page) - (len(page) > 1 and page[-1]["kind"] == "text")
            pages, page = [*pages, (title, page[:stay])], page[stay:]
        page.append(fitted)
    return [*pages, (title, page)] if page or not pages else pages


def placed(page, block, following):
    """A block as it joins a page: code is clipped to what fits above its short result. None if it does not fit."""
    if block["kind"] != "code":
        return block if not page or arrange([*page, block])[1] >= enough(block) else None
    if any(other["kind"] == "figure" for other in page):
        return None
    told = height(following) if following.get("kind") == "print" and len(following["lines"]) <= 4 else 0
    room, needed = ROOM - sum(map(height, page)) - 24 - GAP, min(len(block["lines"]), FEWEST_LINES)
    if following.get("kind") == "table" and (room - height(following)) // CODE_LINE >= needed:
        told = height(following)  # better a few lines less than a small table alone on the next page
    most = int((room - told) // CODE_LINE)
    if page and most < needed:
        return None
    return {**block, "lines": clip(block["lines"], min(CODE_LINES, most))}


def enough(block):
    """The least scale of a page's figures when a block joins: a short print, as a credit, may make them smaller."""
    if block["kind"] == "print" and len(block["lines"]) <= 4:
        return BESIDE_PRINT
    return min(SMALLEST, (WIDTH - 20) / block["width"]) if block["kind"] == "figure" else SMALLEST
