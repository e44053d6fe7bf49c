"""How long does a DCGAN training step take, as a share of the same networks in plain torch by the letter of the paper?

    OMP_NUM_THREADS=2 python -m tests.benchmarks.gan_speed [--width 64]

Batch of 64 chips of 64 px, five bands, same networks, start and settings of Adam; the two take turns in one process.
The plain step is measured twice: with fakes drawn once a step, as in the authors' code and in the course (the ratio
that is judged), and with new ones for the generator, as in algorithm 1 of Goodfellow et al. 2014.
"""

import argparse
import json
import statistics

import torch
from torch import nn

from geodl_course.models.dcgan import dcgan, draw_codes
from geodl_course.training.adversarial import adversarial_step, make_optimisers, prepare
from tests.benchmarks import results
from tests.benchmarks.speed import turns
from tests.oracles.test_dcgan_oracles import PlainDiscriminator, PlainGenerator, take_over

BATCH, BANDS, LATENT = 64, 5, 100


class PlainGan:
    """The two networks, their optimisers and one step as papers write it: chances from a sigmoid, BCE with labels."""

    def __init__(self, model, width, device):
        self.generator = take_over(PlainGenerator(BANDS, LATENT, width).to(device), model.generator)
        self.discriminator = take_over(PlainDiscriminator(BANDS, width).to(device), model.discriminator)
        networks = self.discriminator, self.generator
        self.adams = [torch.optim.Adam(one.parameters(), lr=2e-4, betas=(0.5, 0.999)) for one in networks]
        self.loss = nn.BCELoss()

    def step(self, real, again):
        """One step of each network; again: new fakes for the generator."""
        ones, zeros = torch.ones(len(real), device=real.device), torch.zeros(len(real), device=real.device)
        fake = self.generator(draw_codes(len(real), LATENT, device=real.device))
        self.adams[0].zero_grad()
        self.loss(self.discriminator(real).sigmoid(), ones).backward()
        self.loss(self.discriminator(fake.detach()).sigmoid(), zeros).backward()
        self.adams[0].step()
        if again:
            fake = self.generator(draw_codes(len(real), LATENT, device=real.device))
        self.adams[1].zero_grad()
        self.loss(self.discriminator(fake).sigmoid(), ones).backward()
        self.adams[1].step()


def measure(width, number, device):
    """Ratios of a step's time to the plain one's, fakes drawn once and twice → figures."""
    torch.manual_seed(0)
    model, figures = dcgan(BANDS, LATENT, width).to(device), {}
    plain = PlainGan(model, width, device)
    real = torch.rand(BATCH, BANDS, 64, 64, device=device) * 2 - 1
    model.train(), plain.generator.train(), plain.discriminator.train()
    ours, optimisers = prepare(real), make_optimisers(prepare(model), 2e-4, (0.5, 0.999))
    for name, again in (("training", False), ("training, new fakes for the generator", True)):
        detail = turns(lambda again=again: plain.step(real, again),
                       lambda: adversarial_step(model, optimisers, lambda: ours), number)
        figures[name] = detail["ratio"]
        figures[f"{name}, detail"] = {"plain_ms" if key == "torchvision_ms" else key: value
                                      for key, value in detail.items()}
    return figures


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gan_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--turns", type=int, default=6, help="a run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-store", action="store_true", help="print only")
    chosen = parser.parse_args(arguments)
    runs = [measure(chosen.width, chosen.turns, chosen.device) for _ in range(chosen.runs)]
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0] if "detail" not in name}
    figures |= {"width": chosen.width, "each": runs}
    print(json.dumps({**results.circumstances(), **results.tidy(figures)}, indent=1))
    if not chosen.no_store:
        which = "" if chosen.width == 64 else f"_width_{chosen.width}"
        command = "python -m tests.benchmarks.gan_speed" + (f" --width {chosen.width}" if which else "")
        results.store(f"gan_speed{which}", figures, command)


if __name__ == "__main__":
    main()
