"""Every part equals torchvision's independent implementation on random input."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import _utils as reference
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import batched_nms, box_area, box_iou, clip_boxes, decode_boxes, encode_boxes, take
from geodl_course.ops.matching import match_boxes, sample
from geodl_course.ops.roi_align import roi_align, roi_align_gather, roi_align_separable

seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=25, deadline=None)


def random_boxes(*shape, size=100.0, generator=None, smallest=0.5):
    corner = torch.rand(*shape, 2, generator=generator) * size
    side = torch.rand(*shape, 2, generator=generator) ** 2 * size + smallest
    return torch.cat((corner, corner + side), dim=-1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@quick
@given(seed=seeds, n=st.integers(0, 40), m=st.integers(0, 40))
def test_area_and_iou(seed, n, m):
    a, b = random_boxes(n, generator=seeded(seed)), random_boxes(m, generator=seeded(seed + 1))
    torch.testing.assert_close(box_area(a), torchvision.ops.box_area(a))
    torch.testing.assert_close(box_iou(a, b), torchvision.ops.box_iou(a, b))


def test_iou_of_a_batch_shares_the_anchors():
    anchors, objects = random_boxes(30, generator=seeded(0)), random_boxes(4, 7, generator=seeded(1))
    expected = torch.stack([torchvision.ops.box_iou(anchors, image) for image in objects])
    torch.testing.assert_close(box_iou(anchors, objects), expected)


@quick
@given(seed=seeds, height=st.integers(1, 90), width=st.integers(1, 90))
def test_clip(seed, height, width):
    boxes = random_boxes(20, generator=seeded(seed)) - 30
    torch.testing.assert_close(
        clip_boxes(boxes, (height, width)), torchvision.ops.clip_boxes_to_image(boxes, (height, width))
    )


@quick
@given(seed=seeds, weights=st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0)]))
def test_coding(seed, weights):
    boxes, anchors = random_boxes(50, generator=seeded(seed)), random_boxes(50, generator=seeded(seed + 1))
    coder = reference.BoxCoder(weights)
    torch.testing.assert_close(encode_boxes(boxes, anchors, weights), coder.encode_single(boxes, anchors))
    deltas = torch.randn(50, 4, generator=seeded(seed + 2)) * 8  # large enough to meet the cap on sizes
    torch.testing.assert_close(decode_boxes(deltas, anchors, weights), coder.decode_single(deltas, anchors))


@quick
@given(
    sizes=st.lists(st.integers(4, 300), min_size=1, max_size=4),
    ratios=st.lists(st.floats(0.2, 5.0), min_size=1, max_size=4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.tuples(st.integers(1, 32), st.integers(1, 32)),
)
def test_anchors(sizes, ratios, height, width, stride):
    image = torch.zeros(1, 3, height * stride[0], width * stride[1])
    generator = AnchorGenerator((tuple(sizes),), (tuple(ratios),))
    expected = generator(ImageList(image, [tuple(image.shape[-2:])]), [torch.zeros(1, 1, height, width)])[0]
    assert torch.equal(grid_anchors(cell_anchors(sizes, ratios), (height, width), stride), expected)


@quick
@given(seed=seeds, force=st.booleans(), thresholds=st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.4, 0.1)]))
def test_matching(seed, force, thresholds):
    anchors, objects = random_boxes(80, generator=seeded(seed)), random_boxes(3, 6, generator=seeded(seed + 1))
    objects[0, 1] = objects[0, 0]  # a tie between two objects
    anchors[1] = anchors[0]  # and one between two anchors
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    matched, state = match_boxes(box_iou(anchors, objects), valid, *thresholds, force_best=force)
    matcher = reference.Matcher(*thresholds, allow_low_quality_matches=force)
    for image in range(2):  # the matcher of the reference refuses an image without objects
        overlap = torchvision.ops.box_iou(objects[image][valid[image]], anchors)
        if force and (overlap.amax(1) == 0).any():
            continue  # the reference makes every anchor a match of an object that none of them touches
        expected = matcher(overlap)
        found = expected >= 0  # -1 is background there, -2 is ignored
        assert torch.equal(state[image], torch.where(found, 1, torch.where(expected == -1, 0, -1)))
        assert torch.equal(matched[image][found], expected[found])
    assert (state[2] == 0).all(), "an image without objects has only background"


@quick
@given(seed=seeds, number=st.integers(1, 60), fraction=st.floats(0, 1))
def test_sample_takes_as_many_as_the_reference(seed, number, fraction):
    state = torch.randint(-1, 2, (4, 50), generator=seeded(seed))
    state[0], state[1] = 0, 1  # no positives, no negatives
    index, valid = sample(state, number, fraction)
    positive, negative = reference.BalancedPositiveNegativeSampler(number, fraction)(list(state))
    for image in range(4):
        chosen = index[image][valid[image]]
        assert len(chosen.unique()) == len(chosen), "nothing is drawn twice"
        assert (state[image][chosen] == 1).sum() == positive[image].sum()
        assert (state[image][chosen] == 0).sum() == negative[image].sum()
        assert (state[image][chosen] >= 0).all()


def test_sample_is_random_fair_and_seeded():
    state = torch.zeros(1, 100, dtype=torch.long)
    state[0, :20] = 1
    counts = torch.zeros(100)
    torch.manual_seed(3)
    for _ in range(800):
        index, valid = sample(state, 10, 0.5)
        counts[index[valid]] += 1
    assert counts[:20].sum() == 4000 and counts[20:].sum() == 4000
    assert (counts[:20] - 200).abs().max() < 5 * 200**0.5  # each positive is drawn with probability 5 / 20
    assert (counts[20:] - 50).abs().max() < 5 * 50**0.5
    torch.manual_seed(7)
    first = sample(state, 10, 0.5)[0]
    torch.manual_seed(7)
    assert torch.equal(first, sample(state, 10, 0.5)[0])


@quick
@given(seed=seeds, grouped=st.booleans(), keep=st.integers(1, 60), count=st.sampled_from([40, 700]))
def test_nms(seed, grouped, keep, count):
    boxes = random_boxes(3, count, generator=seeded(seed))
    scores = torch.rand(3, count, generator=seeded(seed + 1))
    groups = torch.randint(0, 4, (3, count), generator=seeded(seed + 2)) if grouped else None
    valid = torch.rand(3, count, generator=seeded(seed + 3)) > 0.2
    valid[1] = False
    index, kept = batched_nms(boxes, scores, groups, valid, 0.5, keep)
    assert index.shape == kept.shape == (3, keep)
    for image in range(3):
        candidate = valid[image].nonzero()[:, 0]
        group = (groups if grouped else torch.zeros_like(valid, dtype=torch.long))[image][candidate]
        expected = torchvision.ops.batched_nms(boxes[image][candidate], scores[image][candidate], group, 0.5)
        assert torch.equal(index[image][kept[image]], candidate[expected][:keep])
        assert kept[image].sort(descending=True, stable=True).indices.equal(torch.arange(keep)), "padding comes last"


def test_take():
    values, index = torch.randn(3, 10, 4), torch.randint(0, 10, (3, 5))
    assert torch.equal(take(values, index), torch.stack([v[i] for v, i in zip(values, index, strict=True)]))


def reference_roi_align(features, boxes, *settings):
    image = torch.arange(len(boxes)).repeat_interleave(boxes.shape[1])[:, None].to(boxes.dtype)
    flat = torch.cat((image, boxes.reshape(-1, 4)), dim=1)
    return torchvision.ops.roi_align(features, flat, *settings).unflatten(0, boxes.shape[:2])


@pytest.mark.parametrize("align", [roi_align_separable, roi_align_gather])
@quick
@given(
    seed=seeds,
    aligned=st.booleans(),
    ratio=st.sampled_from([2, -1, 1, 3]),
    bins=st.sampled_from([1, 2, 7]),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    scale=st.sampled_from([0.25, 0.125, 1.0, 0.3]),
)
def test_roi_align_forward_and_gradient(align, seed, aligned, ratio, bins, shape, scale):
    features = torch.randn(2, 3, *shape, generator=seeded(seed), dtype=torch.float64)
    boxes = random_boxes(2, 9, size=max(shape) / scale, generator=seeded(seed + 1)).double() - 0.2 * max(shape) / scale
    boxes[0, 0] = torch.tensor([-500.0, -500.0, -400.0, -400.0])  # wholly outside
    boxes[0, 1] = torch.tensor([-50.0, -50.0, 500.0, 500.0])  # larger than the map
    boxes[0, 2] = torch.tensor([3.0, 3.0, 3.0, 3.0])  # empty
    if ratio > 0:  # torchvision dies of a reversed box when it has to count sampling points by its length
        boxes[0, 3] = torch.tensor([5.0, 1.0, 2.0, 4.0])
    boxes[0, 4] = torch.tensor([0.0, 0.0, shape[1] / scale, shape[0] / scale])  # exactly the map
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    result = align(ours, boxes, bins, scale, ratio, aligned)
    expected = reference_roi_align(theirs, boxes, bins, scale, ratio, aligned)
    torch.testing.assert_close(result, expected, atol=1e-10, rtol=1e-10)
    weight = torch.randn(expected.shape, generator=seeded(seed + 2), dtype=torch.float64)
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-10, rtol=1e-10)


def test_roi_align_picks_by_size_and_agrees_in_float32():
    features, boxes = torch.randn(2, 8, 32, 32), random_boxes(2, 20, size=110.0)
    expected = reference_roi_align(features, boxes, 7, 0.25, 2, True)
    for crossover in (0, 1000):
        torch.testing.assert_close(roi_align(features, boxes, 7, 0.25, crossover=crossover), expected)


@pytest.mark.parametrize("align", [roi_align_separable, roi_align_gather])
def test_roi_align_without_boxes(align):
    assert align(torch.randn(2, 8, 16, 16), torch.zeros(2, 0, 4), 7, 0.25, -1).shape == (2, 0, 8, 7, 7)
