"""Networks of the timm library without their classifiers, fresh or with pretrained weights; several entries build on it."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn


def create(variant: str, in_channels: int, pretrained: bool | str, options: dict[str, Any]) -> nn.Module:
    """A timm network without its classifier, fresh or with weights: timm's own (``True``) or those of a file.

    With weights and one channel timm sums the first layer's weights over colours. The options ``mean`` and ``std`` (a
    colour's, of pixels between 0 and 1) say how a file's weights expect pixels, where that is not timm's way.

    Raises ``ValueError`` with close names when timm has no such network, for options that it does not take, and for weights
    that do not fit; ``OSError`` that says what to do when weights cannot be had.
    """
    if not timm.is_model(variant):
        close = ", ".join(get_close_matches(variant, timm.list_models(), n=6)) or "see timm.list_models()"
        raise ValueError(f"timm has no network {variant!r}; close to it: {close}")
    overlay: dict[str, Any] = {name: options[name] for name in ("mean", "std") if name in options}
    options = {name: value for name, value in options.items() if name not in overlay}
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise FileNotFoundError(f"pretrained: {pretrained} is not there; {weights_from(variant)}")
        overlay["file"] = pretrained
    given = {"num_classes": 0, "in_chans": in_channels, "pretrained_cfg_overlay": overlay, **options}
    try:
        model = timm.create_model(variant, pretrained=bool(pretrained), **given)
    except TypeError as error:
        raise ValueError(f"timm's {variant} does not take the options {options}: {error}") from error
    except Exception as error:  # the hub's client has no common base class of errors
        if not pretrained:
            raise
        if isinstance(pretrained, str):
            raise ValueError(f"pretrained: {pretrained} holds no weights of timm's {variant}: {error}") from error
        raise ConnectionError(f"the pretrained weights of {variant} cannot be had ({error}); {weights_from(variant)}") from error
    if isinstance(pretrained, str) and (absent := _left_to_chance(model, variant, given)):
        raise ValueError(
            f"pretrained: {pretrained} holds no weights of timm's {variant}: "
            f"{len(absent)} of its {len(list(model.parameters()))} tensors are not there: {', '.join(absent[:3])}"
        )
    if (head := getattr(model, "head_hidden_size", None)) is not None:  # what comes out, where that is not num_features
        model.num_features = head
    return model


def _left_to_chance(model: nn.Module, variant: str, given: dict[str, Any]) -> list[str]:
    """The parameters that a file did not give: timm lets them be as they were drawn, and a second network draws others."""
    with torch.random.fork_rng(devices=[]):
        other = timm.create_model(variant, pretrained=True, **given)
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    return [name for (name, one), two in pairs if not torch.equal(one, two)]


def weights_from(variant: str) -> str:
    """Where the weights of a network are, and how to go on without them."""
    config = timm.get_pretrained_cfg(variant)
    place = f"https://huggingface.co/{config.hf_hub_id}" if config and config.hf_hub_id else (config.url if config else "")
    where = f"fetch model.safetensors from {place} and give its path (pretrained: PATH)" if place else "timm has none of its own"
    return f"{where}, or train from scratch (pretrained: false)"
