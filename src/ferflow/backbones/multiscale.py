"""Backbone ``multiscale``: the face at half, full and double size, each with its own convolutions, fused; 1.0 million parameters.

At 48 pixels the branches see 24, 48 and 96. From scratch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.backbones._blocks import conv, from_scratch
from ferflow.registry import register

_SCALES = (0.5, 1.0, 2.0)


class MultiScale(nn.Module):
    """N x C x S x S to N x 4 ``width``."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(self._branch(in_channels, width, first_stride=1 if scale <= 1 else 2) for scale in _SCALES)
        self.fusion = nn.Sequential(*conv(3 * 2 * width, 4 * width, 1), *conv(4 * width, 4 * width))
        self.num_features = 4 * width

    @staticmethod
    def _branch(in_channels: int, width: int, first_stride: int) -> nn.Sequential:
        """The largest picture is halved by its first convolution: it would cost four times as much."""
        return nn.Sequential(
            *conv(in_channels, width // 2, 5 if first_stride > 1 else 3, first_stride),
            *conv(width // 2, width),
            nn.MaxPool2d(2),
            *conv(width, 2 * width),
            nn.MaxPool2d(2),
            *conv(2 * width, 2 * width),
        )

    def forward(self, faces: Tensor) -> Tensor:
        grid = (faces.shape[-1] // 8, faces.shape[-1] // 8)
        seen = []
        for scale, branch in zip(_SCALES, self.branches, strict=True):
            side = int(faces.shape[-1] * scale)
            scaled = faces if scale == 1 else F.interpolate(faces, (side, side), mode="bilinear", align_corners=False)
            seen.append(F.interpolate(branch(scaled), grid, mode="bilinear", align_corners=False))
        pooled: Tensor = self.fusion(torch.cat(seen, dim=1)).mean(dim=(2, 3))
        return pooled


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, width: int = 54) -> MultiScale:
    """``width`` sets the channels of every branch."""
    from_scratch("multiscale", variant, pretrained)
    return MultiScale(in_channels, width)
