"""Rows of the benchmark table on maps of scenes, generated and real: what the stored runs say, in words."""

from statistics import fmean, median

from tests.benchmarks.results import runs

WORDS = {"zero_shot": "towns alone", "fine_tuned": "then fine-tuned", "scratch": "real chips alone"}
PLACES = {
    "ships": "Faster R-CNN over the port of Busan, vessels", "trees": "Faster R-CNN over four plots of OSBS, trees",
    "buildings": "Mask R-CNN over a quarter of Kampala, buildings",
}


def real_scenes(which):
    """F1 and AP of the map that each model makes, means over the seeds."""
    def row():
        stored = runs(f"real_scenes_{which}")
        parts = []
        for how, words in WORDS.items():
            found = [run["figures"][how] for run in stored if how in run["figures"]]
            mean = [f"{fmean(one[key] for one in found):.2f}" for key in ("f1", "AP50")] if found else ["not yet"]
            parts.append(f"{words} {' / '.join(mean)}")
        return f"{', '.join(parts)} (seeds {' '.join(str(run['seed']) for run in stored)})", None

    return row


def last(which):
    return runs(f"scenes_{which}")[-1]["figures"]


def whole_scene():
    chips, scene = last("seams")["chips"]["f1"], last("seams")["parts"]["f1"]
    return f"{scene:.3f}, chips {chips:.3f}", scene >= chips - 0.01


def twice():
    """Objects that are on the map more than once under each rule, of all."""
    found = {way: last("seams")[way]["in_pieces"] / last("seams")["objects"] for way in ("parts", "core", "nms")}
    return ", ".join(f"{way} {share:.2%}" for way, share in found.items()), found["parts"] < 0.005


def outside():
    figures = last("seams")["parts"]
    each = ", ".join(f"{kind} {value:.2f}" for kind, value in figures["seconds"].items())
    return f"{figures['outside_share']:.1%} ({each} s)", figures["outside_share"] <= 0.2


def memory():
    figures = last("memory")
    return ", ".join(f"{side} px {figures[side]['gigabytes']:.2f} GB" for side in ("4096", "20000")), (
        figures["ratio"] <= 1.2)  # fmt: skip


def merging():
    figures = last("merge")
    return f"{figures['detections']} detections {figures['parts']['seconds']:.2f} s", figures["parts"]["seconds"] < 10


def beside_sahi(way, speed):
    """Seconds and F1 of both, medians of the runs."""
    def row():
        figures = last("sahi")
        each = {name: (median(one["seconds"] for one in figures[name]), figures[name][-1]["f1"])
                for name in ("ours", way)}  # fmt: skip
        (_, ours), (_, theirs) = each.values()
        told = ", ".join(f"{name} {seconds:.1f} s, F1 {f1:.3f}" for name, (seconds, f1) in each.items())
        return f"{figures[speed]:.2f} ({told})", figures[speed] >= 1.5 and ours >= theirs

    return row


def systems():
    """Of each system: F1 of its boxes, and of its outlines where it has them, megapixels a second."""
    parts = []
    for name, one in runs("scene_models")[-1]["figures"].items():
        f1 = " / ".join(f"{one[kind]['f1']:.2f}" for kind in ("boxes", "outlines") if kind in one)
        parts.append(f"{name} {f1}, {one['megapixels_per_second']:.1f} MP/s, {one['gigabytes']:.1f} GB")
    return "; ".join(parts), None


SCENES = "python -m tests.benchmarks.scenes"
SAHI = {"with SAHI's own batch of one window": ("sahi_batch_1", "speed_batch_1"),
        "with all its defaults, the whole scene at once among them": ("sahi_default", "speed_default"),
        "with our batch of 4 windows": ("sahi", "speed")}  # fmt: skip
GENERATED = [
    ("town of 4,096 px, map against chips in which nothing is cut: F1 at IoU 0.5", "not below by over 0.01",
     "scenes_seams", f"{SCENES} seams", whole_scene),
    ("the same: objects twice or in pieces", "parts under 0.5 %", "scenes_seams", f"{SCENES} seams", twice),
    ("the same: share of the time outside the model", "at most 20 %", "scenes_seams", f"{SCENES} seams", outside),
    ("mapping with a stub model: peak memory", "the same within 20 %", "scenes_memory", f"{SCENES} memory", memory),
    ("merging 100,000 detections", "under 10 s", "scenes_merge", f"{SCENES} merge", merging),
    *((f"SAHI's time over ours, same model, windows and overlap, {how}", "at least 1.5, F1 not below", "scenes_sahi",
       f"{SCENES} sahi", beside_sahi(*where)) for how, where in SAHI.items()),
    ("the town, buildings, each system after 90 s: F1 of boxes / outlines, speed, memory", "-", "scene_models",
     "python -m tests.benchmarks.scene_models", systems),
]
ROWS = GENERATED + [
    (f"{what}: F1 / AP at IoU 0.5 of the map", "-", f"real_scenes_{which}",
     f"python -m tests.benchmarks.real_scenes {which} --seeds 0 1 2", real_scenes(which))
    for which, what in PLACES.items()
]
