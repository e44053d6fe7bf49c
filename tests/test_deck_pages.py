"""Decks: nothing of a slide gets lost on its pages, and what is missing on a machine is said plainly."""

import base64
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lectures"))
import deck_notebook  # noqa: E402
import decks  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
BLUE = "iVBORw0KGgoAAAANSUhEUgAAAZAAAADICAIAAABJdyC1AAAAAElFTkSuQmCC"  # the head of a PNG of 400 x 200 px


def kind(name):
    return {"slideshow": {"slide_type": name}}


def lecture(*cells):
    """A notebook with a title slide and one slide "## 1 · Part" that holds `cells`."""
    said = "> *Presenter notes*\n>\n> (3 min) Say it."
    return new_notebook(cells=[
        new_markdown_cell("# 99 · Title\n\n**Short.**", metadata=kind("slide")),
        new_markdown_cell(said, metadata=kind("notes")),
        new_markdown_cell("## 1 · Part\n\nSome text.", metadata=kind("slide")), *cells,
        new_markdown_cell(said, metadata=kind("notes")),
    ])  # fmt: skip


def pages(notebook):
    """The pages of its deck: the facts of each, with the cells that stand on it."""
    found = []
    for cell in deck_notebook.deck(notebook)[0].cells:
        if "page" in cell.metadata:
            found.append({**cell.metadata["page"], "cells": []})
        found[-1]["cells"].append(cell)
    return found


def code(lines, outputs=()):
    return new_code_cell("\n".join(f"a{i} = {i}" for i in range(lines)), outputs=list(outputs))


def test_a_deck_opens_with_title_and_agenda():
    title, agenda, part = pages(lecture())
    assert (title["title"], agenda["title"], part["title"]) == ("99 · Title", "Agenda", "1 · Part")
    assert "| 1 · Part | 3 min |" in agenda["cells"][1].source


def test_long_code_is_cut_at_twenty_lines_and_says_so():
    (*_, page) = pages(lecture(code(37)))
    lines = next(cell.source for cell in page["cells"] if cell.cell_type == "code").splitlines()
    assert len(lines) <= 20
    shown = sum(line.startswith("a") for line in lines)
    assert lines[-1] == f"# … {37 - shown} more lines in the notebook"


def test_code_of_twenty_lines_stays_whole():
    (*_, page) = pages(lecture(code(20)))
    assert page["cells"][2].source == code(20).source


def test_two_pages_share_the_minutes_of_a_slide_and_both_have_its_notes():
    (_, _, *both) = pages(lecture(code(18), code(18)))
    assert [page["page"] for page in both] == ["1/2", "2/2"]
    assert sum(page["seconds"] for page in both) == 180
    assert all(page["cells"][-1].source.endswith("Say it.") for page in both)


def test_skipped_cells_and_progress_lines_stay_in_the_notebook():
    bar = new_output("display_data", data={"text/plain": "100% #################### 140/140 steps"})
    (*_, page) = pages(lecture(new_code_cell("secret = 1", metadata=kind("skip")), new_code_cell("", outputs=[bar])))
    assert [cell.cell_type for cell in page["cells"]] == ["markdown"] * 3  # heading, text, notes


def test_a_call_that_only_draws_gives_way_to_its_picture():
    picture = new_output("display_data", data={"image/png": BLUE, "text/plain": "<Figure>"})
    (*_, page) = pages(lecture(code(2, [picture])))
    (figure,) = [cell for cell in page["cells"] if cell.cell_type == "code"]
    shown = {"width": 400, "height": 200, "live": False, "alt": "1 · Part. Some text."}
    assert figure.source == "" and figure.metadata["figures"] == [shown]
    training = new_code_cell("model = fit(chips)", outputs=[picture])
    (*_, page) = pages(lecture(training))
    assert [bool(cell.source) for cell in page["cells"] if cell.cell_type == "code"] == [True, False]


def test_a_heading_within_a_slide_opens_a_page():
    (*_, first, second) = pages(lecture(new_markdown_cell("### As a matrix\n\nFaster.")))
    assert (first["title"], second["title"], second["part"]) == ("1 · Part", "As a matrix", "1 · Part")


def test_a_heading_at_the_end_of_a_cell_is_the_title_of_what_follows():
    (*_, first, second) = pages(lecture(new_markdown_cell("More text.\n\n### As a matrix"), code(2)))
    assert (first["title"], second["title"]) == ("1 · Part", "As a matrix")
    assert [cell.source for cell in second["cells"][1:-1]] == [code(2).source]


