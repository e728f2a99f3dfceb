"""Recipe ``mix``: ``crp``, then MixUp or CutMix, each in half of the batches."""

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import crp, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    return recipe(crp(size), seed, mixup=0.2, cutmix=1.0)
