"""The layers of YOLO v1 (Redmon et al. 2016, arXiv 1506.02640, figure 3) as data, and what builds them.

A row of a table is [kernel, channels, stride] for a convolution, or ["pool"] for a 2 x 2 max pooling.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.layers import FlattenBins, conv_block

PAPER_LAYERS = [
    [7, 64, 2], ["pool"],
    [3, 192, 1], ["pool"],
    [1, 128, 1], [3, 256, 1], [1, 256, 1], [3, 512, 1], ["pool"],
    *[[1, 256, 1], [3, 512, 1]] * 4, [1, 512, 1], [3, 1024, 1], ["pool"],
    *[[1, 512, 1], [3, 1024, 1]] * 2, [3, 1024, 1], [3, 1024, 2],
    [3, 1024, 1], [3, 1024, 1],
]  # fmt: skip
SMALL_LAYERS = [
    [3, 32, 2], [3, 32, 1], [3, 64, 2], [3, 64, 1], [3, 96, 1], [3, 96, 1],  # the small backbone of lecture 03
    [3, 96, 2], [3, 96, 1], [3, 128, 2],
]  # fmt: skip


def plain_block(inputs, outputs, stride=1, size=3):
    """Convolution and leaky ReLU, as in the paper: (B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2), nn.LeakyReLU(0.1, inplace=True))


def convolutions(inputs, table, norm):
    """The layers of a table: maps (B, inputs, H, W) → (B, C, H', W'), C the channels of its last row."""
    layers, block = [], conv_block if norm else plain_block
    for row in table:
        if row == ["pool"]:
            layers.append(nn.MaxPool2d(2))
        else:
            kernel, outputs, stride = row
            layers.append(block(inputs, outputs, stride, kernel))
            inputs = outputs
    return nn.Sequential(*layers)


def map_of(table, size):
    """Channels and side of the map that the layers of a table make of an image of size x size pixels → (C, H)."""
    side = size
    for row in table:
        side = side // 2 if row == ["pool"] else (side + row[0] // 2 * 2 - row[0]) // row[2] + 1
    if side < 1:
        raise ValueError(f"these layers leave nothing of {size} px: fewer strides and poolings, or a larger size")
    return [row for row in table if row != ["pool"]][-1][1], side


def dense_layers(inputs, hidden, outputs, dropout):
    """The paper's fully connected layers: a map (B, C, H, W), C * H * W = inputs → (B, outputs), linear at the end."""
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    return nn.Sequential(nn.Flatten(), first, nn.LeakyReLU(0.1, inplace=True), nn.Dropout(dropout), last)


class ScaledLinear(nn.Linear):
    """A fully connected layer, (B, N) → (B, outputs), whose inputs count 1 / √N each and whose weights start as a copy.

    Adam moves all weights by about the same amount: thousands of such moves add up, unless their inputs count less.
    """

    def reset_parameters(self):
        self.weight.data = math.sqrt(self.in_features) * torch.eye(self.out_features, self.in_features)
        nn.init.zeros_(self.bias)

    def forward(self, inputs):
        return F.linear(inputs / math.sqrt(self.in_features), self.weight, self.bias)


def copying_layers(numbers, cells):
    """Fully connected layers that start by copying a map (B, numbers, S, S), S² = cells → (B, cells * numbers).

    What is negative comes out at a tenth: the leaky ReLU of the paper lies between the two.
    """
    first, last = (ScaledLinear(cells * numbers, cells * numbers) for _ in range(2))
    return nn.Sequential(FlattenBins(), first, nn.LeakyReLU(0.1, inplace=True), last)


def first_guess(inputs, boxes, classes):
    """A 1 x 1 convolution (B, inputs, S, S) → (B, 5 P + K, S, S) that starts with centred boxes and no confidence."""
    guess = nn.Conv2d(inputs, 5 * boxes + classes, 1)
    each = [torch.tensor([0.5, 0.5, side, side, 0.0]) for side in torch.linspace(0.3, 0.5, boxes)]
    with torch.no_grad():
        guess.weight.mul_(0.3)
        guess.bias.copy_(torch.cat((*each, torch.full((classes,), 1 / classes))))
    return guess
