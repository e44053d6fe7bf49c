"""The three losses of a GAN, from logits: what the discriminator and the generator minimise, and what they teach.

Goodfellow et al. 2014 (arXiv 1406.2661) for minimax and non-saturating, Arjovsky et al. 2017 (1701.07875) for
Wasserstein, Gulrajani et al. 2017 (1704.00028) for the gradient penalty. A logit's sigmoid is D(x), the chance that x
is real; softplus(-logit) is -log D(x) and softplus(logit) is -log(1 - D(x)), neither of which overflows.
"""

import torch
import torch.nn.functional as F


def discriminator_loss(real, fake):
    """Logits of real and of fake images (B,) → scalar: -log D(x) - log(1 - D(G(z))), also for non-saturating."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_loss(fake):
    """Logits of fake images (B,) → scalar: log(1 - D(G(z))). Flat where D is sure that they are fake."""
    return -F.softplus(fake).mean()


def non_saturating_loss(fake):
    """Logits of fake images (B,) → scalar: -log D(G(z)). Steep where D is sure that they are fake."""
    return F.softplus(-fake).mean()


def critic_loss(real, fake):
    """Scores of real and of fake images (B,) each, any number → scalar: how much higher the fakes are scored."""
    return fake.mean() - real.mean()


def wasserstein_loss(fake):
    """Scores of fake images (B,) → scalar: the lower they are, the more."""
    return -fake.mean()


LOSSES = {  # name: (the discriminator's, of real and fake; the generator's, of fake)
    "minimax": (discriminator_loss, minimax_loss),
    "non_saturating": (discriminator_loss, non_saturating_loss),
    "wasserstein": (critic_loss, wasserstein_loss),
}


def mix(real, fake):
    """Real and fake images (B, C, S, S) → one image between each pair (B, C, S, S), anywhere on the way."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    return fake + share * (real - fake)


def gradient_penalty(critic, images):
    """How far the critic's slope at each of images (B, C, S, S) is from 1, squared → scalar, the mean over B.

    The slope is the length of the gradient of an image's own score. Right only for a critic that scores each image by
    itself: batch norm lets the score of one depend on the others.
    """
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def gradient_at_samples(discriminator, fake, loss):
    """How strongly a generator's loss pulls at each fake image (B, C, S, S) → length of the gradient (B,).

    loss: one of the generator's, of logits (B,). It is a mean over B, so each gradient is multiplied by B.
    """
    fake = fake.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(discriminator(fake)), fake)
    return len(fake) * gradient.flatten(1).norm(dim=1)


def cross_sample_gradient(critic, images):
    """How much the score of image i depends on the pixels of image j, for images (B, C, S, S) → (B, B), i down.

    Each entry is the length of a gradient. A critic that scores each image by itself has zeros off the diagonal.
    """
    images = images.detach().requires_grad_(True)
    scores = critic(images)
    rows = [torch.autograd.grad(score, images, retain_graph=True)[0].flatten(1).norm(dim=1) for score in scores]
    return torch.stack(rows)
