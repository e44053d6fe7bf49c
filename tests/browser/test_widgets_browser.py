"""The inspectors as a student meets them, in a real JupyterLab: every control moved by keyboard and mouse.

Lectures 02, 04 and 05 are opened and run up to their first inspectors. All inspectors are driven in a notebook of their
own, because those of 05 (its second), 07 and 09 come after a training.
"""

import re
import shutil
import statistics

import inspector_cells
import nbformat
import pytest
from lab_driver import (
    ROOT,
    cell_number,
    chromium,
    control,
    drag,
    follows,
    handles,
    home,
    lab,
    opened,
    pick,
    press,
    read_out_of,
    redraws,
    rest,
    run_above,
    scroll_to,
    start_timer,
)

CHROMIUM = shutil.which("chromium")
CALL = re.compile(r"^widgets\.\w+\(", re.M)


def calls_in(path):
    cells = nbformat.read(path, as_version=4).cells
    return [i for i, cell in enumerate(cells) if cell.cell_type == "code" and CALL.search(cell.source)]


NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if calls_in(path)}
UNTRAINED = {  # notebook: its inspectors before any training, and a slider of each
    "02_boxes_anchors_nms": {"widgets.anchors(": "column", "widgets.nms(": "step"},
    "04_ssd": {"widgets.anchors(": "column"},
    "05_yolo_v1": {"widgets.grid(": "column"},
}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: the widgets were not tried in a browser"),
]


@pytest.fixture(scope="module")
def browser_at(tmp_path_factory):
    """(browser, address) of a JupyterLab with the notebooks that have widgets, and one with all inspectors."""
    folder = tmp_path_factory.mktemp("lab")
    for path in NOTEBOOKS.values():
        shutil.copy(path, folder)
    kernel = nbformat.read(next(iter(NOTEBOOKS.values())), as_version=4).metadata["kernelspec"]
    inspector_cells.write(folder / "inspectors.ipynb", {"kernelspec": kernel})
    with lab(folder) as address, chromium(CHROMIUM) as browser:
        yield browser, address


@pytest.fixture(scope="module")
def live(browser_at):
    """The page with all inspectors, run."""
    with opened(*browser_at, "inspectors") as page:
        run_above(page, len(inspector_cells.CELLS))
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
        for name in inspector_cells.CELLS:
            inspector(page, name).locator(".widget-html-content").wait_for(timeout=120_000)
        yield page
        assert not page.told, page.told


def inspector(page, name):
    return scroll_to(page, inspector_cells.number_of(name))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_lecture_shows_pictures_before_it_runs_and_inspectors_that_follow(browser_at, name):
    with opened(*browser_at, name) as page:
        for number in calls_in(NOTEBOOKS[name]):
            cell = scroll_to(page, number)
            picture = cell.locator("img").last  # a cell may draw another figure first
            assert picture.evaluate("image => image.complete && image.naturalWidth") > 400
            assert "Error displaying widget" not in cell.inner_text()
        sliders = {cell_number(NOTEBOOKS[name], call): label for call, label in UNTRAINED.get(name, {}).items()}
        if sliders:
            run_above(page, max(sliders) + 1)
        for number, label in sliders.items():
            cell = scroll_to(page, number)
            cell.locator(".widget-html-content").wait_for(timeout=240_000)
            assert cell.locator(".jupyter-widgets img").count() == 1
            before = read_out_of(cell)
            assert press(cell.locator(".jupyter-widgets").first, label, "ArrowRight") != before
        assert not page.told, page.told
        outside = [url for url in page.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
        assert page.asked and not outside


def test_every_notebook_with_a_widget_is_opened():
    sources = {path.stem for path in (ROOT / "lectures").glob("[0-9]*.py") if CALL.search(path.read_text("utf-8"))}
    assert set(NOTEBOOKS) == sources and set(UNTRAINED) < sources


@pytest.mark.parametrize("name", inspector_cells.CELLS)
def test_every_slider_moves_picture_and_words_by_keyboard_and_mouse(live, name):
    cell, labels = inspector(live, name), inspector_cells.CELLS[name][1]
    assert cell.locator("img").count() == 1, "the live inspector and its still picture both show"
    assert cell.locator(".noUi-target").count() == len(labels), "a slider is not tried"
    words = {read_out_of(cell)}
    start_timer(cell)
    for label in labels:
        for which in range(len(handles(cell, label))):
            words.add(press(cell, label, "End", handle=which))
            drag(cell, label, -900, handle=which)
            words.add(read_out_of(cell))
    assert len(words) > len(labels)
    seconds = redraws(cell)
    assert seconds
    print(f"\n{name}: {len(seconds)} redraws, median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s")


@pytest.mark.parametrize("name", ["anchors", "maps"])
def test_every_button_moves_the_picture_by_keyboard_and_mouse(live, name):
    cell = inspector(live, name)
    buttons = cell.locator("button.widget-toggle-button")
    assert buttons.count() == {"anchors": 6, "maps": 1}[name]
    for button in buttons.all():
        with follows(cell, button.inner_text()):
            button.click()
        with follows(cell, button.inner_text()):
            button.focus()
            live.keyboard.press("Space")


@pytest.mark.parametrize("label", ["score", "band"])
def test_lists_are_chosen_from_by_keyboard_and_mouse(live, label):
    cell = inspector(live, "reconstruction")
    chosen = control(cell, label).locator("select")
    first = chosen.evaluate("list => list.value")
    rest(cell)
    with follows(cell, label):
        chosen.focus()
        pick(cell, "Space", "ArrowDown")  # JupyterLab takes an arrow for itself where the list is not open
    assert chosen.evaluate("list => list.value") != first
    with follows(cell, label):
        chosen.click()
        pick(cell, "ArrowUp")
    assert chosen.evaluate("list => list.value") == first


def test_the_words_say_what_the_controls_were_set_to(live):
    """Whatever was moved before: where it matters, a slider goes to its start first."""
    cell = inspector(live, "anchors")
    home(cell, "stride")
    press(cell, "stride", "ArrowRight", words="stride 8 px")
    press(cell, "row", "End", words="Cell (15,")
    cell = inspector(live, "nms")
    home(cell, "step")
    press(cell, "step", "ArrowRight", times=2, words="Step 2 of")
    press(cell, "score ≥", "End", words="24 of 24 boxes lie below")
    cell = inspector(live, "grid")
    press(cell, "S", "End", words="of 28 × 28")
    cell = inspector(live, "maps")
    press(cell, "inner >", "End", words="0 instances: 0 of 2 objects found")
    cell = inspector(live, "reconstruction")
    press(cell, "threshold", "End", words="0 of 5 water chips found, 0 of 15")
    drag(cell, "threshold", -900, words="5 of 5 water chips found, 15 of 15")
