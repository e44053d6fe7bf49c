"""The inspectors as a student meets them, in a real JupyterLab, moved by keyboard and mouse: those of lecture 02, and
the maps of U-Net-ID and the anomaly scores in notebooks of one cell, since no training is needed to move them."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "02_boxes_anchors_nms.ipynb"
CHROMIUM = shutil.which("chromium")
CELLS = {  # notebook: its only cell
    "maps": """
import torch
from geodl_course import widgets
from geodl_course.models.unet_id_targets import unet_id_targets
houses = torch.zeros(2, 64, 64, dtype=torch.bool)
houses[0, 10:30, 8:24] = houses[1, 10:30, 24:44] = True
maps = 0.1 + 0.8 * unet_id_targets(houses[None], torch.ones(1, 2, dtype=torch.bool))[0]
widgets.maps(torch.zeros(3, 64, 64, dtype=torch.uint8), maps, houses)
""",
    "reconstruction": """
import torch
from geodl_course import widgets
rank = torch.arange(20) / 20
slope = torch.linspace(-1, 1, 32).expand(20, 4, 32, 32)
images = slope * torch.arange(1, 5)[:, None, None] * (0.2 + rank)[:, None, None, None]
scores = {"error": rank, "flatness": -rank}
bands = ["red", "green", "blue", "nir"]
widgets.reconstruction(images, 0.5 * images, scores, rank > 0.72, bands, groups=("land", "water"))
""",
}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: the widgets were not tried in a browser"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a free loopback port, in a folder with a copy of lecture 02 and a notebook a cell."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(NOTEBOOK, folder)
    kernel = nbformat.read(NOTEBOOK, as_version=4).metadata
    for name, source in CELLS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=kernel)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--allow-root",
               "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0"]  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "GEODL_BUDGET": "quick",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}?token={token}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(address, server, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5)
        except urllib.error.URLError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def page(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        yield page
        browser.close()


@contextlib.contextmanager
def ran_alone(lab, page, name):
    """The cell of the notebook `name` on a page of its own, run. Neither page nor kernel may tell of an error."""
    other, told = page.context.browser.new_page(viewport={"width": 1400, "height": 1000}), []
    other.on("request", lambda request: page.asked.append(request.url))
    other.on("pageerror", lambda error: told.append(str(error)))
    other.on("console", lambda said: told.append(said.text) if said.type == "error" else None)
    other.on("websocket", lambda socket: socket.on("framereceived", lambda frame: told.extend(errors_in(frame))))
    other.goto(lab.replace(f"tree/{NOTEBOOK.name}", f"workspaces/{name}/tree/{name}.ipynb"))
    other.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    other.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.ready; }")
    other.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    cell = other.locator(".jp-Notebook .jp-Cell").first
    cell.locator(".widget-html-content").wait_for(timeout=120_000)
    yield cell
    assert not told, told
    other.close()


def errors_in(frame):
    """The kernel's message, if it tells of an error: those of a control that was moved show in no cell."""
    text = frame.decode(errors="replace") if isinstance(frame, bytes) else frame
    return [text] if '"msg_type": "error"' in text or "Traceback" in text else []


def cell_number(call):
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (number,) = [i for i, cell in enumerate(cells) if cell.cell_type == "code" and call in cell.source]
    return number


def scroll_to(page, number):
    """The cell `number`, which JupyterLab puts into the page only when it comes near the window."""
    page.evaluate("""n => {
        const notebook = window.jupyterapp.shell.currentWidget.content;
        notebook.activeCellIndex = n;
        return notebook.scrollToItem(n, 'center');
    }""", number)
    cell = page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{number}"]')
    cell.wait_for(state="visible", timeout=20_000)
    return cell


@pytest.fixture(scope="module")
def ran(page):
    """The page after the notebook has run up to the last widget."""
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.ready; }")
    page.evaluate("n => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = n; }",
                  cell_number("widgets.nms(") + 1)  # fmt: skip
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-above')")
    for call in ("widgets.anchors(", "widgets.nms("):
        scroll_to(page, cell_number(call)).locator(".widget-html-content").wait_for(timeout=240_000)
    return page


def picture_of(cell):
    return cell.locator("img").first.evaluate("image => image.src")


def read_out_of(cell):
    return cell.locator(".widget-html-content").inner_text()


def control(cell, label):
    return cell.locator(".widget-inline-hbox", has=cell.page.get_by_text(label, exact=True))


def press(cell, label, key, times, words):
    """Press a key on the slider with this label until the read-out holds `words`, and return the read-out."""
    with follows(cell, label):
        control(cell, label).locator(".noUi-handle").first.focus()
        for _ in range(times):
            cell.page.keyboard.press(key)
        wait_for_words(cell, words)
    return read_out_of(cell)


def drag(cell, label, far, words):
    """Drag the slider with this label by `far` pixels until the read-out holds `words`."""
    with follows(cell, label):
        handle = control(cell, label).locator(".noUi-handle").first.bounding_box()
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        mouse = cell.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + far, y, steps=4)
        mouse.up()
        wait_for_words(cell, words)


