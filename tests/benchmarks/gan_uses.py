"""Two uses of a DCGAN, measured: filling cloud gaps, and more training chips for a classifier with few labels.

    python -m tests.benchmarks.gan_uses gaps --data sentinel_coast --seeds 0 1 2
    python -m tests.benchmarks.gan_uses labels --data coast --seeds 0 1 2 3 4

gaps: chips that the generator never saw, a cloud-shaped gap in each; RMSE of reflectance in the gap by band, of the
code search (as it is, and blended at the edge) and of the smoothest fill from the edge. On sentinel_coast the chips are
real. labels: a classifier learns from PER_CLASS chips a class; then also from made-up chips, which it labels itself,
the surest of each class; then from as many real chips without labels in their place. Lecture 08.
"""

import argparse
from statistics import fmean

import torch
import torch.nn.functional as F

from geodl_course import training
from geodl_course.chips.scaling import from_signed
from geodl_course.models.cover_classifier import cover_classifier, predict_covers
from geodl_course.models.dcgan import draw_samples
from geodl_course.models.latent_search import blend, search_codes, smooth_fill
from geodl_course.training.covers import accuracy_of, fit_classifier
from tests.benchmarks import dcgan, generated, results

CHIPS, PER_CLASS, EXTRA, STEPS = 64, 10, 60, 300


def cloud_gaps(number, size, seed, share=0.15):
    """Cloud-shaped gaps (number, 1, size, size) bool: the highest `share` of smooth noise, off the chip's edge."""
    noise = torch.randn(number, 1, size + 32, size + 32, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        noise = F.avg_pool2d(noise, 11, stride=1, padding=5)
    noise = noise[..., 16:-16, 16:-16].clone()
    side = torch.arange(size)
    edge = torch.minimum(side, size - 1 - side).clamp(max=6) >= 4
    noise[..., ~(edge[:, None] & edge)] = -9
    high = noise.flatten(1).quantile(1 - share, dim=1)
    return noise > high[:, None, None, None]


def rmse(filled, images, gap):
    """RMSE of reflectance over all gaps' pixels, one number a band (C,)."""
    error = (from_signed(filled) - from_signed(images)).square() * gap
    return (error.sum(dim=(0, 2, 3)) / gap.sum()).sqrt().tolist()


def gaps(name, seed, steps=200, number=CHIPS, **length):
    """RMSE by band of each way to fill gaps in held-out chips."""
    data = generated.open_all(name, classifier=False)
    model = dcgan.trained(data, seed, **length)
    chosen = torch.randperm(len(data.held_out), generator=torch.Generator().manual_seed(seed))[:number]
    images = data.held_out[chosen]
    gap = cloud_gaps(len(images), images.shape[-1], seed)
    hidden = torch.where(gap, 0.0, images)
    codes = search_codes(model, hidden, gap, steps=steps, seed=seed)
    with torch.no_grad():
        made = model.generator(codes)
    ways = {"code search": torch.where(gap, made, images), "code search, blended": blend(made, hidden, gap),
            "smooth from the edge": smooth_fill(hidden, gap)}
    figures = {way: dict(zip(data.bands, rmse(filled, images, gap), strict=True)) for way, filled in ways.items()}
    figures |= {"chips": len(images), "share of a chip": gap.float().mean().item()}
    print(f"seed {seed}:", results.tidy(figures), flush=True)
    return figures


def few(labels, classes, per_class, seed):
    """Places of per_class chips of each class, or of all where there are fewer, drawn by seed → (n,)."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == k][:per_class] for k in range(classes)])


def surest(classifier, images, number):
    """The `number` images of each class that a classifier is surest of → images, the labels that it gives them."""
    chances = predict_covers(classifier, images)
    labels = chances.argmax(dim=1)
    chosen = []
    for k in range(chances.shape[1]):
        places = (labels == k).nonzero().flatten()
        chosen.append(places[chances[places, k].argsort(descending=True)[:number]])
    return images[torch.cat(chosen)], labels[torch.cat(chosen)]


def labels(name, seed, per_class=PER_CLASS, extra=EXTRA, steps=STEPS, **length):
    """Accuracy on held-out scenes with and without made-up chips."""
    data = generated.open_all(name, classifier=False)
    model = dcgan.trained(data, seed, **length)
    classes, chosen = len(data.classes), few(data.train_labels, len(data.classes), per_class, seed)
    images, known = data.train[chosen], data.train_labels[chosen]

    def learn(more, labels):
        torch.manual_seed(seed)
        classifier = cover_classifier(classes, images.shape[1])
        fit_classifier(classifier, torch.cat((images, more)), torch.cat((known, labels)), steps, seed=seed)
        return classifier, accuracy_of(classifier, data.held_out, data.held_out_labels)[0]

    first, alone = learn(images[:0], known[:0])
    pool = min(2000, len(data.train))
    made, real = (surest(first, pooled, extra) for pooled in (draw_samples(model, pool, seed), data.train[:pool]))
    figures = {"labelled chips alone": alone, "with made-up chips": learn(*made)[1],
               "with real chips without labels": learn(*real)[1], "labelled": len(images), "made up": len(made[0]),
               "real without labels": len(real[0])}
    print(f"seed {seed}:", results.tidy(figures), flush=True)
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gan_uses", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["gaps", "labels"])
    parser.add_argument("--data", default="coast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args(arguments)
    name = f"gan_{chosen.what}_{training.open_chips(chosen.data, 'train').info.name}"
    command = f"python -m tests.benchmarks.gan_uses {chosen.what} --data {chosen.data} --seeds "
    for seed in chosen.seeds:
        figures = {"gaps": gaps, "labels": labels}[chosen.what](chosen.data, seed)
        results.store(name, figures, command + " ".join(map(str, chosen.seeds)), seed)
    runs = [run["figures"] for run in results.runs(name)]
    for way in [key for key, one in runs[0].items() if isinstance(one, dict | float)]:
        values = [fmean(run[way].values()) if isinstance(run[way], dict) else run[way] for run in runs]
        print(f"{way}: {fmean(values):.4f} over {len(runs)} seeds")


if __name__ == "__main__":
    main()
