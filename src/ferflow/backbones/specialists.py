"""Backbone ``specialists``: one network for the eyes, one for the mouth, one for the whole face; 0.75 million parameters.

How much each counts is decided face by face, by attention over their features. It takes faces that fill the picture: the
eyes in its upper half, the mouth in its lower. From scratch.
"""

import torch
from torch import Tensor, nn

from ferflow.backbones._blocks import conv, from_scratch
from ferflow.registry import register

# top, bottom, left, right as shares of the face
_REGIONS = {"eyes": (0.1, 0.55, 0.0, 1.0), "mouth": (0.55, 1.0, 0.1, 0.9), "face": (0.0, 1.0, 0.0, 1.0)}


class Specialists(nn.Module):
    """N x C x S x S to N x 4 ``width``."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({name: self._expert(in_channels, width) for name in _REGIONS})
        self.branches = list(self.experts.values())
        self.num_features = 4 * width
        self.judge = nn.Sequential(nn.Linear(self.num_features, 32), nn.Tanh(), nn.Linear(32, 1))

    @staticmethod
    def _expert(in_channels: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            *conv(in_channels, width), *conv(width, width), nn.MaxPool2d(2),
            *conv(width, 2 * width), nn.MaxPool2d(2),
            *conv(2 * width, 4 * width), *conv(4 * width, 4 * width),
        )  # fmt: skip

    def forward(self, faces: Tensor) -> Tensor:
        height, width = faces.shape[2:]
        seen = []
        for name, (top, bottom, left, right) in _REGIONS.items():
            region = faces[:, :, int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
            seen.append(self.experts[name](region).mean(dim=(2, 3)))
        features = torch.stack(seen, dim=1)
        weights = self.judge(features).softmax(dim=1)
        fused: Tensor = (features * weights).sum(dim=1)
        return fused


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, width: int = 32) -> Specialists:
    """``width`` channels at first in every expert."""
    from_scratch("specialists", variant, pretrained)
    return Specialists(in_channels, width)
