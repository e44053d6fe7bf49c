"""The doctor on healthy and on broken installs: stubs stand before the real packages on the path."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from geodl_course import doctor

REPOSITORY = Path(__file__).parent.parent


def ask(stubs, **environment):
    """Exit code and {line name: (verdict, words)} of the doctor with `stubs` first on the path."""
    path = os.pathsep.join([str(stubs), str(REPOSITORY)])
    answer = subprocess.run(
        [sys.executable, "-m", "geodl_course.doctor"],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **environment},
        cwd=stubs,
        capture_output=True,
        text=True,
    )
    assert answer.stderr == "", answer.stderr
    lines = [re.fullmatch(r"(OK|NOTE|FAIL) +([^:]+): (.*)", line).groups() for line in answer.stdout.splitlines()]
    assert [name for _, name, _ in lines] == list(doctor.LINES)
    return answer.returncode, {name: (verdict, words) for verdict, name, words in lines}


def stub(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_healthy_install_passes_and_both_versions_are_named(tmp_path):
    import torch
    import torchvision

    code, lines = ask(tmp_path)
    assert code == 0
    assert lines["torch and torchvision"] == (
        "OK",
        f"torch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}",
    )


@pytest.mark.parametrize(
    "name, text, line, words",
    [
        (
            "torchvision/ops.py",
            'raise RuntimeError("operator torchvision::nms does not exist")',
            "torch and torchvision",
            "operator torchvision::nms does not exist",
        ),
        ("torchvision/ops.py", "def nms(*a): raise NotImplementedError()", "torch and torchvision", "NotImplemented"),
        ("torch.py", 'raise ModuleNotFoundError("No module named torch")', "torch and torchvision", "No module named"),
        ("torch.py", 'raise OSError("libcudart.so.13: cannot open")', "torch and torchvision", "libcudart"),
        ("rasterio.py", 'raise ImportError("libgdal")', "rasters and vectors", "rasterio (ImportError)"),
        (
            "ipywidgets-7.8.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: ipywidgets\nVersion: 7.8.1\n",
            "widgets",
            "the widgets need ipywidgets 8",
        ),
    ],
)
def test_a_broken_install_fails_on_its_own_line_with_the_next_step(tmp_path, name, text, line, words):
    if "/ops" in name:
        stub(tmp_path, "torchvision/__init__.py", "")
    stub(tmp_path, name, text)
    code, lines = ask(tmp_path)
    assert code == 1
    assert lines[line][0] == "FAIL" and words in lines[line][1] and doctor.INSTALL in lines[line][1]
    assert [name for name, (verdict, _) in lines.items() if verdict == "FAIL"] == [line]


def test_data_sets_are_named_and_missing_or_damaged_ones_come_with_the_command(chip_folder, tmp_path):
    code, lines = ask(tmp_path, GEODL_DATA=str(tmp_path / "data"))
    assert code == 0 and lines["data sets"][0] == "NOTE" and "data_scripts/make.py towns" in lines["data sets"][1]
    (tmp_path / "data").mkdir()
    chip_folder.rename(tmp_path / "data/towns")
    stub(tmp_path, "data/half.part/images/1.tif", "")
    code, lines = ask(tmp_path, GEODL_DATA=str(tmp_path / "data"))
    assert lines["data sets"] == ("OK", "towns in $GEODL_DATA")
    (tmp_path / "data/towns/train/images/000000.tif").unlink()
    code, lines = ask(tmp_path, GEODL_DATA=str(tmp_path / "data"))
    assert code == 0 and lines["data sets"][0] == "NOTE"
    assert "11 of 12 train images" in lines["data sets"][1] and "make.py towns" in lines["data sets"][1]


@pytest.mark.parametrize("built, word", [("None", "CPU build"), ("'13.0'", "update the driver")])
def test_a_driver_without_a_usable_gpu_is_explained(tmp_path, monkeypatch, built, word):
    stub(
        tmp_path,
        "torch.py",
        f"""
class cuda:
    is_available = staticmethod(lambda: False)
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
class version:
    cuda = {built}
