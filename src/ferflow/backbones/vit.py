"""Backbone ``vit``: a vision transformer of timm's with patches that suit small faces.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021). ``variant`` is a ViT of timm's
(``vit_tiny_patch16_224``); the size of its picture and of its patches are set anew, and pretrained weights, if any, are
resampled to them.
"""

from typing import Any

from torch import nn

from ferflow.backbones._timm import create
from ferflow.registry import register


@register
def build(
    variant: str,
    *,
    in_channels: int,
    image_size: int,
    pretrained: bool | str,
    patch_size: int = 0,
    drop_path_rate: float = 0.1,
    **options: Any,
) -> nn.Module:
    """``patch_size`` 0 takes an eighth of the picture's side: 64 patches. Raises ``ValueError`` where it does not divide it."""
    patch_size = patch_size or max(1, image_size // 8)
    if image_size % patch_size:
        raise ValueError(f"vit: a picture of {image_size} pixels has no whole patches of {patch_size}")
    options |= {"img_size": image_size, "patch_size": patch_size, "drop_path_rate": drop_path_rate, "dynamic_img_size": True}
    network = create(variant or "vit_tiny_patch16_224", in_channels, pretrained, options)
    network.size_step = patch_size  # type: ignore[assignment] # pictures of other sizes need whole patches, too
    return network
