"""What the generative benchmarks share: chips scaled and labelled, the classifier, and all figures of samples."""

from pathlib import Path
from types import SimpleNamespace

import torch

from geodl_course import training
from geodl_course.chips import covers
from geodl_course.chips.scaling import from_signed, reflectance, to_signed
from geodl_course.evaluation.generative import (
    closed_share,
    frechet_distance,
    memorised_share,
    nearest_distances,
    pixel_means,
    precision_recall,
)
from geodl_course.models.cover_classifier import cover_classifier, features_of
from geodl_course.training.augmentation import seen_as
from geodl_course.training.covers import accuracy_of, fit_classifier

CLASSIFIER_STEPS = 300


def labelled(name, split):
    """Chips of a split → images (N, C, S, S) in [-1, 1], names of what each shows (N)."""
    data = training.open_chips(name, split)
    entries = covers(data)
    return to_signed(reflectance(data)), [entry.get("cover", entry["kind"]) for entry in entries]


def others(name):
    """The data set of a name or path whose scenes only the classifier sees: coast_covers beside coast."""
    return str(Path(name).with_stem(f"{Path(name).stem}_covers"))


def open_all(name, most=2000, classifier=True):
    """What a generative benchmark needs of a data set → namespace train, held_out, other and their labels.

    The generator learns from train, held_out tells what new chips are like (val, and test where there is one), and the
    classifier learns from other: the scenes of NAME_covers, which neither of the two has (None for classifier=False).
    """
    data = training.open_chips(name, "train")
    train, held_out = labelled(name, "train"), labelled(name, "val")
    if training.recipes.has_split(name, "test"):
        more = labelled(name, "test")
        held_out = torch.cat((held_out[0], more[0])), held_out[1] + more[1]
    other = labelled(others(name), "train") if classifier else (None, [])
    classes = sorted({*train[1], *held_out[1], *other[1]})
    numbers = [torch.tensor([classes.index(label) for label in labels]) for _, labels in (train, held_out, other)]
    return SimpleNamespace(
        name=data.info.name, bands=data.info.bands, classes=classes, train=train[0][:most],
        train_labels=numbers[0][:most], held_out=held_out[0][:most], held_out_labels=numbers[1][:most],
        other=other[0], other_labels=numbers[2],
    )


def classifier_for(data, steps=None, seed=0):
    """A classifier trained on the other scenes → it, and its accuracy on chips that nobody trained on."""
    torch.manual_seed(seed)
    classifier = cover_classifier(len(data.classes), data.other.shape[1])
    fit_classifier(classifier, data.other, data.other_labels, steps or CLASSIFIER_STEPS, seed=seed)
    return classifier, accuracy_of(classifier, data.held_out, data.held_out_labels)[0]


def yardstick(classifier, data):
    """What any generator's samples are measured by: features of real chips, the distance's floor and ceiling."""
    train, held_out = (features_of(classifier, images) for images in (data.train, data.held_out))
    number = min(len(train), len(held_out))
    means = features_of(classifier, pixel_means(data.train))
    real = from_signed(data.train)
    return SimpleNamespace(
        classifier=classifier, train=train, held_out=held_out, images=real, number=number,
        floor=frechet_distance(train, held_out), ceiling=frechet_distance(train, means),
        new=nearest_view(from_signed(data.held_out), real),
    )


def nearest_view(images, train):
    """Distance of each image (M, C, S, S) to the nearest of train (N, C, S, S) in any of its 8 views → (M,).

    The generator may have learned from turned chips, and a turned copy of one is a copy.
    """
    views = (seen_as(train, torch.full((len(train),), view)) for view in range(8))
    return torch.stack([nearest_distances(images, view)[0] for view in views]).amin(dim=0)


def course_of(samples, yard):
    """Made-up images (N, C, S, S) in [-1, 1] → distance, precision and recall on a yardstick's features."""
    made = features_of(yard.classifier, samples)
    distance = frechet_distance(yard.train, made)
    precision, recall = precision_recall(yard.train, made)
    closed = closed_share(distance, yard.ceiling, yard.floor)
    return {"frechet": distance, "closed": closed, "precision": precision, "recall": recall}


def figures_of(samples, yard):
    """All figures of made-up images (N, C, S, S) in [-1, 1] against the real ones of a yardstick."""
    near = nearest_view(from_signed(samples), yard.images)
    return {
        **course_of(samples, yard), "floor": yard.floor, "ceiling": yard.ceiling,
        "memorised": memorised_share(near, yard.new), "nearest": near.median().item(),
        "nearest_held_out": yard.new.median().item(),
    }
