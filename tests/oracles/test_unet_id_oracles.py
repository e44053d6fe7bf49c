"""U-Net-ID's targets and instances against scipy and scikit-image, instance by instance, on random input."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from geodl_course.models.unet_id import map_losses
from geodl_course.models.unet_id_instances import flood, label_components
from geodl_course.models.unet_id_targets import number_pixels, own_masks, unet_id_targets, vanishing

SIZE = (24, 32)


def random_masks(seed, images=2, number=6):
    """Blobs, lines and single pixels, often over each other and over the chip's edge, and some padding."""
    g = np.random.default_rng(seed)
    masks = np.zeros((images, number, *SIZE), bool)
    for mask in masks.reshape(-1, *SIZE):
        y, x, h, w = g.integers(-4, 24), g.integers(-4, 32), g.integers(1, 16), g.integers(1, 16)
        mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
        if g.integers(0, 3) == 0:
            mask &= ndimage.binary_opening(g.random(SIZE) < 0.8, iterations=int(g.integers(1, 3)))
    valid = masks.any((2, 3)) & (g.random((images, number)) < 0.9)
    return torch.from_numpy(masks), torch.from_numpy(valid)


def apart(masks, valid):
    """The same rule for overlaps, painted: the largest first, so that smaller ones lie on top → masks (B, M, H, W)."""
    painted = np.zeros((len(masks), *SIZE), int)
    for image in range(len(masks)):
        area = masks[image].sum((1, 2)).numpy()
        for m in sorted(np.flatnonzero(valid[image].numpy()), key=lambda m: (-area[m], -m)):
            painted[image][masks[image, m].numpy()] = m + 1
    return painted[:, None] == np.arange(1, masks.shape[1] + 1)[:, None, None]


def square(reach):
    return np.ones((2 * reach + 1, 2 * reach + 1), bool)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_targets_are_those_of_each_instance_by_itself(seed, shrink_by, outside, inside):
    masks, valid = random_masks(seed)
    own = apart(masks, valid)
    assert np.array_equal(own_masks(number_pixels(masks, valid), masks.shape[1]).numpy(), own)
    maps = unet_id_targets(masks, valid, shrink_by, outside, inside).numpy().astype(bool)
    lost = vanishing(masks, valid, shrink_by).numpy()
    for image in range(len(masks)):
        inner, border = np.zeros((2, *SIZE), bool)
        for m, one in enumerate(own[image]):
            core = ndimage.binary_erosion(one, square(shrink_by), border_value=1)
            left = maps[image, 2] & one
            assert lost[image, m] == (one.any() and not core.any())
            assert left.sum() == 1 if lost[image, m] else np.array_equal(left, core)
            inner |= left
            core = ndimage.binary_erosion(one, square(inside), border_value=1)
            border |= ndimage.binary_dilation(one, square(outside)) & ~core
        assert np.array_equal(maps[image], np.stack((border, own[image].any(0), inner)))


@given(st.integers(0, 10**6), st.floats(0.1, 0.9))
def test_components_are_those_of_scikit_image(seed, threshold):
    chance = torch.from_numpy(ndimage.gaussian_filter(np.random.default_rng(seed).random((2, 1, *SIZE)), (0, 0, 1, 1)))
    chance = (chance - chance.min()) / (chance.max() - chance.min())
    for ours, each in zip(label_components(chance, threshold).numpy(), chance[:, 0].float().numpy(), strict=True):
        theirs = measure.label(each > threshold, connectivity=1)
        pairs = set(zip(ours.flat, theirs.flat, strict=True))
        assert len(pairs) == len(set(ours.flat)) == len(set(theirs.flat))


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_each_source_floods_its_own_connected_ground(seed):
    g = np.random.default_rng(seed)
    border, segment, inner = (ndimage.gaussian_filter(g.random(SIZE), 1.5) for _ in range(3))
    thresholds = [float(np.quantile(each, q)) for each, q in ((border, 0.5), (segment, 0.4), (inner, 0.8))]
    ids = flood(border, segment, inner, *thresholds)
    sources, number = ndimage.label(inner > thresholds[2])
    ground = (segment > thresholds[1]) | (sources > 0)
    assert ids.max() == number and np.array_equal(ids[sources > 0], sources[sources > 0]) and not ids[~ground].any()
    assert all(ndimage.label(ids == i, square(1))[1] == 1 for i in range(1, number + 1))
    pieces, _ = ndimage.label(ground, square(1))
    assert np.array_equal(ids > 0, np.isin(pieces, np.unique(pieces[sources > 0])))


@given(st.integers(0, 10**6))
def test_losses_by_the_formulas(seed):
    g = np.random.default_rng(seed)
    logits, goals = g.normal(0, 3, (2, 3, 5, 4)), (g.random((2, 3, 5, 4)) < 0.4).astype(float)
    found = map_losses(torch.from_numpy(logits), torch.from_numpy(goals), ["a", "b", "c"])
    for i, loss in enumerate(found.values()):
        p, t = 1 / (1 + np.exp(-logits[:, i])), goals[:, i]
        entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        dice = (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        assert abs(float(loss) - (entropy + 1 - dice)) < 1e-9
