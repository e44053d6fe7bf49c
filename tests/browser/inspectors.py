"""The inspectors of the lectures in a browser: which there are, and every control moved by keyboard and mouse.

A control is found by its words on the page, so a new one is driven too: SAYS must tell what its read-out says then.
"""

import contextlib
import re
import time

import nbformat
from lab_driver import ROOT, run_above, scroll_to, shoot

CALL = re.compile(r"^widgets\.(\w+)\(", re.M)
STEPS = re.compile(r"(\w+_steps)=\((\d+)")  # a knob, quick
SAYS = {  # slider or list: what the read-out says of its value; "" where it has only what follows from the value
    "stride": "stride {:g} px", "row": "Cell ({:g},", "column": ", {:g}) of", "IoU bars": "IoU {1:.2f} or more",
    "score ≥": "score threshold {:.2f}", "IoU >": "over {:.2f}.", "step": "Step {:g} of",
    "S": "of {0:g} × {0:g}", "confidence": "confidence {:.2f} or more",
    "segment >": "over {:.2f}.", "inner >": "over {:.2f},", "pixels ≥": "",
    "threshold": "", "chip": "", "a miss costs": "cost {:g} ×", "a false one": "+ {:g} ×", "score": "{} ≥",
}  # fmt: skip
IN_THE_PICTURE = ["band", "border >", "grow from the inner map"]  # its titles say their value, the read-out may not
PIXELS = """async image => {
    try { await image.decode(); } catch { return null; }
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), brush = canvas.getContext('2d');
    brush.drawImage(image, 0, 0);
    const seen = brush.getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (const pixel of new Uint32Array(seen.buffer)) sum = (31 * sum + pixel) | 0;
    return sum;
}"""
CUT = """box => [...box.querySelectorAll('.widget-label, button')]
    .filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"""
TIMER = """box => {
    const picture = box.querySelector('img');
    let moved = null;
    window.redraws = [];
    const painted = since => requestAnimationFrame(() => window.redraws.push((performance.now() - since) / 1000));
    for (const move of ['keydown', 'click', 'change'])
        box.addEventListener(move, () => { moved = performance.now(); }, true);
    picture.addEventListener('load', () => {
        if (moved !== null) painted(moved);
        moved = null;
    });
}"""


def calls_in(path):
    """Place of each cell of a stored notebook that shows an inspector, and the inspector's name."""
    cells = nbformat.read(path, as_version=4).cells
    found = [(i, CALL.search(cell.source)) for i, cell in enumerate(cells) if cell.cell_type == "code"]
    return {i: call[1] for i, call in found if call}


NOTEBOOKS = {path.stem: calls for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if (calls := calls_in(path))}


def copy_notebooks(folder):
    """Copy the notebooks that have inspectors, with a fifth of the training steps in their knob cells."""
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if "teaching.budget(" in cell.source:
                cell.source = STEPS.sub(lambda knob: f"{knob[1]}=({int(knob[2]) // 5}", cell.source)
        nbformat.write(notebook, folder / f"{name}.ipynb")


def run_inspectors(page, numbers):
    """Run the notebook as far as the last of these cells; all inspectors are live then."""
    run_above(page, max(numbers) + 1)
    words = scroll_to(page, max(numbers)).locator(".widget-html-content")
    end = time.monotonic() + 900
    while not words.count():
        assert not page.told, page.told
        assert time.monotonic() < end, "the notebook did not get as far as its last inspector"
        page.wait_for_timeout(200)


def live_box(page, number):
    """The box with controls, picture and read-out of the inspector that runs in this cell."""
    box = scroll_to(page, number).locator(".jupyter-widgets").first
    box.locator(".widget-html-content").wait_for()
    return box


def picture_of(box):
    """A number that stands for the pixels of the picture, None while it is loading."""
    return box.locator("img").evaluate(PIXELS)


def words_of(box):
    return box.locator(".widget-html-content").inner_text()


def value_of(line):
    """What a control's own read-out shows: numbers of a slider, the entry of a list."""
    if line.locator("select").count():
        return [line.locator("select").evaluate("list => list.selectedOptions[0].text").replace("\xa0", " ")]
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line.locator(".widget-readout").inner_text())]


# --- moves ------------------------------------------------------------------------------------------------------------


