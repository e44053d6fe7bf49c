"""The ways to install: constraints pin what pyproject asks for, conda reads the same list, make says what it lacks."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = {
    pin.name.lower(): pin
    for pin in (
        Requirement(line)
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
}
WANTED = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]


def test_constraints_pin_each_dependency_to_one_version_inside_its_range():
    for wanted in WANTED:
        (pin,) = PINS[wanted.name.lower()].specifier
        assert pin.operator == "==" and wanted.specifier.contains(pin.version), wanted.name


def test_torch_and_torchvision_are_an_exact_pair():
    assert str(PINS["torch"].specifier) == "==2.14.1" and str(PINS["torchvision"].specifier) == "==0.29.1"


def test_each_dependency_has_a_reason():
    block = re.search(r"dependencies = \[\n(.*?)^\]", (REPOSITORY / "pyproject.toml").read_text(), re.S | re.M)[1]
    assert all(re.search(r'",\s+# \w+', line) for line in block.splitlines())


def test_conda_environment_installs_the_package_with_the_constraints():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    (nested,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert any(item.startswith("python>=3.11") for item in plain) and "pip" in plain
    assert nested == ["-c constraints.txt", "-e ."]
    assert len(plain) == 2, "dependencies are listed once, in pyproject.toml"


def test_readme_installs_with_the_constraints_and_names_the_two_commands():
    first_screen = "\n".join((REPOSITORY / "README.md").read_text().splitlines()[:40])
    for command in ("make lab", "make test", "pip install -c constraints.txt -e ."):
        assert command in first_screen


def test_no_file_of_the_install_names_a_package_host():
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"):
        text = (REPOSITORY / name).read_text()
        assert not re.search(r"index-url|find-links|trusted-host|https?://(?!127\.0\.0\.1|www\.wvview)", text), name


@pytest.fixture
def bare(tmp_path):
    """A folder with the Makefile and a PATH that holds a shell's tools and no Python."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "make", "test", "touch", "cat"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def make(folder, *arguments):
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder)}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def interpreter(folder, name, version):
    """Put a Python on the path that believes to be of another version and writes down what else it is asked to do."""
    path = folder / "bin" / name
    asked = f'exec {sys.executable} -c "import sys; sys.version_info = {version}; $2"'
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && {asked}\necho {name} "$@" >> log\nexit 1\n')
    path.chmod(0o755)


@pytest.mark.parametrize("found", [{}, {"python3": (3, 10, 4)}, {"python": (2, 7, 18), "python3": (3, 9, 1)}])
def test_make_says_plainly_that_there_is_no_python(bare, found):
    for name, version in found.items():
        interpreter(bare, name, version)
    answer = make(bare, "lab")
    assert answer.returncode != 0
    assert "No Python 3.11 or newer" in answer.stdout and "PYTHON=" in answer.stdout


@pytest.mark.parametrize(
    "found, taken",
    [
        ({"python3": (3, 11, 0)}, "python3"),
        ({"python3": (3, 10, 4), "python3.12": (3, 12, 1)}, "python3.12"),
        ({"python3": (3, 14, 0), "python3.13": (3, 13, 2)}, "python3.13"),  # the tested versions come first
        ({"python3": (3, 15, 0)}, "python3"),
        ({"python": (3, 13, 0)}, "python"),
    ],
)
def test_make_takes_the_python_that_is_new_enough(bare, found, taken):
    for name, version in found.items():
        interpreter(bare, name, version)
    make(bare, "lab")
    assert (bare / "log").read_text() == f"{taken} -m venv .venv\n"


def test_a_second_make_installs_nothing(bare):
    (bare / ".venv" / "bin").mkdir(parents=True)
    (bare / "data" / "towns").mkdir(parents=True)
    for name in (".venv/installed", "data/towns/dataset.json"):
        (bare / name).touch()
    (bare / "geodl_course").mkdir()
    answer = make(bare, "-n", "lab")
    assert "pip" not in answer.stdout and "make.py" not in answer.stdout and "jupyter lab" in answer.stdout


def test_make_run_asks_for_a_lecture(bare):
    for name in (".venv/installed", "data/towns/dataset.json"):
        (bare / name).parent.mkdir(parents=True)
        (bare / name).touch()
    answer = make(bare, "run")
    assert answer.returncode != 0 and "make run LECTURE=03" in answer.stdout


@pytest.mark.parametrize("mirror, outcome", [("", "1 skipped"), ("/somewhere", "1 failed")])
@pytest.mark.parametrize("place, mark", [("real/test_a.py", ""), ("test_a.py", "@pytest.mark.real\n")])
def test_a_skipped_real_data_test_fails_where_the_data_are(tmp_path, monkeypatch, mirror, outcome, place, mark):
    monkeypatch.setenv("GEODL_MIRROR", mirror)
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    real: x\n")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(f"import pytest\n\n{mark}def test_a():\n    pytest.skip('no data')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    assert outcome in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
