"""Gaps filled by searching codes, the classifier of covers, and what the measures of made-up chips refuse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from geodl_course.evaluation.generative import (
    closed_share,
    frechet_distance,
    memorised_share,
    nearest_distances,
    pixel_means,
    precision_recall,
)
from geodl_course.models.cover_classifier import cover_classifier, features_of, predict_covers
from geodl_course.models.dcgan import dcgan, draw_codes
from geodl_course.models.latent_search import (
    best_start,
    blend,
    coarse_fill,
    fill_gaps,
    misfit,
    search_codes,
    smooth_fill,
)
from geodl_course.training.covers import accuracy_of, fit_classifier


def made_up(number=3, seed=0):
    """An untrained generator and images that it made itself, so a code that fits them exists."""
    torch.manual_seed(seed)
    model = dcgan(2, 4, 4, size=16).eval()
    for _ in range(20):  # statistics of batch norm that fit the weights, so that codes make a difference
        model.train()(draw_codes(32, 4))
    with torch.no_grad():
        for layer in model.generator:  # stronger than N(0, 0.02²), whose images are all but grey
            if isinstance(layer, torch.nn.ConvTranspose2d):
                layer.weight.mul_(30)
        return model.eval(), model(draw_codes(number, 4))


def square_gap(number, size=16, low=5, high=11):
    gap = torch.zeros(number, 1, size, size, dtype=torch.bool)
    gap[:, :, low:high, low:high] = True
    return gap


# ------------------------------------------------------------------------------------------ gaps


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_smooth_fill_solves_laplaces_equation(seed):
    g = np.random.default_rng(seed)
    image, gap = g.normal(size=(9, 11)), g.random((9, 11)) < 0.4
    gap[g.integers(9), g.integers(11)] = False
    filled = smooth_fill(torch.from_numpy(image)[None, None], torch.from_numpy(gap)[None, None], 20_000)[0, 0].numpy()
    places = {place: i for i, place in enumerate(zip(*np.nonzero(gap), strict=True))}
    if not places:
        assert np.array_equal(filled, image)
        return
    matrix, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for (y, x), i in places.items():
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= other[0] < 9 and 0 <= other[1] < 11):
                continue  # beyond the image's edge the pixel itself stands
            matrix[i, i] += 1
            if other in places:
                matrix[i, places[other]] -= 1
            else:
                right[i] += image[other]
    expected = image.copy()
    expected[gap] = np.atleast_1d(spsolve(matrix.tocsr(), right))
    np.testing.assert_allclose(filled, expected, atol=0.02)
    assert np.array_equal(filled[~gap], image[~gap])


def test_smooth_fill_continues_a_plane():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    plane = torch.stack((0.02 * x + 0.01 * y, 0.3 - 0.03 * y))[None]
    gap = square_gap(1)
    filled = smooth_fill(torch.where(gap, 7.0, plane), gap, 20_000)
    torch.testing.assert_close(filled, plane, atol=1e-3, rtol=0)


@given(st.integers(0, 10**6))
def test_nothing_is_read_from_a_gap(seed):
    g = torch.Generator().manual_seed(seed)
    images, gap = torch.rand(2, 3, 8, 8, generator=g), torch.rand(2, 1, 8, 8, generator=g) < 0.5
    other = torch.where(gap, torch.rand(2, 3, 8, 8, generator=g), images)
    assert torch.equal(coarse_fill(images, gap), coarse_fill(other, gap))
    assert torch.equal(smooth_fill(images, gap, 50), smooth_fill(other, gap, 50))
    torch.testing.assert_close(misfit(images, other, gap), torch.zeros(2))


def test_misfit_is_the_mean_of_what_is_seen():
    g = torch.Generator().manual_seed(0)
    images, made = torch.rand(2, 4, 3, 8, 8, generator=g)
    gap = torch.rand(4, 1, 8, 8, generator=g) < 0.3
    expected = [np.abs((made[i] - images[i]).numpy()[:, ~gap[i, 0].numpy()]).mean() for i in range(4)]
    torch.testing.assert_close(misfit(made, images, gap), torch.tensor(np.array(expected)))


def test_the_best_of_all_starts_is_kept():
    codes = torch.arange(12.0).reshape(6, 2)
    assert best_start(codes, torch.tensor([3.0, 1, 2, 5, 9, 4]), 3).tolist() == [[2, 3], [10, 11]]


def test_search_finds_codes_of_images_that_the_generator_made():
    model, images = made_up()
    gap = square_gap(3)
    before = [value.clone() for value in model.state_dict().values()]
    codes = search_codes(model, images, gap, steps=150, prior=0.0)
    assert codes.shape == (3, 4) and codes.abs().max() <= 1
    start = misfit(model(draw_codes(3, 4)), images, gap)
    assert (misfit(model(codes), images, gap) < 0.2 * start).all()
    filled = fill_gaps(model, torch.where(gap, 0.9, images), gap, steps=150, prior=0.0)
    error = ((filled - images).square() * gap).sum().sqrt()
    plain = ((smooth_fill(torch.where(gap, 0.0, images), gap) - images).square() * gap).sum().sqrt()
    assert error < 0.5 * plain
    assert torch.equal(torch.where(gap, 0.0, filled), torch.where(gap, 0.0, images))
    after = model.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))  # the networks stand still
    assert all(p.requires_grad for p in model.parameters())


def test_blend_meets_the_image_at_the_gaps_edge():
    images, gap = torch.rand(1, 2, 16, 16), square_gap(1)
    shifted = blend(images - 0.4, images, gap)  # off by a constant: the correction takes it away
    torch.testing.assert_close(shifted, images, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("spoil", "told"), [
    (lambda images, gap: (images[:, :1], gap), "1 bands, the model was built for 2"),
    (lambda images, gap: (images[..., :8], gap), "16 x 8 px"),
    (lambda images, gap: (images, gap.float()), "must be bool"),
    (lambda images, gap: (images, gap[:, 0]), "must be bool"),
    (lambda images, gap: (images, torch.ones_like(gap)), "all gap"),
    (lambda images, gap: (images.index_fill(3, torch.tensor([0]), math.nan), gap), "outside the gap"),
])
def test_gaps_that_cannot_be_filled(spoil, told):
    model, images = made_up(2)
    with pytest.raises(ValueError, match=told):
        fill_gaps(model, *spoil(images, square_gap(2)), steps=1)


def test_nan_in_a_gap_is_no_harm():
    model, images = made_up(1)
    gap = square_gap(1)
    spoiled = torch.where(gap, math.nan, images)
    filled = fill_gaps(model, spoiled, gap, steps=2)
    torch.testing.assert_close(filled, fill_gaps(model, images, gap, steps=2))


# ------------------------------------------------------------------------------------------ the classifier


def stripes(number=60, seed=0):
    """Chips with stripes across, with stripes down, and flat ones, of any brightness → images, labels."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 3
    wave = torch.sin(torch.arange(16.0))[None, :].expand(16, 16)
    # stripes of band 0 or of band 1: flips and turns leave that as it is
    images = 0.2 * torch.randn(number, 2, 16, 16, generator=g) + torch.rand(number, 1, 1, 1, generator=g) - 0.5
    for image, label in zip(images, labels, strict=True):
        if label < 2:
            image[label] += wave
    return images, labels


