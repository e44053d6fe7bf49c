"""What the parts do, on cases small enough to work out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodl_course.ops.anchors import cell_anchors, grid_anchors
from geodl_course.ops.boxes import batched_nms, box_area, box_iou, clip_boxes, decode_boxes, encode_boxes
from geodl_course.ops.matching import anchor_iou, match_boxes, sample
from geodl_course.ops.roi_align import roi_align, roi_align_gather, roi_align_separable

coordinates = st.floats(-200, 200).map(lambda value: round(value, 2))
sides = st.floats(0.5, 150).map(lambda value: round(value, 2))
boxes_in_plane = st.tuples(coordinates, coordinates, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
quick = settings(max_examples=50, deadline=None)


def test_iou_by_hand():
    box = torch.tensor([[10.0, 10, 20, 20]])
    others = torch.tensor([[10.0, 10, 20, 20], [15, 10, 25, 20], [11, 11, 21, 21], [20, 10, 30, 20], [50, 50, 60, 60]])
    torch.testing.assert_close(box_iou(box, others), torch.tensor([[1, 1 / 3, 81 / 119, 0, 0]]))


def test_iou_has_gradients():
    boxes = [torch.tensor([[10.0, 10, 20, 20], [0, 0, 5, 9]], dtype=torch.float64, requires_grad=True) for _ in "ab"]
    boxes[1].data += 2.5
    assert torch.autograd.gradcheck(box_iou, boxes)


def test_iou_of_empty_boxes_is_zero():
    assert box_iou(torch.zeros(1, 4), torch.zeros(2, 4)).tolist() == [[0, 0]]


@quick
@given(a=boxes_in_plane, b=boxes_in_plane, shift=st.tuples(coordinates, coordinates))
def test_iou_is_symmetric_bounded_and_does_not_depend_on_the_place(a, b, shift):
    a, b = (torch.tensor([box], dtype=torch.float64) for box in (a, b))
    move = torch.tensor([*shift, *shift], dtype=torch.float64)
    iou = box_iou(a, b)
    assert 0 <= iou <= 1 + 1e-12
    torch.testing.assert_close(iou, box_iou(b, a).T)
    torch.testing.assert_close(iou, box_iou(a + move, b + move), atol=1e-9, rtol=0)


@quick
@given(box=boxes_in_plane, anchor=boxes_in_plane)
def test_decoding_undoes_encoding(box, anchor):
    box, anchor = (torch.tensor([values], dtype=torch.float64) for values in (box, anchor))
    weights = (10.0, 10.0, 5.0, 5.0)
    again = decode_boxes(encode_boxes(box, anchor, weights), anchor, weights, largest=20.0)
    torch.testing.assert_close(again, box, atol=1e-9, rtol=0)


def test_coding_by_hand():
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 20]])
    expected = torch.tensor([[1, 0, math.log(2), 0]])  # one anchor width to the right, twice as wide
    torch.testing.assert_close(encode_boxes(box, anchor), expected)
    wild = decode_boxes(torch.tensor([[0.0, 0, 100, 0]]), anchor)
    torch.testing.assert_close(box_area(wild), torch.tensor([10 * 62.5 * 20]))  # the cap


@quick
@given(box=boxes_in_plane, height=st.integers(1, 100), width=st.integers(1, 100))
def test_clipped_boxes_lie_inside(box, height, width):
    x0, y0, x1, y1 = clip_boxes(torch.tensor([box]), (height, width))[0].tolist()
    assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height


def test_anchors_by_hand():
    cell = cell_anchors([10, 20], [1.0, 4.0])
    assert cell.tolist() == [[-5, -5, 5, 5], [-10, -10, 10, 10], [-2, -10, 2, 10], [-5, -20, 5, 20]]
    grid = grid_anchors(cell, (2, 3), (8, 4))
    assert grid.shape == (24, 4)
    assert grid[4].tolist() == [-1, -5, 9, 5], "the second cell is to the right of the first"
    assert grid[12].tolist() == [-5, 3, 5, 13], "then comes the second row"


def test_matching_by_hand():
    iou = torch.tensor([[[0.8, 0.1], [0.4, 0.5], [0.2, 0.0], [0.2, 0.6]]])
    matched, state = match_boxes(iou, torch.tensor([[True, True]]), 0.7, 0.3, force_best=False)
    assert matched.tolist() == [[0, 1, 0, 1]] and state.tolist() == [[1, -1, 0, -1]]
    _, state = match_boxes(iou, None, 0.7, 0.3, force_best=True)
    assert state.tolist() == [[1, -1, 0, 1]], "the second object gets the best anchor that it has"
    matched, state = match_boxes(iou, torch.tensor([[True, False]]), 0.7, 0.3, force_best=True)
    assert matched.tolist() == [[0, 0, 0, 0]] and state.tolist() == [[1, -1, 0, 0]], "padding is no object"


def test_object_that_no_anchor_touches_takes_none():
    _, state = match_boxes(torch.zeros(1, 5, 1), torch.tensor([[True]]), 0.7, 0.3, force_best=True)
    assert (state == 0).all()


def test_anchor_iou_is_box_iou_without_the_padding():
    anchors, objects = torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 12]]), torch.rand(3, 4, 2) * 5
    objects, valid = torch.cat((objects, objects + 4), dim=-1), torch.rand(3, 4) > 0.5
    expected = box_iou(anchors, objects).where(valid[:, None], -1)
    torch.testing.assert_close(anchor_iou(anchors, objects, valid), expected)


def test_sample_with_too_few():
    state = torch.tensor([[1, 0, -1, -1, 0, 1], [-1, -1, -1, -1, -1, -1], [1, 1, 1, 1, 1, 1]])
    index, valid = sample(state, 4, 0.25)
    assert index.shape == valid.shape == (3, 4)
    assert valid.sum(dim=1).tolist() == [3, 0, 1], "one positive and both negatives; nothing; one positive"
    assert sample(state, 100, 0.5)[0].shape == (3, 6), "never more than there are"


def test_nms_by_hand():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [0, 0, 10, 10]]])
    scores, all_valid = torch.tensor([[0.5, 0.9, 0.1, 0.8]]), torch.ones(1, 4, dtype=torch.bool)
    index, valid = batched_nms(boxes, scores, None, all_valid, 0.5, keep=4)
    assert index[valid].tolist() == [1, 2] and valid.tolist() == [[True, True, False, False]]
    index, valid = batched_nms(boxes, scores, torch.tensor([[0, 0, 0, 1]]), all_valid, 0.5, keep=4)
    assert index[valid].tolist() == [1, 3, 2], "boxes of different classes do not suppress each other"


def test_nms_keeps_images_apart():
    boxes, scores = torch.tensor([[[0.0, 0, 10, 10]]]).repeat(5, 1, 1), torch.rand(5, 1)
    _, valid = batched_nms(boxes, scores, None, torch.ones(5, 1, dtype=torch.bool), 0.5, keep=1)
    assert valid.all()


@pytest.mark.parametrize("align", [roi_align, roi_align_separable, roi_align_gather])
def test_roi_align_reads_a_ramp_at_pixel_centres(align):
    ramp = torch.arange(16.0).expand(16, 16) + 0.5  # the value of each cell is the x of its centre
    features = torch.stack((ramp, ramp.T))[None]  # one channel tells x, the other y
    bins = align(features, torch.tensor([[[2.0, 4.0, 10.0, 8.0]]]), 4, 1.0)[0, 0]
    torch.testing.assert_close(bins[0, 0], torch.tensor([3.0, 5, 7, 9]))
    torch.testing.assert_close(bins[1, :, 0], torch.tensor([4.5, 5.5, 6.5, 7.5]))
    older = align(features, torch.tensor([[[2.0, 4.0, 10.0, 8.0]]]), 4, 1.0, 2, False)[0, 0]
    torch.testing.assert_close(older[0, 0], torch.tensor([3.5, 5.5, 7.5, 9.5]))  # half a pixel off
