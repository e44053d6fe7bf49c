"""Whether this machine is ready for the course: python -m geodl_course.doctor

One line a thing: OK, a note, or what to do. Nothing that is missing or broken stops the others from being looked at;
the exit code is 1 when the course cannot run.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
INSTALL = "pip install -c constraints.txt -e ."
DISK_GB = 5  # data sets, checkpoints and room to work, once PyTorch is installed
MEMORY_GB = 3.5  # a lecture takes up to 2, JupyterLab and a browser the rest
MANAGERS = {"8": "5"}  # versions that speak to each other: ipywidgets in the kernel, its manager in JupyterLab


def look_at_python():
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 (the doctor may be asked by an older one)
        return False, f"{version}: the course needs 3.11 or newer; make a new environment with one"
    return True, f"{version} (environment {Path(sys.prefix).name})"


def look_at_torch():
    """Import an operator that exists only when torch and torchvision were built for each other."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision"))
    try:
        nms = importlib.import_module("torchvision.ops").nms
        torch = importlib.import_module("torch")
        nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return False, f"{versions}: do not work together ({what}). pip uninstall -y torch torchvision, then {INSTALL}"
    return True, versions


def look_at_gpu():
    try:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            memory = torch.cuda.get_device_properties(0).total_memory / 2**30
            driver = f", driver {_driver() or 'unknown'}, CUDA {torch.version.cuda}"
            return True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB{driver}; lectures run at full budget"
        if torch.backends.mps.is_available():
            return True, "Apple GPU; lectures run at quick budget"
        built = torch.version.cuda
    except Exception as error:
        return None, f"cannot ask ({type(error).__name__}): see the line on torch"
    driver = _driver()
    if driver and not built:  # on Windows the plain package is always one
        windows = sys.platform == "win32"
        cure = "README, Windows, has the line for CUDA" if windows else f"{INSTALL} in a fresh environment"
        return None, f"driver {driver} is here, but this torch is a CPU build: {cure}"
    if driver:
        return None, f"driver {driver} does not serve CUDA {built}: update the driver; until then the CPU is used"
    return True, "none; the CPU does, lectures run at quick budget"


def look_at_jupyter():
    versions = {name: _version(name) for name in ("jupyterlab", "ipykernel")}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (False, f"{text}: {INSTALL}") if "missing" in versions.values() else (True, text)


def look_at_widgets():
    """Versions of the half that runs in the kernel and of the half that JupyterLab shows."""
    kernel, front = _version("ipywidgets"), _widget_manager()
    text = f"ipywidgets {kernel} in the kernel, manager {front} in JupyterLab"
    if kernel.split(".")[0] not in MANAGERS:
        return False, f"{text}: the widgets need ipywidgets {', '.join(MANAGERS)}: {INSTALL}"
    if front == "missing":
        return None, f"{text}: where JupyterLab runs in this environment: {INSTALL}, then reload the page"
    if front.split(".")[0] != MANAGERS[kernel.split(".")[0]]:
        return False, f"{text}: these do not speak to each other: {INSTALL}, then reload the page"
    return True, text


def look_at_geodata():
    """Import the packages that bring their own compiled libraries."""
    broken = []
    for name in ("rasterio", "geopandas", "pyogrio"):
        try:
            importlib.import_module(name)
        except Exception as error:
            broken.append(f"{name} ({type(error).__name__})")
    if broken:
        return False, f"cannot be imported: {', '.join(broken)}: {INSTALL}"
    return True, ", ".join(f"{name} {_version(name)}" for name in ("rasterio", "geopandas", "pyogrio"))


def look_at_memory():
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):  # Windows
        return True, f"cannot be asked here; {MEMORY_GB} GB do"
    if total < MEMORY_GB:
        return None, f"{total:.1f} GB: close other programs, keep one notebook open, halve the chips in its knob cell"
    return True, f"{total:.0f} GB"


def look_at_disk():
    free = shutil.disk_usage(REPOSITORY).free / 1e9
    if free < DISK_GB:
        cure = "make room, or let GEODL_DATA name a folder on a larger disk"
        return None, f"{free:.1f} GB free in {REPOSITORY}, the course wants {DISK_GB} GB: {cure}"
    return True, f"{free:.0f} GB free"


def look_at_data():
    root = Path(os.environ.get("GEODL_DATA") or REPOSITORY / "data")
    place = "$GEODL_DATA" if os.environ.get("GEODL_DATA") else "data/"
    sets = sorted(path.parent.name for path in root.glob("*/dataset.json"))
    if "towns" not in sets:
        return None, f"towns is not in {place}: python data_scripts/make.py towns (or make lab, which does it)"
    try:
        damage = importlib.import_module("geodl_course.datasets").damage
        told = [words for words in (damage(root / name) for name in sets) if words]
    except Exception:  # without torch no chip can be looked at, and torch has a line of its own
        told = []
    if told:
        return None, "; ".join(told)
    return True, f"{', '.join(sets)} in {place}"


LINES = {
    "Python": look_at_python,
    "torch and torchvision": look_at_torch,
    "GPU": look_at_gpu,
    "Jupyter": look_at_jupyter,
    "widgets": look_at_widgets,
    "rasters and vectors": look_at_geodata,
    "memory": look_at_memory,
    "disk": look_at_disk,
    "data sets": look_at_data,
}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _widget_manager():
    """Version of the widget manager that JupyterLab finds, or "missing"."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return "missing"
    for folder in jupyter_path("labextensions"):
        package = Path(folder) / "@jupyter-widgets" / "jupyterlab-manager" / "package.json"
        if package.exists():
            return json.loads(package.read_text("utf-8"))["version"]
    return "missing"


def _driver():
    """Version of the NVIDIA driver, or None where there is none."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else None


def examine():
    """[(name, state, words)]; state is True (fine), None (works, could be better) or False (the course cannot run)."""
    found = []
    for name, look in LINES.items():
        try:
            found.append((name, *look()))
        except Exception as error:  # the doctor must survive whatever the patient has
            what = f"{type(error).__name__}: {error}"
            found.append((name, False, f"could not be examined ({what}). If the course does not run: {INSTALL}"))
    return found


def main():
    found = examine()
    for name, state, words in found:
        print(f"{'OK  ' if state else 'NOTE' if state is None else 'FAIL'}  {name}: {words}")
    return int(any(state is False for _, state, _ in found))


if __name__ == "__main__":
    sys.exit(main())