def test_classifier_learns_and_its_features_are_what_the_last_layer_sees():
    torch.manual_seed(0)
    classifier = cover_classifier(3, 2, 4)
    losses = fit_classifier(classifier, *stripes(), steps=60, batch_size=32)
    share, each = accuracy_of(classifier, *stripes(seed=1))
    assert losses[-1] < losses[0] and share > 0.9 and min(each) > 0.7
    images, _ = stripes(seed=2)
    features, chances = features_of(classifier, images), predict_covers(classifier, images)
    assert features.shape == (60, 16) and not features.requires_grad
    torch.testing.assert_close(classifier.last(features).softmax(1), chances)
    torch.testing.assert_close(chances.sum(1), torch.ones(60))
    torch.testing.assert_close(features[:1], features_of(classifier, images[:1]))  # by itself as among others


def test_classes_are_drawn_equally_often(monkeypatch):
    images, labels = stripes(60)
    rare = torch.cat((torch.arange(60)[labels == 0], torch.arange(60)[labels == 1][:2]))
    drawn = []
    monkeypatch.setattr("geodl_course.training.covers.cover_loss",
                        lambda logits, labels: drawn.append(labels) or logits.square().mean())
    fit_classifier(cover_classifier(3, 2, 2), images[rare], labels[rare], steps=20, batch_size=50)
    assert torch.cat(drawn).float().mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("images", "labels", "told"), [
    (torch.rand(4, 2, 16, 16), torch.tensor([0, 1, 2, 3]), "knows 3 classes"),
    (torch.rand(4, 2, 16, 16), torch.tensor([0, 1]), "4 images and 2 labels"),
    (torch.rand(0, 2, 16, 16), torch.tensor([], dtype=torch.long), "0 images"),
    (torch.rand(2, 3, 16, 16), torch.tensor([0, 1]), "3 bands"),
    (torch.full((2, 2, 16, 16), math.nan), torch.tensor([0, 1]), "NaN"),
])
def test_labels_that_cannot_be_learned(images, labels, told):
    with pytest.raises(ValueError, match=told):
        fit_classifier(cover_classifier(3, 2, 2), images, labels, steps=1)
    with pytest.raises(ValueError, match="at least two"):
        cover_classifier(1)
    for images in (torch.rand(2, 3, 16, 16), torch.rand(0, 2, 16, 16), torch.rand(2, 16, 16)):
        with pytest.raises(ValueError, match=r"the classifier takes \(N, 2, H, W\)"):
            features_of(cover_classifier(3, 2, 2), images)


# ------------------------------------------------------------------------------------------ measures


def test_measures_refuse_what_they_cannot_measure():
    few, many = torch.rand(3, 4), torch.rand(9, 4)
    for measure in (frechet_distance, precision_recall):
        with pytest.raises(ValueError, match="one D"):
            measure(many, torch.rand(9, 5))
        with pytest.raises(ValueError, match="NaN"):
            measure(many, many * math.nan)
        with pytest.raises(ValueError, match="at least"):
            measure(many, few[:1])
    with pytest.raises(ValueError, match="at least 4"):
        precision_recall(many, few)
    with pytest.raises(ValueError, match="one D"):
        nearest_distances(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 5, 5))
    with pytest.raises(ValueError, match="both are needed"):
        memorised_share(torch.rand(0), torch.rand(3))
    with pytest.raises(ValueError, match="not above the floor"):
        closed_share(1, 2, 2)


def test_closed_share_and_pixel_means():
    assert closed_share(5, 5, 1) == 0 and closed_share(1, 5, 1) == 1 and closed_share(9, 5, 1) == -1
    images = torch.rand(2, 3, 4, 4)
    means = pixel_means(images)
    assert means.shape == images.shape and means.var(dim=(2, 3)).max() < 1e-12
    torch.testing.assert_close(means.mean(dim=(2, 3)), images.mean(dim=(2, 3)))
