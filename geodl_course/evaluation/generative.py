"""How good are made-up images, on features (N, D) of real and of fake ones: distance, precision, recall, memory.

All is computed in pieces, so that thousands of images with thousands of numbers each fit into memory.
"""

import torch


def frechet_distance(real, fake):
    """Frechet distance of two Gaussians fitted to features real (N, D) and fake (M, D) → float, 0 where they agree.

    |m - m'|² + trace(S + S' - 2 (S S')^½), m the means, S the covariances (Heusel et al. 2017, arXiv 1706.08500; on
    Inception features it is called FID). Biased: with few images it reads higher, so compare equal numbers. Raises
    ValueError for fewer than two images, features of different length, or NaN. Lecture 08.
    """
    check_features(real, fake, 2)
    (mean_a, a), (mean_b, b) = (moments(one.double()) for one in (real, fake))
    root = half_power(a)
    mixed = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()  # the trace of (S S')^½
    return max(0.0, float((mean_a - mean_b).square().sum() + a.trace() + b.trace() - 2 * mixed))


def moments(features):
    """Mean (D,) and covariance (D, D) of features (N, D)."""
    mean = features.mean(dim=0)
    apart = features - mean
    return mean, apart.T @ apart / (len(features) - 1)


def half_power(matrix):
    """The symmetric square root of a covariance (D, D) → (D, D)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def precision_recall(real, fake, neighbours=3):
    """Share of fake features (M, D) among the real ones (N, D), and of real among the fake → (precision, recall).

    "Among" is within the ball of any image of the other kind, whose radius is the distance to the k-th nearest of its
    own kind, k = neighbours. Precision: do the fakes look real? Recall: is all that is real made? (Kynkaanniemi et al.
    2019, arXiv 1904.06991, equation 2.) Both depend on N and M: compare equal numbers. Raises ValueError as above.
    """
    check_features(real, fake, neighbours + 1)
    return covered(real, fake, neighbours), covered(fake, real, neighbours)


def covered(base, queries, neighbours):
    """Share of queries (M, D) within the ball of at least one of base (N, D), to its k-th neighbour → float."""
    radii = nearest(base, base, neighbours + 1)[:, -1]  # the nearest of its own kind is itself
    inside = [(torch.cdist(part, base.double()) <= radii).any(dim=1) for part in queries.double().split(256)]
    return torch.cat(inside).float().mean().item()


def nearest(queries, base, number=1):
    """Distances of queries (M, D) to the nearest of base (N, D), rising → (M, number), float64."""
    parts = queries.double().split(256)
    return torch.cat([torch.cdist(part, base.double()).topk(number, largest=False).values for part in parts])


def nearest_distances(images, train, batch=128):
    """Distance of each of images (M, ...) to the nearest of train (N, ...) and which that is → (M,), (M,).

    The distance is the root of the mean squared difference of all values: for chips, of reflectance, the RMSE.
    """
    flat, known = images.flatten(1), train.flatten(1)
    check_features(known, flat, 1)
    found = [torch.cdist(part, known).min(dim=1) for part in flat.split(batch)]
    distances, index = torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
    return distances / flat.shape[1] ** 0.5, index


def memorised_share(samples, held_out, share=0.01):
    """Share of samples nearer to a training chip than all but `share` of the held-out chips are → float.

    samples (M,), held_out (N,): distances to the nearest training chip. Chips that were drawn anew give about `share`.
    """
    if not len(samples) or not len(held_out):
        raise ValueError(f"{len(samples)} samples, {len(held_out)} held-out chips: both are needed")
    return (samples < held_out.quantile(share)).float().mean().item()


def closed_share(distance, ceiling, floor):
    """How far a distance got from its ceiling to its floor → float: 0 at the ceiling, 1 at the floor."""
    if not ceiling > floor:
        raise ValueError(f"the ceiling, {ceiling:.4g}, is not above the floor, {floor:.4g}: the features tell nothing")
    return (ceiling - distance) / (ceiling - floor)


def pixel_means(images):
    """Each chip (N, C, H, W) replaced by the mean of each of its bands → (N, C, H, W): all structure taken away."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous()


def check_features(real, fake, number):
    """Raise ValueError unless real (N, D) and fake (M, D) are finite, of one length, and at least `number` each."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features are {tuple(real.shape)} and {tuple(fake.shape)}: both must be (N, D) with one D")
    if min(len(real), len(fake)) < number:
        raise ValueError(f"{len(real)} and {len(fake)} images: at least {number} of each kind are needed")
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("features hold NaN or infinite numbers: look at the images and at the network that made them")
