"""From lecture sources to executed notebooks: lectures/NN_slug.py -> notebooks/NN_slug.ipynb and notebooks/solutions/.

    python lectures/build.py [NN ...]    build and execute what changed
    python lectures/build.py --check     say what is stale or breaks a rule; exit 1 if anything does
    python lectures/build.py --run NN    execute the notebook as it stands; a copy and a web page go to build/

A source is a percent-format file. Beside the usual marks it may hold:

    # %% mirror="ops.boxes:box_iou"      the source of that object of geodl_course, then the text of the cell, if any
    # %% tags=["exercise"]               a function whose body stands between "# solution-begin" and "# solution-end",
                                         then check("02.1", function); the student's copy raises NotImplementedError
    # %% [markdown] tags=["solution"]    a cell for the solutions alone
    # %% tags=["nbval-check-output"]     the stored output is compared when the notebooks are tested
"""

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
import frame  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "geodl_course"
EDITIONS = {"student": "notebooks", "solutions": "notebooks/solutions"}
CELL_LINES, FUNCTION_LINES, NOTEBOOK_BYTES = 25, 18, 1_500_000
SOLUTION = re.compile(r"^( *)# solution-begin\n(.*?)^ *# solution-end\n?", re.S | re.M)
PLACES = (str(ROOT), sys.prefix, tempfile.gettempdir() + os.sep)
WIDGET = "application/vnd.jupyter.widget-view+json"
ALT_TEXT = Path(__file__).resolve().parent / "alt_text.py"  # run in the kernel: each picture is stored with its words
PICTURES = f"__import__('runpy').run_path({str(ALT_TEXT)!r})['watch'](get_ipython())"


FRAME = "its links or what it says that it takes changed"


class BuildError(Exception):
    """A lecture that cannot be built; the message names the file, the cell and the next step."""


# --- Python source, seen as a syntax tree -----------------------------------------------------------------------------


def docstring_of(node):
    """The docstring statement of a module, class or function, or None."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    text = first.value if isinstance(first, ast.Expr) else None
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return first if documented and isinstance(text, ast.Constant) and isinstance(text.value, str) else None


def shape(node):
    """A syntax tree as nested tuples without docstrings and comments, the same in every Python version."""
    if isinstance(node, list):
        return tuple(shape(item) for item in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):  # Python 3.12 puts empty strings around the parts of a nested format
        parts = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        return "JoinedStr", shape(parts)
    docstring = docstring_of(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind"]
    return type(node).__name__, *(
        (name, shape([item for item in value if item is not docstring] if name == "body" and docstring else value))
        for name, value in fields
    )


def same_code(a, b):
    """Whether two cells hold the same program, whatever their comments and docstrings say."""
    try:
        return a == b or shape(ast.parse(a)) == shape(ast.parse(b))
    except SyntaxError:  # a cell with a notebook command
        return False


def code_lines(source):
    """How many lines hold code: neither blank, nor comment, nor docstring."""
    try:
        docstrings = [d for d in map(docstring_of, ast.walk(ast.parse(source))) if d]
    except SyntaxError:
        docstrings = []
    inside = {line for d in docstrings for line in range(d.lineno, d.end_lineno + 1)}
    return sum(
        bool(text.strip()) and not text.strip().startswith("#") and number not in inside
        for number, text in enumerate(source.splitlines(), 1)
    )


def digest(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# --- the package: mirrored objects and what a lecture imports ---------------------------------------------------------


def name_of(node):
    """The name that a statement of a module defines: of a function, a class, or a constant; else None."""
    constant = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    return node.targets[0].id if constant else getattr(node, "name", None)


def mirror(root, name):
    """The source of "ops.boxes:box_iou" as a cell: docstrings cut to their first line, length limits enforced."""
    module, _, wanted = name.partition(":")
    path = root / PACKAGE / (module.replace(".", "/") + ".py")
    if not path.exists():
        raise BuildError(f'mirror="{name}": there is no {PACKAGE}/{path.relative_to(root / PACKAGE)}')
    text = path.read_text("utf-8")
    found = [node for node in ast.parse(text).body if name_of(node) == wanted]
    if not found:
        raise BuildError(f'mirror="{name}": {path.relative_to(root)} defines no function, class or constant {wanted}')
    node, lines = found[0], text.splitlines()
    for function in [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]:
        header = "\n".join(lines[function.lineno - 1 : function.body[0].lineno - 1])
        body = code_lines("\n".join(lines[function.lineno - 1 : function.end_lineno])) - code_lines(header)
        if body > FUNCTION_LINES:
            raise BuildError(f'mirror="{name}": {function.name} has {body} lines of body; split it (at most 18)')
    for docstring in sorted(filter(None, map(docstring_of, ast.walk(node))), key=lambda d: -d.lineno):
        first = docstring.value.value.strip().splitlines()[0]
        lines[docstring.lineno - 1 : docstring.end_lineno] = [" " * docstring.col_offset + f'"""{first}"""'] + [
            None
        ] * (docstring.end_lineno - docstring.lineno)
    start = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]) - 1
    source = "\n".join(line for line in lines[start : node.end_lineno] if line is not None)
    if code_lines(source) > CELL_LINES:
        raise BuildError(f'mirror="{name}": {code_lines(source)} lines of code; a cell holds at most {CELL_LINES}')
    return source


def imported(root, tree):
    """Paths of the package's modules that a syntax tree imports directly, `__init__` files included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    paths = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == PACKAGE:
            paths.update(root.joinpath(*parts[: i + 1]) / "__init__.py" for i in range(len(parts)))
            paths.add(root.joinpath(*parts).with_suffix(".py"))
    return {path for path in paths if path.exists()}


