"""What an import pulls in: nothing heavy for the package itself, no rasters and no Jupyter on the training path."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
HEAVY = ("torch", "torchvision", "rasterio", "geopandas", "ipywidgets", "matplotlib", "IPython", "accelerate")
BLOCKED = ("rasterio", "geopandas", "pyogrio", "fiona", "ipywidgets", "IPython", "jupyterlab", "notebook", "nbclient")
TRAINING = ["chips", "windows", "training", "training.__main__", "evaluation", "models", "models.faster_rcnn"]
TRAINING += ["models.backbones", "ops.boxes", "ops.anchors", "ops.matching", "ops.roi_align"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)


def test_the_package_is_light():
    answer = python("import sys, geodl_course; print(*sys.modules)")
    assert answer.returncode == 0, answer.stderr
    assert not set(HEAVY) & set(answer.stdout.split())


def block(names):
    return f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("module", TRAINING)
def test_the_training_path_imports_without_rasters_and_jupyter(module):
    answer = python(block(BLOCKED) + f"import geodl_course.{module}")
    assert answer.returncode == 0, answer.stderr


def test_the_block_bites():
    assert "rasterio is blocked" in python(block(BLOCKED) + "import rasterio").stderr
