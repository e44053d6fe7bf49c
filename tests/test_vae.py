"""Autoencoder and VAE: shapes, the two parts of the ELBO against independent computation, training, bad input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodl_course import models, training
from geodl_course.models.vae import VAE, autoencoder, autoencoder_wide, reparameterise, vae, vae_wide
from geodl_course.models.vae_losses import elbo_losses, kl_to_standard, log_likelihood

WIDTHS = [8, 8, 8, 8]  # narrow: these tests look at what is computed, not at how well it learns


class Blobs:
    """Chips of one bright or dark blob each on a slope, standardised; targets as of detection chips without objects."""

    def __init__(self, number=24, bands=2, seed=0):
        g = torch.Generator().manual_seed(seed)
        at = torch.linspace(-1, 1, 64)
        x, y = torch.rand(2, number, 1, 1, generator=g) - 0.5
        blobs = (-8 * ((at - x).square() + (at[:, None] - y).square())).exp() + 0.3 * at
        images = blobs[:, None] * torch.randn(number, bands, 1, 1, generator=g).sign()
        self.images = (images - images.mean()) / images.std()
        self.stems = [f"blob{i}" for i in range(number)]

    def __len__(self):
        return len(self.stems)

    def __getitem__(self, i):
        return self.images[i], {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def codes(seed, number=5, latent=7):
    g = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, number, latent, generator=g, dtype=torch.float64)
    return mean, log_variance


# ---- the loss


@given(st.integers(0, 10**6))
def test_kl_is_that_of_torch_distributions(seed):
    mean, log_variance = codes(seed)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(kl_to_standard(mean, log_variance), torch.distributions.kl_divergence(q, p).sum(1))


def test_kl_of_the_prior_itself_is_zero_and_nothing_is_below():
    assert kl_to_standard(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]
    mean, log_variance = codes(1, number=1000)
    assert (kl_to_standard(mean, log_variance) > 0).all()


def test_log_likelihood_is_that_of_torch_distributions():
    g = torch.Generator().manual_seed(0)
    images, found, log_noise = torch.randn(3, 4, 2, 8, 8, generator=g, dtype=torch.float64)
    expected = torch.distributions.Normal(found, log_noise.exp()).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(log_likelihood(images, found, log_noise), expected)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_elbo_written_out_pixel_by_pixel(beta):
    g = torch.Generator().manual_seed(2)
    images, found = torch.randn(2, 3, 2, 4, 4, generator=g, dtype=torch.float64)
    mean, log_variance = codes(3, number=3, latent=5)
    losses = elbo_losses(images, found, torch.full_like(found, math.log(0.5)), mean, log_variance, beta)
    reconstruction = kl = 0.0
    for b in range(3):
        for x, f in zip(images[b].flatten().tolist(), found[b].flatten().tolist(), strict=True):
            reconstruction -= math.log(math.exp(-((x - f) ** 2) / (2 * 0.25)) / math.sqrt(2 * math.pi * 0.25)) / 3
        for m, v in zip(mean[b].tolist(), log_variance[b].exp().tolist(), strict=True):
            kl += beta * (v + m * m - 1 - math.log(v)) / 2 / 3
    assert losses["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-12)
    assert losses["beta_kl"].item() == pytest.approx(kl, rel=1e-12)


def test_model_computes_the_elbo_of_its_own_draw():
    torch.manual_seed(0)
    model, images = vae(2, latent=4, widths=WIDTHS, beta=2.0).double(), Blobs(6).images.double()
    torch.manual_seed(5)
    losses = model(images, None)
    mean, log_variance = model.encode(images)
    torch.manual_seed(5)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    found, _ = model.decode(mean + q.stddev * torch.randn_like(mean))
    expected = -torch.distributions.Normal(found, 0.5).log_prob(images).sum() / 6
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-9)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros_like(mean), 1.0)).sum() / 6
    assert losses["beta_kl"].item() == pytest.approx(2 * kl.item(), rel=1e-9)


def test_autoencoder_computes_the_mean_squared_error_of_its_images():
    torch.manual_seed(0)
    model, images = autoencoder(2, latent=4, widths=WIDTHS), Blobs(6).images
    expected = torch.nn.functional.mse_loss(model.decode(model.encode(images)), images)
    torch.testing.assert_close(model(images), {"error": expected})


def test_gradient_passes_through_the_draw():
    mean, log_variance = (each.requires_grad_() for each in codes(4))
    noise = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reparameterise(mean, log_variance, noise).sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(log_variance.grad, noise * (log_variance.detach() / 2).exp() / 2)
    assert torch.autograd.gradcheck(reparameterise, (mean, log_variance, noise))


def test_draws_have_the_mean_and_variance_they_were_given():
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(4)]])
    torch.manual_seed(0)
    draws = reparameterise(mean.expand(40_000, 2), log_variance.expand(40_000, 2))
    torch.testing.assert_close(draws.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.tensor([1.0, 4.0]), atol=0.1, rtol=0)


# ---- the networks


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_shapes(bands):
    images = torch.randn(2, bands, 64, 64)
    plain, model = autoencoder(bands, latent=6, widths=WIDTHS).eval(), vae(bands, latent=6, widths=WIDTHS).eval()
    assert plain.encode(images).shape == (2, 6, 4, 4) and plain(images).shape == images.shape
    assert [each.shape for each in model.encode(images)] == [(2, 6), (2, 6)]
    assert model(images).shape == images.shape
    found, log_noise = model.decode(torch.randn(2, 6))
    assert found.shape == log_noise.shape == images.shape and (log_noise == math.log(0.5)).all()


def test_noise_of_each_pixel_is_bounded():
    model = vae(2, latent=4, widths=WIDTHS, noise=None)
    found, log_noise = model.decode(100 * torch.randn(3, 4))
    assert found.shape == log_noise.shape == (3, 2, 64, 64)
    assert log_noise.min() >= -3 and log_noise.std() > 0


@pytest.mark.parametrize("make", [autoencoder_wide, vae_wide])
def test_wide_ones_have_the_same_form(make):
    model = make(5).eval()
    assert model(torch.zeros(1, 5, 64, 64)).shape == (1, 5, 64, 64)
    assert model.settings["widths"] == [64, 128, 256, 512] and model.settings["bands"] == 5


def test_in_evaluation_nothing_is_drawn():
    model, images = vae(2, widths=WIDTHS).eval(), Blobs(3).images
    assert torch.equal(model(images), model(images))
    alone = torch.cat([model(images[i : i + 1]) for i in range(3)])  # a chip's neighbours do not matter
    torch.testing.assert_close(alone, model(images), atol=1e-5, rtol=1e-5)


# ---- training with the course's loop


@pytest.mark.parametrize("make", [autoencoder, vae])
def test_the_loop_trains_it_the_same_way_twice_and_loads_it_again(make, tmp_path):
    weights = []
    for folder in ("one", "two"):
        torch.manual_seed(0)
        model = make(2, latent=4, widths=WIDTHS)
        history = training.fit(model, Blobs(), epochs=12, checkpoint=tmp_path / folder, progress=False)
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    first, last = (sum(step["loss"] for step in steps) for steps in (history.steps[:3], history.steps[-3:]))
    assert last < 0.9 * first
    again = training.load_model(tmp_path / "two")
    assert torch.equal(again(Blobs(3).images), model(Blobs(3).images))
    assert models.build(model.settings["system"], **model.settings).settings == again.settings == model.settings


def test_more_beta_makes_the_code_say_less():
    told = []
    for beta in (0.1, 300.0):
        torch.manual_seed(0)
        model = vae(2, latent=4, widths=WIDTHS, beta=beta)
        training.fit(model, Blobs(), epochs=15, progress=False)
        told.append(kl_to_standard(*model.encode(Blobs().images)).mean().item())
    assert told[1] < 0.3 * told[0]


# ---- bad input


@pytest.mark.parametrize("make", [autoencoder, vae])
@pytest.mark.parametrize("images, words", [
    (torch.zeros(2, 3, 64, 64), "3 bands, the model takes 2.*pick_bands"),
    (torch.zeros(2, 2, 64, 96), "64 x 96 px .* built for 64 x 64"),
    (torch.full((2, 2, 64, 64), math.nan), "NaN or infinite.*make them 0"),
    (torch.full((2, 2, 64, 64), 4000.0), "up to 4000.*standardised.*standard deviation"),
    (torch.zeros(2, 64, 64), r"\(2, 64, 64\): pass one float tensor"),
    (torch.zeros(0, 2, 64, 64), "B >= 1"),
    (torch.zeros(2, 2, 64, 64, dtype=torch.uint8), "uint8"),
    ([torch.zeros(2, 64, 64)], "images are list"),
])  # fmt: skip
def test_wrong_images_are_named(make, images, words):
    model = make(2, widths=WIDTHS)
    for training_or_not in (True, False):
        with pytest.raises(ValueError, match=words):
            model.train(training_or_not)(images)


@pytest.mark.parametrize("settings, words", [
    ({"widths": [8] * 7}, "7 widths"), ({"widths": []}, "0 widths"), ({"noise": 0}, "noise is 0"),
    ({"beta": -1}, "beta is -1"), ({"noise": math.nan}, "noise is nan"), ({"noise": math.inf}, "noise is inf"),
    ({"size": 72}, "4 widths halve .* 72 px can be halved 3 times"), ({"latent": 0}, "latent is 0"),
    ({"bands": 0}, "bands is 0"),
])  # fmt: skip
def test_impossible_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        vae(**{"bands": 2, **settings})


def test_unknown_settings_are_named():
    with pytest.raises(KeyError, match="no setting 'lattent'"):
        VAE(2, lattent=3)
