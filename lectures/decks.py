"""Decks to present: notebooks/NN_slug.ipynb -> slides/NN_slug.html, an index with the minutes, and one archive.

    python lectures/decks.py [NN ...]       build the decks that have a notebook; all when no number is given
    python lectures/decks.py --handouts     also a PDF of each deck, printed by a Chromium

A deck loads nothing from outside: reveal.js (from npm) and MathJax (from the nbclassic wheel) are fetched once, checked
and kept in slides/assets. Copy the folder to a stick and open index.html. In a deck S opens the speaker view.
"""

import argparse
import hashlib
import html
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import nbformat
from deck_notebook import deck

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "lectures" / "deck_template"
REVEAL, REVEAL_SHA = "5.2.1", "359b575dd51bbda32f89b2fd4c7dc46ad7389a805572158916c29252f7a27333"
NBCLASSIC, NBCLASSIC_SHA = "1.3.3", "dcee5149aa6aa01846c7458d6394b29b325213b5e118ee14c80d689122e0e4f2"
MATHJAX = "nbclassic/static/components/MathJax/"
MATHJAX_PARTS = ("MathJax.js", "extensions/tex2jax.js", "extensions/TeX/AMS", "extensions/MathEvents.js",
                 "jax/input/TeX", "jax/element", "jax/output/SVG")  # fmt: skip
REVEAL_PARTS = {
    "dist/reveal.css": "reveal.css", "dist/reveal.js": "reveal.js", "plugin/notes/notes.js": "notes.js",
    "LICENSE": "LICENSE", "dist/theme/fonts/source-sans-pro/": "source-sans-pro/",
}  # fmt: skip


class DeckError(Exception):
    """Decks that cannot be built; the message names what is missing and the next step."""


# --- what the decks need to run ---------------------------------------------------------------------------------------


def assets(folder):
    """Fetch reveal.js and MathJax into `folder` unless they are there; copy the decks' style and script."""
    for name, fetch, version in (("reveal", fetch_reveal, REVEAL_SHA), ("mathjax", fetch_mathjax, NBCLASSIC_SHA)):
        stamp = folder / name / "sha256.txt"
        if not stamp.exists() or stamp.read_text("utf-8") != version:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, suffix=".part") as part:
                fetch(Path(part), Path(part) / name)
                (Path(part) / name / stamp.name).write_text(version, "utf-8")
                shutil.rmtree(folder / name, ignore_errors=True)
                (Path(part) / name).rename(folder / name)
    for name in ("deck.css", "deck.js"):
        shutil.copy(TEMPLATE / name, folder)


def fetch_reveal(work, target):
    """reveal.js from the npm registry: its script and style, the notes plugin, one font."""
    npm = shutil.which("npm")
    if npm is None:
        raise DeckError("the decks need reveal.js, which comes with npm, and npm is not installed here.\n"
                          "Install Node.js (nodejs.org; on Debian and Ubuntu apt-get install npm), then run make "
                          "slides again; or copy the folder slides/assets from a machine where it ran.")  # fmt: skip
    fetched([npm, "pack", "--silent", f"reveal.js@{REVEAL}"], work, f"reveal.js-{REVEAL}.tgz", REVEAL_SHA)
    with tarfile.open(work / f"reveal.js-{REVEAL}.tgz") as archive:
        for member in archive.getmembers():
            name = member.name.removeprefix("package/")
            start = next((start for start in REVEAL_PARTS if name.startswith(start)), None)
            if start and member.isfile() and not name.endswith(".map"):
                place = target / (REVEAL_PARTS[start] + name.removeprefix(start))
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.extractfile(member).read())


def fetch_mathjax(work, target):
    """MathJax 2.7 from the nbclassic wheel: what turns TeX into SVG."""
    wheel = f"nbclassic-{NBCLASSIC}-py3-none-any.whl"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"nbclassic=={NBCLASSIC}"]
    fetched(command, work, wheel, NBCLASSIC_SHA)
    with zipfile.ZipFile(work / wheel) as archive:
        for name in archive.namelist():
            part = name.removeprefix(MATHJAX)
            if name.startswith(MATHJAX) and part.startswith(MATHJAX_PARTS) and not name.endswith("/"):
                (target / part).parent.mkdir(parents=True, exist_ok=True)
                (target / part).write_bytes(archive.read(name))


def fetched(command, work, name, wanted):
    """Run a client of a registry in `work`; the file it leaves must be the one that the decks were tested with."""
    told = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if told.returncode or not (work / name).exists():
        why = " ".join(told.stderr.split())[-300:]
        raise DeckError(f"{name} could not be had ({why}). It is needed once: run make slides with the network on, "
                          "or copy the folder slides/assets from a machine where it ran.")  # fmt: skip
    found = hashlib.sha256((work / name).read_bytes()).hexdigest()
    if found != wanted:
        raise DeckError(f"{name} has the hash {found}, expected {wanted}: not the file that was tested; try again.")


