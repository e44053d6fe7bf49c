"""The three losses of a GAN side by side, and what reaches the generator early on.

    python -m tests.benchmarks.gan_losses --steps 400                           # about two minutes on two cores
    python -m tests.benchmarks.gan_losses --steps 400 --only early wasserstein  # a part of it, added to what is stored

early: the discriminator alone learns, against a generator that stands still; how long is the gradient at its images
under each loss? (After Arjovsky and Bottou 2017, arXiv 1701.04862, figure 2.) coupling: how much of a critic's gradient
lies on other images of the batch. minimax, non_saturating, wasserstein: as many generator steps with each loss, from
the same start. Chips of 32 px in cells of 20 m, as in lecture 08, which draws the stored curves.
"""

import argparse

import torch
import torch.nn.functional as F

from geodl_course.models.dcgan import dcgan, draw_codes, draw_samples
from geodl_course.models.gan_losses import LOSSES, cross_sample_gradient, gradient_at_samples
from geodl_course.training import adversarial
from geodl_course.training.adversarial import discriminator_step, fit_gan
from tests.benchmarks import generated, results

DATA, STEPS, EARLY, SIDE = "coast", 400, 60, 32
MODEL, FIT = {"width": 32}, {"batch_size": 16, "lr": 5e-4, "average": 0.999}  # the same for each loss
NORM = {"minimax": "batch", "non_saturating": "batch", "wasserstein": "layer"}
PARTS = ("early", "coupling", *LOSSES)


def open_coarse(name):
    """What generated.open_all gives, chips of more than SIDE pixels averaged down to SIDE."""
    data = generated.open_all(name)
    factor = max(1, data.train.shape[-1] // SIDE)
    for part in ("train", "held_out", "other"):
        setattr(data, part, F.avg_pool2d(getattr(data, part), factor))
    return data


def model_for(loss, data, seed):
    torch.manual_seed(seed)
    return adversarial.prepare(untrained(data, NORM[loss]))


def untrained(data, norm):
    return dcgan(data.train.shape[1], size=data.train.shape[-1], norm=norm, **MODEL)


def early(data, seed, steps=EARLY):
    """Gradient at fakes while the discriminator alone learns → {loss: rows of step, its median length, D(fake)}."""
    found = {}
    for name, (judge, make) in LOSSES.items():
        model = model_for(name, data, seed).train()
        optimiser, _ = adversarial.make_optimisers(model, FIT["lr"])
        penalty, rows = 10.0 if name == "wasserstein" else 0.0, []
        batches = adversarial.shuffled(data.train, FIT["batch_size"], seed, torch.device("cpu"))
        for step in range(steps):
            with torch.no_grad():
                fake = model.generator(draw_codes(FIT["batch_size"], model.settings["latent"]))
            told = discriminator_step(model, optimiser, next(batches), fake, judge, penalty)
            length = gradient_at_samples(model.discriminator, fake, make).median()
            rows.append([step + 1, length.item(), told["fake"].mean().item()])
        found[name] = rows
    return found


def coupling(data, seed, images=8):
    """Share of a critic's gradient that lies on other images of the batch, with batch norm and with layer norm."""
    found = {}
    for norm in ("batch", "layer"):
        torch.manual_seed(seed)
        critic = untrained(data, norm).discriminator
        gradient = cross_sample_gradient(critic, data.train[:images])
        found[norm] = ((gradient.sum() - gradient.diagonal().sum()) / gradient.sum()).item()
    return found


def played(name, data, yard, seed, steps=STEPS):
    """So many generator steps with one loss → figures of 500 samples and thinned curves."""
    model = model_for(name, data, seed)
    history = fit_gan(model, data.train, steps=steps, seed=seed, loss=name, **FIT)
    figures = generated.course_of(draw_samples(model, 500, seed), yard) if not history.diverged else {}
    print(name, results.tidy(figures), f"{history.seconds:.0f} s", flush=True)
    every = max(1, history.step // 100)
    return {**figures, "seconds": history.seconds, "diverged": history.diverged, "losses": history.steps[::every]}


def kept(name, seed, steps):
    """What is stored of a seed, measured with as many steps, so that other parts can be added to it → figures."""
    same = [run["figures"] for run in results.runs(name) if run["seed"] == seed]
    return same[0] if same and same[0]["steps"] == steps else {"steps": steps, "side_by_side": {}}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gan_losses", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the generator, with each loss")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure now")
    chosen = parser.parse_args(arguments)
    name, data = results.name_for("gan_losses", chosen.data, DATA), open_coarse(chosen.data)
    command = f"python -m tests.benchmarks.gan_losses --steps {chosen.steps}"
    command += "" if chosen.data == DATA else f" --data {chosen.data}"
    yard = generated.yardstick(generated.classifier_for(data)[0], data) if {*LOSSES} & {*chosen.only} else None
    for part in chosen.only:  # each is stored at once: what comes after may be stopped
        figures = kept(name, chosen.seed, chosen.steps)
        if part == "early":
            figures[part] = early(data, chosen.seed, min(EARLY, chosen.steps))
        elif part == "coupling":
            figures[part] = coupling(data, chosen.seed)
        else:
            sides = figures["side_by_side"] | {part: played(part, data, yard, chosen.seed, chosen.steps)}
            figures["side_by_side"] = {loss: sides[loss] for loss in LOSSES if loss in sides}  # always in this order
        results.store(name, figures, command, chosen.seed)


if __name__ == "__main__":
    main()
