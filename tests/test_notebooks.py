"""The notebooks as they are stored: complete, as README says, exercises open in one edition and solved in the other."""

import re
from pathlib import Path

import nbformat
import pytest
from test_build import builder

REPOSITORY = Path(__file__).parent.parent
LECTURES = sorted((REPOSITORY / "lectures").glob("[0-9][0-9]_*.py"))


def said(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def exercises(path, edition):
    cells = nbformat.read(builder.target_of(REPOSITORY, path, edition), as_version=4).cells
    return [cell for cell in cells if "exercise" in cell.metadata.get("tags", [])]


def test_every_notebook_has_a_source_and_every_source_both_notebooks():
    names = {path.stem for path in LECTURES}
    for folder in builder.EDITIONS.values():
        assert {path.stem for path in (REPOSITORY / folder).glob("*.ipynb")} == names


def test_readme_and_welcome_promise_what_exists():
    exist = {path.stem for path in LECTURES}
    readme = (REPOSITORY / "README.md").read_text()
    assert set(re.findall(r"\(notebooks/(\d\d_\w+)\.ipynb\)", readme)) == exist
    welcome = (REPOSITORY / "lectures" / "00_welcome.py").read_text()
    rows = re.findall(r"^# \| (\d\d) \|.*\| (yes|not yet) \|$", welcome, re.M)
    assert {number for number, state in rows if state == "yes"} == {name[:2] for name in exist}


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_exercises_wait_for_the_student_and_the_solutions_are_right(path):
    student, solved = exercises(path, "student"), exercises(path, "solutions")
    assert len(student) == len(solved) > 0
    for cell in student:
        assert "raise NotImplementedError" in cell.source
        assert re.fullmatch(r"(Exercise \d\d\.\d+: not done yet\n)+", said(cell))
    for cell in solved:
        assert re.fullmatch(r"(Exercise \d\d\.\d+: right\n)+", said(cell))


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_a_stub_is_the_solution_without_the_answer(path):
    for stub, solved in zip(exercises(path, "student"), exercises(path, "solutions"), strict=True):
        before, raised, after = stub.source.partition("raise NotImplementedError(")
        assert raised and solved.source.startswith(before) and solved.source.endswith(after.partition("\n")[2])
        assert len(solved.source) > len(before) + len(after.partition("\n")[2])


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_no_line_of_a_solution_reaches_the_student(path):
    notebook = nbformat.read(builder.target_of(REPOSITORY, path, "student"), as_version=4)
    solved = nbformat.read(builder.target_of(REPOSITORY, path, "solutions"), as_version=4)
    assert builder.leaks(REPOSITORY, path, solved), "the search finds nothing even where the solutions are"
    assert not builder.leaks(REPOSITORY, path, notebook)
