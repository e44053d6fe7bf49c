"""The three losses of a GAN side by side, what reaches the generator early on, and a mode collapse made on purpose.

    python -m tests.benchmarks.gan_losses

early: the discriminator alone learns, against a generator that stands still; how long is the gradient at its images
under each loss? (After Arjovsky and Bottou 2017, arXiv 1701.04862, figure 2.) side by side: the same number of
generator steps with each loss. collapse: ten generator steps for each of the discriminator's, beside one. Lecture 08.
"""

import argparse

import torch

from geodl_course.models.dcgan import dcgan, draw_codes, draw_samples
from geodl_course.models.gan_losses import LOSSES, cross_sample_gradient, gradient_at_samples
from geodl_course.training import adversarial
from geodl_course.training.adversarial import QUICK, discriminator_step, fit_gan, generator_step
from tests.benchmarks import generated, results

STEPS, EARLY, COLLAPSE = 800, 60, 300
NORM = {"minimax": "batch", "non_saturating": "batch", "wasserstein": "layer"}


def model_for(loss, data, seed):
    torch.manual_seed(seed)
    return adversarial.prepare(untrained(data, NORM[loss]))


def untrained(data, norm):
    return dcgan(data.train.shape[1], size=data.train.shape[-1], norm=norm, **QUICK["model"])


def batches_of(data, seed):
    return adversarial.shuffled(data.train, QUICK["fit"]["batch_size"], seed, torch.device("cpu"))


def early(data, seed, steps=EARLY):
    """Gradient at fakes while the discriminator alone learns → {loss: rows of step, its median length, D(fake)}."""
    found = {}
    for name, (judge, make) in LOSSES.items():
        model = model_for(name, data, seed).train()
        optimiser, _ = adversarial.make_optimisers(model, QUICK["fit"]["lr"])
        penalty, rows, batches = 10.0 if name == "wasserstein" else 0.0, [], batches_of(data, seed)
        for step in range(steps):
            with torch.no_grad():
                fake = model.generator(draw_codes(QUICK["fit"]["batch_size"], model.settings["latent"]))
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


def side_by_side(data, yard, seed, steps=STEPS):
    """Each loss for as many generator steps → figures and thinned curves."""
    found = {}
    for name in LOSSES:
        model = model_for(name, data, seed)
        settings = {key: value for key, value in QUICK["fit"].items() if key != "seconds"}
        history = fit_gan(model, data.train, steps=steps, seed=seed, loss=name, **settings)
        figures = generated.course_of(draw_samples(model, 500, seed), yard) if not history.diverged else {}
        every = max(1, history.step // 100)
        found[name] = {**figures, "seconds": history.seconds, "diverged": history.diverged,
                       "losses": history.steps[::every]}
        print(name, results.tidy(figures), f"{history.seconds:.0f} s", flush=True)
    return found


def collapse(data, yard, seed, steps=COLLAPSE, turns=(1, 10)):
    """The generator moves once, and ten times, for each of `steps` discriminator steps → figures of both."""
    found, (judge, make) = {}, LOSSES["non_saturating"]
    for generator_steps in turns:
        model = model_for("non_saturating", data, seed).train()
        batches, optimisers = batches_of(data, seed), adversarial.make_optimisers(model, QUICK["fit"]["lr"])
        for _ in range(steps):
            real = next(batches)
            for turn in range(generator_steps):
                fake = model.generator(draw_codes(len(real), model.settings["latent"]))
                if not turn:
                    discriminator_step(model, optimisers[0], real, fake, judge)
                generator_step(model, optimisers[1], fake, make)
        found[generator_steps] = generated.course_of(draw_samples(model, 500, seed), yard)
        print(f"{generator_steps} generator steps:", results.tidy(found[generator_steps]), flush=True)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gan_losses", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="coast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the generator, with each loss")
    chosen = parser.parse_args(arguments)
    data = generated.open_all(chosen.data)
    yard = generated.yardstick(generated.classifier_for(data)[0], data)
    share = min(1.0, chosen.steps / STEPS)  # fewer steps: all parts shorter
    figures = {"early": early(data, chosen.seed, max(2, int(share * EARLY))), "coupling": coupling(data, chosen.seed)}
    figures["collapse"] = collapse(data, yard, chosen.seed, max(2, int(share * COLLAPSE)))
    figures["side_by_side"] = side_by_side(data, yard, chosen.seed, chosen.steps)
    which = "" if chosen.steps == STEPS else f" --steps {chosen.steps}"
    results.store("gan_losses", figures, f"python -m tests.benchmarks.gan_losses{which}", chosen.seed)


if __name__ == "__main__":
    main()
