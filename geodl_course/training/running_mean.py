"""A running mean of a generator's weights over its last steps, since single steps differ much."""

import torch
from torch.optim.swa_utils import update_bn

from geodl_course.models.dcgan import draw_codes


@torch.no_grad()
def follow(mean, network, average, step):
    """Move the mean's weights a little towards the network's, further in the first steps → None."""
    if mean is not None:
        share = max(1 - average, 1 / (step + 2))
        for old, new in zip(mean.parameters(), network.parameters(), strict=True):
            old.lerp_(new, share)


def measured(mean, settings, codes=1024, batch=128):
    """A running mean of generators, with its batch norm's means and variances measured on codes of its own → it.

    They are not the running mean of the generators' (Izmailov et al. 2018, arXiv 1803.05407, section 3.2).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches = draw_codes(codes, settings["latent"], settings["codes"]).split(batch)
    update_bn(batches, mean, next(mean.parameters()).device)
    return mean
