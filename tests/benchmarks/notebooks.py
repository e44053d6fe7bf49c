"""Seconds and memory of each notebook under nbval, quick budget: python tests/benchmarks/notebooks.py [NN ...]

Wall time of the nbval run of one notebook; peak memory of its kernel; seconds in `training.fit`, all calls together.
The last two are taken by a startup file in the kernel, so that the notebook itself is run unchanged.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SANITIZE = REPOSITORY / "tests" / "nbval_sanitize.cfg"
LIMITS = {"seconds": 120, "training": 60, "gigabytes": 2.0}
# IPython runs it before the first cell. `fit` is wrapped when its module is first imported, before a lecture takes it.
STARTUP = """
import atexit, importlib.abc, importlib.machinery, json, os, resource, sys, time

spent = [0.0]

class WrapFit(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "geodl_course.training":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_wrap(module):
            load(module)
            fit = module.fit

            def timed(*arguments, **settings):
                started = time.perf_counter()
                try:
                    return fit(*arguments, **settings)
                finally:
                    spent[0] += time.perf_counter() - started

            module.fit = timed

        spec.loader.exec_module = load_and_wrap
        return spec

sys.meta_path.insert(0, WrapFit())

def report():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    with open(os.environ["GEODL_MEASURED"], "w") as file:
        json.dump({"gigabytes": peak, "training": spent[0]}, file)

# A kernel may be ended before its exit hooks run, so the figures are written after each cell as well.
get_ipython().events.register("post_run_cell", lambda result: report())
atexit.register(report)
"""


def measure(path):
    """{"seconds", "training", "gigabytes", "passed"} of one notebook."""
    with tempfile.TemporaryDirectory() as scratch:
        startup = Path(scratch) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "measure.py").write_text(STARTUP)
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
        command += ["--nbval-current-env", "--nbval-cell-timeout=300", "--nbval-sanitize-with", SANITIZE, path]
        started = time.perf_counter()
        answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, **json.loads(measured.read_text()), "passed": answer.returncode == 0}


def main(wanted):
    print(f"{'notebook':40} {'wall s':>8} {'training s':>11} {'peak GB':>8}   (at most 120, 60, 2.0)")
    for path in sorted(REPOSITORY.glob("notebooks/**/[0-9][0-9]_*.ipynb")):
        if wanted and path.name[:2] not in wanted:
            continue
        found = measure(path)
        verdict = "" if found["passed"] else "  FAILED"
        verdict += "".join(f"  over: {name}" for name, limit in LIMITS.items() if found[name] > limit)
        name = str(path.relative_to(REPOSITORY / "notebooks"))
        figures = f"{found['seconds']:8.1f} {found['training']:11.1f} {found['gigabytes']:8.2f}"
        print(f"{name:40} {figures}{verdict}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
