"""Filling a gap in a chip with a generator: search the code whose image fits what is seen around the gap.

Yeh et al. 2017 (arXiv 1607.07539): the code is found by gradient descent, then the image is brought to the values at
the gap's edge. That last step is a smooth correction here, the same that the baseline makes of the edge alone.
"""

import torch
import torch.nn.functional as F

from geodl_course.models.dcgan import draw_codes
from geodl_course.models.dcgan_settings import check_shape


def smooth_fill(images, gap, rounds=2000):
    """Images (B, C, H, W), gap (B, 1, H, W) bool → the gap filled from its edge, as smoothly as can be (B, C, H, W).

    Each missing pixel becomes the mean of its four neighbours, again and again (Laplace's equation, by Jacobi).
    """
    filled = torch.where(gap, coarse_fill(images, gap), images)
    for _ in range(rounds):
        padded = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        change = torch.where(gap, around / 4, filled)
        if (change - filled).abs().max() < 1e-5:
            break
        filled = change
    return filled


def coarse_fill(images, gap):
    """A first guess (B, C, H, W) for smooth_fill: means of what is seen, over windows that grow until all is filled."""
    seen, guess, size = (~gap).to(images.dtype), torch.zeros_like(images), 3
    missing = gap
    while missing.any() and size < 2 * max(images.shape[-2:]):
        options = {"kernel_size": size, "stride": 1, "padding": size // 2}
        share = F.avg_pool2d(seen, **options)
        means = F.avg_pool2d(images * seen, **options) / share.clamp(min=1e-6)
        guess = torch.where(missing & (share > 0), means, guess)
        missing, size = missing & (share == 0), 2 * size + 1
    return guess


def misfit(made, images, gap):
    """Made and real images (B, C, H, W), gap (B, 1, H, W) → mean absolute difference of what is seen (B,)."""
    seen = (~gap).to(images.dtype)
    return ((made - images).abs() * seen).sum(dim=(1, 2, 3)) / (seen.sum(dim=(1, 2, 3)) * images.shape[1])


def search_codes(model, images, gap, steps=200, lr=0.05, starts=4, prior=0.003, seed=0):
    """Codes whose made-up images fit images (B, C, H, W) where nothing is missing → (B, Z), the best of all starts.

    prior: weight of what the discriminator says of the image; 0 leaves it out.
    """
    model.eval().requires_grad_(False)  # the code moves, the networks do not
    torch.manual_seed(seed)
    images, gap = images.repeat_interleave(starts, dim=0), gap.repeat_interleave(starts, dim=0)
    codes = draw_codes(len(images), model.settings["latent"], model.settings["codes"], images.device)
    codes.requires_grad_(True)
    optimiser = torch.optim.Adam([codes], lr=lr)
    for _ in range(steps):
        loss = search_loss(model, codes, images, gap, prior)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        within_range(codes, model.settings["codes"])
    model.requires_grad_(True)
    with torch.no_grad():
        return best_start(codes.detach(), misfit(model.generator(codes), images, gap), starts)


def search_loss(model, codes, images, gap, prior):
    """How badly the images of codes (B, Z) fit images (B, C, H, W), and how fake they look → (B,)."""
    made = model.generator(codes)
    loss = misfit(made, images, gap)
    return loss + prior * F.softplus(-model.discriminator(made)) if prior else loss


def within_range(codes, kind):
    """Codes (B, Z) changed in place so that the generator knows them from training → None."""
    with torch.no_grad():
        codes.clamp_(-1, 1) if kind == "uniform" else codes.clamp_(-2.5, 2.5)


def best_start(codes, misfits, starts):
    """Codes (B * starts, Z), misfits (B * starts,) → of each image the code that fits best (B, Z)."""
    best = misfits.unflatten(0, (-1, starts)).argmin(dim=1)
    return codes.unflatten(0, (-1, starts))[torch.arange(len(best)), best]


def blend(made, images, gap):
    """Made-up images in the gap, shifted smoothly so that they meet images (B, C, H, W) at its edge → (B, C, H, W)."""
    correction = smooth_fill(images - made, gap)
    return torch.where(gap, (made + correction).clamp(-1, 1), images)


def fill_gaps(model, images, gap, **search):
    """Images (B, C, S, S) in [-1, 1] with gaps (B, 1, S, S) bool filled by searching codes → (B, C, S, S).

    search: settings of search_codes. Pixels in the gap may hold anything finite; nothing is read from them. Raises
    ValueError where an image is all gap. Lecture 08.
    """
    check_shape(images, model.settings)
    check_gap(images, gap)
    device = next(model.parameters()).device
    hidden, gap = torch.where(gap, 0.0, images).to(device), gap.to(device)
    codes = search_codes(model, hidden, gap, **search)
    with torch.no_grad():
        return blend(model.generator(codes), hidden, gap).to(images.device)


def check_gap(images, gap):
    """Raise ValueError unless gap (B, 1, H, W) is bool and leaves something to see of images (B, C, H, W) → None."""
    if gap.dtype != torch.bool or gap.shape != (len(images), 1, *images.shape[-2:]):
        raise ValueError(f"gap is {gap.dtype} {tuple(gap.shape)}, images are {tuple(images.shape)}: it must be bool "
                         "(B, 1, H, W), True where pixels are missing")
    if gap.flatten(1).all(dim=1).any():
        raise ValueError("an image is all gap: there is nothing around it that a fill could fit; leave it out")
    if not torch.where(gap, 0.0, images).isfinite().all():
        raise ValueError("images hold NaN or infinite pixels outside the gap: mark them as gap too")