def test_results_of_every_kind_are_rendered(tmp_path):
    table = new_output("execute_result", data={"text/html": "<table><tr><td>0.61</td></tr></table>"})
    shown = new_output("display_data", data={"text/html": "<table><tr><td>0.62</td></tr></table>"})
    value = new_output("execute_result", data={"text/plain": "(8, 96, 32, 32)"})
    picture = new_output("display_data", data={"image/png": BLUE})
    printed = new_output("stream", text="equal to 6e-08")
    nbformat.write(lecture(code(5, [table, shown, value, printed, picture])), tmp_path / "99_title.ipynb")
    decks.build(tmp_path / "99_title.ipynb", tmp_path / "99_title.html")
    text = (tmp_path / "99_title.html").read_text("utf-8")
    assert all(text.count(f">{found}<") == 1 for found in ("0.61", "0.62"))
    assert "(8, 96, 32, 32)\nequal to 6e-08" in text
    assert text.count('<img alt="1 · Part. Some text."') == text.count("data:image/png;base64," + BLUE) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_but_code_is_lost(path):
    """Each picture, table and paragraph of a lecture's slides stands on exactly one page; minutes add up."""
    notebook = nbformat.read(path, as_version=4)
    deck, found = deck_notebook.deck(notebook)
    shown = [cell for cell in deck.cells if cell.metadata.get("slideshow", {}).get("slide_type") != "notes"]
    results = [output.get("data", {}) for cell in shown for output in cell.get("outputs", [])]
    text = "\n".join(cell.source for cell in shown if cell.cell_type == "markdown")
    kept, opened = [c for c in notebook.cells if c.metadata.get("slideshow", {}).get("slide_type") != "skip"], 0
    for cell in kept:
        name = cell.metadata.get("slideshow", {}).get("slide_type")
        opened += name in ("slide", "subslide")
        if cell.cell_type == "markdown" and name != "notes":
            assert all(line in text for line in cell.source.splitlines() if not line.startswith("#"))
        for output in cell.get("outputs", []) if opened > 1 else []:
            data = output.get("data", {})
            if "image/png" in data:
                assert [result.get("image/png") for result in results].count(data["image/png"]) == 1
            elif "text/html" in data:
                assert data["text/html"] in [result.get("text/html") for result in results]
    planned = re.findall(r"^> \((\d+) min\)", "\n".join(cell.source for cell in kept), re.M)
    assert sum(slide["minutes"] for slide in found) == sum(map(int, planned)) > 0


def test_without_npm_the_next_step_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(decks.shutil, "which", lambda name: None)
    with pytest.raises(decks.DeckError, match="npm is not installed.*\n.*Install Node.js"):
        decks.assets(tmp_path / "assets")
    assert not list((tmp_path / "assets").iterdir())


@pytest.mark.parametrize(("returns", "wanted"), [(1, "could not be had"), (0, "not the file that was tested")])
def test_a_file_that_fails_or_differs_is_refused(tmp_path, monkeypatch, returns, wanted):
    def client(command, cwd, **options):
        (cwd / "reveal.js-5.2.1.tgz").write_bytes(b"a page that says 404")
        return subprocess.CompletedProcess(command, returns, "", "no route")

    monkeypatch.setattr(decks.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(decks.subprocess, "run", client)
    with pytest.raises(decks.DeckError, match=wanted):
        decks.assets(tmp_path / "assets")
    assert not list((tmp_path / "assets").iterdir())


def test_a_lecture_without_a_notebook_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no notebook 77"):
        decks.main(["77", "--out", str(tmp_path)])


def test_one_deck_built_anew_stays_among_the_others_and_old_handouts_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decks, "assets", lambda folder: None)
    notebooks, out = tmp_path / "notebooks", tmp_path / "slides"
    notebooks.mkdir()
    out.mkdir()
    for name in ("01_first", "02_second", "03_never_built"):
        nbformat.write(lecture(), notebooks / f"{name}.ipynb")
    where = ["--notebooks", str(notebooks), "--out", str(out)]
    decks.main(["01", "02", *where])
    for name in ("01_first", "02_second"):
        (out / f"{name}.pdf").write_bytes(b"printed before")
    for name in ("01_first.pdf", "02_second.html"):
        os.utime(out / name, (1e9, 1e9))  # in 2001
    assert "PDFs" not in capsys.readouterr().out
    decks.main(["01", *where])
    page = (out / "index.html").read_text("utf-8")
    assert re.findall(r'href="([^"]+\.(?:html|pdf))"', page) == ["01_first.html", "02_second.html", "02_second.pdf"]
    assert "6 (0.1 hours)" not in page and "12 (0.2 hours)" in page
    with zipfile.ZipFile(out / "geodl_course_slides.zip") as packed:
        names = {name.removeprefix("geodl_course_slides/") for name in packed.namelist()}
    assert names == {"index.html", "01_first.html", "02_second.html", "02_second.pdf"}
    assert "the PDFs of 01_first;" in capsys.readouterr().out


