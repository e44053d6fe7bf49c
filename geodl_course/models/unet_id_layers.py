"""The U-Net that U-Net-ID has three times (Ronneberger et al. 2015, arXiv 1505.04597), and the convolutions after it.

Widths as in the figure of Wagner et al. 2020 (Remote Sensing 12(10):1544): 32, 64, 128, 256, at the bottom 512.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def elu_block(inputs, outputs, norm):
    """3 x 3 convolution and ELU, with norm batch norm between: (B, inputs, H, W) → (B, outputs, H, W)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)  # batch norm brings the bias
    nn.init.kaiming_normal_(convolution.weight)  # keeps the spread of the values through ten layers without norm
    return nn.Sequential(convolution, *[nn.BatchNorm2d(outputs)] * norm, nn.ELU(inplace=True))


def two_blocks(inputs, outputs, norm):
    """Two convolutions with ELU, as each level of a U-Net has: (B, inputs, H, W) → (B, outputs, H, W)."""
    return nn.Sequential(elu_block(inputs, outputs, norm), elu_block(outputs, outputs, norm))


class UNetPath(nn.Module):
    """One U-Net, images (B, C, H, W) → logits of one map (B, 1, H, W); sides are multiples of 2 ** depth."""

    def __init__(self, bands, base, depth, norm):
        super().__init__()
        widths = [base * 2**level for level in range(depth + 1)]  # the last is the bottom
        self.down = nn.ModuleList(two_blocks(*pair, norm) for pair in pairwise([bands, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, 2) for narrow, wide in pairwise(widths))
        self.join = nn.ModuleList(two_blocks(2 * width, width, norm) for width in widths[:-1])
        self.last = nn.Conv2d(base, 1, 1)

    def forward(self, images):
        levels = [self.down[0](images)]
        for block in self.down[1:]:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        found = levels.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            found = join(torch.cat((levels.pop(), up(found)), dim=1))  # what is there, beside where exactly it was
        return self.last(found)


def refine_block(widths, norm):
    """The end of each path: the three maps together (B, 3, H, W) → logits of one map (B, 1, H, W)."""
    first, second = widths
    return nn.Sequential(elu_block(3, first, norm), elu_block(first, second, norm), nn.Conv2d(second, 1, 1))


def check_sides(size, depth):
    """Raise ValueError where images of size (H, W) cannot be halved depth times."""
    if any(side % 2**depth for side in size):
        raise ValueError(
            f"images are {size[0]} x {size[1]} px: this U-Net halves them {depth} times, so both sides must be "
            f"multiples of {2**depth}. Cut chips of such a size, or build the model with a smaller depth="
        )
