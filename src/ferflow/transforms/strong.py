"""Recipe ``strong``: the one for long trainings on small faces; docs/experiments.md has what was reached with it.

A flip, one affine change (15 degrees, 15 % of size, 12 % of place, 6 degrees of slant; one interpolation, so that little
sharpness is lost), brightness and contrast, and half of the time an erased rectangle of 2 to 16 % of the face.
"""

import albumentations as A

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import Move, recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    steps = [
        Move(turn=15, shift=0.12, zoom=0.15, slant=6),
        A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.8),
        A.Erasing(scale=(0.02, 0.16), ratio=(0.4, 2.5), fill=127, p=0.5),
    ]
    return recipe(steps, seed)
