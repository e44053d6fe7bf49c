"""Codes in bits, files in bytes, and what each loses: against independent computation and against what must hold."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy as scipy_entropy
from torchmetrics.functional.image import peak_signal_noise_ratio

from geodl_course.evaluation import compression
from geodl_course.models.vae import autoencoder


def smooth(number=6, bands=3, seed=0):
    """Images in 0..1 that a codec can do something about."""
    noise = torch.rand(number, bands, 64, 64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 9, 1, 4)


@given(st.integers(1, 16), st.integers(0, 10**6))
def test_quantised_code_is_off_by_half_a_step_at_most(bits, seed):
    code = torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = code.amin((0, 2), keepdim=True), code.amax((0, 2), keepdim=True)
    numbers = compression.quantise(code, bits, low, high)
    assert numbers.dtype == torch.int64 and 0 <= numbers.min() and numbers.max() == 2**bits - 1
    found = compression.dequantise(numbers, bits, low, high)
    half = (high - low) / (2**bits - 1) / 2
    assert ((found - code).abs() <= half * (1 + 1e-9)).all()


def test_outside_the_ends_is_cut_off():
    numbers = compression.quantise(torch.tensor([-9.0, 0, 0.5, 1, 9]), 2, 0.0, 1.0)
    assert numbers.tolist() == [0, 0, 2, 3, 3]  # 1.5 rounds to the even 2
    assert compression.dequantise(numbers, 2, 0.0, 1.0).tolist() == pytest.approx([0, 0, 2 / 3, 1, 1])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_entropy_is_scipys(numbers):
    expected = scipy_entropy(np.bincount(numbers), base=2)
    assert compression.entropy(torch.tensor(numbers)) == pytest.approx(expected, abs=1e-12)


def test_entropy_by_hand():
    assert compression.entropy(torch.arange(16)) == 4
    assert compression.entropy(torch.full((7,), 3)) == 0
    assert compression.entropy(torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


def test_rate_counts_each_number_of_the_code():
    numbers = torch.zeros(8, 2, 4, 4, dtype=torch.long)
    numbers[:, 1] = torch.arange(8).view(8, 1, 1)  # the first never changes, the second takes eight values
    assert compression.code_rate(numbers, 64 * 64) == 3 * 16 / 4096
    assert compression.code_rate(numbers[:, :, 0, 0], 4096) == 3 / 4096


def test_psnr_is_that_of_torchmetrics():
    images = smooth()
    found = (images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    bands, every = compression.psnr(images, found)
    assert every == pytest.approx(peak_signal_noise_ratio(found, images, data_range=1.0).item(), rel=1e-5)
    for band, value in enumerate(bands):
        expected = peak_signal_noise_ratio(found[:, band], images[:, band], data_range=1.0).item()
        assert value == pytest.approx(expected, rel=1e-5)
    assert compression.psnr(images, images) == ([math.inf] * 3, math.inf)


def test_psnr_of_all_bands_is_of_their_mean_error():
    images, found = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    found[:, 1], found[:, 2] = 0.1, 0.5
    bands, every = compression.psnr(images, found)
    assert bands == pytest.approx([math.inf, 20, -10 * math.log10(0.25)])
    assert every == pytest.approx(-10 * math.log10((0.01 + 0.25) / 3))
    chips = torch.tensor([0.0, 0.4]).view(2, 1, 1, 1).expand(2, 1, 4, 4)  # one chip whole, one lost
    assert compression.psnr(torch.zeros(2, 1, 4, 4), chips)[1] == pytest.approx(-10 * math.log10(0.16 / 2))


@given(st.integers(1, 7), st.integers(1, 5))
def test_mosaic_and_back(number, columns):
    images = torch.rand(number, 2, 3, 3)
    picture = compression.mosaic(images, columns)
    assert picture.shape == (2, 3 * -(-number // columns), 3 * columns)
    assert torch.equal(picture[:, :3, :3], images[0])
    if number > columns:
        assert torch.equal(picture[:, 3:6, :3], images[columns])
    assert torch.equal(compression.from_mosaic(picture, number, 3), images)


def test_bytes_are_rounded():
    images = torch.tensor([0.0, 0.6 / 255, 127.4 / 255, 1.0])
    assert compression.to_bytes(images).tolist() == [0, 1, 127, 255]


@pytest.mark.parametrize("beyond", [-0.001, 1.001, 255.0, math.nan])
def test_pixels_beyond_0_to_1_are_refused(beyond):
    images = smooth()
    wrong = images.clone()
    wrong[2, 1, 3, 3] = beyond
    told = "hold NaN" if math.isnan(beyond) else r"run from .* to .*clamp"
    for call in (lambda: compression.to_bytes(wrong), lambda: compression.file_rates(wrong, "PNG", 3),
                 lambda: compression.file_rates(wrong, "JPEG"), lambda: compression.psnr(wrong, images),
                 lambda: compression.psnr(images, wrong)):
        with pytest.raises(ValueError, match=told):
            call()


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
def test_rate_is_bits_of_the_files_over_pixels_of_the_chips(driver):
    images = smooth(5)
    files = [compression.as_file(compression.to_bytes(image), driver)[0] for image in images]
    rate, found = compression.file_rates(images, driver)
    assert rate == 8 * sum(map(len, files)) / (5 * 64 * 64) and found.shape == images.shape
    mosaic = compression.to_bytes(compression.mosaic(images, 3))  # two rows of three: one place is left over
    assert compression.file_rates(images, driver, 3)[0] == 8 * len(compression.as_file(mosaic, driver)[0]) / 20480


def test_png_loses_nothing_and_jpeg_more_the_less_it_may_use():
    images = smooth()
    eight = torch.from_numpy(compression.to_bytes(images)) / 255
    rate, found = compression.file_rates(images, "PNG", columns=3)
    assert torch.equal(found, eight) and 0 < rate < 24
    files = [compression.file_rates(images, "JPEG", columns=3, QUALITY=quality) for quality in (10, 50, 95)]
    rates, losses = [rate for rate, _ in files], [compression.psnr(images, found)[1] for _, found in files]
    assert rates == sorted(rates) and losses == sorted(losses) and rates[2] < rate


def test_header_is_paid_once_in_a_mosaic():
    images = smooth(16)
    apart, together = (compression.file_rates(images, "JPEG", columns, QUALITY=50)[0] for columns in (None, 4))
    assert apart > 1.5 * together


def test_files_are_files_that_pillow_reads_alike():
    picture = compression.to_bytes(smooth(1)[0])
    for driver, close in (("PNG", 0), ("JPEG", 2)):  # two decoders of JPEG round differently
        content, decoded = compression.as_file(picture, driver)
        theirs = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        assert np.abs(theirs.astype(int) - decoded).mean() <= close
        assert np.abs(decoded.astype(int) - picture).mean() <= 3 * close


def test_jpeg_halves_the_resolution_of_colours():
    content, _ = compression.as_file(compression.to_bytes(smooth(1)[0]), "JPEG", QUALITY=90)
    factors = [layer[1:3] for layer in Image.open(io.BytesIO(content)).layer]  # across, down: of brightness and colours
    assert factors == [(2, 2), (1, 1), (1, 1)]


def test_bytes_of_the_decoder():
    decoder = autoencoder(3, latent=4, widths=[8, 8]).decoder
    norms = 2 * (2 * 8 * 4 + 8)  # two of them: mean and variance of eight channels, and a count of 64 bit
    assert compression.bytes_of(decoder) == sum(p.numel() for p in decoder.parameters()) * 4 + norms


@pytest.mark.parametrize("call, words", [
    (lambda: compression.quantise(torch.zeros(3), 0, 0.0, 1.0), "bits is 0"),
    (lambda: compression.quantise(torch.zeros(3), 2.5, 0.0, 1.0), "bits is 2.5"),
    (lambda: compression.quantise(torch.full((3,), math.nan), 8, 0.0, 1.0), "NaN"),
    (lambda: compression.quantise(torch.zeros(3), 8, 1.0, 1.0), "low must be below high"),
    (lambda: compression.entropy(torch.zeros(0)), "no numbers"),
    (lambda: compression.psnr(smooth(2), smooth(3)), r"\(3, 3, 64, 64\)"),
    (lambda: compression.to_bytes(torch.tensor([math.nan])), "NaN"),
    (lambda: compression.file_rates(smooth(2, 5), "JPEG"), r"JPEG here takes .* \(3,\); choose bands"),
    (lambda: compression.file_rates(smooth(2, 5), "PNG"), "PNG here takes"),
])  # fmt: skip
def test_what_cannot_be_coded_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
