"""From a key on a slider to the new picture in the browser, for each inspector in a real JupyterLab:

    python -m tests.benchmarks.redraw
"""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import results

sys.path.insert(0, str(results.ROOT / "tests" / "browser"))
import inspector_cells  # noqa: E402
import lab_driver  # noqa: E402

COMMAND = "python -m tests.benchmarks.redraw"
MOVES = 40  # keys an inspector


def measure(cell, labels):
    """Seconds of each redraw while the sliders walk, one key after the other has been answered."""
    lab_driver.start_timer(cell)
    for turn in range(MOVES):
        label = labels[turn % len(labels)]
        key = "ArrowRight" if turn // len(labels) % 2 else "ArrowLeft"
        lab_driver.handles(cell, label)[0].focus()
        cell.page.keyboard.press(key)
        lab_driver.rest(cell)
    return lab_driver.redraws(cell)


def main():
    figures, every = {}, []
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    with tempfile.TemporaryDirectory() as folder:
        inspector_cells.write(Path(folder) / "inspectors.ipynb", kernel)
        with (
            lab_driver.lab(Path(folder)) as address,
            lab_driver.chromium(shutil.which("chromium")) as browser,
            lab_driver.opened(browser, address, "inspectors") as page,
        ):
            lab_driver.run_above(page, len(inspector_cells.CELLS))
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
            for name, (_, labels) in inspector_cells.CELLS.items():
                cell = lab_driver.scroll_to(page, inspector_cells.number_of(name))
                cell.locator(".widget-html-content").wait_for(timeout=120_000)
                seconds = measure(cell, labels)
                every += seconds
                figures[name] = {"redraws": len(seconds), "median": statistics.median(seconds),
                                 "p95": float(np.percentile(seconds, 95))}  # fmt: skip
                print(f"{name}: {len(seconds)} redraws, median {figures[name]['median']:.3f} s, "
                      f"95 % within {figures[name]['p95']:.3f} s", flush=True)  # fmt: skip
    figures["all"] = {"redraws": len(every), "median": statistics.median(every), "p95": float(np.percentile(every, 95))}
    print(f"all: 95 % within {figures['all']['p95']:.3f} s")
    results.store("redraw", figures, COMMAND)


if __name__ == "__main__":
    main()
