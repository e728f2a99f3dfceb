"""Backbone ``cnn``: three blocks of two convolutions and a pooling each, then global average pooling; from scratch.

Its few layers learn quickly on small faces. ``width`` channels in the first block double in each of the
next two; ``stem_stride: 2`` makes the first convolution halve the picture, about four times cheaper.
"""

from itertools import pairwise

from torch import Tensor, nn

from ferflow.backbones._blocks import conv, from_scratch
from ferflow.registry import register


class ConvNet(nn.Module):
    """N x C x S x S to N x 4 ``width``; S at least 16."""

    def __init__(self, in_channels: int, width: int, stem_stride: int) -> None:
        super().__init__()
        widths = (in_channels, width, 2 * width, 4 * width)
        self.blocks = nn.Sequential(
            *(
                self._block(before, after, stem_stride if index == 0 else 1)
                for index, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.num_features = widths[-1]

    @staticmethod
    def _block(before: int, after: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*conv(before, after, stride=stride), *conv(after, after), nn.MaxPool2d(2))

    def forward(self, faces: Tensor) -> Tensor:
        pooled: Tensor = self.blocks(faces).mean(dim=(2, 3))
        return pooled


@register
def build(
    variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, width: int = 32, stem_stride: int = 1
) -> ConvNet:
    """Raises ``ValueError`` for a variant or pretrained weights, of which it has none."""
    from_scratch("cnn", variant, pretrained)
    return ConvNet(in_channels, width, stem_stride)
