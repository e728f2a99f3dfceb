"""Recipe ``flip_rotate15``: a flip half of the time, and a rotation of up to 15 degrees."""

import albumentations as A
import cv2

from ferflow.registry import register
from ferflow.transforms import Recipe
from ferflow.transforms._steps import albumented


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    steps = [A.HorizontalFlip(p=0.5), A.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=1.0)]
    return Recipe(albumented(steps, seed))