def test_a_widget_is_its_picture_and_the_notes_name_its_cell():
    shown = {"image/png": BLUE, "text/plain": "Run this cell in JupyterLab to move the sliders."}
    cell = new_code_cell("few = chips[:3]\nwidgets.anchors(few)", outputs=[new_output("execute_result", data=shown)])
    (*_, page) = pages(lecture(cell))
    (figure,) = [cell for cell in page["cells"] if cell.cell_type == "code"]
    assert figure.source == "" and figure.metadata["figures"][0]["live"] == "widgets.anchors"
    assert "the cell with `widgets.anchors`" in page["cells"][-1].source


def test_text_that_leads_to_code_goes_with_it():
    (_, _, first, second) = pages(lecture(code(18), new_markdown_cell("Now the same for a batch:"), code(18)))
    assert "Now the same" not in " ".join(cell.source for cell in first["cells"])
    assert [cell.source[:12] for cell in second["cells"][1:3]] == ["Now the same", "a0 = 0\na1 = "]


def alternative_texts(notebook):
    cells = deck_notebook.deck(notebook)[0].cells
    return [figure["alt"] for cell in cells for figure in cell.metadata.get("figures", [])]


def test_a_picture_s_own_words_come_first_then_those_above_it():
    told = {"image/png": {"alt": "Data flow: chips → backbone."}}
    own = new_output("display_data", data={"image/png": BLUE}, metadata=told)
    bare = {"image/png": {"alt": "1 image."}}  # says nothing
    other = new_output("display_data", data={"image/png": BLUE}, metadata=bare)
    live = new_output("execute_result", data={"image/png": BLUE, "text/plain": "Run this cell in JupyterLab"})
    cells = [code(2, [own]), new_markdown_cell("A **table**:\n\n| a |\n|---|\n| b |"), code(2, [other, other]),
             new_code_cell("widgets.nms(chips)", outputs=[live])]  # fmt: skip
    assert alternative_texts(lecture(*cells)) == [
        "1 · Part. Data flow: chips → backbone.", "1 · Part. A table:", "1 · Part. A table: (picture 2)",
        "1 · Part. Still picture of widgets.nms. A table:",
    ]  # fmt: skip


def test_a_picture_without_text_above_it_has_the_words_of_the_notes():
    notebook = lecture(code(2, [new_output("display_data", data={"image/png": BLUE})]))
    notebook.cells[2].source = "## 1 · Part"
    assert alternative_texts(notebook) == ["1 · Part. Say it."]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_picture_of_a_deck_has_words_of_its_own(path):
    texts = alternative_texts(nbformat.read(path, as_version=4))
    assert texts and len(set(texts)) == len(texts)
    assert all(len(text) >= 40 for text in texts), min(texts, key=len)


def test_a_small_table_stays_with_its_code_which_gives_up_a_few_lines():
    table = new_output("execute_result", data={"text/html": "<table>" + "<tr><td>1</td></tr>" * 6 + "</table>"})
    (*_, page) = pages(lecture(code(20, [table])))
    shown = [cell for cell in page["cells"] if cell.cell_type == "code"]
    assert len(shown) == 2 and shown[0].source.splitlines()[-1].startswith("# …")
    assert shown[1].outputs == [table]


def test_a_credit_stays_with_its_picture():
    large = base64.b64encode(base64.b64decode(BLUE)[:16] + struct.pack(">II", 1000, 520)).decode()
    picture = new_output("display_data", data={"image/png": large})
    credit = new_output("stream", text="Somebody (2022). Somewhere. Licence: MIT\n" * 2)
    assert len(pages(lecture(code(2, [picture, credit])))) == 3  # title, agenda, all on one page


def test_a_link_to_a_notebook_leads_to_its_deck(tmp_path):
    nbformat.write(lecture(new_markdown_cell("**Next:** [01](01_chips.ipynb).")), tmp_path / "99_title.ipynb")
    decks.build(tmp_path / "99_title.ipynb", tmp_path / "99_title.html")
    assert 'href="01_chips.html"' in (tmp_path / "99_title.html").read_text("utf-8")
