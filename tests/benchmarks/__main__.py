"""The benchmark table: reads docs/results/*.json, prints it and writes docs/results.md.

    python -m tests.benchmarks            # what is measured, and the commands for what is not
    python -m tests.benchmarks --run      # measures what is missing first (about 40 minutes on two cores)
"""

import argparse
import subprocess
import sys
from statistics import fmean, median

from tests.benchmarks import results, scene_rows, shown_rows, vae_rows
from tests.benchmarks.results import ROOT, interval, runs, values

SEEDS = "0 1 2 3 4"


def quick(name, limit):
    def row():
        scores = values(name, "AP50")
        each = ", ".join(f"{score:.3f}" for score in scores)
        return f"{fmean(scores):.3f} (seeds {seeds(name)}: {each})", min(scores) >= limit

    return row


def seeds(name):
    return " ".join(str(run["seed"]) for run in runs(name))


def ratio(key, limit, name="speed"):
    def row():
        measured = median(values(name, key))
        return f"{measured:.2f}", measured <= limit

    return row


def parity(name, metric):
    def row():
        pairs = zip(values(name, "ours", metric), values(name, "torchvision", metric), strict=True)
        mean, low, high = interval([ours - theirs for ours, theirs in pairs])
        text = f"{mean:+.3f}, 95 % interval [{low:+.3f}, {high:+.3f}] (seeds {seeds(name)})"
        return f"{text}; means: {means(name, metric)}", high >= -0.01

    return row


def means(name, metric):
    systems = [who for who in ("ours", "torchvision", "pretrained") if all(who in run["figures"] for run in runs(name))]
    words = {"pretrained": "ours with the backbone from towns"}
    return ", ".join(f"{words.get(who, who)} {fmean(values(name, who, metric)):.3f}" for who in systems)


def ablation():
    runs_of = [run["figures"] for run in runs("ssd_ablation")]
    each = ", ".join(f"{name} {fmean(run[name]['AP50'] for run in runs_of):.3f}" for name in runs_of[0])
    return each, None


def mask_ablation():
    runs_of = [run["figures"] for run in runs("mask_ablation")]

    def three(name):
        return " / ".join(f"{fmean(run[name][key] for run in runs_of):.3f}" for key in ("AP", "AP50", "AP75"))

    return ", ".join(f"{name} {three(name)}" for name in runs_of[0]), None


def instances(name, which, limit):
    """F1 of instances of both models, and how U-Net-ID stands: by itself, or above the plain U-Net."""
    def row():
        ours, plain = ([one["f1"] for one in values(name, who, which)] for who in ("unet_id", "unet"))
        each = ", ".join(f"{score:.3f}" for score in ours)
        text = f"{fmean(ours):.3f} (seeds {seeds(name)}: {each}), plain U-Net {fmean(plain):.3f}"
        if limit is None:
            return text, None
        return text, min(ours) >= limit if which == "all" else fmean(ours) - fmean(plain) >= limit

    return row


def half_of_ssd():
    scores, ssd = values("quick_yolo_v1_towns", "AP50"), values("quick_ssd_towns", "AP50")
    text, _ = quick("quick_yolo_v1_towns", 0)()
    return text, min(scores) >= fmean(ssd) / 2 if ssd else None


def dense():
    [figures] = values("yolo_dense")[-1:]
    return ", ".join(f"{name} {one['AP50']:.3f}" for name, one in figures.items()), None


def side_by_side(batch):
    def row():
        [figures] = values("side_by_side_towns")[-1:]
        speed = {name: one[f"images_a_second_{batch}"] for name, one in figures.items()}
        each = ", ".join(f"{name} {value:.0f} (AP50 {figures[name]['AP50']:.3f})" for name, value in speed.items())
        return each, speed["yolo_v1"] > speed["ssd"] > speed["faster_rcnn"]

    return row


def notebooks(key, limit, unit):
    def row():
        figures = runs("lectures")[-1]["figures"]
        each = ", ".join(f"{name} {one[key]:.3g}" for name, one in figures.items())
        return f"{each} {unit}", all(one[key] <= limit for one in figures.values())

    return row


def inspectors():
    [figures] = values("widgets")
    each = {name: one["compute_and_draw"] for name, one in figures.items()}
    return ", ".join(f"{name} {value:.0f}" for name, value in each.items()) + " ms", max(each.values()) < 100


