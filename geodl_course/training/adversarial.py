"""Training of two networks against each other: `fit_gan` and the two steps that it alternates.

A discriminator step moves the discriminator's parameters alone, a generator step the generator's alone. Real and fake
images go through the discriminator in batches of their own, so that batch norm never sees the two mixed. The generator
step takes the fakes of the discriminator step before it, as the authors' code does (soumith/dcgan.torch: it takes their
scores too; here the discriminator judges again, with what it has learned since). Goodfellow et al. 2014 (arXiv
1406.2661), algorithm 1, draws new codes instead.
"""

import copy
import math
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch

from geodl_course.models.dcgan import draw_codes
from geodl_course.models.dcgan_settings import check_images
from geodl_course.models.gan_losses import LOSSES, gradient_penalty, mix
from geodl_course.training.augmentation import seen_as
from geodl_course.training.loop import NonFiniteLoss, one_length, seed_of, share_done, stop_button
from geodl_course.training.progress import History, progress_bar
from geodl_course.training.running_mean import follow, measured

QUICK = {  # for two cores and two minutes; not as in the paper: width, batch, the generator's rate, turns, mean
    "model": {"width": 16},
    "fit": {"batch_size": 16, "lr": (2e-4, 5e-4), "turn": True, "average": 0.999},
}


@dataclass
class GanHistory(History):
    """What happened: `steps`, one dict a step: step, discriminator and generator (losses), real and fake.

    real, fake: means of D(x) and D(G(z)), 0..1; for the Wasserstein loss means of the critic's scores. looks: what
    `watch` returned, dicts step, seconds, seen. diverged: why training stopped, empty where it did not diverge.
    """

    looks: list[dict] = field(default_factory=list)
    diverged: str = ""


def fit_gan(
    model, images, *, steps=None, seconds=None, batch_size=64, loss="non_saturating", critic_steps=None, penalty=10.0,
    lr=2e-4, betas=(0.5, 0.999), average=0.0, turn=False, seed=0, watch=None, watch_every=100, progress=True,
):
    """Train a DCGAN on images (N, C, S, S) in [-1, 1] → GanHistory; the model is changed in place, left in eval mode.

    Give steps or seconds (of training). A step is one of the generator after critic_steps of the discriminator: 1, for
    loss="wasserstein" 5, with `penalty` as the gradient penalty's weight. lr and betas are Adam's, by default the
    paper's; a pair of rates is the discriminator's and the generator's (two time scales: Heusel et al. 2017, arXiv
    1706.08500, section 2). turn: real chips are flipped and turned at random, all 8 views alike likely. average: the
    generator that is kept is a running mean over about 1 / (1 - average) steps, since single steps differ much (Yazici
    et al. 2019, arXiv 1806.04498); 0 keeps the last step's, as the paper. watch(model), called before the first and
    after every watch_every-th step, sees how far it is; its time does not count. Where a loss is no number any more,
    training stops, says so, and keeps the history; the network whose loss it was stays as it was before that update,
    while the discriminator has moved by then where the loss is the generator's. All that is random in a step comes from
    seed and the step. Raises ValueError for images or settings that do not fit. Lecture 08.
    """
    length = one_length(steps=steps, seconds=seconds)
    if not 0 <= average < 1:
        raise ValueError(f"average {average}: choose 0 for none, or a share below 1 such as 0.99")
    run = begin_gan(model, images, length, batch_size, loss, critic_steps, penalty, lr, betas, turn, seed, progress)
    run.mean = copy.deepcopy(model.generator) if average else None
    look(run, watch)
    with run.bar, stop_button(run.history) as stop:
        while share_done(run) < 1 and not run.history.stopped:
            start = time.perf_counter()
            torch.manual_seed(seed_of(seed, run.history.step))
            try:
                values = adversarial_step(model, run.optimisers, lambda: next(run.batches), **run.game)
            except NonFiniteLoss as error:
                run.history.diverged = f"Stopped in step {run.history.step + 1}: {error}"
                break
            follow(run.mean, model.generator, average, run.history.step)
            note(run, values, time.perf_counter() - start)
            if run.history.step % watch_every == 0:
                look(run, watch)
            run.history.stopped = bool(stop)
    if average:
        model.generator.load_state_dict(measured(run.mean, model.settings).state_dict())
    model.requires_grad_(True).eval()
    tell(run.history)
    return run.history


def adversarial_step(model, optimisers, next_real, loss="non_saturating", critic_steps=1, penalty=0.0):
    """One round of the game, on batches that next_real() gives → {"discriminator", "generator", "real", "fake"}.

    optimisers: the discriminator's and the generator's. The fakes of the last discriminator step serve the generator.
    """
    for turn in range(critic_steps):
        real = next_real()
        codes = draw_codes(len(real), model.settings["latent"], model.settings["codes"], real.device)
        with torch.set_grad_enabled(turn == critic_steps - 1), precision(real.device):
            fake = model.generator(codes).float()
        judged = discriminator_step(model, optimisers[0], real, fake, LOSSES[loss][0], penalty)
    values = {**judged, **generator_step(model, optimisers[1], fake, LOSSES[loss][1])}
    if loss != "wasserstein":  # a critic's scores are no logits
        values |= {name: values[name].sigmoid() for name in ("real", "fake")}
    return {name: value.mean().item() for name, value in values.items()}


