"""The notebook builder, on a tiny made-up course in a temporary folder."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("lecture_builder", REPOSITORY / "lectures" / "build.py")
builder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(builder)

SOURCE = "lectures/07_areas.py"
PACKAGE = {
    "__init__.py": "",
    "ops/__init__.py": "",
    "ops/sides.py": 'def width(box):\n    """Width of box (4,)."""\n    return box[2] - box[0]\n',
    "ops/areas.py": '''"""Areas."""
from geodl_course.ops.sides import width


def height(box):
    return box[3] - box[1]


def area(box):  # half-open
    """Area of box (4,) -> ().

    In square pixels.
    """
    return width(box) * height(box)
''',
    "words/__init__.py": "from geodl_course.words.praise import RIGHT\n",
    "words/praise.py": 'RIGHT = "right"\n',
    "teaching.py": """from geodl_course.words import RIGHT


def check(number, answer):
    try:
        print(RIGHT if answer(3) == 6 else "wrong")
    except NotImplementedError as error:
        print(f"not done yet: {error}")
""",
}
LECTURE = '''# ---
# A lecture for the tests.
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # Areas

# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) Say it.

# %%
from geodl_course.teaching import check

# %% mirror="ops.sides:width, ops.areas:height" slideshow={"slide_type": "fragment"}

# %% mirror="ops.areas:area" tags=["nbval-check-output"]
print(area((0, 0, 2, 3)))

# %% tags=["exercise", "nbval-check-output"]
def twice(x):
    """Twice x."""
    # solution-begin
    secret_of_doubling = x + x
    return secret_of_doubling
    # solution-end


check("07.1", twice)

# %% [markdown] tags=["solution"]
# The answer adds the number to itself.
'''


def make_course(root):
    for name, text in {**{f"geodl_course/{name}": text for name, text in PACKAGE.items()}, SOURCE: LECTURE}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def course(tmp_path):
    """A folder with a package, one lecture and nothing built."""
    return make_course(tmp_path)


def build(root, *arguments):
    """Exit message of the builder: None when all went well."""
    with pytest.raises(SystemExit) as stop:
        builder.main(["--root", str(root), *arguments])
    return stop.value.code or None


def lecture(root, text):
    (root / SOURCE).write_text(text)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def notebook(root, edition="student"):
    return nbformat.read(root / builder.EDITIONS[edition] / "07_areas.ipynb", as_version=4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The made-up course with both editions built; tests copy it before they change anything."""
    root = make_course(tmp_path_factory.mktemp("built"))
    assert build(root) is None
    return root


@pytest.fixture
def copy(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "course"))


def test_both_editions_run_and_show_what_they_should(built):
    outputs = {
        edition: [
            "".join(o.get("text", "") for o in c.outputs)
            for c in notebook(built, edition).cells
            if c.cell_type == "code" and c.outputs
        ]
        for edition in builder.EDITIONS
    }
    assert outputs["student"] == ["6\n", "not done yet: exercise 07.1: write this function\n"]
    assert outputs["solutions"] == ["6\n", "right\n"]


def test_mirrored_cell_holds_the_package_code_and_the_first_line_of_its_docstring(built):
    cells = [cell.source for cell in notebook(built).cells if "mirror" in cell.metadata]
    assert "return box[2] - box[0]\n\n\ndef height(box):\n    return box[3] - box[1]" in cells[0]
    assert cells[1] == (
        'def area(box):  # half-open\n    """Area of box (4,) -> ()."""\n    return width(box) * height(box)'
        "\n\n\nprint(area((0, 0, 2, 3)))"
    )


def test_a_constant_can_be_mirrored(course):
    edit(course / "geodl_course" / "ops" / "sides.py", "def width", 'SIDES = ("x",\n         "y")\n\n\ndef width')
    assert builder.mirror(course, "ops.sides:SIDES") == 'SIDES = ("x",\n         "y")'
    edit(course / "geodl_course" / "ops" / "areas.py", "import width", "import SIDES, width")
    edit(course / "geodl_course" / "ops" / "areas.py", "return width(box)", "return len(SIDES) * width(box)")
    assert any("area uses ops.sides:SIDES" in said for said in builder.toothless(course, course / SOURCE))
    lecture(course, LECTURE.replace("ops.sides:width,", "ops.sides:SIDES, ops.sides:width,"))
    assert not builder.toothless(course, course / SOURCE)