def package_hash(root, sources):
    """Hash of the syntax trees of all modules of the package that the sources import, directly or not."""
    waiting, trees = set(), {}
    for source in sources:
        waiting |= imported(root, ast.parse(source))
    while waiting:
        path = waiting.pop()
        trees[path] = ast.parse(path.read_text("utf-8"))
        waiting |= imported(root, trees[path]) - trees.keys()
    return digest(*(f"{path.relative_to(root).as_posix()} {shape(trees[path])}" for path in sorted(trees)))


def mirrored(path):
    """Names of the objects that a lecture mirrors: {"ops.boxes:box_iou", ...}."""
    names = [cell.metadata.get("mirror", "").split(",") for cell in cells_of(path)]
    return {name.strip() for group in names for name in group if name.strip()}


def called(root, name):
    """Names of the objects of ops and models that a mirrored object uses, in the form of `mirror`."""
    module, _, wanted = name.partition(":")
    tree = ast.parse((root / PACKAGE / (module.replace(".", "/") + ".py")).read_text("utf-8"))
    known = {node.name: f"{module}:{node.name}" for node in tree.body if hasattr(node, "name")}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and re.match(rf"{PACKAGE}\.(ops|models)\b", node.module or ""):
            source = node.module.removeprefix(f"{PACKAGE}.")
            known.update({alias.asname or alias.name: f"{source}:{alias.name}" for alias in node.names})
    (node,) = [node for node in tree.body if name_of(node) == wanted]
    return {known[n.id] for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in known} - {name}


def toothless(root, path):
    """Mirrored objects that call what no lecture has shown so far: there a student's edit would change nothing."""
    so_far = sorted(other for other in path.parent.glob("[0-9][0-9]_*.py") if other.name <= path.name)
    shown = set().union(*map(mirrored, so_far))
    return [
        f"{name} uses {', '.join(missing)}: mirror that too, here or in an earlier lecture"
        for name in sorted(mirrored(path))
        if (missing := sorted(called(root, name) - shown))
    ]


# --- a lecture source as a notebook -----------------------------------------------------------------------------------


