"""Small pieces that several systems are put together from."""

from torch import nn


def conv_block(inputs, outputs, stride=1, size=3):
    """Convolution, batch norm, ReLU: (B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)  # batch norm brings the bias
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def start_small(module, deviation):
    """Weights of module's layers drawn from N(0, deviation²), biases 0: an untrained head says "perhaps" everywhere."""
    for name, parameter in module.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=deviation)


def cell_by_cell(level):
    """A map (B, C, H, W) row by row, in the order of the anchors → (B, H * W, C)."""
    return level.permute(0, 2, 3, 1).flatten(1, 2)


class FlattenBins(nn.Module):
    """Pooled features (N, C, n, n) → (N, n * n * C): bin by bin, as they lie in memory, so nothing is copied."""

    def forward(self, pooled):
        return pooled.permute(0, 2, 3, 1).flatten(1)
