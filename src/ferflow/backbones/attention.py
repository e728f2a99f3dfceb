"""Backbone ``attention``: convolutions that are told which channels and which places matter; 1.2 million parameters.

Woo et al., "CBAM: Convolutional Block Attention Module" (ECCV 2018). From scratch, for faces of 32 to 96 pixels.
"""

import torch
from torch import Tensor, nn

from ferflow.backbones._blocks import conv, from_scratch
from ferflow.registry import register


class Attend(nn.Module):
    """Weights for the channels, from their means and maxima, then for the places, from means and maxima over channels."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.channels = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, channels, 1))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        means, maxima = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channels(means) + self.channels(maxima))
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.places(seen))


class AttentionNet(nn.Module):
    """N x C x S x S to N x 4 ``width``."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for after in (width, 2 * width, 4 * width):
            layers += [*conv(before, after), *conv(after, after), Attend(after), nn.MaxPool2d(2)]
            before = after
        self.layers = nn.Sequential(*layers)
        self.num_features = before

    def forward(self, faces: Tensor) -> Tensor:
        pooled: Tensor = self.layers(faces).mean(dim=(2, 3))
        return pooled


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, width: int = 64) -> AttentionNet:
    """``width`` channels in the first stage double in each of the next two."""
    from_scratch("attention", variant, pretrained)
    return AttentionNet(in_channels, width)