def cells_of(path):
    """The cells of a percent-format source; a comment block before the first mark is dropped."""
    import jupytext

    notebook = jupytext.reads(path.read_text("utf-8"), fmt="py:percent")
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
        cell.metadata.pop("lines_to_end_of_cell_marker", None)
    return [cell for cell in notebook.cells if cell.cell_type != "raw"]


def stub(source, where):
    """The student's copy of an exercise cell: the solution gives way to NotImplementedError."""
    number = re.search(r'check\("(\d\d\.\d+)"', source)
    if not number or not SOLUTION.search(source):
        raise BuildError(f'{where}: an exercise needs "# solution-begin", "# solution-end" and check("02.1", name)')
    return SOLUTION.sub(rf'\1raise NotImplementedError("exercise {number[1]}: write this function")\n', source)


def compose(root, path, edition):
    """The notebook of a lecture before execution."""
    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    seen = Counter()
    for index, cell in enumerate(cells_of(path)):
        where, tags = f"{path.name}, cell {index}", cell.metadata.get("tags", [])
        seen[cell.source, str(cell.metadata)] += 1
        cell.id = digest(path.stem, cell.source, str(cell.metadata), str(seen[cell.source, str(cell.metadata)]))[:8]
        if "solution" in tags and edition == "student":
            continue
        if cell.metadata.get("slideshow", {}).get("slide_type") == "notes":  # set apart from what students read
            cell.source = "\n".join(
                f"> {line}".rstrip() for line in ["*Presenter notes*", "", *cell.source.splitlines()]
            )
        if "mirror" in cell.metadata:
            parts = [mirror(root, name.strip()) for name in cell.metadata["mirror"].split(",")]
            cell.source = "\n\n\n".join([*parts, *filter(None, [cell.source])])
        if "exercise" in tags:
            stubbed = stub(cell.source, where)
            cell.source = stubbed if edition == "student" else re.sub(r" *# solution-(begin|end)\n", "", cell.source)
        elif "# solution-" in cell.source:
            raise BuildError(f'{where}: a solution outside a cell tagged "exercise" would reach the students')
        if cell.cell_type == "code" and code_lines(cell.source) > CELL_LINES:
            raise BuildError(f"{where}: {code_lines(cell.source)} lines of code; a slide holds {CELL_LINES}: split it")
        notebook.cells.append(cell)
    first, last = frame.cells(root, path, edition)
    notebook.cells = [first, *notebook.cells, last]
    code = [re.sub(r"^[%!].*$", "", cell.source, flags=re.M) for cell in notebook.cells if cell.cell_type == "code"]
    code += [f"import {PACKAGE}.{name.partition(':')[0]}" for name in sorted(mirrored(path))]
    notebook.metadata["geodl_course"] = {
        "lecture": digest(path.read_text("utf-8")),
        "package": package_hash(root, code),
        "edition": edition,
    }
    return notebook


# --- rules for a finished notebook ------------------------------------------------------------------------------------


def leaks(root, path, notebook):
    """Lines of a lecture's solutions that stand in a student's notebook: its cells, outputs or metadata."""
    lines = {
        edition: {line.strip() for cell in compose(root, path, edition).cells for line in cell.source.splitlines()}
        for edition in EDITIONS
    }
    secrets = [line for line in lines["solutions"] - lines["student"] if len(line) > 12]
    text = nbformat.writes(notebook)
    return sorted(line for line in secrets if json.dumps(line, ensure_ascii=False)[1:-1] in text)


