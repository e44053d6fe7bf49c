"""A running mean of a generator's weights over its last steps, since single steps differ much."""

import torch
from torch.optim.swa_utils import update_bn

from geodl_course.models.dcgan import draw_codes


@torch.no_grad()
def follow(mean, network, average, step):
    """Move the mean's weights towards the network's by the share 1 - average, at first by more → None.

    At first it is the mean of about the last fifth of the steps so far, so that the start is soon forgotten (after
    Karras et al. 2024, arXiv 2312.02696, section 3.1: step i of n weighs about (i / n)⁴).
    """
    if mean is not None:
        share = max(1 - average, 5 / (step + 6))
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
