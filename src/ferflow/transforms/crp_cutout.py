"""Recipe ``crp_cutout``: ``crp``, and half of the time one rectangle of 0.01 to 0.11 of the face is erased.

Zhong et al., "Random Erasing Data Augmentation" (2017).
"""

import albumentations as A

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import crp, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    erase = A.Erasing(scale=(0.01, 0.11), ratio=(0.3, 3.3), fill=127, p=0.5)
    return recipe([*crp(size), erase], seed)