def discriminator_step(model, optimiser, real, fake, loss, penalty=0.0):
    """The discriminator learns to tell real from fake (B, C, S, S); the generator stands still → loss, both logits."""
    fake = fake.detach()  # no gradient goes back into the generator
    with precision(real.device):
        logits = {"real": model.discriminator(real).float(), "fake": model.discriminator(fake).float()}
    value = loss(**logits)
    if penalty:
        value = value + penalty * gradient_penalty(model.discriminator, mix(real, fake))
    move(optimiser, value, "discriminator")
    return {"discriminator": value.detach(), **{name: each.detach() for name, each in logits.items()}}


def generator_step(model, optimiser, fake, loss):
    """The generator learns what makes its own images fake (B, C, S, S) pass; the discriminator stands still → loss."""
    model.discriminator.requires_grad_(False)  # the gradient passes through it, none is computed for its parameters
    with precision(fake.device):
        logits = model.discriminator(fake).float()
    value = loss(logits)
    move(optimiser, value, "generator")
    model.discriminator.requires_grad_(True)
    return {"generator": value.detach()}


def move(optimiser, value, whose):
    """One step of an optimiser down a scalar loss → None; raises NonFiniteLoss before anything moves."""
    if not math.isfinite(value.item()):
        raise NonFiniteLoss(
            f"the {whose}'s loss is {value.item()}: the two networks diverged. The {whose}'s weights are those of the "
            "step before; train again with a smaller lr or another seed, and look at the history's last steps"
        )
    optimiser.zero_grad()
    value.backward()
    optimiser.step()


def precision(device):
    """Convolutions in bfloat16 on a GPU, where that is quicker; all else as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def begin_gan(model, images, length, batch_size, loss, critic_steps, penalty, lr, betas, turn, seed, progress):
    """Everything that a run holds: two optimisers, batches without end, the history, the progress bar."""
    check_images(images, model.settings)
    check_game(model, len(images), batch_size, loss, critic_steps, lr)
    wasserstein = loss == "wasserstein"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(model.to(device)).train()
    run = SimpleNamespace(model=model, length=length, history=GanHistory())
    run.optimisers = make_optimisers(model, lr, betas)
    run.batches = shuffled(images, batch_size, seed, device, turn)
    run.game = {"loss": loss, "critic_steps": critic_steps or (5 if wasserstein else 1)}
    run.game |= {"penalty": penalty if wasserstein else 0.0}
    run.bar = progress_bar(run, progress)
    return run


def prepare(what):
    """Images or a model in the layout that convolutions are quickest with, channels last."""
    return what.to(memory_format=torch.channels_last)


def make_optimisers(model, lr=2e-4, betas=(0.5, 0.999)):
    """An Adam for the discriminator's parameters and one for the generator's; lr is both rates, or a pair of them."""
    return [torch.optim.Adam(part.parameters(), lr=rate, betas=betas, fused=True)
            for part, rate in zip((model.discriminator, model.generator), both_rates(lr), strict=True)]


def both_rates(lr):
    """The discriminator's and the generator's learning rate → (float, float), of one for both or of a pair."""
    return tuple(lr) if isinstance(lr, (tuple, list)) else (lr, lr)


def check_game(model, number, batch_size, loss, critic_steps, lr):
    """Raise ValueError for settings with which two networks cannot be trained against each other → None."""
    if loss not in LOSSES:
        raise ValueError(f"loss {loss!r} is unknown: choose one of {', '.join(LOSSES)}")
    if loss == "wasserstein" and model.settings["norm"] == "batch":
        raise ValueError("a Wasserstein critic is penalised for its slope at each image, and batch norm lets the score "
                         "of one depend on the others: build the model with norm=\"layer\"")
    if not 2 <= batch_size <= number:
        raise ValueError(f"batch_size {batch_size} with {number} images: a batch takes from 2 (batch norm compares) to "
                         "all of them")
    rates = both_rates(lr)
    if len(rates) != 2 or not min(rates) > 0 or (critic_steps is not None and critic_steps < 1):
        raise ValueError(f"lr {lr}, critic_steps {critic_steps}: the first is more than 0, for both networks or a "
                         "pair of rates, the second at least 1")


def shuffled(images, batch_size, seed, device, turn=False):
    """Batches (B, C, S, S) without end: each epoch all images once, in an order of its own, but for an unfull batch.

    turn: each image is in one of its 8 views, drawn anew in each epoch.
    """
    epoch = 0
    while True:
        random = np.random.default_rng([seed, epoch])
        order, views = (torch.from_numpy(drawn) for drawn in (random.permutation(len(images)),
                                                              random.integers(8 if turn else 1, size=len(images))))
        for chosen in order[: len(order) // batch_size * batch_size].split(batch_size):
            yield prepare(seen_as(images[chosen].to(device), views[chosen]))
        epoch += 1


def note(run, values, seconds):
    """Write one step into the history and onto the progress bar."""
    history = run.history
    history.steps.append({"step": history.step + 1, **values})
    history.seconds += seconds
    run.bar.set_description_str(" · ".join(f"{name} {value:.3f}" for name, value in values.items()), refresh=False)
    done = history.seconds if run.length[0] == "seconds" else history.step
    run.bar.update(min(done, run.bar.total) - run.bar.n)


def look(run, watch):
    """Let watch(model) see the model as it is, and keep what it returns."""
    if watch is not None:
        own = run.model.generator
        with torch.random.fork_rng(devices=[]):
            run.model.generator = own if run.mean is None else measured(run.mean, run.model.settings)
            seen = watch(run.model)
        run.model.generator = own
        run.model.train()
        run.history.looks.append({"step": run.history.step, "seconds": run.history.seconds, "seen": seen})


def tell(history):
    """Say why training ended, where it did not by itself."""
    if history.diverged:
        print(history.diverged)
    elif history.stopped:
        print(f"Stopped after step {history.step}. The model keeps what it learned.")