def problems(notebook):
    """What breaks a rule in an executed notebook, one sentence each."""
    found, noted = [], True
    for index, cell in enumerate(notebook.cells):
        here, tags = f"cell {index} ({first_line(cell)})", cell.metadata.get("tags", [])
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if kind in ("slide", "subslide"):
            if not noted:
                found.append(f"the slide before {here} has no presenter notes")
            noted = False
        noted = noted or kind == "notes"
        if cell.cell_type == "markdown" and "![](" in cell.source:
            found.append(f"{here}: a picture without alternative text")
        if cell.cell_type != "code":
            continue
        if "nbval-check-output" in tags and not cell.outputs:
            found.append(f"{here}: a check cell without output checks nothing; print something or drop the tag")
        if any(output.output_type == "error" for output in cell.outputs) and "raises-exception" not in tags:
            found.append(f"{here}: a stored error")
        told = [line for output in cell.outputs for line in words_of(output).splitlines()]
        if shown := next((line for line in told if any(place in line for place in PLACES)), ""):
            found.append(f"{here}: the output shows a path of this machine; print names relative to the data folder: "
                         f"{shown}")
        if code_lines(cell.source) > CELL_LINES:
            found.append(f"{here}: {code_lines(cell.source)} lines of code, at most {CELL_LINES}")
    if not noted:
        found.append("the last slide has no presenter notes")
    size = len(nbformat.writes(notebook).encode())
    if size > NOTEBOOK_BYTES:
        found.append(f"{size / 1e6:.1f} MB, at most {NOTEBOOK_BYTES / 1e6} MB: smaller figures, fewer of them")
    return found


def words_of(output):
    """The text of an output, without pictures."""
    return output.get("text", "") + output.get("data", {}).get("text/plain", "")


def first_line(cell):
    return next((line.strip() for line in cell.source.splitlines() if line.strip()), "empty")[:60]


def stale(root, path, edition):
    """Why the notebook of a lecture no longer equals its build, or None."""
    target = target_of(root, path, edition)
    if not target.exists():
        return "was never built"
    old, new = nbformat.read(target, as_version=4), compose(root, path, edition)
    stored = old.metadata.get("geodl_course", {})
    if stored.get("lecture") != new.metadata.geodl_course["lecture"]:
        return f"{path.name} changed"
    if stored.get("package") != new.metadata.geodl_course["package"]:
        return f"a module of {PACKAGE} that it imports changed"
    before, after = frame.without(old), frame.without(new)
    if [cell.id for cell in before] != [cell.id for cell in after]:
        return "its cells were edited by hand"
    for a, b in zip(before, after, strict=True):
        if a.source != b.source and not (a.cell_type == "code" and same_code(a.source, b.source)):
            return f"the cell {first_line(a)!r} was edited by hand"
    return FRAME if old.cells[0] != new.cells[0] or old.cells[-1] != new.cells[-1] else None


def target_of(root, path, edition):
    return root / EDITIONS[edition] / f"{path.stem}.ipynb"


# --- execution --------------------------------------------------------------------------------------------------------


