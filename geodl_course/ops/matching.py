"""Which anchor answers for which object, and which anchors a training step looks at."""

import torch

from geodl_course.ops.boxes import box_iou


def anchor_iou(anchors, objects, valid):
    """IoU of anchors (N, 4) with objects (B, M, 4), valid (B, M) → (B, N, M), -1 for padding.

    The same numbers as box_iou of the batch, but padding is not computed: thousands of anchors meet only what is
    there. Built in lecture 02.
    """
    iou = anchors.new_full((*valid.shape, len(anchors)), -1.0)  # (B, M, N): the long side last keeps memory in order
    iou[valid] = box_iou(objects[valid], anchors)
    return iou.transpose(1, 2)


def match_boxes(iou, valid, positive, negative, force_best):
    """Matches from iou (B, N, M) with objects valid (B, M) or None → matched (B, N), state (B, N).

    matched is the object with the highest IoU; state is 1 (positive: IoU >= positive), 0 (negative: IoU < negative)
    or -1 (ignored: in between). force_best makes each object's best anchors positive however low their IoU is, ties
    included, or else small objects would have no anchor at all. M >= 1: pad an empty batch with one invalid object.
    valid None: padding has IoU -1 already, as from anchor_iou.
    Faster R-CNN, section 3.1.2. Built in lecture 02.
    """
    if valid is not None:
        iou = torch.where(valid[:, None], iou, -1.0)  # padding is worse than no overlap: it never wins
    best, matched = iou.max(dim=2)  # (B, N)
    state = torch.where(best >= positive, 1, torch.where(best < negative, 0, -1))
    if force_best:
        top = iou.amax(dim=1, keepdim=True)  # (B, 1, M): the best any anchor does for each object
        forced = (iou == top.clamp(min=torch.finfo(iou.dtype).tiny)).any(dim=2)  # an overlap of 0 is no match
        state = state.masked_fill(forced, 1)
    return matched, state


def sample(state, number, fraction):
    """A random subset of state (B, N) → index (B, S), valid (B, S) with S = min(number, N).

    At most number * fraction positives (state 1), the rest filled up with negatives (state 0); ignored ones (-1)
    never. Where an image has too few of them, the last slots are not valid. Positives come first. Follows
    torch.manual_seed. Faster R-CNN, section 3.1.3. Built in lecture 03.
    """
    quota, most = (min(count, state.shape[1]) for count in (int(number * fraction), number))
    lot = torch.rand(state.shape, device=state.device)  # everybody draws a lot, the highest are in
    positive_lot, positive = torch.where(state == 1, lot, -1.0).topk(quota, dim=1)
    negative_lot, negative = torch.where(state == 0, lot, -1.0).topk(most, dim=1)
    room = number - (positive_lot >= 0).sum(dim=1, keepdim=True)  # what the positives leave free
    room_left = torch.arange(most, device=state.device) < room  # (B, most)
    valid = torch.cat((positive_lot >= 0, (negative_lot >= 0) & room_left), dim=1)  # at most S are True
    valid, order = valid.sort(dim=1, descending=True, stable=True)
    index = torch.cat((positive, negative), dim=1).gather(1, order)
    return index[:, :most], valid[:, :most]
