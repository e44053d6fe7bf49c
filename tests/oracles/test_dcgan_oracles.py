"""DCGAN against the same networks written out in plain torch, its losses against autograd and finite differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import nn

from geodl_course.evaluation.generative import (
    frechet_distance,
    memorised_share,
    nearest_distances,
    precision_recall,
)
from geodl_course.models.dcgan import dcgan, draw_codes
from geodl_course.models.gan_losses import (
    LOSSES,
    critic_loss,
    cross_sample_gradient,
    discriminator_loss,
    gradient_at_samples,
    gradient_penalty,
    minimax_loss,
    mix,
    non_saturating_loss,
    wasserstein_loss,
)


class PlainGenerator(nn.Module):
    """The paper's generator, layer by layer, on maps (B, Z, 1, 1)."""

    def __init__(self, bands, latent, width):
        super().__init__()
        self.c1 = nn.ConvTranspose2d(latent, 8 * width, 4, 1, 0, bias=False)
        self.c2 = nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, 1, bias=False)
        self.c3 = nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False)
        self.c4 = nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False)
        self.c5 = nn.ConvTranspose2d(width, bands, 4, 2, 1, bias=False)
        self.n1, self.n2 = nn.BatchNorm2d(8 * width), nn.BatchNorm2d(4 * width)
        self.n3, self.n4 = nn.BatchNorm2d(2 * width), nn.BatchNorm2d(width)

    def forward(self, codes):
        x = F.relu(self.n1(self.c1(codes[:, :, None, None])))
        x = F.relu(self.n2(self.c2(x)))
        x = F.relu(self.n3(self.c3(x)))
        x = F.relu(self.n4(self.c4(x)))
        return torch.tanh(self.c5(x))


class PlainDiscriminator(nn.Module):
    """The paper's discriminator up to its sigmoid, layer by layer."""

    def __init__(self, bands, width):
        super().__init__()
        self.c1 = nn.Conv2d(bands, width, 4, 2, 1, bias=False)
        self.c2 = nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)
        self.c3 = nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False)
        self.c4 = nn.Conv2d(4 * width, 8 * width, 4, 2, 1, bias=False)
        self.c5 = nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False)
        self.n2, self.n3, self.n4 = (nn.BatchNorm2d(times * width) for times in (2, 4, 8))

    def forward(self, images):
        x = F.leaky_relu(self.c1(images), 0.2)
        x = F.leaky_relu(self.n2(self.c2(x)), 0.2)
        x = F.leaky_relu(self.n3(self.c3(x)), 0.2)
        x = F.leaky_relu(self.n4(self.c4(x)), 0.2)
        return self.c5(x).reshape(len(images))


def take_over(plain, network):
    """Parameters and statistics of a course network into the plain one, kind by kind in the order of the layers."""
    for kind in ((nn.Conv2d, nn.ConvTranspose2d), (nn.BatchNorm2d,)):
        pairs = zip(*([m for m in net.modules() if isinstance(m, kind)] for net in (plain, network)), strict=True)
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
    return plain


