"""Backbone ``hybrid``: convolutions make a grid of features, a transformer relates its places; 13.8 million parameters.

The encoder is that of Vaswani et al. 2017 with normalisation first; places are learned. From scratch, for faces of 32 to
64 pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferflow.backbones._blocks import conv, from_scratch
from ferflow.registry import register

_GRID = 6  # places along a side for which positions are learned; other grids interpolate


class Hybrid(nn.Module):
    """N x C x S x S to N x ``dim``."""

    def __init__(self, in_channels: int, dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv(in_channels, 64), nn.MaxPool2d(2), *conv(64, 128), *conv(128, 128), nn.MaxPool2d(2),
            *conv(128, 256), nn.MaxPool2d(2), *conv(256, dim),
        )  # fmt: skip
        self.places = nn.Parameter(torch.randn(1, dim, _GRID, _GRID) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 8, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.num_features = dim

    def no_weight_decay(self) -> set[str]:
        """The learned places are no kernel."""
        return {"places"}

    def forward(self, faces: Tensor) -> Tensor:
        grid = self.stem(faces)
        places: Tensor = self.places
        if grid.shape[-1] != _GRID:
            places = F.interpolate(places, (grid.shape[-2], grid.shape[-1]), mode="bilinear", align_corners=False)
        tokens = (grid + places).flatten(2).transpose(1, 2)
        pooled: Tensor = self.encoder(tokens).mean(dim=1)
        return pooled


@register
def build(
    variant: str,
    *,
    in_channels: int,
    image_size: int,
    pretrained: bool | str,
    dim: int = 384,
    depth: int = 7,
    dropout: float = 0.1,
) -> Hybrid:
    """``depth`` layers of width ``dim`` with eight heads."""
    from_scratch("hybrid", variant, pretrained)
    return Hybrid(in_channels, dim, depth, dropout)
