"""A deck as a notebook: title, agenda, then page after page, each a heading, its blocks and the presenter's notes.

`deck_pages.py` says what stands on which page, `decks.py` turns the notebook into a web page.
"""

import nbformat
from deck_pages import MINUTES, PRINT_LINES, ROWS, WIDTH, arrange, pages_of, slides_of


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
            cells.append(figure_cell(figures))
    notes = nbformat.v4.new_markdown_cell(notes, metadata={"slideshow": {"slide_type": "notes"}})
    return [*cells, notes]


def cut_print(lines):
    if len(lines) <= PRINT_LINES:
        return lines
    return [*lines[: PRINT_LINES - 1], f"… {len(lines) - PRINT_LINES + 1} more lines in the notebook"]


def result(outputs, **metadata):
    return nbformat.v4.new_code_cell("", outputs=outputs, metadata=metadata)


def figure_cell(figures):
    """One cell for the figures of a page, with their sizes and alternative texts."""
    facts = [{key: figure[key] for key in ("width", "height", "live", "alt")} for figure in figures]
    return result([figure["output"] for figure in figures], figures=facts)
