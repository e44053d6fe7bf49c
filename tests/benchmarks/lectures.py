"""What each notebook costs under nbval, quick budget, and what an import costs:

    python -m tests.benchmarks.lectures                    all notebooks
    python -m tests.benchmarks.lectures 08 "08 solved"     these; the others keep the figures that they have

Of a notebook: wall seconds of the nbval run, seconds in the functions that train (all calls), peak memory of its
kernel.
The last two are taken by a startup file in the kernel, so that the notebook itself is run unchanged.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import results

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = "python -m tests.benchmarks.lectures"
IMPORT = """
import sys, time
started = time.perf_counter()
import geodl_course
print(time.perf_counter() - started, "torch" in sys.modules)
"""
# IPython runs it before the first cell. What trains is wrapped when its module is first imported, before a lecture can
# take it.
STARTUP = """
import atexit, importlib.abc, importlib.machinery, json, os, resource, sys, time

_spent_training = [0.0]

TRAINING = {"geodl_course.training": "fit", "geodl_course.training.adversarial": "fit_gan",
            "geodl_course.training.covers": "fit_classifier"}

class WrapFit(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in TRAINING:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_wrap(module):
            load(module)
            fit = getattr(module, TRAINING[name])

            def timed(*arguments, **settings):
                started = time.perf_counter()
                try:
                    return fit(*arguments, **settings)
                finally:
                    _spent_training[0] += time.perf_counter() - started

            setattr(module, TRAINING[name], timed)

        spec.loader.exec_module = load_and_wrap
        return spec

sys.meta_path.insert(0, WrapFit())

def report():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    with open(os.environ["GEODL_MEASURED"], "w") as file:
        json.dump({"gigabytes": peak, "training_seconds": _spent_training[0]}, file)

# A kernel may be ended before its exit hooks run, so the figures are written after each cell as well.
get_ipython().events.register("post_run_cell", lambda result: report())
atexit.register(report)
"""


def measure(path):
    """{"seconds", "training_seconds", "gigabytes"} of one notebook; stops where nbval finds it broken."""
    with tempfile.TemporaryDirectory() as scratch:
        startup = Path(scratch) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "measure.py").write_text(STARTUP, "utf-8")
        measured = Path(scratch) / "measured.json"
        environment = {
            **os.environ,
            "IPYTHONDIR": scratch,
            "GEODL_MEASURED": str(measured),
            "GEODL_BUDGET": "quick",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax"]
        command += ["--nbval-current-env", "--nbval-cell-timeout=300"]
        command += ["--nbval-sanitize-with", "tests/nbval_sanitize.cfg", path]
        started = time.perf_counter()
        answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if answer.returncode:
            sys.exit(f"{path.name} does not pass nbval:\n{answer.stdout[-3000:]}")
        return {"seconds": seconds, **json.loads(measured.read_text("utf-8"))}


def measure_import(repeats=9):
    """{"seconds", "torch"}: median wall time of `import geodl_course` in a new interpreter, and whether torch came."""
    command = [sys.executable, "-c", IMPORT]
    answers = [
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(repeats)
    ]
    return {"seconds": statistics.median(float(a) for a, _ in answers), "torch": answers[0][1] == "True"}


def main(wanted):
    known = results.runs("lectures")
    figures = dict(known[-1]["figures"]) if wanted and known else {}
    for path in sorted(REPOSITORY.glob("notebooks/**/[0-9][0-9]_*.ipynb")):
        name = path.name[:2] + " solved" * (path.parent.name == "solutions")
        if wanted and name not in wanted:
            continue
        figures[name] = measure(path)
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in figures[name].items()), flush=True)
    results.store("lectures", figures, COMMAND)
    if not wanted:
        imported = measure_import()
        print("import", imported)
        results.store("lectures_import", imported, COMMAND)


if __name__ == "__main__":
    main(sys.argv[1:])
