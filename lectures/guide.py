"""The figures in README.md and INSTRUCTORS.md, from the lectures' notes and docs/results: python lectures/guide.py

    python lectures/guide.py            print minutes and costs of each lecture, write them into both files
    python lectures/guide.py --check    exit 1 where a file says something else

Words are written by hand in these files. Of a table that starts with "| | lecture |" the last cells of each row come
from here; so do the minutes in each "03 (86 min)", and their sum in the last cell of a row that holds some.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parent))
import frame  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
NONE = "-"
RESULTS = {  # lecture: words, and where in docs/results their figures stand (means over the seeds)
    "03": ("AP50 {:.2f} on towns", ("quick_towns", "AP50")),
    "04": ("AP50 {:.2f} on towns", ("quick_ssd_towns", "AP50")),
    "05": ("AP50 {:.2f} on towns", ("quick_yolo_v1_towns", "AP50")),
    "06": ("mask AP50 {:.2f} on valley fills", ("quick_mask_rcnn_valley_fills", "AP50")),
    "07": ("F1 {:.2f} on towns, a plain U-Net {:.2f}", ("unet_id_towns", "unet_id", "all", "f1"),
           ("unet_id_towns", "unet", "all", "f1")),
    "08": ("precision {:.2f}, recall {:.2f} on coast", ("dcgan_coast", "precision"), ("dcgan_coast", "recall")),
    "09": ("AUROC {:.2f} for water in real ports, by plain error {:.2f}",
           ("vae_sentinel_coast", "five bands", "scores", "error / variance", "water", "AUROC"),
           ("vae_sentinel_coast", "five bands", "scores", "plain error", "water", "AUROC")),
    "10": ("F1 {:.2f} on maps of towns", ("scenes_seams", "core", "f1")),
}  # fmt: skip


def figure(root, name, *keys):
    """The mean over the stored runs of one figure of docs/results/NAME.json."""
    found = []
    for run in json.loads((root / "docs" / "results" / f"{name}.json").read_text("utf-8"))["runs"]:
        value = run["figures"]
        for key in keys:
            value = value[key]
        found.append(value)
    return fmean(found)


def result(root, number):
    """What the quick budget reaches in a lecture, in words."""
    words, *places = RESULTS.get(number, (NONE,))
    return words.format(*(figure(root, *place) for place in places))


def lectures(root):
    """{number: path} of the lecture sources."""
    return {path.name[:2]: path for path in sorted((root / "lectures").glob("[0-9][0-9]_*.py"))}


def renewed(text, columns, minutes):
    """A Markdown text with its figures as columns {number: cells} and minutes {number: minutes} say."""
    plan = re.compile(r"\b(\d\d) \(\d+ min\)")
    lines, inside = [], False
    for line in text.splitlines():
        inside = line.startswith("| | lecture |") or inside and line.startswith("|")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if inside and cells[0] in columns:
            cells[-len(columns[cells[0]]) :] = columns[cells[0]]
            line = f"| {' | '.join(cells)} |"
        line = plan.sub(lambda one: f"{one[1]} ({minutes[one[1]]} min)", line)
        if line.startswith("|") and (planned := plan.findall(line)):
            line = re.sub(r"[^|]*\|$", f" {sum(minutes[number] for number in planned)} |", line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def texts(root):
    """{file: its text as it should be}."""
    minutes = {number: frame.minutes_of(path) for number, path in lectures(root).items()}
    costs = {number: frame.costs_of(root, number) for number in minutes}
    readme = {number: [str(minutes[number]), costs[number], result(root, number)] for number in minutes}
    instructors = {number: [str(minutes[number])] for number in minutes}
    columns = {"README.md": readme, "INSTRUCTORS.md": instructors}
    return {name: renewed((root / name).read_text("utf-8"), columns[name], minutes) for name in columns}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Renew the figures of README.md and INSTRUCTORS.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds lectures/ and docs/")
    options = parser.parse_args(arguments)
    wanted = texts(options.root)
    old = [name for name, text in wanted.items() if (options.root / name).read_text("utf-8") != text]
    if options.check:
        sys.exit("".join(f"{name}: its figures are out of date: run python lectures/guide.py\n" for name in old) or 0)
    for name in old:
        (options.root / name).write_text(wanted[name], "utf-8")
    for number, path in lectures(options.root).items():
        print(f"{frame.title_of(path):<36} {frame.minutes_of(path):>3} min   {frame.costs_of(options.root, number)}")


if __name__ == "__main__":
    main()
