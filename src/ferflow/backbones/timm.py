"""Backbone ``timm``: any network of the timm library, named by the member's ``variant``."""

from difflib import get_close_matches
from typing import Any

import timm
from torch import nn

from ferflow.registry import register


@register
def build(variant: str, *, in_channels: int, image_size: int, pretrained: bool, **options: Any) -> nn.Module:
    """The timm network ``variant`` without its classifier; ``options`` go to ``timm.create_model``.

    With ``pretrained`` and one channel timm sums the first layer's weights over colours. Raises
    ``ValueError`` with close names when timm has no such network, ``OSError`` when its weights cannot be had.
    """
    if not timm.is_model(variant):
        close = ", ".join(get_close_matches(variant, timm.list_models(), n=6)) or "see timm.list_models()"
        raise ValueError(f"timm has no network {variant!r}; close to it: {close}")
    try:
        model = timm.create_model(variant, pretrained=pretrained, num_classes=0, in_chans=in_channels, **options)
    except TypeError as error:
        raise ValueError(f"timm's {variant} does not take the options {options}: {error}") from error
    if (head := getattr(model, "head_hidden_size", None)) is not None:  # what comes out, where that is not num_features
        model.num_features = head
    return model
