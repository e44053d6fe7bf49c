"""Measured figures: one file docs/results/NAME.json a benchmark, one entry a run, with all that is needed to repeat it.

    results.store("speed", {"training_ratio": 0.45}, command="python -m tests.benchmarks.speed")
    results.runs("speed")[-1]["figures"]

A run of a seed that is stored already replaces it, so seeds can be measured one command at a time; the stored command
is then the one that measures all of them.
"""

import hashlib
import json
import math
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def folder():
    """Where results lie: docs/results, or $GEODL_RESULTS."""
    return Path(os.environ.get("GEODL_RESULTS") or ROOT / "docs" / "results")


def read(name):
    """The file of one benchmark, {"name", "command", "runs": [...]}; without runs where nothing was measured yet."""
    path = folder() / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"name": name, "command": None, "runs": []}


def runs(name):
    """The stored runs of one benchmark, by seed."""
    return read(name)["runs"]


def values(name, *path):
    """One figure of every run of a benchmark, found along a path of keys."""
    found = []
    for run in runs(name):
        figure = run["figures"]
        for key in path:
            figure = figure[key]
        found.append(figure)
    return found


def store(name, figures, command, seed=None):
    """Add the figures of one run (numbers, texts, or dicts and lists of them) → the path of the file."""
    known = [run for run in runs(name) if run["seed"] != seed]
    known.append({"seed": seed, **circumstances(), "figures": tidy(figures)})
    known.sort(key=lambda run: -1 if run["seed"] is None else run["seed"])
    if " --seeds " in command:
        command = f"{command.partition(' --seeds ')[0]} --seeds {' '.join(str(run['seed']) for run in known)}"
    path = folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"name": name, "command": command, "runs": known}, indent=1) + "\n", "utf-8")
    part.replace(path)
    return path


def name_for(name, data, usual):
    """NAME for what is measured on the usual data set; on another one NAME_DATA, a folder or file by its whole path."""
    if data == usual:
        return name
    place = Path(data)
    if not place.exists():  # a registered data set
        return f"{name}_{data}"
    return f"{name}_{place.stem}_{hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:6]}"


def circumstances():
    """What a figure depends on besides the seed."""
    import torch
    import torchvision

    return {
        "commit": commit(), "device": device(), "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "torchvision": torchvision.__version__,
    }


def commit():
    """The commit that was measured, marked where the package was changed since; "unknown" outside a clone."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + (" and changes" if git("diff", "HEAD", "geodl_course") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device():
    """The processor, or the GPU where torch sees one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text("utf-8").splitlines() if cpus.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def tidy(value):
    """Plain numbers, rounded to five digits that count; nan becomes None, which JSON has."""
    if isinstance(value, dict):
        return {key: tidy(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value


def interval(differences, level=0.95):
    """Mean of n paired differences and its t interval → (mean, low, high); low and high are nan for n < 2."""
    from statistics import fmean, stdev

    from scipy.stats import t

    mean, number = fmean(differences), len(differences)
    if number < 2:
        return mean, math.nan, math.nan
    half = t.ppf(0.5 + level / 2, number - 1) * stdev(differences) / math.sqrt(number)
    return mean, mean - half, mean + half
