"""Backbone ``seresnet``: a residual network with squeeze-and-excitation made for faces of 32 to 64 pixels; from scratch.

Residual blocks after He et al., "Deep Residual Learning" (2016), channel weights after Hu et al.,
"Squeeze-and-Excitation Networks" (2018), shortcuts that average before they project after He et al., "Bag of Tricks"
(2019). The first convolution keeps the full size; every stage halves it. docs/experiments.md has the measurements.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ferflow.backbones._blocks import Excite, from_scratch
from ferflow.registry import register


class Block(nn.Module):
    """Two 3 x 3 convolutions, excitation, and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
            Excite(after),
        )
        nn.init.zeros_(self.body[4].weight)  # type: ignore[arg-type]  # a block begins as its shortcut
        shrink = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
        project = [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.shortcut = nn.Identity() if before == after and stride == 1 else nn.Sequential(*shrink, *project)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class SEResNet(nn.Module):
    """N x C x S x S to N x the last of ``widths``; S at least 16."""

    def __init__(self, in_channels: int, widths: Sequence[int], depths: Sequence[int], stem_stride: int) -> None:
        super().__init__()
        stem = nn.Conv2d(in_channels, widths[0], 3, stem_stride, 1, bias=False)
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        before = widths[0]
        for after, depth in zip(widths[1:], depths, strict=True):
            for index in range(depth):
                layers.append(Block(before, after, 2 if index == 0 else 1))
                before = after
        self.layers = nn.Sequential(*layers)
        self.num_features = before

    def forward(self, faces: Tensor) -> Tensor:
        pooled: Tensor = self.layers(faces).mean(dim=(2, 3))
        return pooled


@register
def build(
    variant: str,
    *,
    in_channels: int,
    image_size: int,
    pretrained: bool | str,
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (2, 2, 1),
    stem_stride: int = 1,
) -> SEResNet:
    """``widths``: channels of the first convolution and of every stage; ``depths``: blocks a stage.

    Raises ``ValueError`` for a variant or pretrained weights, of which it has none, and for lists that do not fit.
    """
    from_scratch("seresnet", variant, pretrained)
    if len(widths) != len(depths) + 1 or min(depths) < 1:
        raise ValueError(f"seresnet: {len(widths)} widths need {len(widths) - 1} depths of at least 1, not {list(depths)}")
    return SEResNet(in_channels, widths, depths, stem_stride)
