"""From the move of a control to the new picture in the browser, for each inspector of the lectures in JupyterLab:

    python -m tests.benchmarks.redraw              # about 6 minutes

Every control is moved in turn, one step there and one back: sliders (both handles where there are two) and buttons by
key, lists by choosing. The clock runs in the page, from the event to the first frame with the new picture.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import results

sys.path.insert(0, str(results.ROOT / "tests" / "browser"))
import inspectors  # noqa: E402
import lab_driver  # noqa: E402

COMMAND = "python -m tests.benchmarks.redraw"


def move(thing, back):
    """One step of a slider, one press of a button, or one entry of a list."""
    thing.focus()
    if inspectors.tag(thing) == "select":
        inspectors.choose(thing, "Space", "ArrowUp" if back else "ArrowDown")
    else:
        key = "ArrowLeft" if back else "ArrowRight"
        thing.page.keyboard.press("Space" if inspectors.tag(thing) == "button" else key)


def measure(box, moves):
    """Seconds of each redraw while the controls move in turn, each when the one before it has been answered."""
    inspectors.rest(box)
    things = [thing for _, _, thing in inspectors.controls(box)]
    box.evaluate(inspectors.TIMER)
    for turn in range(moves):
        move(things[turn // 2 % len(things)], back=turn % 2)  # a button that is off stays so for one move only
        inspectors.rest(box, still=12)
    return box.page.evaluate("() => window.redraws")


def summary(seconds):
    return {"redraws": len(seconds), "median": statistics.median(seconds), "p95": float(np.percentile(seconds, 95))}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=40, help="moves an inspector")
    parser.add_argument("--lectures", nargs="*", help="only these, for example 02 04; nothing is stored then")
    options = parser.parse_args(arguments)
    figures, every = {}, []
    with tempfile.TemporaryDirectory() as folder:
        inspectors.copy_notebooks(Path(folder))
        with lab_driver.lab(Path(folder)) as address, lab_driver.chromium(shutil.which("chromium")) as browser:
            for name, numbers in inspectors.NOTEBOOKS.items():
                if options.lectures and name[:2] not in options.lectures:
                    continue
                with lab_driver.opened(browser, address, name) as page:
                    inspectors.run_inspectors(page, numbers)
                    for number, inspector in numbers.items():
                        seconds = measure(inspectors.live_box(page, number), options.moves)
                        every += seconds
                        title = f"{name[:2]} {inspector}"
                        title += ", second" if title in figures else ""
                        figures[title] = summary(seconds)
                        print(title, figures[title], flush=True)
                    assert not page.told, page.told
    figures["all"] = summary(every)
    print("all", figures["all"])
    if not options.lectures:
        results.store("redraw", figures, COMMAND)


if __name__ == "__main__":
    main()
