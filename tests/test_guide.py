"""README, INSTRUCTORS, glossary and project sheet say what lectures, catalogue and stored results say."""

import re
import sys
from pathlib import Path

import pytest

from geodl_course.datasets.download import entry

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY / "lectures"))
import frame  # noqa: E402
import guide  # noqa: E402

LECTURES = guide.lectures(REPOSITORY)
SOURCES = {number: path.read_text() for number, path in LECTURES.items()}
PAGES = ["README.md", "INSTRUCTORS.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/final_project.md"]
REAL = ("neon_trees", "sen2ships", "buildings", "sentinel_coast", "eurosat", "vfill")
each_lecture = pytest.mark.parametrize("number", LECTURES)


def code_of(source):
    """The code of a lecture source, its Markdown left out."""
    return "\n".join(line for line in source.splitlines() if not line.startswith("#"))


def test_the_figures_are_those_of_the_notes_and_the_stored_results():
    for name, text in guide.texts(REPOSITORY).items():
        assert (REPOSITORY / name).read_text() == text, f"{name}: run python lectures/guide.py"


def test_old_figures_are_renewed_and_words_kept():
    text = "| | lecture | minutes |\n|---|---|---|\n| 03 | Faster | 1 |\n\n| 03 | words |\n"
    text += "| day | 03 (1 min), 04 (2 min) | 9 |\n"
    new = guide.renewed(text, {"03": ["86"]}, {"03": 86, "04": 92})
    assert new == (
        "| | lecture | minutes |\n|---|---|---|\n| 03 | Faster | 86 |\n\n| 03 | words |\n"
        "| day | 03 (86 min), 04 (92 min) | 178 |\n"
    )
    assert guide.renewed(new, {"03": ["86"]}, {"03": 86, "04": 92}) == new


def test_every_lecture_has_its_row_in_both_tables():
    for name in ("README.md", "INSTRUCTORS.md"):
        table = (REPOSITORY / name).read_text().partition("| | lecture |")[2].partition("\n\n")[0]
        assert re.findall(r"^\| (\d\d) \|", table, re.M) == list(LECTURES), name


@each_lecture
def test_a_lecture_promises_about_the_time_that_its_notes_plan(number):
    told = re.search(r"\*\*Time:\*\* (\d+) minutes", SOURCES[number])
    assert number == "00" or abs(int(told[1]) - frame.minutes_of(LECTURES[number])) <= 10


@each_lecture
def test_five_quick_questions_are_answered_in_the_notes(number):
    asked = re.split(r"quick questions\b", SOURCES[number], flags=re.I)
    assert len(asked) == 2, "questions stand once"
    questions, _, notes = asked[1].partition('{"slide_type": "notes"}')
    assert re.findall(r"^# (\d)\. ", questions, re.M) == list("12345")
    answers = notes.partition("\n# %%")[0]
    assert [int(found) for found in re.findall(r"\b([1-5]):\s", answers)] == [1, 2, 3, 4, 5]


@each_lecture
def test_each_reference_has_a_doi_that_could_be_one(number):
    references = re.split(r"References|Where this comes from", SOURCES[number])[-1]
    for one in re.findall(r"^# (?:- |\[)(.+(?:\n#   .+)*)", references, re.M) if number != "00" else []:
        doi = re.search(r"doi(?:\.org/|:)(10\.\d{4,9}/[\w.()/-]*\w)(?:\)|;|$)", one)
        assert doi or "openreview.net" in one or "(no DOI)" in one, one
        assert "arXiv" not in one or re.search(r"10\.48550/arXiv\.\d{4}\.\d{4,5}\b", one), one


@each_lecture
def test_fill_in_exercises_stand_in_order_and_each_is_checked(number):
    asked = re.findall(rf"\*\*(?:Exercise )?({number}\.\d)\.?\*\*", SOURCES[number])
    assert asked == re.findall(r'check\("(\d\d\.\d)"', SOURCES[number])
    assert asked == [f"{number}.{k}" for k in range(1, len(asked) + 1)] and 3 <= len(asked) <= 5 or number == "00"


@each_lecture
def test_a_lecture_runs_without_the_net(number):
    code = code_of(SOURCES[number])
    assert not re.search(r"\bfetch\(|\b(urllib|requests|pooch|httpx|socket)\b", code)
    made = set(re.findall(r"\bmake\(\"(\w+)\"", code))
    assert not made & set(REAL), "real data are found where they are, never fetched"


