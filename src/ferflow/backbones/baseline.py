"""Backbone ``baseline``: three convolutions, each followed by a halving, and one dense layer; 0.4 million parameters.

What every comparison begins with. From scratch, for faces of 32 to 96 pixels.
"""

from torch import nn

from ferflow.backbones._blocks import ToGrid, from_scratch, pyramid
from ferflow.registry import register

_GRID = 6  # what a face of 48 pixels is after three halvings


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, width: int = 32) -> nn.Sequential:
    """N x C x S x S to N x 64; ``width`` channels at first, doubled twice."""
    from_scratch("baseline", variant, pretrained)
    network = nn.Sequential(
        pyramid((in_channels, width, 2 * width, 4 * width)),
        ToGrid(_GRID),
        nn.Flatten(),
        nn.Linear(4 * width * _GRID * _GRID, 64),
        nn.ReLU(inplace=True),
    )
    network.num_features = 64  # type: ignore[assignment]
    return network
