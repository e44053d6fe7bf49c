"""A real JupyterLab and a real browser: a server on a free loopback port, notebooks opened in it, controls moved."""

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "browser"  # screenshots of failures


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
    quiet = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}', "utf-8")  # else a question about news covers a corner of the page
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for_server(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/workspaces/{{name}}/tree/{{name}}.ipynb?token={token}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for_server(address, server, log, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5)
        except OSError:  # refused, or not answered in time
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
    page.set_default_timeout(120_000)  # for slow machines: nothing here takes that long on two cores
    page.told, page.asked = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("console", lambda said: page.told.append(said.text) if said.type == "error" else None)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: page.told.extend(errors_in(frame))))
    try:
        page.goto(address.format(name=name))
        page.wait_for_selector(".jp-Notebook .jp-Cell")
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
    cell.wait_for(state="visible")
    return cell