def execute(notebook, folder, environment, title):
    """Run the cells in `folder`, showing progress; raise BuildError that names the cell that failed."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    started, at = time.perf_counter(), {"cell": 0, "told": 0.0}

    def show(cell, cell_index):
        seconds = time.perf_counter() - started
        line = f"{title}  cell {cell_index + 1:>2}/{len(notebook.cells)}  {seconds:5.1f} s  {first_line(cell)}"
        at["cell"] = cell_index
        if sys.stdout.isatty():
            print(f"\r{line:<110}"[:112], end="", flush=True)
        elif seconds - at["told"] > 20:  # a log wants a sign of life, not a line for each cell
            at["told"] = seconds
            print(line, flush=True)

    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR", f"--IPKernelApp.exec_lines={PICTURES}"],
        on_cell_start=show,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env={**os.environ, **environment})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        cell = notebook.cells[at["cell"]]
        raise BuildError(f"\n{title}, cell {at['cell']} ({first_line(cell)}) failed:\n{error}") from None
    print(f"\r{title}  {len(notebook.cells)} cells in {time.perf_counter() - started:.1f} s".ljust(111))
    return notebook


def settle(notebook):
    """Drop what differs from run to run: widget views (a picture stands beside them), drawn-over progress lines."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = "\n".join(line.rstrip("\r").split("\r")[-1] for line in output.text.split("\n"))
            if WIDGET in output.get("data", {}):
                del output.data[WIDGET]
                if not set(output.data) - {"text/plain"}:
                    continue
            kept.append(output)
        cell.outputs = kept
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def write(notebook, target):
    """Write beside the target, then rename: a reader never sees half a notebook."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".ipynb.part")
    nbformat.write(notebook, part)
    part.replace(target)


def build(root, path, edition):
    """Compose, execute under the quick budget on the CPU, judge and write one notebook."""
    notebook, target = compose(root, path, edition), target_of(root, path, edition)
    if stale(root, path, edition) == FRAME:  # nothing that runs changed
        return reframe(notebook, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        "GEODL_BUDGET": "quick",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
    }
    settle(execute(notebook, target.parent, environment, f"{path.stem} ({edition})"))
    nbformat.validate(notebook)
    broken = problems(notebook) + toothless(root, path)
    if edition == "student":
        broken += [f"solution text leaks: {line}" for line in leaks(root, path, notebook)]
    if broken:
        raise BuildError("\n".join([f"{path.stem} ({edition}) was not written:", *broken]))
    write(notebook, target)


def reframe(composed, target):
    """Renew the first and the last cell of a stored notebook, outputs and all else as they are."""
    stored = nbformat.read(target, as_version=4)
    stored.cells = [composed.cells[0], *frame.without(stored), composed.cells[-1]]
    write(stored, target)


def check(root, path, edition):
    """All that is wrong with a stored notebook."""
    reason = stale(root, path, edition)
    if reason:
        return [f"{reason}: run make notebooks"]
    return problems(nbformat.read(target_of(root, path, edition), as_version=4)) + toothless(root, path)


def run(root, path):
    """Execute the student's notebook as it stands, on this machine's budget, into build/."""
    from nbconvert import HTMLExporter

    notebook = nbformat.read(target_of(root, path, "student"), as_version=4)
    execute(notebook, root / EDITIONS["student"], {}, path.stem)
    target = root / "build" / f"{path.stem}.ipynb"
    write(notebook, target)
    page = target.with_suffix(".html")
    page.write_text(HTMLExporter().from_notebook_node(notebook)[0], "utf-8")
    print(f"written: {target.relative_to(root)} and {page.relative_to(root)}")


def lectures(root, wanted):
    found = sorted((root / "lectures").glob("[0-9][0-9]_*.py"))
    missing = [number for number in wanted if not any(path.name.startswith(f"{number}_") for path in found)]
    if missing:
        raise BuildError(
            f"no lecture {', '.join(missing)} in {root / 'lectures'}; there is: "
            + ", ".join(path.stem for path in found)
        )
    return [path for path in found if not wanted or path.name[:2] in wanted]


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the notebooks from the lecture sources.")
    parser.add_argument("wanted", nargs="*", metavar="NN", help="numbers of lectures; all when none is given")
    parser.add_argument("--check", action="store_true", help="build nothing, say what is stale")
    parser.add_argument("--run", action="store_true", help="execute the notebook as it stands into build/")
    parser.add_argument("--force", action="store_true", help="build even what is fresh")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds lectures/ and notebooks/")
    options = parser.parse_args(arguments)
    failures = []
    try:
        paths = lectures(options.root, options.wanted)
    except BuildError as error:
        sys.exit(str(error))
    for path, edition in [(path, edition) for path in paths for edition in EDITIONS]:
        try:
            if options.check:
                failures += [
                    f"{target_of(options.root, path, edition).relative_to(options.root)}: {problem}"
                    for problem in check(options.root, path, edition)
                ]
            elif options.run and edition == "student":
                run(options.root, path)
            elif not options.run and (options.force or stale(options.root, path, edition)):
                build(options.root, path, edition)
        except BuildError as error:
            failures.append(str(error))
    sys.exit("\n".join(failures) if failures else 0)


if __name__ == "__main__":
    main()
