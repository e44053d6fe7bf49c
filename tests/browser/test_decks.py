"""Every page of every deck in a real browser with the network off: nothing cut, nothing missing, notes on each page.

Offenders are listed by deck, page and title; pictures of their pages are kept in build/browser.
"""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lectures"))
import decks  # noqa: E402

CHROMIUM = shutil.which("chromium")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
FAILURES = ROOT / "build" / "browser"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: the decks were not looked at in a browser"),
    pytest.mark.skipif(
        not (ROOT / "slides" / "assets" / "mathjax").is_dir(),
        reason="the decks were not looked at: make slides could not fetch reveal.js and MathJax on this machine",
    ),
]

# What is wrong with the page that Reveal shows: a list of sentences.
LOOK = r"""() => {
  const page = Reveal.getCurrentSlide(), frame = page.getBoundingClientRect(), found = [];
  const body = page.querySelector(".body"), blocks = [...body.children];
  const name = e => `${e.tagName.toLowerCase()} ${(e.className.baseVal ?? e.className) || ""}`.trim()
    + ` "${e.textContent.trim().slice(0, 30)}"`;
  if (Math.abs(frame.width - 1280) > 1 || Math.abs(frame.height - 720) > 1)
    found.push(`the page has ${frame.width} x ${frame.height} px`);
  if (!blocks.length) found.push("the page is empty");
  for (const e of page.querySelectorAll("header *, .body, .body *")) {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest("svg, .MathJax_Preview, script, style")) continue;
    if (box.bottom > 694 || box.right > 1281 || box.left < -1 || box.top < -1)
      found.push(`${name(e)} reaches ${Math.round(box.right)}, ${Math.round(box.bottom)}`);
    if (getComputedStyle(e).overflow !== "visible"
        && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1))
      found.push(`${name(e)} is cut or scrolls`);
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const least = e.closest("sub, sup") ? 10 : 16;
    if (own && parseFloat(getComputedStyle(e).fontSize) < least)
      found.push(`${name(e)} has ${getComputedStyle(e).fontSize}`);
  }
  blocks.forEach((a, i) => blocks.slice(i + 1).forEach(b => {
    const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
        && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1) found.push(`${name(a)} lies over ${name(b)}`);
  }));
  for (const code of page.querySelectorAll(".code pre")) {
    const lines = code.textContent.trimEnd().split("\n").length;
    if (lines > 20) found.push(`${lines} lines of code`);
  }
  for (const picture of page.querySelectorAll("img")) {
    if (!picture.complete || !picture.naturalWidth) found.push("a picture is missing");
    else if (picture.alt.length < 40) found.push(`a picture with the alternative text "${picture.alt}"`);
    else if (Math.min(picture.clientWidth / picture.naturalWidth, picture.clientHeight / picture.naturalHeight) < 0.7)
      found.push(`a picture of ${picture.naturalWidth} x ${picture.naturalHeight} px shown at `
        + `${picture.clientWidth} x ${picture.clientHeight}`);
  }
  if (page.querySelector(".MathJax_Error, .merror, .noError")) found.push("a formula that MathJax cannot read");
  for (const e of body.querySelectorAll(".text p, .text li, .text td"))
    if (/\$[^$]+\$|\\[a-z]{2,}/.test([...e.childNodes].map(n => n.nodeType === 3 ? n.data : "").join("")))
      found.push(`a formula was not set: ${e.textContent.trim().slice(0, 40)}`);
  const notes = page.querySelector("aside.notes");
  if (!notes || notes.textContent.replace(/\s+/g, " ").trim().length < 40) found.push("no presenter notes");
  return found;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `make slides` builds, in a folder of its own."""
    folder = tmp_path_factory.mktemp("slides")
    shutil.copytree(ROOT / "slides" / "assets", folder / "assets")
    decks.main(["--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def opened(browser, address, told):
    """A page with the deck, the network off; all that goes wrong or asks for something outside goes into `told`."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    page = context.new_page()
    page.on("console", lambda said: told.append(f"console: {said.text}") if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("requestfailed", lambda request: told.append(f"not found: {request.url[:150]}"))
    page.on("request", lambda request: told.append(f"loaded from outside: {request.url}")
            if not request.url.startswith(("file:", "data:", "blob:", "about:")) else None)  # fmt: skip
    page.goto(address)
    page.wait_for_function("window.Reveal && Reveal.isReady()", timeout=30_000)
    return page


def offenders(browser, path):
    """What is wrong with a deck, one line each; each page is shown once, those with a fault are kept as pictures."""
    found = []
    page = opened(browser, path.as_uri(), found)
    for number in range(1, page.evaluate("Reveal.getTotalSlides()") + 1):
        faults = page.evaluate(LOOK)
        if faults:
            title = page.evaluate("Reveal.getCurrentSlide().querySelector('h2').innerText.replace(/\\s+/g, ' ')")
            found += [f"{path.stem} page {number} ({title}): {fault}" for fault in faults]
            FAILURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=FAILURES / f"{path.stem}_{number:02}.png")
        page.evaluate("Reveal.next()")
    assert page.evaluate("Reveal.isLastSlide()"), f"{path.stem}: not every page was visited"
    page.context.close()
    return found


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_every_page_fits_and_has_notes(name, folder, browser):
    found = offenders(browser, folder / f"{name}.html")
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_deck_names_nothing_outside_that_a_browser_would_load(name, folder):
    text = (folder / f"{name}.html").read_text("utf-8")
    loads = re.findall(r"""<(?:script|link|img|iframe|video|source)\b[^>]*?\b(?:src|href)=["']([^"']{0,80})""", text)
    assert loads
    assert not [address for address in loads if not address.startswith(("assets/", "data:image/"))]
    assert "@import" not in text and "url(http" not in text


def test_the_index_leads_to_every_deck_and_all_of_it_is_packed(folder, browser):
    told = []
    page = browser.new_context(offline=True).new_page()
    page.on("requestfailed", lambda request: told.append(request.url))
    page.goto((folder / "index.html").as_uri())
    rows = page.locator("body > table > tbody > tr:has(a)")
    for row, path in zip(rows.all(), NOTEBOOKS, strict=True):
        assert row.locator("a").first.get_attribute("href") == f"{path.stem}.html"
        assert int(row.locator("> td").nth(1).inner_text()) > 0
    assert not told, told
    page.context.close()
    with zipfile.ZipFile(folder / "geodl_course_slides.zip") as packed:
        names = {name.removeprefix("geodl_course_slides/") for name in packed.namelist()}
    wanted = {path.relative_to(folder).as_posix() for path in (folder / "assets").rglob("*") if path.is_file()}
    assert wanted | {"index.html"} | {f"{path.stem}.html" for path in NOTEBOOKS} <= names


def test_a_handout_has_a_sheet_for_each_page(folder, browser):
    page = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True).new_page()
    page.goto(f"{(folder / NOTEBOOKS[0].stem).as_uri()}.html?handout")
    page.wait_for_selector("body.handout")
    sheets = page.evaluate("""() => [...document.querySelectorAll(".slides section section")].map(sheet => {
        const box = sheet.getBoundingClientRect();
        return [box.left, box.top + scrollY, box.width, box.height];
    })""")
    assert sheets == [[0, 720 * i, 1280, 720] for i in range(len(sheets))]
    paper = page.pdf(width="1280px", height="720px", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == len(sheets) > 10
    page.context.close()


def test_the_speaker_view_shows_notes_and_clock(folder, browser):
    told = []
    page = opened(browser, (folder / f"{NOTEBOOKS[3].stem}.html").as_uri(), told)
    page.evaluate("Reveal.slide(2)")
    with page.context.expect_page() as popup:
        page.keyboard.press("s")
    view = popup.value
    notes = view.locator(".speaker-controls-notes .value")
    for _ in range(2):
        wanted = page.evaluate("Reveal.getCurrentSlide().querySelector('aside.notes').textContent.trim().slice(-40)")
        view.wait_for_function("wanted => document.querySelector('.speaker-controls-notes .value').textContent"
                               ".includes(wanted)", arg=wanted, timeout=20_000)  # fmt: skip
        page.evaluate("Reveal.next()")
    assert notes.is_visible()
    assert re.match(r"\d+:\d\d", view.locator(".clock-value").inner_text())
    view.locator(".speaker-controls-time .pacing").wait_for(timeout=20_000)  # behind or ahead of the planned minutes
    assert not told, told
    page.context.close()


def test_a_crowded_page_is_found_out(folder, browser):
    """The rules are worth something only if a page that breaks them is named."""
    cell, many = nbformat.v4.new_markdown_cell, " ".join(f"word{i}" for i in range(900))
    start, noted = ({"slideshow": {"slide_type": kind}} for kind in ("slide", "notes"))
    notes = cell("> (1 min) Notes long enough to be notes, though of no use.", metadata=noted)
    cells = [cell("# 99 · Crowded\n\ntext", metadata=start), notes, cell(f"## Full\n\n{many}", metadata=start)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "crowded.ipynb")
    decks.build(folder / "crowded.ipynb", folder / "99_crowded.html")
    found = "\n".join(offenders(browser, folder / "99_crowded.html"))
    assert "page 3 (Full): div text" in found and "page 3 (Full): no presenter notes" in found
    assert "page 1" not in found
    assert (FAILURES / "99_crowded_03.png").exists()
    for picture in FAILURES.glob("99_crowded_*.png"):
        picture.unlink()