def test_the_students_notebook_holds_nothing_of_the_solution(built):
    text = (built / "notebooks" / "07_areas.ipynb").read_text()
    for secret in ("secret_of_doubling", "solution-begin", "adds the number to itself"):
        assert secret not in text
    solutions = (built / "notebooks" / "solutions" / "07_areas.ipynb").read_text()
    assert "secret_of_doubling" in solutions and "adds the number to itself" in solutions
    assert "solution-begin" not in solutions


def test_slides_and_notes_keep_their_metadata(built):
    cells = builder.frame.without(notebook(built))
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in cells]
    assert kinds == ["slide", "notes", None, "fragment", None, None]
    assert cells[1].source == "> *Presenter notes*\n>\n> (1 min) Say it."


def test_two_builds_are_the_same_bytes(built, course):
    assert build(course) is None
    for folder in builder.EDITIONS.values():
        assert (course / folder / "07_areas.ipynb").read_bytes() == (built / folder / "07_areas.ipynb").read_bytes()


def test_ids_survive_an_edit_of_another_cell(built, course):
    lecture(course, LECTURE.replace("(1 min) Say it.", "(2 min) Say it twice."))
    path = course / SOURCE
    ids = [cell.id for cell in builder.compose(course, path, "student").cells]
    old = [cell.id for cell in notebook(built).cells]
    assert [a == b for a, b in zip(ids, old, strict=True)] == [True, True, False, True, True, True, True, True]


def test_a_fresh_course_is_not_built_again(copy):
    before = (copy / "notebooks" / "07_areas.ipynb").stat().st_mtime_ns
    assert build(copy, "--check") is None and build(copy) is None
    assert (copy / "notebooks" / "07_areas.ipynb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "file, old, new, why",
    [
        ("geodl_course/ops/areas.py", "width(box) * height", "width(box) + height", "geodl_course"),
        ("geodl_course/ops/sides.py", "box[2] - box[0]", "box[0] - box[2]", "geodl_course"),
        ("geodl_course/teaching.py", '"wrong"', '"other"', "geodl_course"),
        ("geodl_course/words/praise.py", '"right"', '"correct"', "geodl_course"),  # teaching imports it through words
        ("lectures/07_areas.py", "Say it", "Sing it", "07_areas.py changed"),
        ("notebooks/07_areas.ipynb", "# Areas", "# Volumes", "edited by hand"),
        ("notebooks/07_areas.ipynb", "width(box) * height", "width(box) + height", "edited by hand"),
        ("notebooks/solutions/07_areas.ipynb", "= x + x", "= 2 * x", "edited by hand"),
    ],
)
def test_check_sees_what_makes_a_notebook_stale(copy, file, old, new, why):
    edit(copy / file, old, new)
    assert why in build(copy, "--check")


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("geodl_course/ops/areas.py", "# half-open", "# x1 is exclusive"),
        ("geodl_course/ops/areas.py", "In square pixels.", "In whole pixels."),
        ("geodl_course/ops/areas.py", "Area of box", "The area of box"),
        ("geodl_course/ops/sides.py", "def width", "# Widths.\ndef width"),
    ],
)
def test_comments_and_docstrings_of_the_package_do_not_count(copy, file, old, new):
    edit(copy / file, old, new)
    assert build(copy, "--check") is None


def test_a_module_that_no_lecture_imports_does_not_count(copy):
    (copy / "geodl_course" / "ops" / "other.py").write_text("a = 1\n")
    assert build(copy, "--check") is None


def test_a_stale_notebook_is_built_again(copy):
    edit(copy / "geodl_course/ops/areas.py", "width(box) * height", "width(box) + height")
    assert build(copy) is None and build(copy, "--check") is None
    assert notebook(copy).cells[5].outputs[0].text == "5\n"


