"""Recipe ``crp_color``: ``crp``, and brightness and contrast changed by up to 0.2."""

import albumentations as A

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import crp, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    color = A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.8)
    return recipe([*crp(size), color], seed)