""",
    )
    stub(tmp_path, "nvidia-smi", "#!/bin/sh\necho 535.10\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    _, lines = ask(tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert lines["GPU"][0] == "NOTE" and "535.10" in lines["GPU"][1] and word in lines["GPU"][1]


@pytest.mark.parametrize("version, state, word", [("5.0.16", True, "5.0.16"), ("3.1.1", False, "do not speak")])
def test_both_halves_of_the_widgets_are_looked_at(tmp_path, monkeypatch, version, state, word):
    stub(tmp_path, "labextensions/@jupyter-widgets/jupyterlab-manager/package.json", f'{{"version": "{version}"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    found, words = doctor.look_at_widgets()
    assert found is state and word in words and ("reload the page" in words) is not state


def test_a_python_without_the_course_is_told_on_each_line_what_to_do(tmp_path):
    for name in ("torch", "torchvision", "jupyter_core", "rasterio", "geopandas", "pyogrio"):
        stub(tmp_path, f"{name}.py", f"raise ModuleNotFoundError({name!r})")
    for name in ("torch", "torchvision", "ipywidgets", "jupyterlab", "ipykernel"):  # nor do their versions stand there
        stub(tmp_path, f"{name}-0.dist-info/METADATA", "Metadata-Version: 2.1\nName: none\nVersion: 0\n")
    code, lines = ask(tmp_path, GEODL_DATA=str(tmp_path / "data"))
    failed = {name: words for name, (verdict, words) in lines.items() if verdict == "FAIL"}
    assert code == 1 and {"torch and torchvision", "widgets", "rasters and vectors"} <= set(failed)
    assert all(doctor.INSTALL in words for words in failed.values())
    assert "missing in JupyterLab" in failed["widgets"]


def test_windows_is_not_sent_to_the_package_that_has_no_cuda(monkeypatch):
    monkeypatch.setattr(doctor, "_driver", lambda: "535.10")
    cpu = type("torch", (), {"cuda": type("cuda", (), {"is_available": staticmethod(lambda: False)})})
    cpu.backends = type("backends", (), {"mps": cpu.cuda})
    cpu.version = type("version", (), {"cuda": None})
    monkeypatch.setitem(sys.modules, "torch", cpu)
    monkeypatch.setattr(doctor.sys, "platform", "win32")
    state, words = doctor.look_at_gpu()
    assert state is None and "README, Windows" in words and doctor.INSTALL not in words
    assert "CUDA" in (REPOSITORY / "README.md").read_text("utf-8").partition("**Windows**")[2].partition("**macOS**")[0]


def test_widgets_without_a_front_end_are_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "_widget_manager", lambda: "missing")
    state, words = doctor.look_at_widgets()
    assert state is None and doctor.INSTALL in words


def test_little_memory_is_a_note_with_advice(monkeypatch):
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PHYS_PAGES": 500_000, "SC_PAGE_SIZE": 4096}.get)
    state, words = doctor.look_at_memory()
    assert state is None and "2.0 GB" in words and "knob cell" in words
    monkeypatch.delattr(doctor.os, "sysconf")
    assert doctor.look_at_memory()[0] is True


def test_a_gpu_comes_with_its_driver(tmp_path):
    stub(tmp_path, "torch.py", """
class cuda:
    is_available = staticmethod(lambda: True)
    get_device_name = staticmethod(lambda i: "A card")
    get_device_properties = staticmethod(lambda i: type("card", (), {"total_memory": 8 * 2**30}))
class version:
    cuda = "13.0"
""")  # fmt: skip
    stub(tmp_path, "nvidia-smi", "#!/bin/sh\necho 580.20\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    _, lines = ask(tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert lines["GPU"] == ("OK", "A card, 8 GB, driver 580.20, CUDA 13.0; lectures run at full budget")


def test_old_python_missing_packages_and_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    assert doctor.look_at_python()[0] is False
    monkeypatch.setattr(doctor, "_version", lambda name: "missing")
    assert doctor.look_at_jupyter()[0] is False
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1e9}))
    state, words = doctor.look_at_disk()
    assert state is None and "1.0 GB free" in words and "GEODL_DATA" in words


def test_the_doctor_survives_an_examination_that_stops(monkeypatch, capsys):
    def stop():
        raise OSError("no such drive")

    monkeypatch.setitem(doctor.LINES, "disk", stop)
    assert doctor.main() == 1
    assert "FAIL  disk: could not be examined (OSError: no such drive)." in capsys.readouterr().out
