"""DCGAN on made-up tensors: what it is built of, how the two networks take turns, and what is refused."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geodl_course import training
from geodl_course.chips import ChipError
from geodl_course.chips.scaling import RANGE, from_signed, reflectance, to_signed
from geodl_course.models import build
from geodl_course.models.dcgan import dcgan, draw_codes, draw_samples
from geodl_course.models.gan_losses import LOSSES
from geodl_course.training import adversarial
from geodl_course.training.adversarial import fit_gan, shuffled
from geodl_course.training.running_mean import follow


def small(**changes):
    torch.manual_seed(0)
    return dcgan(2, 5, 4, **{"size": 16, **changes})


def chips(number=24, bands=2, size=16, seed=0):
    return torch.rand(number, bands, size, size, generator=torch.Generator().manual_seed(seed)) * 1.8 - 0.9


def copies(network):
    return [value.clone() for value in network.parameters()]


def gradients(network):
    return [value.grad.clone() for value in network.parameters()]


def same(network, before):
    return all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


# ------------------------------------------------------------------------------------------ the networks


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_images_of_each_size_and_any_bands(size, bands):
    model = dcgan(bands, 7, 2, size=size)
    images = model(draw_codes(3, 7))
    assert images.shape == (3, bands, size, size) and images.abs().max() <= 1
    assert model.discriminator(images).shape == (3,)


def test_batch_norm_stands_where_the_paper_has_it():
    model = dcgan(3)
    kinds = [[type(layer) for layer in net.modules() if not isinstance(layer, nn.Sequential)]
             for net in (model.generator, model.discriminator)]
    up, down = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU], [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert kinds[0] == [nn.Unflatten, *up * 4, nn.ConvTranspose2d, nn.Tanh]
    assert kinds[1] == [nn.Conv2d, nn.Identity, nn.LeakyReLU, *down * 3, nn.Conv2d, nn.Flatten]
    assert {layer.negative_slope for layer in model.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}
    kernels = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert all(layer.kernel_size == (4, 4) and layer.bias is None for layer in kernels)


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    for layer in dcgan(3).modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            close = 4 / layer.weight.numel() ** 0.5  # four standard errors
            assert layer.weight.mean().item() == pytest.approx(0, abs=0.02 * close)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=close)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.5) and not layer.bias.any()


def test_codes_are_uniform_or_normal():
    uniform, normal = (draw_codes(4000, 5, kind) for kind in ("uniform", "normal"))
    assert uniform.abs().max() <= 1 and uniform.var().item() == pytest.approx(1 / 3, rel=0.05)
    assert normal.abs().max() > 2 and normal.var().item() == pytest.approx(1, rel=0.05)


def test_samples_depend_on_the_seed_alone():
    model = small()
    state = torch.get_rng_state()
    samples = draw_samples(model, 10, seed=3)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    torch.testing.assert_close(draw_samples(model, 10, seed=3, batch=4), samples)
    assert not torch.allclose(draw_samples(model, 10, seed=4), samples)


def test_a_model_is_kept_and_loaded_again(tmp_path):
    model = small(norm="layer", codes="normal").eval()
    again = training.load_model(training.save_model(model, tmp_path / "kept"))
    assert again.settings == model.settings and torch.equal(draw_samples(again, 4), draw_samples(model, 4))
    assert build("dcgan", **model.settings).settings == model.settings


@pytest.mark.parametrize(("changes", "told"), [
    ({"size": 48}, "size is 48"), ({"size": 8}, "size is 8"), ({"norm": "instance"}, "norm is 'instance'"),
    ({"codes": "beta"}, "codes is 'beta'"), ({"width": 0}, "width is 0"), ({"bands": 0}, "bands is 0"),
])
def test_settings_that_make_no_network(changes, told):
    with pytest.raises(ValueError, match=told):
        dcgan(**changes)
    with pytest.raises(KeyError, match="no setting 'depth'"):
        dcgan(depth=3)


# ------------------------------------------------------------------------------------------ taking turns


@pytest.mark.parametrize("loss", list(LOSSES))
def test_only_one_network_moves_at_a_time(loss):
    model, (judge, make) = small(norm="layer"), LOSSES[loss]
    optimisers = [torch.optim.Adam(net.parameters(), 1e-2) for net in (model.discriminator, model.generator)]
    before = copies(model.generator), copies(model.discriminator)
    fake = model.generator(draw_codes(6, 5))
    adversarial.discriminator_step(model, optimisers[0], chips(6), fake, judge, penalty=1.0)
    assert same(model.generator, before[0]) and not same(model.discriminator, before[1])
    assert all(p.grad is None for p in model.generator.parameters())
    before = copies(model.generator), copies(model.discriminator)
    left = gradients(model.discriminator)
    adversarial.generator_step(model, optimisers[1], fake, make)
    assert not same(model.generator, before[0]) and same(model.discriminator, before[1])
    assert all(map(torch.equal, gradients(model.discriminator), left))
    left = gradients(model.generator)
    assert all(value.any() for value in left)
    adversarial.discriminator_step(model, optimisers[0], chips(6), fake, judge, penalty=1.0)
    assert all(map(torch.equal, gradients(model.generator), left))
    assert all(p.requires_grad for p in model.parameters())


def test_a_step_is_the_step_of_plain_torch():
    """The same numbers as zero_grad, backward and step written out, both networks in one graph."""
    ours, plain = small(), small()
    adam = {"lr": 1e-3, "betas": (0.5, 0.999)}
    optimisers = [torch.optim.Adam(net.parameters(), **adam) for net in (ours.discriminator, ours.generator)]
    theirs = [torch.optim.Adam(net.parameters(), **adam) for net in (plain.discriminator, plain.generator)]
    for step in range(3):
        real = chips(6, seed=step)
        torch.manual_seed(step)
        told = adversarial.adversarial_step(ours, optimisers, lambda real=real: real)
        torch.manual_seed(step)
        fake = plain.generator(torch.rand(6, 5) * 2 - 1)
        scores = plain.discriminator(real), plain.discriminator(fake.detach())
        labels = torch.ones(6), torch.zeros(6)
        value = sum(map(nn.functional.binary_cross_entropy_with_logits, scores, labels))
        theirs[0].zero_grad()
        value.backward()
        theirs[0].step()
        passed = nn.functional.binary_cross_entropy_with_logits(plain.discriminator(fake), labels[0])
        theirs[1].zero_grad()
        passed.backward()
        theirs[1].step()
        assert told["discriminator"] == pytest.approx(value.item(), rel=1e-4)
        assert told["generator"] == pytest.approx(passed.item(), rel=1e-4)
        assert told["real"] == pytest.approx(scores[0].sigmoid().mean().item(), rel=1e-4)
        assert told["fake"] == pytest.approx(scores[1].sigmoid().mean().item(), rel=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_real_and_fake_are_judged_in_batches_of_their_own():
    model, seen = small(), []
    optimiser = torch.optim.Adam(model.discriminator.parameters())
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    real, fake = chips(6), chips(6, seed=1)
    adversarial.discriminator_step(model, optimiser, real, fake, LOSSES["non_saturating"][0])
    assert len(seen) == 2 and torch.equal(seen[0], real) and torch.equal(seen[1], fake)


@pytest.mark.parametrize(("loss", "wanted"), [("non_saturating", 1), ("minimax", 1), ("wasserstein", 5)])
def test_a_critic_takes_more_steps(loss, wanted, monkeypatch):
    counted = {"discriminator": 0, "generator": 0}
    for name in counted:
        step = getattr(adversarial, f"{name}_step")

        def count(*given, name=name, step=step, **settings):
            counted[name] += 1
            return step(*given, **settings)

        monkeypatch.setattr(adversarial, f"{name}_step", count)
    history = fit_gan(small(norm="layer"), chips(), steps=2, batch_size=4, loss=loss, progress=False)
    assert counted == {"discriminator": 2 * wanted, "generator": 2} and history.step == 2
    assert set(history.steps[0]) == {"step", "discriminator", "generator", "real", "fake"}


def test_every_image_once_an_epoch():
    images = torch.arange(10).float().reshape(10, 1, 1, 1)
    batches = shuffled(images, 3, seed=0, device=torch.device("cpu"))
    epochs = [torch.cat([next(batches) for _ in range(3)]).flatten().tolist() for _ in range(3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs) and epochs[0] != epochs[1]


def test_the_same_seed_gives_the_same_weights_and_watching_changes_nothing():
    runs = []
    for watch in (None, None, lambda model: draw_samples(model, 3)):
        model = small()
        history = fit_gan(model, chips(), steps=5, batch_size=8, seed=7, watch=watch, watch_every=2, progress=False)
        runs.append((model, history))
    assert all(same(model, copies(runs[0][0])) for model, _ in runs)
    looks = runs[2][1].looks
    assert [one["step"] for one in looks] == [0, 2, 4] and looks[0]["seen"].shape == (3, 2, 16, 16)
    other = small()
    fit_gan(other, chips(), steps=5, batch_size=8, seed=8, progress=False)
    assert not same(other, copies(runs[0][0])) and not other.training


def test_it_learns_what_chips_look_like():
    """Chips of one bright half: after 150 steps samples are bright on that side and varied, as the chips are."""
    torch.manual_seed(0)
    images = torch.full((64, 1, 16, 16), -0.7) + 0.1 * torch.rand(64, 1, 16, 16)
    images[:, :, :, 8:] += torch.rand(64, 1, 1, 1)
    model = dcgan(1, 5, 8, size=16)
    start = draw_samples(model, 200).mean(dim=(0, 1, 2))
    fit_gan(model, images, steps=150, batch_size=32, lr=2e-3, progress=False)
    made = draw_samples(model, 200)
    left, right = made[..., :8].mean(dim=(1, 2, 3)), made[..., 8:].mean(dim=(1, 2, 3))
    assert start.abs().max() < 0.2 and left.mean() < -0.4 and right.mean() > left.mean() + 0.25
    assert right.std() > 0.05


def test_the_mean_of_the_last_steps_is_kept():
    """At first step i weighs (i + 4) over 4, about i⁴, as a share of all steps; and watching sees the mean."""
    states, means = [], []

    def see(model):
        means.append(copies(model.generator))

    model, plain = small(), small()
    settings = {"batch_size": 8, "seed": 3, "lr": 1e-2, "progress": False}
    fit_gan(model, chips(), steps=4, average=0.99, watch=see, watch_every=1, **settings)
    keep = {"watch": lambda model: states.append(copies(model.generator)), "watch_every": 1}
    fit_gan(plain, chips(), steps=4, **keep, **settings)
    for number in range(5):
        for mean, *each in zip(means[number], *states[: number + 1], strict=True):
            weights = torch.tensor([float(math.comb(step + 4, 4)) for step in range(number + 1)])
            expected = torch.einsum("s,s...->...", weights / weights.sum(), torch.stack(each))
            torch.testing.assert_close(mean, expected, atol=1e-6, rtol=1e-4)
    assert same(model.discriminator, copies(plain.discriminator)) and same(model.generator, means[4])
    assert not model.training


@pytest.mark.parametrize(("average", "behind"), [(0.98, 49), (0.9999, 100)])
def test_the_mean_lags_behind_by_its_length_and_at_most_by_a_sixth_of_the_steps(average, behind):
    mean, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for step in range(600):
        nn.init.constant_(network.weight, step + 1)
        follow(mean, network, average, step)
    assert mean.weight.item() == pytest.approx(600 - behind, abs=1)


def test_the_means_batch_norm_is_measured_on_its_own_images():
    """What a norm layer takes for mean and variance are those of what comes into it, codes drawn anew."""
    model, seen = small(), {}
    fit_gan(model, chips(), steps=30, average=0.99, batch_size=8, lr=1e-2, progress=False)
    norms = [layer for layer in model.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, inputs: seen.update({norm: inputs[0]}))
    draw_samples(model, 4000, batch=4000)
    assert len(seen) == len(norms) == 2 and all(norm.momentum == 0.1 for norm in norms)
    for norm, maps in seen.items():
        close = 0.1 * norm.running_var.sqrt()
        assert ((maps.mean(dim=(0, 2, 3)) - norm.running_mean).abs() < close).all()
        torch.testing.assert_close(maps.var(dim=(0, 2, 3)), norm.running_var, rtol=0.15, atol=0)


def test_a_pair_of_rates_is_the_discriminators_and_the_generators():
    """Adam's first step moves each weight by its rate, wherever the gradient is not tiny."""
    model = small()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    fit_gan(model, chips(), steps=1, batch_size=8, lr=(1e-3, 4e-3), progress=False)
    for part, rate in (("discriminator", 1e-3), ("generator", 4e-3)):
        moved = torch.cat([(value - before[name]).abs().flatten() for name, value in model.named_parameters()
                           if name.startswith(part)])
        assert moved.quantile(0.9).item() == pytest.approx(rate, rel=0.01)