def in_browser():
    [figures] = values("redraw")
    each = "; ".join(f"{name}: {one['redraws']}, {one['median']:.2f} s, {one['p95']:.2f} s"
                     for name, one in figures.items() if name != "all")  # fmt: skip
    return f"{figures['all']['p95']:.2f} s (inspector: redraws, median, 95 %: {each})", figures["all"]["p95"] < 0.3


def light():
    [figures] = values("lectures_import")
    text = f"{figures['seconds']:.3f} s, {'with' if figures['torch'] else 'without'} torch"
    return text, figures["seconds"] < 0.2 and not figures["torch"]


def terrain(recipe):
    def row():
        found = values("valley_fills", recipe)[-1]
        steep, relief, span = (found[key] for key in ("slopes of 15 to 35 degrees", "relief in 1 km, median",
                                                      "span as a share of the chip"))
        basins = found["closed basins outside the works"]
        text = f"{steep:.0%}, {relief:.0f} m, {basins}, {found['bifurcation ratio']:.1f}, {span:.0%} of the chip"
        good = steep > 0.5 and 100 <= relief <= 250 and basins == 0 and 0.2 <= span <= 0.6
        return text, good

    return row


def generated(key, good=None, form="{:.2f}"):
    """One figure of DCGAN's samples on coast: the mean, that of each seed, and whether every seed is good(figure)."""
    def row():
        found = values("dcgan_coast", key)
        each = ", ".join(form.format(one) for one in found)
        text = f"{form.format(fmean(found))} (seeds {seeds('dcgan_coast')}: {each})"
        return text, all(map(good, found)) if good else None

    return row


def cloud_gaps(name):
    def row():
        ways = [way for way, one in values(name)[0].items() if isinstance(one, dict)]
        mean = {way: fmean(fmean(figures.values()) for figures in values(name, way)) for way in ways}
        each = ", ".join(f"{way} {value:.4f}" for way, value in mean.items())
        return f"{each} (seeds {seeds(name)})", mean["code search, blended"] < mean["smooth from the edge"]

    return row


def few_labels():
    ways = ["labelled chips alone", "with made-up chips", "with real chips without labels"]
    mean = {way: fmean(values("gan_labels_coast", way)) for way in ways}
    each = ", ".join(f"{way} {value:.3f}" for way, value in mean.items())
    return f"{each} (seeds {seeds('gan_labels_coast')})", mean["with made-up chips"] > mean["labelled chips alone"]