# --- decks ------------------------------------------------------------------------------------------------------------


def build(path, target):
    """Write the deck of a notebook; returns its slides (`deck_notebook.deck`)."""
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    notebook, slides = deck(nbformat.read(path, as_version=4))
    exporter = SlidesExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        config=Config({"HTMLExporter": {"exclude_input_prompt": True, "exclude_output_prompt": True}}),
    )
    part = target.with_suffix(".html.part")
    part.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
    part.replace(target)
    return slides


def slides_in(path):
    """The slides of a notebook whose deck stands already, for the index."""
    return deck(nbformat.read(path, as_version=4))[1]


def index(folder, decks):
    """Write index.html: the lectures with links, minutes and, folded away, the minutes of each slide."""
    rows, total = "", 0
    for name, slides in decks.items():
        minutes, pages = (sum(slide[key] for slide in slides) for key in ("minutes", "pages"))
        total += minutes
        handout = f'<a href="{name}.pdf">PDF</a>' if printed(folder / f"{name}.pdf") else ""
        plan = "".join(f"<tr><td>{html.escape(s['title'])}</td><td>{s['minutes']}</td><td>{s['pages']}</td></tr>"
                       for s in slides)  # fmt: skip
        link = f'<a href="{name}.html">{html.escape(slides[0]["title"])}</a>'
        fold = f"<details><summary>minutes of each slide</summary><table>{plan}</table></details>"
        rows += f"<tr><td>{link}{fold}</td><td>{minutes}</td><td>{pages}</td><td>{handout}</td></tr>\n"
    page = (TEMPLATE / "overview.html").read_text(encoding="utf-8")
    page = page.replace("ROWS", rows).replace("TOTAL", f"{total} ({total / 60:.1f} hours)")
    (folder / "index.html").write_text(page, encoding="utf-8")


def printed(handout):
    """Whether a PDF is there and was printed from its deck as it is now."""
    deck = handout.with_suffix(".html")
    return handout.exists() and deck.exists() and handout.stat().st_mtime >= deck.stat().st_mtime


def archive(folder):
    """Write geodl_course_slides.zip beside the decks: all that a stick needs, no PDF older than its deck."""
    part = folder / "geodl_course_slides.zip.part"
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if path.suffix not in (".zip", ".part") and (path.suffix != ".pdf" or printed(path)):
                packed.write(path, Path("geodl_course_slides") / path.relative_to(folder))
    part.replace(folder / "geodl_course_slides.zip")


def handouts(folder, names):
    """Print each deck to PDF, one page of the deck a sheet, as the browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise DeckError("the hand-outs are printed by a Chromium, and none was found: install chromium, then run "
                          "make handouts again. The decks themselves are built.")  # fmt: skip
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in names:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"{(folder / name).as_uri()}.html?handout")
            page.wait_for_selector("body.handout")
            page.pdf(path=folder / f"{name}.pdf", width="1280px", height="720px", print_background=True)
            page.close()
        browser.close()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Build the decks from the executed notebooks.")
    parser.add_argument("wanted", nargs="*", metavar="NN", help="numbers of lectures; all when none is given")
    parser.add_argument("--handouts", action="store_true", help="also a PDF of each deck")
    parser.add_argument("--assets", action="store_true", help="only fetch what the decks need to run")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="the folder with executed notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "slides", help="the folder to build into")
    options = parser.parse_args(arguments)
    paths = sorted(options.notebooks.glob("[0-9][0-9]_*.ipynb"))
    try:
        missing = set(options.wanted) - {path.name[:2] for path in paths}
        if missing:
            raise DeckError(f"no notebook {', '.join(sorted(missing))} in {options.notebooks}; build it with make "
                              "notebooks.")  # fmt: skip
        assets(options.out / "assets")
        if options.assets:
            return
        built = {}
        for path in [path for path in paths if not options.wanted or path.name[:2] in options.wanted]:
            built[path.stem] = slides = build(path, options.out / f"{path.stem}.html")
            minutes, pages = (sum(slide[key] for slide in slides) for key in ("minutes", "pages"))
            print(f"{path.stem:<24} {minutes:>4} min {len(slides):>3} slides {pages:>3} pages")
        if options.handouts:
            handouts(options.out, built)
        there = [path for path in paths if (options.out / f"{path.stem}.html").exists()]
        index(options.out, {path.stem: built.get(path.stem) or slides_in(path) for path in there})
        archive(options.out)
        old = [path.stem for path in there if (pdf := options.out / f"{path.stem}.pdf").exists() and not printed(pdf)]
        if old:
            print(f"older than their decks, so neither in the index nor in the zip: the PDFs of {', '.join(old)}; "
                  "print them anew with make handouts")  # fmt: skip
        print(f"open {options.out / 'index.html'}; for a stick: {options.out / 'geodl_course_slides.zip'}")
    except DeckError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
