"""What a VAE minimises: the two parts of the evidence lower bound (ELBO), each as a number of nats a chip.

Source: Kingma and Welling 2014, equation 10 and appendix B; beta: Higgins et al., ICLR 2017.
"""

import math


def log_likelihood(images, found, log_noise):
    """log p(images | code): images (B, C, H, W) normal about found with deviation exp(log_noise) → (B,), in nats."""
    z = (images - found) * (-log_noise).exp()
    each = -0.5 * z.square() - log_noise - 0.5 * math.log(2 * math.pi)
    return each.flatten(1).sum(1)


def kl_to_standard(mean, log_variance):
    """KL divergence of N(mean, variance) from N(0, 1), both (B, L), summed over the code → (B,) nats, at least 0."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)


def elbo_losses(images, found, log_noise, mean, log_variance, beta=1.0):
    """Images and found (B, C, H, W), code (B, L) → {"reconstruction", "beta_kl"}: together minus the ELBO at beta 1.

    beta_kl is beta times the KL, as it is trained on. Both are summed over pixels and code, averaged over the batch: a
    mean over pixels would weigh the KL C * H * W times more.
    """
    reconstruction = -log_likelihood(images, found, log_noise).mean()
    return {"reconstruction": reconstruction, "beta_kl": beta * kl_to_standard(mean, log_variance).mean()}
