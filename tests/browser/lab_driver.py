"""A real JupyterLab and a real browser: a server on a free loopback port, notebooks opened in it, controls moved."""

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "browser"  # screenshots of failures
TIMER = """cell => {
    const picture = cell.querySelector('img');
    let asked = null;
    window.redraws = [];
    cell.addEventListener('keydown', () => { asked = performance.now(); }, true);
    picture.addEventListener('load', () => {
        if (asked !== null) window.redraws.push((performance.now() - asked) / 1000);
        asked = null;
    });
}"""


@contextlib.contextmanager
def lab(folder):
    """Serve `folder` with JupyterLab → address of a notebook as "{name}", to be formatted."""
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
        "CUDA_VISIBLE_DEVICES": "",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for_server(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/workspaces/{{name}}/tree/{{name}}.ipynb?token={token}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for_server(address, server, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5)
        except urllib.error.URLError:
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not come up:\n{log.read_text('utf-8')[-2000:]}")


@contextlib.contextmanager
def chromium(path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address, name):
    """The page of a notebook; told: errors of page and kernel; asked: addresses. A failure leaves a picture."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.told, page.asked = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("console", lambda said: page.told.append(said.text) if said.type == "error" else None)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: page.told.extend(errors_in(frame))))
    try:
        page.goto(address.format(name=name))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        yield page
    except BaseException:
        shoot(page, name)
        raise
    finally:
        page.close()


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{re.sub(r'[^a-z0-9]+', '_', name.lower())}.png")


def errors_in(frame):
    """The kernel's message, if it tells of an error: those of a control that was moved show in no cell."""
    text = frame.decode(errors="replace") if isinstance(frame, bytes) else frame
    return [text] if '"msg_type": "error"' in text or "Traceback" in text else []


def run_above(page, number):
    """Start the kernel and run the cells before `number`; the caller waits for what they show."""
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.ready; }")
    page.evaluate("n => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = n; }", number)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-above')")


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


def cell_number(notebook, call):
    """The place of the first code cell of a stored notebook that holds `call`."""
    cells = nbformat.read(notebook, as_version=4).cells
    return next(i for i, cell in enumerate(cells) if cell.cell_type == "code" and call in cell.source)


# --- an inspector that runs -------------------------------------------------------------------------------------------


def in_time(cell, end, complaint):
    """Fail with this complaint, and a screenshot, once the moment `end` has passed."""
    if time.monotonic() > end:
        shoot(cell.page, complaint[:60])
        raise AssertionError(f"{complaint}; see {SHOTS}")


def picture_of(cell):
    return cell.locator("img").first.evaluate("image => image.src")


def read_out_of(cell):
    return cell.locator(".widget-html-content").inner_text()


def control(cell, label):
    return cell.locator(".widget-inline-hbox", has=cell.page.get_by_text(label, exact=True))


def handles(cell, label):
    return control(cell, label).locator(".noUi-handle").all()


@contextlib.contextmanager
def follows(cell, label):
    """The picture must be another one after what is done within, soon, and come to rest."""
    shown, end = picture_of(cell), time.monotonic() + 20
    yield
    while picture_of(cell) == shown:
        in_time(cell, end, f"the picture did not follow {label!r}")
        time.sleep(0.03)
    rest(cell)


def rest(cell, still=6):
    """Wait until the picture has been the same for `still` looks, a twentieth of a second apart."""
    seen, end = [], time.monotonic() + 20
    while len(seen) < still or len(set(seen[-still:])) > 1:
        in_time(cell, end, "the picture never came to rest")
        seen.append(picture_of(cell))
        time.sleep(0.05)


def wait_for_words(cell, words):
    end = time.monotonic() + 20
    while words not in read_out_of(cell):
        in_time(cell, end, f"{words!r} never came, there stands {read_out_of(cell)!r}")
        time.sleep(0.05)


def press(cell, label, key, times=1, words="", handle=0):
    """Press a key on a slider; picture and, where given, words must follow. → the read-out"""
    with follows(cell, label):
        handles(cell, label)[handle].focus()
        for _ in range(times):
            cell.page.keyboard.press(key)
        wait_for_words(cell, words)
    return read_out_of(cell)


def home(cell, label):
    """Move a slider to its start, where it may stand already."""
    handles(cell, label)[0].focus()
    cell.page.keyboard.press("Home")
    rest(cell)


def drag(cell, label, far, words="", handle=0):
    """Drag a slider by `far` pixels; picture and, where given, words must follow."""
    with follows(cell, label):
        box = handles(cell, label)[handle].bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = cell.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + far, y, steps=4)
        mouse.up()
        wait_for_words(cell, words)


def pick(cell, *keys):
    """Press keys in the list that is open or that the first of them opens, and choose what they lead to."""
    for key in (*keys, "Enter"):
        cell.page.keyboard.press(key)
        time.sleep(0.2)  # the list is a window of its own: there is nothing on the page to wait for


def start_timer(cell):
    """From now on each key on this cell is timed until the new picture has loaded."""
    cell.evaluate(TIMER)


def redraws(cell):
    """Seconds from a key to the new picture, as the browser measured them."""
    return cell.page.evaluate("() => window.redraws")
