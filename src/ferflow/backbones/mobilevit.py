"""Backbone ``mobilevit``: MobileViT with patches and kernels to choose, for the ablation of both.

Mehta and Rastegari, "MobileViT" (ICLR 2022), built from timm's description of it; ``variant`` is xxs, xs or s. With
``patch_size`` 2 and ``kernel_size`` 3 it is timm's own network, whose pretrained weights it then takes.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from ferflow.registry import register

_VARIANTS = ("xxs", "xs", "s")


@register
def build(
    variant: str, *, in_channels: int, image_size: int, pretrained: bool | str, patch_size: int = 2, kernel_size: int = 3
) -> nn.Module:
    """``patch_size``: pixels of a patch's side in every transformer block; ``kernel_size``: of its local convolutions.

    Raises ``ValueError`` for an unknown variant, and for pretrained weights of another size of patch or kernel.
    """
    from timm.models import build_model_with_cfg
    from timm.models.byobnet import ByobNet
    from timm.models.mobilevit import model_cfgs

    from ferflow.backbones._timm import create, weights_from

    if variant not in _VARIANTS:
        raise ValueError(f"mobilevit has no variant {variant!r}; known: {', '.join(_VARIANTS)}")
    name = f"mobilevit_{variant}"
    if (patch_size, kernel_size) == (2, 3):
        return create(name, in_channels, pretrained, {})
    if pretrained:
        raise ValueError(f"mobilevit: there are pretrained weights for patch_size 2 and kernel_size 3 only, {weights_from(name)}")

    def changed(block: Any) -> Any:
        if isinstance(block, tuple):
            return tuple(map(changed, block))
        if block.type != "mobilevit":
            return block
        return replace(block, block_kwargs={**block.block_kwargs, "patch_size": patch_size, "kernel_size": kernel_size})

    config = replace(model_cfgs[name], blocks=changed(model_cfgs[name].blocks))
    network: nn.Module = build_model_with_cfg(
        ByobNet, name, False, model_cfg=config, feature_cfg={"flatten_sequential": True}, num_classes=0, in_chans=in_channels
    )
    return network