def test_one_module_alone_speaks_to_the_net():
    client = r"^\s*(?:import|from) .*\b(?:urllib|requests|pooch|httpx|socket|huggingface_hub)\b"
    package = (REPOSITORY / "geodl_course").rglob("*.py")
    assert {path.name for path in package if re.search(client, path.read_text("utf-8"), re.M)} == {"download.py"}


@each_lecture
def test_who_shows_real_imagery_prints_its_credit(number):
    code = code_of(SOURCES[number])
    shown = [name for name in REAL if re.search(rf'"{name}"', code)]
    assert not shown or re.search(r"citation.*licence", code), f"{shown}: print their citation and licence"


def test_the_live_cells_of_all_widgets_are_listed():
    text = (REPOSITORY / "INSTRUCTORS.md").read_text()
    listed = re.findall(r"^\| (\d\d) \| ([^|]+) \| `(widgets\.\w+\()` \| [^|]{9,} \|$", text, re.M)
    found = []
    for number, source in SOURCES.items():
        for call in re.finditer(r"^widgets\.\w+\(", source, re.M):
            heading = re.findall(r"^# ##+ (?:\d+ · )?(.+)$", source[: call.start()], re.M)[-1]
            found.append((number, heading, call[0]))
    assert listed == found


def test_terms_of_the_glossary_occur_in_the_lecture_that_they_name():
    rows = re.findall(r"^\| (.+?) \| .+ \| \[(\d\d)\]\(\.\./notebooks/(.+)\.ipynb\) \|$",
                      (REPOSITORY / "docs/glossary.md").read_text(), re.M)  # fmt: skip
    assert len(rows) >= 40 and len({term for term, _, _ in rows}) == len(rows)
    for term, number, name in rows:
        assert LECTURES[number].stem == name
        assert re.search(rf"\b{re.escape(term)}", SOURCES[number], re.I), f"{term!r} is not in lecture {number}"


def test_the_project_sheet_offers_three_real_sets_and_a_hundred_points():
    text = (REPOSITORY / "docs/final_project.md").read_text()
    offered = re.findall(r"^\| (\w+) \| .*`python data_scripts/fetch\.py (\w+)` \| (.+) \|$", text, re.M)
    assert len(offered) == 3
    for name, fetched, licence in offered:
        assert name == fetched and name in REAL and f"{entry(name)['megabytes']} MB: `" in text
        for part in re.findall(r"\b(?:MIT|CC0|ODbL 1\.0)", licence):
            assert part in entry(name)["licence"]
    assert sum(map(int, re.findall(r"^\| [^|]+\((\d+)\) \|", text, re.M))) == 100


def test_make_models_makes_what_a_lecture_keeps_and_tests_wait_for_it():
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    kept = {}
    for number, source in SOURCES.items():
        steps = re.search(r"\bsteps=\((\d+),", source)
        for name in re.findall(r'"runs" / f"(\w+_)\{budget\.steps\}"', source):
            kept[f"runs/{name}{steps[1]}/model.safetensors"] = number
        assert ("checkpoint=" in code_of(source)) == (number in kept.values()), f"{number} keeps a model elsewhere"
    made = re.search(r"^MODEL +:= (\S+)$", makefile, re.M)[1]
    recipe = re.search(r"^\$\(MODEL\):.*\n\t.*build\.py --run (\d\d)$", makefile, re.M)
    assert kept == {made: recipe[1]}
    assert "models" in re.search(r"^test: (.+)$", makefile, re.M)[1].split()


def test_the_readme_pins_torch_as_the_constraints_do_and_starts_jupyter_where_all_links_work():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    pins = dict(re.findall(r"^(torch|torchvision)==(\S+)", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.M))
    named = re.findall(r"\b(torch|torchvision)==(\S+)", readme)
    assert len(named) == 4 and set(named) == set(pins.items())
    assert not re.search(r"jupyter lab \S*notebooks", readme), "its root would be notebooks/, and the glossary outside"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = REPOSITORY / page
    text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(), flags=re.S)
    for address in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        built_later = re.fullmatch(r".*notebooks/(solutions/)?(\d\d)_\w+\.ipynb", address)
        known = built_later and built_later[2] in LECTURES
        assert known or address.startswith("https://") or (path.parent / address).exists(), address


def test_the_picture_is_drawn_from_stored_results(tmp_path):
    from tests.benchmarks import picture

    target = picture.draw(tmp_path / "results.png")
    assert target.stat().st_size > 20_000 and all(picture.values(*ours) for _, ours, _, _ in picture.ROWS)
