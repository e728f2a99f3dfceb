"""Recipe ``crp``: a flip half of the time, a crop out of 4 pixels of padding, a rotation of up to 10 degrees."""

from typing import Any

import albumentations as A
import cv2

from ferflow.registry import register
from ferflow.transforms import Recipe, albumented


def steps(size: int) -> list[Any]:
    """The changes, for faces of ``size`` x ``size`` pixels; other recipes add to them."""
    return [
        A.HorizontalFlip(p=0.5),
        A.Rotate(limit=10, border_mode=cv2.BORDER_REFLECT_101, p=0.8),
        A.PadIfNeeded(size + 8, size + 8, border_mode=cv2.BORDER_REFLECT_101),
        A.RandomCrop(size, size),
    ]


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels."""
    return Recipe(albumented(steps(size), seed))
