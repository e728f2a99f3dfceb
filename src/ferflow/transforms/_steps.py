"""What several recipes share: albumentations' transforms as a function of a face, and the changes of ``crp``."""

from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np


def albumented(steps: Sequence[Any], seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A sequence of albumentations' transforms as a function of a face; the same seed gives the same changes."""
    pipeline = A.Compose(list(steps), seed=seed)

    def augment(face: np.ndarray) -> np.ndarray:
        return np.asarray(pipeline(image=face)["image"]).reshape(face.shape)

    return augment


def crp(size: int) -> list[Any]:
    """The changes of the recipe ``crp``, for faces of ``size`` x ``size`` pixels; other recipes add to them."""
    return [
        A.HorizontalFlip(p=0.5),
        A.Rotate(limit=10, border_mode=cv2.BORDER_REFLECT_101, p=0.8),
        A.PadIfNeeded(size + 8, size + 8, border_mode=cv2.BORDER_REFLECT_101),
        A.RandomCrop(size, size),
    ]