def wait_for(box, what, complaint, seconds=60):
    """Look until what() holds; else fail with this complaint, and a screenshot."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            shoot(box.page, complaint[:60])
            raise AssertionError(f"{complaint}; the read-out says {words_of(box)!r}")
        box.page.wait_for_timeout(30)


def rest(box, still=4):
    """Wait until the kernel has been idle and the picture the same for so many looks on end."""
    seen = []

    def at_rest():
        idle = box.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status")
        seen.append((idle, box.locator("img").evaluate("image => image.complete && image.src")))
        return len(seen) >= still and set(seen[-still:]) == {("idle", seen[-1][1])} and seen[-1][1]

    wait_for(box, at_rest, "the inspector never came to rest")


@contextlib.contextmanager
def follows(box, name, line=None):
    """Pixels and read-out must both be others after the move within, and the read-out tell the control's new value."""
    picture, words = picture_of(box), words_of(box)
    yield
    wait_for(box, lambda: picture_of(box) not in (picture, None), f"the picture did not follow {name!r}")
    if name not in IN_THE_PICTURE:
        wait_for(box, lambda: words_of(box) != words, f"the read-out did not follow {name!r}")
        if line is not None and SAYS[name]:
            said = SAYS[name].format(*value_of(line))
            wait_for(box, lambda: said in words_of(box), f"the read-out does not say {said!r}")
    rest(box)


def tag(thing):
    return thing.evaluate("thing => thing.tagName.toLowerCase()")


def controls(box):
    """Every control as (its words, its line, what is moved): div, a slider's handle; select, a list; button.

    The last on the page first: at a score over every box's, `step` has nothing to walk through.
    """
    lines = [line for line in box.locator(".widget-inline-hbox").all() if line.locator(".noUi-handle, select").count()]
    found = [(line.locator(".widget-label").first.inner_text(), line, thing)
             for line in lines for thing in line.locator(".noUi-handle, select").all()]  # fmt: skip
    found += [(button.inner_text(), None, button) for button in box.locator("button").all()]
    assert len(found) == box.locator("button, .noUi-handle, select").count(), "a control stands in no line"
    return found[::-1]


def drive_slider(box, name, line, handle):
    """To the far end of the slider by key, and back to where it stood by mouse; two handles go apart."""
    here, most = (float(handle.get_attribute(f"aria-value{what}")) for what in ("now", "max"))
    down = 2 * here > most
    if line.locator(".noUi-handle").count() > 1:  # where two stand in one place, the mouse may grab the other
        down = "noUi-handle-lower" in handle.get_attribute("class")
    stood, mouse = handle.bounding_box(), box.page.mouse
    with follows(box, name, line):
        handle.focus()
        box.page.keyboard.press("Home" if down else "End")
    stands = handle.bounding_box()
    with follows(box, name, line):
        mouse.move(stands["x"] + stands["width"] / 2, stands["y"] + stands["height"] / 2)
        mouse.down()
        mouse.move(stood["x"] + stood["width"] / 2, stands["y"] + stands["height"] / 2, steps=4)
        mouse.up()


def drive_button(box, name, _, button):
    """Click it, and press it back by key."""
    with follows(box, name):
        button.click()
    with follows(box, name):
        button.focus()
        box.page.keyboard.press("Space")


def drive_list(box, name, line, chosen):
    """Choose the entry below or above by key alone, and the former one where the mouse has opened the list."""
    first = chosen.evaluate("list => list.selectedIndex") == 0
    with follows(box, name, line):
        chosen.focus()
        choose(chosen, "Space", "ArrowDown" if first else "ArrowUp")
    with follows(box, name, line):
        chosen.click()
        choose(chosen, "", "ArrowUp" if first else "ArrowDown")


def choose(chosen, opens, key):
    """Open a list by key (JupyterLab takes other keys for itself), or find it open; go one entry and take it."""
    keyboard = chosen.page.keyboard
    if opens:
        keyboard.press(opens)
    chosen.page.wait_for_function("list => list.matches(':open')", arg=chosen.element_handle())
    keyboard.press(key)
    keyboard.press("Enter")


DRIVERS = {"div": drive_slider, "button": drive_button, "select": drive_list}


def drive(box):
    """Move every control by keyboard and by mouse → how many there are."""
    rest(box)
    assert not box.evaluate(CUT), f"there is no room for the words {box.evaluate(CUT)}"
    every = controls(box)
    for name, line, thing in every:
        DRIVERS[tag(thing)](box, name, line, thing)
    return len(every)