@contextlib.contextmanager
def follows(cell, label):
    """The picture must be another one after what is done within, soon."""
    shown, end = picture_of(cell), time.monotonic() + 20
    yield
    while picture_of(cell) == shown:
        assert time.monotonic() < end, f"the picture did not follow {label!r}"
        time.sleep(0.1)


def wait_for_words(cell, words):
    end = time.monotonic() + 20
    while words not in read_out_of(cell):
        assert time.monotonic() < end, f"{words!r} never came, there stands {read_out_of(cell)!r}"
        time.sleep(0.1)


def wait_for_rest(cell, still=10):
    """Wait until the picture has been the same for `still` looks, a tenth of a second apart."""
    seen, end = [], time.monotonic() + 20
    while len(seen) < still or len(set(seen[-still:])) > 1:
        assert time.monotonic() < end, "the picture never came to rest"
        seen.append(picture_of(cell))
        time.sleep(0.1)


@pytest.mark.parametrize("call", ["widgets.anchors(", "widgets.nms("])
def test_before_anything_runs_there_is_a_picture(page, call):
    cell = scroll_to(page, cell_number(call))
    assert cell.locator("img").count() == 1
    assert cell.locator("img").evaluate("image => image.complete && image.naturalWidth") > 400
    assert "Error displaying widget" not in cell.inner_text()


def test_anchor_sliders_move_cell_picture_and_words(ran):
    cell = scroll_to(ran, cell_number("widgets.anchors("))
    assert cell.locator("img").count() == 1, "the live inspector and its still picture both show"
    row, col = (int(n) for n in read_out_of(cell).split("(")[1].split(")")[0].split(","))
    press(cell, "row", "ArrowRight", 1, f"Cell ({row + 1}, {col})")
    press(cell, "column", "ArrowRight", 3, f"Cell ({row + 1}, {col + 3})")
    cell.get_by_role("button", name="size 64", exact=True).click()
    wait_for_words(cell, "of 9 anchors")
    press(cell, "stride", "ArrowRight", 1, "of 16 × 16, stride 8 px")


def test_nms_sliders_walk_and_thin_out(ran):
    cell = scroll_to(ran, cell_number("widgets.nms("))
    assert cell.locator("img").count() == 1
    assert read_out_of(cell).startswith("Step 3 of")
    press(cell, "step", "ArrowRight", 1, "Step 4 of")
    first = press(cell, "step", "ArrowLeft", 3, "Step 1 of")
    fewer = press(cell, "IoU >", "ArrowLeft", 8, "is over 0.10")
    assert steps_in(fewer) < steps_in(first)


def steps_in(read_out):
    return int(read_out.split(" of ")[1].split(":")[0])


def test_maps_follow_keyboard_and_mouse(lab, page):
    with ran_alone(lab, page, "maps") as cell:
        assert read_out_of(cell).startswith("2 instances: 2 of 2 objects found")
        press(cell, "inner >", "ArrowRight", 9, "0 instances: 0 of 2")
        press(cell, "inner >", "ArrowLeft", 9, "2 instances: 2 of 2")
        cell.get_by_role("button", name="grow from the inner map", exact=True).click()  # while pictures still come in
        wait_for_words(cell, "1 instance: 1 of 2 objects found")


def test_reconstruction_follows_each_control_by_keyboard_and_mouse(lab, page):
    with ran_alone(lab, page, "reconstruction") as cell:
        assert read_out_of(cell).startswith("error ≥ 0.475: 5 of 5 water chips found, 5 of 15 land")
        moves = {  # slider: what its end, by keyboard, and its start, by mouse, make the words say
            "threshold": ("0 of 5 water chips found, 0 of 15", "5 of 5 water chips found, 15 of 15"),
            "chip": ("Chip 7 (land) scores 0.35", "Chip 0 (land) scores 0;"),
            "a miss costs": ("cost 20 × 0 + 1 × 15 = 15", "cost 0 × 0 + 1 × 15 = 15"),
            "a false one": ("cost 0 × 0 + 20 × 15 = 300", "cost 0 × 0 + 0 × 15 = 0"),
        }
        for label, (last, first) in moves.items():
            press(cell, label, "End", 1, last)
            drag(cell, label, -900, first)
        for label, opened_by_key, opened_by_mouse in (("score", "flatness ≥ -", "error ≥ -"), ("band", "", "")):
            chosen = control(cell, label).locator("select")
            first = chosen.evaluate("list => list.value")
            wait_for_rest(cell)  # the words name every band, so the picture alone tells that another was chosen
            with follows(cell, label):
                chosen.focus()
                pick(cell, "Space", "ArrowDown")  # JupyterLab takes an arrow for itself where the list is not open
                wait_for_words(cell, opened_by_key)
            assert chosen.evaluate("list => list.value") != first
            wait_for_rest(cell)
            with follows(cell, label):
                chosen.click()
                pick(cell, "ArrowUp")
                wait_for_words(cell, opened_by_mouse)
            assert chosen.evaluate("list => list.value") == first


def pick(cell, *keys):
    """Press keys in the list that is open or that the first of them opens, and choose what they lead to."""
    for key in (*keys, "Enter"):
        cell.page.keyboard.press(key)
        time.sleep(0.2)  # the list is a window of its own: there is nothing on the page to wait for


def test_nothing_leaves_this_machine(ran):
    assert ran.asked and not [url for url in ran.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