def test_turned_chips_are_views_of_the_chips_and_all_eight_come():
    images = chips()
    views = [turn for k in range(4) for turn in (images.rot90(k, (2, 3)), images.rot90(k, (2, 3)).flip(3))]
    batches = shuffled(images, len(images), 0, torch.device("cpu"), turn=True)
    seen = {}
    for _ in range(5):
        for image in next(batches):
            found = [(n, k) for k, view in enumerate(views) for n, one in enumerate(view) if torch.equal(one, image)]
            assert len(found) == 1
            seen.setdefault(found[0][1], set()).add(found[0][0])
    assert set(seen) == set(range(8))
    plain = next(shuffled(images, len(images), 0, torch.device("cpu")))
    assert all(any(torch.equal(one, image) for one in images) for image in plain)


def test_a_run_in_seconds_ends(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(adversarial.time, "perf_counter", lambda: next(ticks) / 8)  # a step takes 1 / 8 s
    history = fit_gan(small(), chips(), seconds=0.5, batch_size=8, progress=False)
    assert history.seconds == 0.5 and history.steps[-1]["step"] == history.step == 4


# ------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("average", [0, 0.99])
def test_diverging_stops_with_a_plain_message_and_keeps_the_history(average, capsys):
    model, images = small(), chips()

    def spoil(model):
        if len(history_so_far):
            with torch.no_grad():
                model.discriminator[-2].weight.fill_(math.inf)
        history_so_far.append(1)

    history_so_far = []
    settings = {"batch_size": 8, "average": average, "watch": spoil, "watch_every": 4, "progress": False}
    history = fit_gan(model, images, steps=9, **settings)
    assert history.step == 4 and "Stopped in step 5: the discriminator's loss is" in history.diverged
    assert history.diverged in capsys.readouterr().out and not history.stopped
    assert all(p.requires_grad for p in model.parameters())
    assert all(p.isfinite().all() for p in model.generator.parameters())


def wrong_images():
    nan = chips()
    nan[3, 1, 2, 2] = math.nan
    still = chips()
    still[:, 1] = 0.25
    return [
        (chips() * 3000, "scale them with chips.scaling.to_signed"),
        ((chips() + 1) / 2.1, "never below 0"),
        (nan, "NaN"),
        (still, "band 1 is 0.25 in every pixel"),
        (torch.zeros(24, 2, 16, 16) - 0.5, "band 0 is -0.5"),
        (chips(bands=3), "images have 3 bands, the model was built for 2"),
        (chips(size=32), "32 x 32 px, the model was built for 16 x 16"),
        (chips()[..., :12], "16 x 12 px"),
        (chips()[0], "pass one float tensor"),
        ((chips() * 100).to(torch.uint8), "torch.uint8"),
        ([chips()], "list"),
        (chips(4), "batch_size 8 with 4 images"),
    ]


@pytest.mark.parametrize(("images", "told"), wrong_images(), ids=lambda one: one if isinstance(one, str) else "")
def test_images_that_teach_nothing_are_refused(images, told):
    model = small()
    before = copies(model)
    with pytest.raises(ValueError, match=told):
        fit_gan(model, images, steps=2, batch_size=8, progress=False)
    assert same(model, before)


@pytest.mark.parametrize(("settings", "told"), [
    ({"steps": 2, "seconds": 1}, "exactly one"), ({}, "exactly one"), ({"steps": 2, "loss": "hinge"}, "'hinge'"),
    ({"steps": 2, "loss": "wasserstein"}, 'norm="layer"'), ({"steps": 2, "lr": 0.0}, "lr 0.0"),
    ({"steps": 2, "lr": (1e-3, 0.0)}, "pair of rates"), ({"steps": 2, "lr": (1e-3,) * 3}, "pair of rates"),
    ({"steps": 2, "batch_size": 1}, "batch_size 1"),
    ({"steps": 2, "average": 1.0}, "average 1.0"), ({"steps": 2, "critic_steps": 0}, "critic_steps 0"),
])
def test_settings_that_cannot_train(settings, told):
    with pytest.raises(ValueError, match=told):
        fit_gan(small(), chips(), **{"batch_size": 8, "progress": False, **settings})


# ------------------------------------------------------------------------------------------ reflectance


@given(st.integers(0, 10**6), st.floats(0, 0.2), st.floats(0.3, 1))
def test_signed_and_back(seed, low, high):
    inside = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    signed = to_signed(inside, low, high)
    assert signed.abs().max() <= 1
    torch.testing.assert_close(from_signed(signed, low, high), inside, atol=1e-6, rtol=1e-5)
    for band in range(2):  # a range a band
        lows, highs = [low, low / 2], [high, high * 2]
        torch.testing.assert_close(to_signed(inside, lows, highs)[:, band],
                                   to_signed(inside, lows[band], highs[band])[:, band])


def test_ends_of_the_range():
    images = torch.tensor([RANGE[0], sum(RANGE) / 2, RANGE[1], 0.9]).reshape(1, 1, 2, 2)
    assert to_signed(images).flatten().tolist() == [-1, 0, 1, 1]
    for wrong, told in ((images * 10_000, "reflectance"), (images * math.nan, "NaN")):
        with pytest.raises(ChipError, match=told):
            to_signed(wrong)
    with pytest.raises(ChipError, match="low must be lower"):
        to_signed(images, 0.5, 0.5)


def test_reflectance_of_stored_chips():
    from tests.test_training import tiny_chips

    data = tiny_chips()
    found = reflectance(data)
    assert found.dtype == torch.float32 and found.shape == data.images.shape
    assert found.max().item() == pytest.approx(data.images.max() / 255) and data.images.dtype.name == "uint8"
    data.images = data.images.astype("float32")
    with pytest.raises(ChipError, match="only whole numbers"):
        reflectance(data)
