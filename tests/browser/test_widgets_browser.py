"""The inspectors as a student meets them: each notebook that has one, opened and run in a real JupyterLab.

Every control of every inspector is moved by keyboard and mouse; the picture's pixels and the read-out must follow. The
knob cells have a fifth of the training steps, so that the networks that some inspectors look into are there soon.
"""

import shutil

import inspectors
import pytest
from lab_driver import ROOT, chromium, lab, opened, scroll_to

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: the widgets were not tried in a browser"),
]


@pytest.fixture(scope="module")
def browser_at(tmp_path_factory):
    """(browser, address) of a JupyterLab with the notebooks that have inspectors."""
    folder = tmp_path_factory.mktemp("lab")
    inspectors.copy_notebooks(folder)
    with lab(folder) as address, chromium(CHROMIUM) as browser:
        yield browser, address


@pytest.mark.parametrize("name", inspectors.NOTEBOOKS)
def test_every_control_of_every_inspector_moves_pixels_and_words(browser_at, name):
    with opened(*browser_at, name) as page:
        for number in inspectors.NOTEBOOKS[name]:
            cell = scroll_to(page, number)
            still = cell.locator("img").last  # a cell may draw another figure first
            assert still.evaluate("image => image.complete && image.naturalWidth") > 400
            assert "Error displaying widget" not in cell.inner_text()
        inspectors.run_inspectors(page, inspectors.NOTEBOOKS[name])
        for number, inspector in inspectors.NOTEBOOKS[name].items():
            box = inspectors.live_box(page, number)
            moved = inspectors.drive(box)
            print(f"\n{name}, {inspector}: {moved} controls", end="")
        assert not page.told, page.told
        outside = [url for url in page.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
        assert page.asked and not outside


def test_every_lecture_with_an_inspector_is_opened():
    sources = (ROOT / "lectures").glob("[0-9]*.py")
    calls = {path.stem: len(inspectors.CALL.findall(path.read_text("utf-8"))) for path in sources}
    assert {name: len(found) for name, found in inspectors.NOTEBOOKS.items()} == {k: n for k, n in calls.items() if n}