@pytest.mark.parametrize(("bands", "latent", "width"), [(3, 100, 16), (5, 20, 8), (1, 7, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_networks_are_the_papers(bands, latent, width, training):
    torch.manual_seed(0)
    model = dcgan(bands, latent, width)
    generator = take_over(PlainGenerator(bands, latent, width), model.generator).train(training)
    discriminator = take_over(PlainDiscriminator(bands, width), model.discriminator).train(training)
    model.train(training)
    codes = draw_codes(6, latent)
    images, plain = model(codes), generator(codes)
    torch.testing.assert_close(images, plain, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(model.discriminator(images), discriminator(plain), atol=1e-5, rtol=1e-4)
    for ours, theirs in ((model.generator, generator), (model.discriminator, discriminator)):
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def weights_by_hand(bands, latent, width):
    """Numbers in all kernels and in the norms' scales and shifts, counted from the paper's table."""
    widths = [8 * width, 4 * width, 2 * width, width]
    kernels = [latent * widths[0], *(a * b for a, b in zip(widths, widths[1:], strict=False)), width * bands]
    generator = 16 * sum(kernels) + 2 * sum(widths)
    kernels = [bands * width, *(a * b for a, b in zip(widths, widths[1:], strict=False)), 8 * width]
    return generator, 16 * sum(kernels) + 2 * sum(widths[:-1])


def test_full_size_has_the_weights_of_the_paper():
    model = dcgan(3)
    counted = [sum(p.numel() for p in net.parameters()) for net in (model.generator, model.discriminator)]
    # 3,576,704 and 2,765,568 are what PyTorch's own DCGAN example has, whose widths and kernels are the same
    assert tuple(counted) == weights_by_hand(3, 100, 64) == (3_576_704, 2_765_568)
    for bands, latent, width in ((5, 100, 16), (2, 3, 4)):
        model = dcgan(bands, latent, width)
        counted = [sum(p.numel() for p in net.parameters()) for net in (model.generator, model.discriminator)]
        assert tuple(counted) == weights_by_hand(bands, latent, width)


# ------------------------------------------------------------------------------------------ losses

logits = st.lists(st.floats(-30, 30), min_size=2, max_size=8)


@given(logits, logits)
def test_losses_are_the_formulas(real, fake):
    real, fake = (torch.tensor(one, dtype=torch.float64) for one in (real, fake))
    chance, passed = real.sigmoid().numpy(), fake.sigmoid().numpy()
    less = (-fake).sigmoid().numpy()  # 1 - D(G(z)) without cancellation
    close = {"rel": 1e-9, "abs": 1e-12}
    assert discriminator_loss(real, fake).item() == pytest.approx(-np.log(chance).mean() - np.log(less).mean(), **close)
    assert minimax_loss(fake).item() == pytest.approx(np.log(less).mean(), **close)
    assert non_saturating_loss(fake).item() == pytest.approx(-np.log(passed).mean(), **close)
    assert critic_loss(real, fake).item() == pytest.approx(-(real.mean() - fake.mean()).item(), **close)
    assert wasserstein_loss(fake).item() == pytest.approx(-fake.mean().item(), **close)


@given(logits)
def test_gradients_of_the_generators_losses(fake):
    """d/ds log(1 - σ) = -σ, d/ds -log σ = σ - 1, d/ds -s = -1; each over B."""
    expected = {"minimax": lambda s: -s.sigmoid(), "non_saturating": lambda s: s.sigmoid() - 1,
                "wasserstein": lambda s: -torch.ones_like(s)}
    for name, slope in expected.items():
        values = torch.tensor(fake, dtype=torch.float64, requires_grad=True)
        LOSSES[name][1](values).backward()
        torch.testing.assert_close(values.grad, slope(values.detach()) / len(fake))


@given(logits, logits)
def test_gradients_of_the_discriminators_losses(real, fake):
    for loss in (discriminator_loss, critic_loss):
        pair = [torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in (real, fake)]
        assert torch.autograd.gradcheck(loss, pair)


def test_losses_stay_finite_where_a_sigmoid_is_0_or_1():
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in (minimax_loss, non_saturating_loss, lambda fake: discriminator_loss(far, fake)):
        value = loss(far)
        (gradient,) = torch.autograd.grad(value, far)
        assert value.isfinite() and gradient.isfinite().all()


def small_critic(norm="layer"):
    torch.manual_seed(1)
    return dcgan(2, 5, 4, size=16, norm=norm).discriminator.double().train()


def by_differences(function, images, step=1e-6):
    """Gradient of a scalar function of images, one pixel after the other."""
    gradient = torch.zeros_like(images)
    for place in np.ndindex(*images.shape):
        high, low = images.clone(), images.clone()
        high[place] += step
        low[place] -= step
        gradient[place] = (function(high) - function(low)) / (2 * step)
    return gradient


def test_penalty_is_of_each_images_own_slope():
    critic, images = small_critic(), torch.rand(3, 2, 16, 16, dtype=torch.float64)
    slopes = [by_differences(lambda x: critic(x).item(), one[None]).norm().item() for one in images]
    expected = np.mean([(slope - 1) ** 2 for slope in slopes])
    assert gradient_penalty(critic, images).item() == pytest.approx(expected, rel=1e-5)


def test_penaltys_gradient_reaches_the_critics_weights():
    critic, images = small_critic(), torch.rand(2, 2, 16, 16, dtype=torch.float64)
    weight = critic[-2].weight
    (gradient,) = torch.autograd.grad(gradient_penalty(critic, images), weight)
    for place in [(0, 0, 0, 0), (0, 3, 2, 1), (0, 7, 3, 3)]:
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += step
            values.append(gradient_penalty(critic, images).item())
            with torch.no_grad():
                weight[place] -= step
        assert gradient[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_at_samples_is_each_samples_own(name):
    critic, images = small_critic(), torch.rand(3, 2, 16, 16, dtype=torch.float64)
    loss = LOSSES[name][1]
    expected = [by_differences(lambda x: loss(critic(x)).item(), one[None]).norm().item() for one in images]
    torch.testing.assert_close(gradient_at_samples(critic, images, loss), torch.tensor(expected).double(), rtol=1e-4,
                               atol=1e-8)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_batch_norm_alone_couples_the_samples(norm):
    critic, images = small_critic(norm), torch.rand(3, 2, 16, 16, dtype=torch.float64)
    found = cross_sample_gradient(critic, images)
    expected = by_differences(lambda x: critic(x)[1].item(), images).flatten(1).norm(dim=1)
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-7)
    across = found[~torch.eye(3, dtype=torch.bool)]
    assert (found.diagonal() > 0).all()
    assert across.min() > 0 if norm == "batch" else across.max() == 0


@given(st.integers(0, 10**6))
def test_mixed_images_lie_between_their_pair(seed):
    torch.manual_seed(seed)
    real, fake = torch.randn(2, 5, 2, 4, 4, dtype=torch.float64).unbind(0)
    mixed = mix(real, fake)
    share = ((mixed - fake) / (real - fake)).flatten(1)
    assert ((share >= -1e-9) & (share <= 1 + 1e-9)).all()
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-6, atol=1e-6)  # one share an image
    assert share[:, 0].unique().numel() == 5


# ------------------------------------------------------------------------------------------ evaluation


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 40), st.integers(2, 40))
def test_frechet_distance_is_scipys(seed, dimensions, many, few):
    g = np.random.default_rng(seed)
    a = g.normal(size=(many, dimensions)) @ g.normal(size=(dimensions, dimensions)) + g.normal(size=dimensions)
    b = g.normal(size=(few, dimensions)) @ g.normal(size=(dimensions, dimensions))
    (ma, sa), (mb, sb) = ((x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (a, b))
    root = np.real(np.linalg.eigvals(sa @ sb).astype(complex) ** 0.5).sum()  # trace, also where sqrtm is not defined
    if min(many, few) > dimensions + 1:
        assert root == pytest.approx(np.real(np.trace(sqrtm(sa @ sb))), rel=1e-5)
    expected = ((ma - mb) ** 2).sum() + np.trace(sa) + np.trace(sb) - 2 * root
    assert frechet_distance(*map(torch.from_numpy, (a, b))) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_frechet_distance_is_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(nn.Module):
        num_features = 12

        def forward(self, images):
            return images.double().flatten(1)

    g = torch.Generator().manual_seed(0)
    real = torch.rand(50, 3, 2, 2, generator=g)
    fake = torch.rand(60, 3, 2, 2, generator=g) ** 2
    metric = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert frechet_distance(real.flatten(1), fake.flatten(1)) == pytest.approx(metric.compute().item(), rel=1e-6)


def test_frechet_distance_of_gaussians_is_known():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40_000, 3, generator=g, dtype=torch.float64)
    # means 2 apart, standard deviations 1 and 3 in each of 3 dimensions: 4 + 3 (3 - 1)²
    assert frechet_distance(a, 3 * b + torch.tensor([2.0, 0, 0])) == pytest.approx(16, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(6, 40), st.integers(6, 40))
def test_precision_and_recall_by_brute_force(seed, neighbours, many, few):
    g = np.random.default_rng(seed)
    real, fake = g.normal(size=(many, 3)), g.normal(0.7, 0.6, size=(few, 3))

    def within(base, queries):
        hits = 0
        for query in queries:
            for i, centre in enumerate(base):
                others = sorted(math.dist(centre, other) for j, other in enumerate(base) if j != i)
                if math.dist(centre, query) <= others[neighbours - 1]:
                    hits += 1
                    break
        return hits / len(queries)

    found = precision_recall(torch.from_numpy(real), torch.from_numpy(fake), neighbours)
    assert found == pytest.approx((within(real, fake), within(fake, real)))


def test_precision_and_recall_of_made_up_distributions():
    g = torch.Generator().manual_seed(0)
    left = torch.randn(300, 4, generator=g)
    right = torch.randn(300, 4, generator=g) + 100
    both = torch.cat((left, right))
    again = torch.cat((torch.randn(300, 4, generator=g), torch.randn(300, 4, generator=g) + 100))
    precision, recall = precision_recall(both, again)
    assert precision > 0.8 and recall > 0.8  # the same distribution
    precision, recall = precision_recall(both, torch.randn(600, 4, generator=g))
    assert precision > 0.8 and 0.4 < recall <= 0.5  # half of what is real is never made
    precision, recall = precision_recall(left, again)
    assert 0.4 < precision <= 0.5 and recall > 0.8  # half of what is made is not real
    assert precision_recall(left, right) == (0, 0)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30))
def test_nearest_distances_by_brute_force(seed, queries, known):
    g = np.random.default_rng(seed)
    images, train = g.normal(size=(queries, 2, 3, 3)), g.normal(size=(known, 2, 3, 3))
    distances, index = nearest_distances(torch.from_numpy(images), torch.from_numpy(train), batch=7)
    rmse = np.sqrt(((images[:, None] - train[None]) ** 2).mean(axis=(2, 3, 4)))
    np.testing.assert_allclose(distances.numpy(), rmse.min(axis=1), rtol=1e-5, atol=1e-7)
    assert index.tolist() == rmse.argmin(axis=1).tolist()


def test_memorised_share_counts_copies():
    g = torch.Generator().manual_seed(0)
    train, new, held_out = (torch.randn(n, 1, 8, 8, generator=g) for n in (100, 200, 200))
    copies = train[:50] + 0.01 * torch.randn(50, 1, 8, 8, generator=g)
    near = nearest_distances(torch.cat((copies, new[:150])), train)[0]
    assert memorised_share(near, nearest_distances(held_out, train)[0]) == pytest.approx(0.25, abs=0.03)
    assert memorised_share(nearest_distances(new, train)[0], nearest_distances(held_out, train)[0]) < 0.05
