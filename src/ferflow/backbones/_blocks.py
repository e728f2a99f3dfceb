"""Building blocks that several networks from scratch share, and the check that nobody asks them for pretrained weights."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def from_scratch(name: str, variant: str, pretrained: bool | str) -> None:
    """``ValueError`` for a variant or pretrained weights, of which networks from scratch have none."""
    if variant or pretrained:
        raise ValueError(f"the backbone {name} has neither variants nor pretrained weights")


def conv(before: int, after: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the picture's size (or divides it by ``stride``), normalisation, ReLU."""
    return [
        nn.Conv2d(before, after, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    ]


def pyramid(channels: Sequence[int]) -> nn.Sequential:
    """A convolution and a halving for every step from one number of channels to the next."""
    steps = [[*conv(before, after), nn.MaxPool2d(2)] for before, after in pairwise(channels)]
    return nn.Sequential(*(layer for step in steps for layer in step))


class ToGrid(nn.Module):
    """Features on a grid of fixed size, whatever the picture's size was."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] == self.side and x.shape[-2] == self.side:
            return x
        return F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)


class Excite(nn.Module):
    """A weight between 0 and 1 for every channel, from the means of all channels (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.layers = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = torch.sigmoid(self.layers(x.mean(dim=(2, 3), keepdim=True)))
        return x * weights
