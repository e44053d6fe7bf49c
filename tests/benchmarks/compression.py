"""What do an autoencoder's codes cost and lose on real chips, beside JPEG and PNG?

    python -m tests.benchmarks.compression        # about four minutes on two cores

Autoencoders with codes of several sizes learn from all chips of the training ports, red, green and blue; their codes of
chips from other ports are quantised and counted by their entropy. JPEG and PNG write the same chips, eight bits a band
of reflectance 0 to 0.5, as one mosaic and a file each. Lecture 09 shows docs/results/compression_sentinel_coast.json.
"""

import argparse

import torch

from geodl_course import training
from geodl_course.chips import all_images
from geodl_course.chips.scaling import RANGE
from geodl_course.evaluation.compression import bytes_of, code_rate, dequantise, file_rates, psnr, quantise
from geodl_course.models.vae import autoencoder
from tests.benchmarks import results
from tests.benchmarks.vae import COLOURS

STEPS, LATENTS, BITS, QUALITIES = 300, (4, 16, 64), (8, 6, 5, 4, 3, 2), (1, 5, 10, 20, 30, 50, 75, 90)
COMMAND = "python -m tests.benchmarks.compression"


def as_shares(images, info):
    """Standardised images (N, C, H, W) → reflectance as shares of RANGE, cut off beyond, which all codecs are given."""
    mean, std = (torch.tensor(each).view(-1, 1, 1).float() for each in (info.mean, info.std))
    return (((images * std + mean) / 65535 - RANGE[0]) / (RANGE[1] - RANGE[0])).clamp(0, 1)


def point(rate, images, found):
    bands, every = psnr(images, found)
    return {"bits per pixel": rate, "PSNR": every, "PSNR per band": dict(zip(COLOURS, bands, strict=True))}


@torch.no_grad()
def coded(model, train, val, info):
    """{bits: point} of the codes of val; the ends of each number of the code are those of the training chips."""
    learned = torch.cat([model.encode(batch) for batch in train.split(64)])
    codes = torch.cat([model.encode(batch) for batch in val.split(64)])
    low, high = (end(learned, dim=(0, 2, 3), keepdim=True) for end in (torch.amin, torch.amax))
    found = {"not quantised": point(32 * codes[0].numel() / 4096, as_shares(val, info), decoded(model, codes, info))}
    for bits in BITS:
        numbers = quantise(codes, bits, low, high)
        images = decoded(model, dequantise(numbers, bits, low, high), info)
        found[str(bits)] = point(code_rate(numbers, 4096), as_shares(val, info), images)
    return found


def decoded(model, codes, info):
    return as_shares(torch.cat([model.decode(batch) for batch in codes.split(64)]), info)


def files(images):
    """{name of codec: {setting: point}} for JPEG and PNG, as a mosaic of all chips and as a file for each."""
    found = {}
    for name, columns in (("mosaic", 14), ("a file each", None)):
        found[f"JPEG, {name}"] = {
            str(quality): point(*with_images(images, file_rates(images, "JPEG", columns, QUALITY=quality)))
            for quality in QUALITIES}  # fmt: skip
        found[f"PNG, {name}"] = {"9": point(*with_images(images, file_rates(images, "PNG", columns, ZLEVEL=9)))}
    return found


def with_images(images, rate_and_found):
    rate, found = rate_and_found
    return rate, images, found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="sentinel_coast")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    train, val = (training.open_chips(chosen.data, split).pick_bands(COLOURS) for split in ("train", "val"))
    learned, images = all_images(train), all_images(val)
    shown = as_shares(images, val.info)
    mean = as_shares(learned, train.info).mean(dim=(0, 2, 3), keepdim=True)
    figures = {"chips": len(images), "nothing sent, the mean colour": point(0.0, shown, mean.expand_as(shown)),
               **files(shown)}  # fmt: skip
    for latent in LATENTS:
        torch.manual_seed(chosen.seed)
        model = autoencoder(len(COLOURS), latent)
        history = training.fit(model, train, steps=chosen.steps, batch_size=16, seed=chosen.seed)
        told = {"steps": history.step, "bytes of the decoder": bytes_of(model.decoder)}
        figures[f"autoencoder, {latent} x 16 numbers"] = told | coded(model, learned, images, val.info)
    for name, points in figures.items():
        for setting, one in points.items() if isinstance(points, dict) else ():
            if isinstance(one, dict) and "PSNR" in one:
                print(f"{name:32} {setting:14} {one['bits per pixel']:.3f} bits per pixel, {one['PSNR']:.1f} dB")
    results.store(f"compression_{train.info.name}", figures, COMMAND, chosen.seed)


if __name__ == "__main__":
    main()
