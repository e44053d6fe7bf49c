"""Chips that a VAE makes up beside those of a DCGAN: the same data, the same time, the same figures, and a sheet.

    python -m tests.benchmarks.vae_samples --seeds 0 1 2

Both learn from the chips of coast for two minutes: the DCGAN is the one that tests.benchmarks.dcgan left in build/dcgan
(trained now where there is none), the VAE is trained here, with batches of 16. It is drawn from twice: codes from
N(0, 1), as its prior says, and codes as those of the training chips lie. Frechet distance, precision and recall of
2,000 samples on course features; six of each as docs/results/vae_samples_coast.png. Lecture 09.
"""

import argparse

import matplotlib.pyplot as plt
import torch

from geodl_course import training
from geodl_course.chips import all_images
from geodl_course.chips.scaling import to_signed
from geodl_course.gan_plots import tiled
from geodl_course.models.dcgan import draw_samples
from geodl_course.models.vae import vae
from geodl_course.models.vae_latent import decode_codes, draw_chips
from tests.benchmarks import dcgan, generated, results

SECONDS, SAMPLES, SHOWN = 120, 2000, 6


def signed(images, info):
    """Standardised images (N, C, S, S) → the same in [-1, 1] of the generators' range of reflectance."""
    mean, std = (torch.tensor(each).view(-1, 1, 1).float() for each in (info.mean, info.std))
    return to_signed((images * std + mean) / 65535)


@torch.no_grad()
def like_the_codes(model, images, number, seed):
    """Codes (number, L) drawn from the normal distribution of the codes of images (N, C, S, S)."""
    codes = torch.cat([model.encode(batch)[0] for batch in images.split(256)])
    _, size, directions = torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
    noise = torch.randn(number, codes.shape[1], generator=torch.Generator().manual_seed(seed))
    return codes.mean(0) + noise * size / len(codes) ** 0.5 @ directions


def made_by_vae(chips, seed, samples, **length):
    """A VAE trained on chips → {how it is drawn from: images (samples, C, S, S) in [-1, 1]}, its training history."""
    torch.manual_seed(seed)
    model = vae(len(chips.info.bands))
    history = training.fit(model, chips, batch_size=16, seed=seed, **(length or {"seconds": SECONDS}))
    model.cpu()
    codes = like_the_codes(model, all_images(chips), samples, seed)
    drawn = {"VAE, codes from N(0, 1)": draw_chips(model, samples, seed),
             "VAE, codes as of chips": torch.cat([decode_codes(model, part) for part in codes.split(256)])}
    return {name: signed(images, chips.info) for name, images in drawn.items()}, history


def sheet(rows, path):
    """{name: images (N, C, S, S) in [-1, 1]} as one picture, a row each, without words → None."""
    images = torch.cat([images[:SHOWN] for images in rows.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.imsave(path, tiled(images, SHOWN))


def measure(data, chips, seed, samples, name, **length):
    """Figures of each way to make chips; the sheet of the first seed is written → dict."""
    yard = generated.yardstick(generated.classifier_for(data)[0], data)
    made, history = made_by_vae(chips, seed, samples, **length)
    rows = {"DCGAN": draw_samples(dcgan.trained(data, seed), samples, seed), **made}
    if not seed:
        sheet({"real": data.train[:: len(data.train) // SHOWN], **rows}, results.folder() / f"{name}.png")
    figures = {name: generated.course_of(images, yard) for name, images in rows.items()}
    for name, one in figures.items():
        print(f"seed {seed}: {name:24}", results.tidy(one), flush=True)
    return {**figures, "VAE steps": history.step, "floor": yard.floor, "ceiling": yard.ceiling}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.vae_samples", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="coast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of the VAE, instead of two minutes")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    chosen = parser.parse_args(arguments)
    length = {"steps": chosen.steps} if chosen.steps else {}
    data, chips = generated.open_all(chosen.data), training.open_chips(chosen.data, "train")
    chips = chips.take(range(len(data.train)))  # the chips that the DCGAN saw
    name = results.name_for("vae_samples_coast", chosen.data, "coast")
    which = "" if chosen.data == "coast" else f" --data {chosen.data}"
    for seed in chosen.seeds:
        figures = measure(data, chips, seed, chosen.samples, name, **length)
        results.store(name, figures, f"python -m tests.benchmarks.vae_samples{which} --seeds ", seed)


if __name__ == "__main__":
    main()
