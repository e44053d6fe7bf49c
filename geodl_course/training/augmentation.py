"""Flips and turns: more views of the same chips, each as real as the first."""

from dataclasses import replace

import torch


def flip_and_turn(images, targets, element):
    """One of the 8 flips and quarter turns of a square for each image (B, C, H, W) and its boxes → both, turned.

    element (B,) 0..7: bit 0 mirrors left-right, bit 1 upside down, bit 2 then swaps rows and columns (square chips
    only: on others that bit is ignored). A chip seen from above has no up and down, so all 8 are as real as the chip.
    """
    boxes, masks = targets.boxes, targets.masks
    height, width = images.shape[-2:]
    across, down, swap = which_turns(element, images.device)
    x0, y0, x1, y1 = boxes.unbind(-1)
    boxes = torch.where(across[..., 0], torch.stack((width - x1, y0, width - x0, y1), -1), boxes)
    x0, y0, x1, y1 = boxes.unbind(-1)
    boxes = torch.where(down[..., 0], torch.stack((x0, height - y1, x1, height - y0), -1), boxes)
    if height == width:
        boxes = torch.where(swap[..., 0], boxes[..., [1, 0, 3, 2]], boxes)
    turned = [None if maps is None else turn_maps(maps, across, down, swap) for maps in (images, masks)]
    return turned[0], replace(targets, boxes=boxes, masks=turned[1])


def seen_as(images, element):
    """Images (B, C, H, W), each in one of its 8 views: element (B,) 0..7 as in flip_and_turn → (B, C, H, W)."""
    return turn_maps(images, *which_turns(element, images.device)) if element.any() else images


def which_turns(element, device):
    """What an element (B,) 0..7 does to each image → three masks (B, 1, 1, 1): mirror across, down, swap the axes."""
    return ((element & bit > 0)[:, None, None, None].to(device) for bit in (1, 2, 4))


def turn_maps(maps, across, down, swap):
    """Flip and turn maps (B, C, H, W) where across, down, swap (B, 1, 1, 1) say so."""
    maps = torch.where(across, maps.flip(-1), maps)
    maps = torch.where(down, maps.flip(-2), maps)
    return torch.where(swap, maps.mT, maps) if maps.shape[-1] == maps.shape[-2] else maps