PARITY = "python -m tests.benchmarks.accuracy parity --data {} --seeds " + SEEDS
PARITY_SSD = PARITY.replace("--data", "--model ssd --data")
PARITY_MASK = PARITY.replace("--data", "--model mask_rcnn --data")
DCGAN = "python -m tests.benchmarks.dcgan --seeds 0 1 2"
RGB = "sen2ships --bands red green blue"
TABLE = [  # what, limit, benchmark, its command, its figure in words and whether it is within the limit
    ("towns val, quick budget, 90 s of training: AP50", "at least 0.80", "quick_towns",
     "python -m tests.benchmarks.accuracy quick --data towns --seeds 0 1 2", quick("quick_towns", 0.80)),
    ("training step, batch 8, 128 px: share of torchvision's time", "at most 0.55", "speed",
     "python -m tests.benchmarks.speed", ratio("training", 0.55)),
    ("inference, same setting: share of torchvision's time", "at most 0.60", "speed",
     "python -m tests.benchmarks.speed", ratio("inference", 0.60)),
    ("towns: AP, ours less torchvision, same weights, batches, steps", "interval not wholly below -0.01",
     "parity_towns", PARITY.format("towns"), parity("parity_towns", "AP")),
    ("neon_trees: AP50, ours less torchvision, the same", "interval not wholly below -0.01",
     "parity_neon_trees", PARITY.format("neon_trees"), parity("parity_neon_trees", "AP50")),
    ("SSD, towns val, 90 s of training: AP50", "at least 0.75", "quick_ssd_towns",
     "python -m tests.benchmarks.accuracy quick --model ssd --data towns --seeds 0 1 2",
     quick("quick_ssd_towns", 0.75)),
    ("SSD, training step: share of torchvision's time, same backbone and boxes", "at most 0.80", "speed_ssd",
     "python -m tests.benchmarks.speed --model ssd", ratio("training", 0.80, "speed_ssd")),
    ("SSD, inference: share of torchvision's time", "at most 0.80", "speed_ssd",
     "python -m tests.benchmarks.speed --model ssd", ratio("inference", 0.80, "speed_ssd")),
    ("SSD, towns: AP, ours less torchvision", "interval not wholly below -0.01",
     "parity_ssd_towns", PARITY_SSD.format("towns"), parity("parity_ssd_towns", "AP")),
    ("SSD, sen2ships, red green blue: AP50, ours less torchvision", "interval not wholly below -0.01",
     "parity_ssd_sen2ships_3_bands", PARITY_SSD.format(RGB), parity("parity_ssd_sen2ships_3_bands", "AP50")),
    ("SSD, sen2ships, five bands: AP50, ours less torchvision", "interval not wholly below -0.01",
     "parity_ssd_sen2ships", PARITY_SSD.format("sen2ships"), parity("parity_ssd_sen2ships", "AP50")),
    ("SSD after 300 steps on towns, without one of its parts: AP50", "-", "ssd_ablation",
     "python -m tests.benchmarks.ssd_ablation --seeds 0 1 2", ablation),
    ("Mask R-CNN, valley_fills val, 120 s of training: mask AP50", "at least 0.75", "quick_mask_rcnn_valley_fills",
     "python -m tests.benchmarks.accuracy quick --model mask_rcnn --data valley_fills --seeds 0 1 2",
     quick("quick_mask_rcnn_valley_fills", 0.75)),
    ("Mask R-CNN, training step: share of torchvision's time, same backbone and heads", "at most 0.50",
     "speed_mask_rcnn", "python -m tests.benchmarks.speed --model mask_rcnn",
     ratio("training", 0.50, "speed_mask_rcnn")),
    ("Mask R-CNN, inference with 100 instances a chip: share of torchvision's time", "at most 0.40", "speed_mask_rcnn",
     "python -m tests.benchmarks.speed --model mask_rcnn", ratio("inference", 0.40, "speed_mask_rcnn")),
    ("Mask R-CNN, buildings: mask AP50, ours less torchvision", "interval not wholly below -0.01",
     "parity_mask_rcnn_buildings", PARITY_MASK.format("buildings"), parity("parity_mask_rcnn_buildings", "AP50")),
    ("Mask R-CNN after 300 steps on towns, one part changed: mask AP / AP50 / AP75", "-", "mask_ablation",
     "python -m tests.benchmarks.mask_ablation --seeds 0 1 2", mask_ablation),
    ("YOLO v1, towns val, 90 s of training: AP50", "at least half of SSD's", "quick_yolo_v1_towns",
     "python -m tests.benchmarks.accuracy quick --model yolo_v1 --data towns --seeds 0 1 2", half_of_ssd),
    ("YOLO v1 after 90 s, fully connected layers that start as a copy, at random, none: AP50", "-", "yolo_dense",
     "python -m tests.benchmarks.yolo_dense", dense),
    ("U-Net-ID, buildings of towns val, 120 s of training: F1 of instances at IoU 0.5", "at least 0.80",
     "unet_id_towns", "python -m tests.benchmarks.instances --data towns --seeds 0 1 2",
     instances("unet_id_towns", "all", 0.80)),
    ("the same on chips where buildings touch, both trained as long", "0.05 above the plain U-Net", "unet_id_towns",
     "python -m tests.benchmarks.instances --data towns --seeds 0 1 2", instances("unet_id_towns", "touching", 0.05)),
    ("U-Net-ID, real buildings val, 120 s of training: F1 of instances at IoU 0.5", "-", "unet_id_buildings",
     "python -m tests.benchmarks.instances --data buildings --seeds 0", instances("unet_id_buildings", "all", None)),
    ("DCGAN, coast, 120 s of training: way from ceiling to floor of the Frechet distance on course features",
     "at least 70 %", "dcgan_coast", DCGAN, generated("closed", lambda share: share >= 0.7, "{:.0%}")),
    ("the same: recall, 3 nearest neighbours", "over 0.3", "dcgan_coast", DCGAN,
     generated("recall", lambda share: share > 0.3)),
    ("the same: samples nearer to a training chip than 99 % of held-out chips", "at most 5 %", "dcgan_coast", DCGAN,
     generated("memorised", lambda share: share <= 0.05, "{:.1%}")),
    ("the same: precision", "-", "dcgan_coast", DCGAN, generated("precision")),
    ("classifier of land cover whose features these are: accuracy on scenes not trained on", "-", "dcgan_coast", DCGAN,
     generated("classifier_accuracy", form="{:.3f}")),
    ("DCGAN, training step, batch 64: share of the same networks' time in plain torch", "at most 1", "gan_speed",
     "python -m tests.benchmarks.gan_speed", ratio("training", 1, "gan_speed")),
    ("cloud gaps in real chips of ports not trained on: RMSE of reflectance, mean of five bands", "below smooth fill",
     "gan_gaps_sentinel_coast", "python -m tests.benchmarks.gan_uses gaps --data sentinel_coast --seeds 0 1 2",
     cloud_gaps("gan_gaps_sentinel_coast")),
    ("the same on coast's held-out scenes", "below smooth fill", "gan_gaps_coast",
     "python -m tests.benchmarks.gan_uses gaps --data coast --seeds 0 1 2", cloud_gaps("gan_gaps_coast")),
    ("classifier of land cover with 10 labelled chips a class: accuracy", "better with made-up chips",
     "gan_labels_coast", "python -m tests.benchmarks.gan_uses labels --data coast --seeds 0 1 2 3 4", few_labels),
    ("images a second, one at a time, after 90 s of training each", "YOLO v1 > SSD > Faster R-CNN",
     "side_by_side_towns", "python -m tests.benchmarks.side_by_side", side_by_side(1)),
    ("images a second, 16 at once, the same", "YOLO v1 > SSD > Faster R-CNN",
     "side_by_side_towns", "python -m tests.benchmarks.side_by_side", side_by_side(16)),
    *vae_rows.ROWS,
    *shown_rows.ROWS,
    *scene_rows.ROWS,
    ("each notebook under nbval, quick: seconds", "at most 120", "lectures",
     "python -m tests.benchmarks.lectures", notebooks("seconds", 120, "s")),
    ("training in a notebook, together: seconds", "at most 60", "lectures",
     "python -m tests.benchmarks.lectures", notebooks("training_seconds", 60, "s")),
    ("peak memory of a quick lecture", "at most 2 GB", "lectures",
     "python -m tests.benchmarks.lectures", notebooks("gigabytes", 2, "GB")),
    ("inspectors: compute and draw, median milliseconds", "under 100", "widgets",
     "python -m tests.benchmarks.widgets", inspectors),
    ("inspectors in JupyterLab, from a control's move to the new picture in the page: 95th percentile", "under 0.3 s",
     "redraw", "python -m tests.benchmarks.redraw", in_browser),
    *((f"{name}: slopes of 15-35 degrees, relief in 1 km, closed basins, bifurcation ratio, span of the median face",
       "over half, 100-250 m, 0, -, 20-60 %", "valley_fills", "python -m tests.benchmarks.valley_fills",
       terrain(recipe)) for name, recipe in (("valley_fills", "quick"), ("valley_fills_512", "full"))),
    ("import geodl_course", "under 0.2 s, without torch", "lectures_import",
     "python -m tests.benchmarks.lectures", light),
]


