"""Backbone ``timm``: any network of the timm library, named by the member's ``variant``."""

from typing import Any

import timm
from torch import nn

from ferflow.backbones._timm import create
from ferflow.registry import register


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, **options: Any) -> nn.Module:
    """The timm network ``variant`` without its classifier; ``options`` go to ``timm.create_model``. See ``create``.

    A network that is made for one size of pictures is made for ``image_size``, and pictures do not grow while it learns.
    """
    config = timm.get_pretrained_cfg(variant) if timm.is_model(variant) else None
    fixed = bool(config and config.fixed_input_size)  # a transformer's positions, mostly: made for the pictures that come
    if fixed:
        options.setdefault("img_size", image_size)
    network = create(variant, in_channels, pretrained, options)
    if fixed:
        network.size_step = image_size  # type: ignore[assignment]
    return network
