"""What lectures mirror must fit into a cell: short functions, classes that only compose, names imported."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "geodl_course"
FILES = [*sorted((PACKAGE / "ops").glob("*.py")), *sorted((PACKAGE / "models").glob("*.py"))]


def body_lines(node, source):
    """Lines of a function's or class's body that hold code, its docstring, blank lines and comments not counted."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body:
        return 0
    lines = source.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def definitions(path):
    source = path.read_text("utf-8")
    return source, [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_functions_and_classes_fit_a_cell(path):
    source, nodes = definitions(path)
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            assert body_lines(node, source) <= 18, f"{node.name} has {body_lines(node, source)} lines: split it"
        else:
            assert 2 + body_lines(node, source) <= 25, f"class {node.name} does not fit a cell of 25 lines: split it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_public_things_have_a_docstring_with_shapes(path):
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            text = ast.get_docstring(node)
            assert text, f"{node.name} has no docstring"
            shapes = "(" in text.splitlines()[0] and "→" in text.splitlines()[0]
            assert shapes or path.parent.name != "ops", f"{node.name}: the docstring's first line shows no shapes"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_own_modules_are_imported_by_name(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("geodl_course") for alias in node.names), "import names, not modules"


def test_reference_library_gives_no_part_that_the_course_builds():
    allowed = {
        "ops/boxes.py": {"torchvision"},  # batched_nms
        "models/backbones.py": {"torchvision.models", "torchvision.models.detection.backbone_utils", "torchvision.ops"},
    }
    for path in FILES:
        found = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name for name in names if name.startswith("torchvision")}
        name = f"{path.parent.name}/{path.name}"
        assert found <= allowed.get(name, set()), f"{name} imports {found}"
    assert (PACKAGE / "ops" / "boxes.py").read_text("utf-8").count("torchvision.ops.batched_nms(") == 1
