"""A mode collapse made on purpose: the discriminator stops learning, the generator goes on. Does recall show it?

    python -m tests.benchmarks.gan_collapse --seeds 0 1 2

Starts from the models that tests.benchmarks.dcgan left in build/dcgan (trained now where there are none). Precision and
recall of 500 samples on course features, before and after so many generator steps against the frozen judge. Lecture 08.
"""

import argparse
import copy

import torch

from geodl_course.models.dcgan import draw_codes, draw_samples
from geodl_course.models.gan_losses import LOSSES
from geodl_course.training.adversarial import generator_step
from tests.benchmarks import dcgan, generated, results

STEPS, BATCH, RATE = 150, 32, 1e-3


def freeze(model, seed, steps):
    """A DCGAN → a copy whose generator took so many steps while its discriminator stood still, and its losses."""
    stuck, loss = copy.deepcopy(model).eval(), LOSSES["non_saturating"][1]
    stuck.generator.train()  # the discriminator's batch norm stands still as well
    adam = torch.optim.Adam(stuck.generator.parameters(), lr=RATE, betas=(0.5, 0.999))
    torch.manual_seed(seed)
    told = [generator_step(stuck, adam, stuck.generator(draw_codes(BATCH, model.settings["latent"])), loss)["generator"]
            for _ in range(steps)]
    return stuck, [value.item() for value in told]


def collapse(data, yard, seed, steps=STEPS):
    """Figures of the samples before and after the judge was frozen, and the generator's loss at both ends."""
    model = dcgan.trained(data, seed)
    stuck, losses = freeze(model, seed, steps)
    found = {name: generated.course_of(draw_samples(one, 500, seed), yard)
             for name, one in (("before", model), ("judge frozen", stuck))}
    figures = {**found, "steps": steps, "loss": [losses[0], losses[-1]]}
    print(f"seed {seed}:", results.tidy(figures), flush=True)
    return figures


def main(arguments=None):
    told = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gan_collapse", description=told)
    parser.add_argument("--data", default="coast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="of the generator, against the frozen discriminator")
    chosen = parser.parse_args(arguments)
    data = generated.open_all(chosen.data)
    yard = generated.yardstick(generated.classifier_for(data)[0], data)
    name = results.name_for("gan_collapse", chosen.data, "coast")
    which = "" if chosen.data == "coast" else f" --data {chosen.data}"
    command = f"python -m tests.benchmarks.gan_collapse{which} --seeds "
    for seed in chosen.seeds:
        results.store(name, collapse(data, yard, seed, chosen.steps), command, seed)


if __name__ == "__main__":
    main()
