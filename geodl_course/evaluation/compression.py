"""What a code costs and what it loses: an autoencoder's code in bits, JPEG and PNG beside it, and how far off each is.

Rates are bits per pixel of the chip, all bands together; a chip of 64 px has 4096 pixels. Images for PSNR, JPEG and PNG
are in 0..1, and are refused beyond. Lecture 09 uses these.
"""

import math
import warnings

import numpy as np
import torch

JPEG_BANDS = 3  # JPEG is for true colour: its colour transform takes three bands, no more


def quantise(code, bits, low, high):
    """Code of floats, ends low < high (numbers, or tensors that fit it) → whole numbers 0 to 2**bits - 1, int64.

    Steps are equal; what lies outside the ends is cut off. Raises ValueError for bits that are not 1 to 16, for NaN.
    """
    steps = steps_of(bits)
    if not torch.isfinite(code).all():
        raise ValueError("the code holds NaN or infinite numbers: nothing can stand for them")
    if not bool((torch.as_tensor(low) < torch.as_tensor(high)).all()):
        raise ValueError("low must be below high everywhere: a number that never changes needs no bits, leave it out")
    return ((code - low) / (high - low) * steps).round().clamp(0, steps).long()


def dequantise(numbers, bits, low, high):
    """Whole numbers of `quantise` → the floats that they stand for, off by at most half a step inside low..high."""
    return low + numbers * ((high - low) / steps_of(bits))


def steps_of(bits):
    """Largest of the 2**bits whole numbers; raises ValueError for bits other than 1 to 16."""
    if bits not in range(1, 17):
        raise ValueError(f"bits is {bits}: choose a whole number from 1 to 16")
    return 2**bits - 1


def entropy(numbers):
    """Whole numbers of any shape → bits that each needs on average, from how often each occurs (Shannon 1948).

    A coder that knows these frequencies comes close to it; the table of frequencies is not counted.
    """
    counts = np.unique(np.asarray(numbers), return_counts=True)[1]
    if not counts.size:
        raise ValueError("there are no numbers to count")
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0  # no -0.0


def code_rate(numbers, pixels):
    """Quantised codes (N, L) or (N, L, h, w), pixels of a chip → bits per pixel, frequencies for each of the L."""
    cells = numbers[0, 0].numel()
    return sum(entropy(numbers[:, channel]) for channel in range(numbers.shape[1])) * cells / pixels


def psnr(images, found):
    """Images and what came back (N, C, H, W), 0..1 → peak signal-to-noise ratio in dB: of each band (C,), and of all.

    The mean is over squared errors, not over dB: one chip that is lost is not hidden by many that are not. math.inf
    where nothing was lost.
    """
    if images.shape != found.shape:
        raise ValueError(f"images are {tuple(images.shape)}, found {tuple(found.shape)}: both must be (N, C, H, W)")
    check_shares(images, "images")
    check_shares(found, "found")
    errors = (images.double() - found.double()).square().mean(dim=(0, 2, 3))
    return [decibels(error) for error in errors.tolist()], decibels(errors.mean().item())


def decibels(error):
    """Mean squared error of values in 0..1 → dB."""
    return -10 * math.log10(error) if error else math.inf


def check_shares(images, name):
    """Raise ValueError, with the name of the images, unless all their pixels are in 0..1 → None."""
    if not torch.isfinite(images).all():
        raise ValueError(f"{name} hold NaN or infinite pixels: leave these chips out")
    low, high = (float(end) for end in images.aminmax())
    if low < 0 or high > 1:
        raise ValueError(f"{name} run from {low:.4g} to {high:.4g}, wanted is 0 to 1: divide by the brightest value "
                         "that counts, then .clamp(0, 1)")


def to_bytes(images):
    """Images (..., H, W) in 0..1 → uint8 array. Raises ValueError for other values and NaN."""
    check_shares(images, "images")
    return (images * 255).round().byte().numpy()


def mosaic(images, columns):
    """Images (N, C, H, W) in rows of `columns` → one (C, rows * H, columns * W); places left over are 0."""
    number, bands, height, width = images.shape
    rows = -(-number // columns)
    full = images.new_zeros(rows * columns, bands, height, width)
    full[:number] = images
    return full.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).reshape(bands, rows * height, columns * width)


def from_mosaic(picture, number, size):
    """What `mosaic` made (C, H, W), taken apart → the first `number` images (number, C, size, size)."""
    bands, height, width = picture.shape
    tiles = picture.reshape(bands, height // size, size, width // size, size).permute(1, 3, 0, 2, 4)
    return tiles.reshape(-1, bands, size, size)[:number]


def as_file(picture, driver, **options):
    """Picture (C, H, W) uint8, GDAL driver "JPEG" or "PNG" with its options → (the file's bytes, what it decodes to).

    GDAL writes JPEG with the two colour differences at half the resolution down and across (4:2:0), brightness at the
    full. Raises ValueError for bands that the format does not take: JPEG three here, PNG 1 to 4.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    allowed = (JPEG_BANDS,) if driver == "JPEG" else (1, 2, 3, 4)
    if picture.dtype != np.uint8 or picture.ndim != 3 or len(picture) not in allowed:
        raise ValueError(f"the picture is {picture.dtype} {picture.shape}: {driver} here takes uint8 (C, H, W) with C "
                         f"one of {allowed}; choose bands")
    shape = {"count": len(picture), "height": picture.shape[1], "width": picture.shape[2], "dtype": "uint8"}
    with warnings.catch_warnings(), rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile() as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture need not lie anywhere
        with file.open(driver=driver, **shape, **options) as out:
            out.write(picture)
        content = file.read()
        with file.open() as source:
            return content, source.read()


def file_rates(images, driver, columns=None, **options):
    """Images (N, C, S, S) in 0..1 as files → (bits per pixel, what came back (N, C, S, S) in 0..1).

    columns None: a file for each chip, its header counted each time; else one mosaic of all chips with that many
    columns, places left over not counted as pixels.
    """
    number, _, _, side = images.shape
    if columns is None:
        files = [as_file(to_bytes(image), driver, **options) for image in images]
        found = torch.from_numpy(np.stack([decoded for _, decoded in files]))
    else:
        files = [as_file(to_bytes(mosaic(images, columns)), driver, **options)]
        found = from_mosaic(torch.from_numpy(files[0][1]), number, side)
    return 8 * sum(len(content) for content, _ in files) / (number * side**2), found / 255


def bytes_of(module):
    """Bytes of a module's weights and buffers, float32: what must be sent once before a code can be decoded."""
    return sum(each.numel() * each.element_size() for each in module.state_dict().values())