def test_check_wants_the_output_of_a_check_cell(copy):
    path = copy / "notebooks" / "07_areas.ipynb"
    emptied = json.loads(path.read_text())
    for cell in emptied["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    path.write_text(json.dumps(emptied))
    assert "checks nothing" in build(copy, "--check")


def test_a_notebook_that_was_never_built_is_stale(copy):
    (copy / "notebooks" / "solutions" / "07_areas.ipynb").unlink()
    assert "never built" in build(copy, "--check")


def test_a_failed_cell_is_named_and_the_old_notebook_stays(copy):
    before = (copy / "notebooks" / "07_areas.ipynb").read_bytes()
    lecture(copy, LECTURE.replace("print(area(", "print(aera("))
    message = build(copy)
    assert "cell 5 (def area(box):  # half-open) failed" in message and "NameError" in message
    assert (copy / "notebooks" / "07_areas.ipynb").read_bytes() == before
    assert not list((copy / "notebooks").rglob("*.part"))


def test_run_leaves_a_copy_and_a_page_and_not_the_notebook_changed(copy):
    before = (copy / "notebooks" / "07_areas.ipynb").read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, REPOSITORY / "lectures" / "build.py", "--root", copy, "--run", "07"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "07_areas  8 cells in " in answer.stdout
    assert "not done yet" in (copy / "build" / "07_areas.html").read_text()
    assert nbformat.read(copy / "build" / "07_areas.ipynb", as_version=4).cells[5].outputs
    assert (copy / "notebooks" / "07_areas.ipynb").read_bytes() == before


def test_a_lecture_that_does_not_exist_is_named(course):
    assert "no lecture 09" in build(course, "09")


LONG = "".join(f"    box = box[{i}:]\n" for i in range(19))
METHODS = "".join(f"    def part_{i}(self):\n        return {i}\n\n" for i in range(13))


@pytest.mark.parametrize(
    "change, message",
    [
        (("# %%\nfrom", '# %% tags=["nbval-check-output"]\nfrom'), "checks nothing"),
        (("print(area((0, 0, 2, 3)))", "\n".join(f"a{i} = {i}" for i in range(26))), "split it"),
        (("print(area((0, 0, 2, 3)))", "import os\nprint(os.urandom(900_000).hex())"), "1.8 MB"),
        (
            ("# (1 min) Say it.", '# (1 min) Say it.\n\n# %% [markdown] slideshow={"slide_type": "slide"}\n# More'),
            "no presenter notes",
        ),
        (("# # Areas", "# # Areas\n# ![](areas.png)"), "alternative text"),
        (("print(area((0, 0, 2, 3)))", "import sys\nprint(sys.prefix)"), "a path of this machine"),
        (('tags=["exercise", "nbval-check-output"]', 'tags=["nbval-check-output"]'), "would reach the students"),
        (("# solution-begin", "# the answer"), "solution-begin"),
        (('check("07.1", twice)', "print(twice)"), 'check("02.1", name)'),
        (("# # Areas", "# # Areas\n# secret_of_doubling = x + x"), None),  # shown on purpose: no leak
        (("ops.areas:area", "ops.areas:volume"), "defines no function, class or constant volume"),
        (("ops.areas:area", "ops.nowhere:area"), "there is no geodl_course/ops/nowhere.py"),
        (("ops.areas:area", "ops.areas:long"), "19 lines of body"),
        (("ops.areas:area", "ops.areas:Wide"), "lines of code; a cell holds"),
        (("ops.sides:width, ops.areas:height", "ops.sides:width"), "uses ops.areas:height"),
    ],
)
def test_what_the_build_refuses(course, change, message):
    with (course / "geodl_course" / "ops" / "areas.py").open("a") as file:
        file.write(f'\n\ndef long(box):\n    """Long."""\n{LONG}\n\nclass Wide:\n    """Wide."""\n\n{METHODS}')
    assert change[0] in LECTURE
    lecture(course, LECTURE.replace(*change))
    # A name that is not mirrored must be there some other way, or the cell fails before the rule is asked.
    if "uses" in (message or ""):
        lecture(course, LECTURE.replace(*change).replace("import check", "import check\nheight = min"))
    answer = build(course)
    assert answer is None if message is None else message in answer
    assert (course / "notebooks" / "07_areas.ipynb").exists() == (message is None)


def test_a_stored_error_is_refused():
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    cell = nbformat.v4.new_code_cell("1 / 0", outputs=[error])
    assert "a stored error" in builder.problems(nbformat.v4.new_notebook(cells=[cell]))[0]


def test_widget_views_and_overwritten_progress_lines_are_not_stored():
    view = {builder.WIDGET: {"model_id": "1"}, "text/plain": "HBox()"}
    outputs = [
        nbformat.v4.new_output("display_data", data=view),
        nbformat.v4.new_output("display_data", data={**view, "image/png": "aGk="}),
        nbformat.v4.new_output("stream", text="10%\r50%\r100%\ndone\n"),
    ]
    cells = [nbformat.v4.new_code_cell("", outputs=outputs)]
    kept = builder.settle(nbformat.v4.new_notebook(cells=cells)).cells[0].outputs
    assert [set(output.get("data", {})) for output in kept] == [{"image/png", "text/plain"}, set()]
    assert kept[1].text == "100%\ndone\n"


@pytest.mark.parametrize(
    "a, b, same",
    [
        ('def f(x):\n    """One."""\n    return x', "def f(x):\n    return x  # two", True),
        ("f(1, '')", "f(1)", False),
        ("f'{a:<{b}}'", "f'{a:>{b}}'", False),
        ("x = [0]", "x = []", False),
        ("x = None", "x = 0", False),
        ("%matplotlib inline", "%matplotlib widget", False),
        ('class A:\n    "A."\n    b = "text"', 'class A:\n    b = "text"', True),
        ('class A:\n    "A."\n    b = "text"', 'class A:\n    b = "other"', False),
    ],
)
def test_same_code_overlooks_comments_and_docstrings_only(a, b, same):
    assert builder.same_code(a, b) is same


@pytest.mark.parametrize("place", ["source", "output", "metadata"])
def test_a_leaked_line_is_found_wherever_it_stands(copy, place):
    edit(copy / SOURCE, "return secret_of_doubling", 'return {"a": "ä\\t"}["a"] + x')
    line = 'return {"a": "ä\\t"}["a"] + x'
    cell = nbformat.v4.new_code_cell("x = 1")
    if place == "source":
        cell.source = f"# {line}"
    elif place == "output":
        cell.outputs = [nbformat.v4.new_output("stream", text=line)]
    else:
        cell.metadata["hint"] = line
    assert builder.leaks(copy, copy / SOURCE, nbformat.v4.new_notebook(cells=[cell])) == [line]


def add_a_lecture(root):
    text = "# %% [markdown]\n# # 08 · More\n\n# %% [markdown]\n# (3 min) not (4 min)\n"
    (root / "lectures" / "08_more.py").write_text(text)


def test_a_notebook_leads_to_its_neighbours_and_says_what_it_takes(built):
    for edition in builder.EDITIONS:
        first, last = (notebook(built, edition).cells[i] for i in (0, -1))
        assert first.metadata.slideshow.slide_type == last.metadata.slideshow.slide_type == "skip"
        assert builder.frame.UNMEASURED in first.source and "As a talk: 1 minutes." in first.source
        for address in re.findall(r"\]\(([^)]+)\)", first.source + last.source):
            target = (builder.target_of(built, built / SOURCE, edition).parent / address).resolve()
            assert target == (built / "docs/glossary.md").resolve() or target.exists(), address


def test_links_and_costs_are_renewed_without_running_anything(copy, monkeypatch):
    add_a_lecture(copy)
    (copy / "docs" / "results").mkdir(parents=True)
    figures = {"seconds": 71.0, "gigabytes": 1.44, "training_seconds": 50.0}
    (copy / "docs/results/lectures.json").write_text(json.dumps({"runs": [{"figures": {"07": figures}}]}))
    path = copy / SOURCE
    assert builder.check(copy, path, "student") == [f"{builder.FRAME}: run make notebooks"]
    before = builder.frame.without(notebook(copy))
    monkeypatch.setattr(builder, "execute", lambda *given: pytest.fail("it was run"))
    builder.build(copy, path, "student")
    assert builder.check(copy, path, "student") == []
    cells = notebook(copy).cells
    assert "70 s, 1.4 GB" in cells[0].source and "[08 · More →](08_more.ipynb)" in cells[0].source
    assert cells[-1].source.startswith("[08 · More →]") and cells[1:-1] == before
    assert builder.frame.minutes_of(copy / "lectures" / "08_more.py") == 3, "one sum a note"
