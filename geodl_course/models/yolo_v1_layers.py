"""The layers of YOLO v1 (Redmon et al. 2016, arXiv 1506.02640, figure 3) as data, and what builds them.

A row of a table is [kernel, channels, stride] for a convolution, or ["pool"] for a 2 x 2 max pooling.
"""

from torch import nn

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
    [3, 96, 2], [3, 96, 1], [1, 32, 1],
]  # fmt: skip


def plain_block(inputs, outputs, kernel, stride):
    """Convolution and leaky ReLU, as in the paper: (B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.LeakyReLU(0.1, inplace=True))


def norm_block(inputs, outputs, kernel, stride):
    """Convolution, batch norm, ReLU: (B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def convolutions(inputs, table, norm):
    """The layers of a table: maps (B, inputs, H, W) → (B, C, H', W'), C the channels of its last row."""
    layers, block = [], norm_block if norm else plain_block
    for row in table:
        if row == ["pool"]:
            layers.append(nn.MaxPool2d(2))
        else:
            kernel, outputs, stride = row
            layers.append(block(inputs, outputs, kernel, stride))
            inputs = outputs
    return nn.Sequential(*layers)


def dense_layers(inputs, hidden, outputs, dropout):
    """The two fully connected layers: a map (B, C, H, W) with C * H * W = inputs → (B, outputs), linear at the end."""
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    return nn.Sequential(nn.Flatten(), first, nn.LeakyReLU(0.1, inplace=True), nn.Dropout(dropout), last)
