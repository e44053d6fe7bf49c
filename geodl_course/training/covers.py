"""Training of a classifier of whole chips, which `fit` does not train: it learns objects in chips."""

import torch
from tqdm import tqdm

from geodl_course.models.cover_classifier import cover_loss, predict_covers
from geodl_course.training.augmentation import turn_maps
from geodl_course.training.loop import check_devices, schedule, seed_of, set_rate


def fit_classifier(classifier, images, labels, steps, batch_size=64, lr=2e-3, seed=0, turn=True, progress=False):
    """Train a classifier on images (N, C, H, W) with labels (N,) 0..K-1 → list of losses; left in eval mode.

    Batches are drawn with each class as often as any other, whatever their numbers; with `turn` each image is one of
    its 8 flips and quarter turns. Raises ValueError for labels that do not fit the images or the classifier.
    """
    check_labels(classifier, images, labels)
    check_devices(classifier, images)
    torch.manual_seed(seed_of(seed, 0))
    weight = (1.0 / labels.bincount().clamp(min=1).double())[labels]
    optimiser, losses = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=1e-3), []
    classifier.train()
    for step in tqdm(range(steps), desc="classifier", disable=not progress):
        set_rate(optimiser, lr * schedule((step + 0.5) / steps))
        chosen = torch.multinomial(weight, batch_size, replacement=True)
        batch = images[chosen]
        if turn:
            element = torch.randint(8, (batch_size,))
            batch = turn_maps(batch, *((element & bit > 0)[:, None, None, None].to(batch.device) for bit in (1, 2, 4)))
        loss = cover_loss(classifier(batch), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    classifier.eval()
    return losses


def accuracy_of(classifier, images, labels):
    """Share of images (N, C, H, W) whose likeliest class is their label (N,) → float, and the same a class (K,)."""
    chances = predict_covers(classifier, images)
    right = (chances.argmax(dim=1) == labels.cpu()).float()
    each = [right[labels.cpu() == k].mean().item() for k in range(chances.shape[1])]
    return right.mean().item(), each


def check_labels(classifier, images, labels):
    """Raise ValueError where images (N, C, H, W) and labels (N,) are none that the classifier can learn from → None."""
    classes, bands = classifier.last.out_features, next(classifier.parameters()).shape[1]
    if not len(images) or len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels: give one label an image, at least one")
    if images.shape[1] != bands:
        raise ValueError(f"images have {images.shape[1]} bands, the classifier takes {bands}: cover_classifier(bands=)")
    if not images.isfinite().all():
        raise ValueError("images hold NaN or infinite pixels: leave these chips out, or fill the gaps")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels run from {int(labels.min())} to {int(labels.max())}, the classifier knows "
                         f"{classes} classes: 0 to {classes - 1}")
