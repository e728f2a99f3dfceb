"""What several recipes share: albumentations' transforms as a function of a face, and one for all that moves pixels."""

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


class Move(A.ImageOnlyTransform):
    """A mirror image half of the time, and a turn, a shift, another size and a slant in one: a single interpolation.

    Beyond the edge pixels are reflected. ``turn`` and ``slant`` in degrees, ``shift`` and ``zoom`` as shares of the side; each
    to either side, evenly. ``whole`` shifts by whole pixels, as a crop out of padding does. albumentations' own transforms,
    one after the other, take four times as long for a small face, and as many interpolations.
    """

    def __init__(self, turn: float = 0, shift: float = 0, zoom: float = 0, slant: float = 0, whole: bool = False) -> None:
        super().__init__(p=1.0)
        self.turn, self.shift, self.zoom, self.slant, self.whole = turn, shift, zoom, slant, whole

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The matrix of this face's change, 2 x 3."""
        height, width = params["shape"][:2]
        draw = self.py_random.uniform
        angle, slant = np.deg2rad(draw(-self.turn, self.turn)), np.tan(np.deg2rad(draw(-self.slant, self.slant)))
        scale = 1 + draw(-self.zoom, self.zoom)
        shift = np.array([draw(-self.shift, self.shift) * width, draw(-self.shift, self.shift) * height])
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        mirror = -1.0 if self.py_random.random() < 0.5 else 1.0
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[mirror, slant], [0.0, 1.0]])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        moved = centre - linear @ centre + (np.round(shift) if self.whole else shift)
        return {"matrix": np.column_stack([linear, moved])}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """The changed face."""
        size = (img.shape[1], img.shape[0])
        return np.asarray(cv2.warpAffine(img, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def crp(size: int) -> list[Any]:
    """The changes of the recipe ``crp``, for faces of ``size`` x ``size`` pixels; other recipes add to them."""
    return [Move(turn=10, shift=4 / size, whole=True)]
