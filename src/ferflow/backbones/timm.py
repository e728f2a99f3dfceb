"""Backbone ``timm``: any network of the timm library, named by the member's ``variant``."""

from typing import Any

from torch import nn

from ferflow.backbones._timm import create
from ferflow.registry import register


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, **options: Any) -> nn.Module:
    """The timm network ``variant`` without its classifier; ``options`` go to ``timm.create_model``. See ``create``."""
    return create(variant, in_channels, pretrained, options)
