"""The command lines: what a student types, and that an error is one line with exit code 2."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_scene import pixel_box, write_objects

from geodl_course.chips import read_info, validate

ROOT = Path(__file__).parents[1]


def script(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "data_scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run(*words):
    """Run a script as a student does."""
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, cwd=ROOT, env=env)


def test_chip_as_the_readme_types_it(scene, objects, tmp_path):
    words = "--class-field type --size 16 --overlap 0 --split spatial".split()
    done = run("data_scripts/chip.py", scene, objects, *words, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out")
    assert set(read_info(tmp_path / "out").counts) == {"train", "val", "test"}
    validate(tmp_path / "out")


def test_an_error_is_one_line_and_exit_code_2(scene, objects, tmp_path):
    done = run("data_scripts/chip.py", scene, objects, "--class-field", "kind", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("chip.py: ") and "no field 'kind'" in done.stderr and "type" in done.stderr
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_chips(scene, objects, tmp_path, capsys):
    words = "--class-field type --size 32 --overlap 8 --split val --min-visible 0.6 --classes tank,building".split()
    words = ["--licence", "CC0", "--citation", "me", *words, str(tmp_path / "out")]  # OUT last: no option swallows it
    script("chip")([str(scene), str(objects), *words])
    info = read_info(tmp_path / "out")
    assert info.classes == ["tank", "building"] and set(info.counts) == {"val"}
    assert info.recipe["overlap"] == 8 and info.recipe["min_visible"] == 0.6
    assert (info.licence, info.citation) == ("CC0", "me")
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")


def test_convert_there_and_back(chip_folder, tmp_path):
    there = run("data_scripts/convert.py", chip_folder, tmp_path / "export", "--to", "KITTI_rectangles")
    assert (there.returncode, there.stdout.strip()) == (0, str(tmp_path / "export")), there.stderr
    back = run("data_scripts/convert.py", tmp_path / "export", tmp_path / "back")
    assert (back.returncode, back.stdout.strip()) == (0, str(tmp_path / "back")), back.stderr
    assert read_info(tmp_path / "back").counts == read_info(chip_folder).counts
    single = ["data_scripts/convert.py", tmp_path / "export/train", tmp_path / "single"]
    assert run(*single, "--split", "spatial", "--test", 0).returncode == 0
    assert set(read_info(tmp_path / "single").counts) == {"train", "val"}
    again = run(*single)
    assert again.returncode == 2 and again.stderr.startswith("convert.py: ") and "exists already" in again.stderr


def test_convert_writes_masks_unless_told_otherwise(chip_folder, tmp_path, capsys):
    script("convert")([str(chip_folder), str(tmp_path / "export")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "export")
    assert {p.name for p in (tmp_path / "export/train/labels").iterdir()} == {"building", "tank"}
    with pytest.raises(SystemExit) as left:
        script("convert")([str(tmp_path / "export"), str(tmp_path / "back"), "--to", "RCNN_Masks"])
    assert left.value.code == 2 and "is no chip folder" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "words"), [("make", ["atlantis"]), ("fetch", ["atlantis"])])
def test_unknown_data_sets(name, words, capsys):
    with pytest.raises(SystemExit) as left:
        script(name)(words)
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.count("\n") == 1
    assert error.startswith(f"{name}.py: no data set 'atlantis'") and "neon_trees" in error


def test_make_returns_what_is_there(chip_folder, monkeypatch, capsys):
    monkeypatch.setenv("GEODL_DATA", str(chip_folder.parent))
    script("make")(["tiny"])
    assert capsys.readouterr().out.strip() == str(chip_folder)


def test_a_warning_is_one_line_too(scene, tmp_path):
    rows = [("a", pixel_box(4, 3, 9, 9)), ("a", pixel_box(900, 3, 909, 9))]
    layer = write_objects(tmp_path / "o.gpkg", rows)
    done = run("data_scripts/chip.py", scene, layer, "--class-field", "type", "--split", "train", "--size", 32,
               tmp_path / "out")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith("chip.py: ") and "1 of 2 objects lie outside" in done.stderr
