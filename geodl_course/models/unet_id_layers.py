"""The U-Net that U-Net-ID has three times (Ronneberger et al. 2015, arXiv 1505.04597), and the convolutions after it.

Widths as in the figure of Wagner et al. 2020 (Remote Sensing 12(10):1544): 32, 64, 128, 256, at the bottom 512.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from geodl_course.models.layers import start_small


def elu_block(inputs, outputs, norm, stride=1):
    """Convolution (3 x 3) and ELU, with norm batch norm between: (B, inputs, H, W) → (B, outputs, H / s, W / s)."""
    convolution = nn.Conv2d(inputs, outputs, 2 + stride, stride, padding=1, bias=not norm)  # the norm brings the bias
    nn.init.kaiming_normal_(convolution.weight)  # keeps the spread of the values through ten layers without norm
    return nn.Sequential(convolution, *[nn.BatchNorm2d(outputs)] * norm, nn.ELU(inplace=True))


def two_blocks(inputs, outputs, norm, stride=1):
    """Two convolutions with ELU, as each level of a U-Net has: (B, inputs, H, W) → (B, outputs, H / s, W / s)."""
    return nn.Sequential(elu_block(inputs, outputs, norm, stride), elu_block(outputs, outputs, norm))


class UNetPath(nn.Module):
    """One U-Net, images (B, C, H, W) → logits (B, maps x s², H / s, W / s); s is the stride, 1 in the paper."""

    def __init__(self, bands, base, depth, norm, stride, maps=1):
        super().__init__()
        widths = [base * 2**level for level in range(depth + 1)]  # the last is the bottom
        self.down = nn.ModuleList(two_blocks(*pair, norm) for pair in pairwise(widths))
        self.down.insert(0, two_blocks(bands, base, norm, stride))
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, 2) for narrow, wide in pairwise(widths))
        self.join = nn.ModuleList(two_blocks(2 * width, width, norm) for width in widths[:-1])
        self.last = nn.Conv2d(base, maps * stride**2, 1)

    def forward(self, images):
        levels = [self.down[0](images)]
        for block in self.down[1:]:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        found = levels.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            found = join(torch.cat((levels.pop(), up(found)), dim=1))  # what is there, beside where exactly it was
        return self.last(found)


def refine_block(stride, widths, norm, silent):
    """The end of each path: the maps of all three (B, 3 s², H, W) → logits of its own (B, s², H, W), s the stride.

    silent: it says 0 until it has learned something.
    """
    layers = elu_block(3 * stride**2, widths[0], norm), elu_block(*widths, norm)
    last = nn.Conv2d(widths[1], stride**2, 1)
    if silent:
        start_small(last, 0.0)
    return nn.Sequential(*layers, last)


def full_size(logits, stride):
    """N logits (B, s², H, W) each, whose channels are the s x s pixels of a block → maps (B, N, s H, s W), float32."""
    return F.pixel_shuffle(torch.cat(logits, dim=1), stride).float()
