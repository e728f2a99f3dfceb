"""Recipe ``crp``: a flip half of the time, a crop out of 4 pixels of padding, a rotation of up to 10 degrees."""

import albumentations as A
import cv2
import numpy as np

from ferflow.registry import register
from ferflow.transforms import Recipe


@register
def build(size: int, seed: int) -> Recipe:
    """For faces of ``size`` x ``size`` pixels; the same seed gives the same sequence of changes."""
    pipeline = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=10, border_mode=cv2.BORDER_REFLECT_101, p=0.8),
            A.PadIfNeeded(size + 8, size + 8, border_mode=cv2.BORDER_REFLECT_101),
            A.RandomCrop(size, size),
        ],
        seed=seed,
    )

    def augment(face: np.ndarray) -> np.ndarray:
        return np.asarray(pipeline(image=face)["image"]).reshape(face.shape)

    return augment