def rendered():
    """The table as Markdown, below it where and how each figure was measured."""
    lines = ["# Measured", "", "Rendered by `python -m tests.benchmarks` from `docs/results/*.json`.", "",
             "| what | limit | measured | |", "|---|---|---|---|"]
    for what, limit, name, command, row in TABLE:
        text, good = row() if runs(name) else (f"not yet: `{command}`", None)
        lines.append(f"| {what} | {limit} | {text} | {'-' if good is None else 'yes' if good else '**no**'} |")
    named = {name for _, _, name, _, _ in TABLE}
    for path in sorted(results.folder().glob("*.json")):  # measured, and no row is written for it
        if path.stem not in named:
            lines.append(f"| {path.stem} | - | [its figures](results/{path.name}) | - |")
    lines += ["", "## How", "", "| benchmark | command | seeds | commit | machine | torch |", "|---" * 6 + "|"]
    for path in sorted(results.folder().glob("*.json")):
        stored = results.read(path.stem)
        last = stored["runs"][-1]
        commits = ", ".join(dict.fromkeys(run["commit"] for run in stored["runs"]))
        machine = f"{last['device']}, {last['threads']} threads"
        names = " ".join(str(run["seed"]) for run in stored["runs"] if run["seed"] is not None) or "-"
        lines.append(f"| {path.stem} | `{stored['command']}` | {names} | {commits} | {machine} | {last['torch']} |")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="store_true", help="measure what is missing first")
    if parser.parse_args(arguments).run:
        for command in dict.fromkeys(command for _, _, name, command, _ in TABLE if not runs(name)):
            print(command, flush=True)
            subprocess.run([sys.executable, *command.split()[1:]], cwd=ROOT, check=True)
    table = rendered()
    (results.folder().parent / "results.md").write_text(table, "utf-8")
    print(table)


if __name__ == "__main__":
    main()
