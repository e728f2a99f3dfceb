"""Face detectors, one file each: a picture in, boxes out.

An entry is a function ``build(model_path, threshold) -> Detector``; a detector takes an RGB picture (H x W x 3, uint8)
and gives every face of at least that score (None: the detector's own threshold), best first. Threads may share it. It
knows no expression.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Detection:
    """One face: ``box_xyxy`` in pixels (left, top, right, bottom), ``score`` between 0 and 1.

    ``eyes_xy`` are the eyes' centres in pixels, the one on the picture's left first; None where the detector gives none.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    eyes_xy: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def size_wh(self) -> tuple[float, float]:
        """Width and height in pixels."""
        left, top, right, bottom = self.box_xyxy
        return right - left, bottom - top


LONGEST_SIDE = 640  # larger pictures are scaled down first: time, and false alarms in texture

Detector = Callable[[np.ndarray], list[Detection]]


def shrink(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture with its longest side at most ``LONGEST_SIDE`` pixels (none under 1), and the scale; never enlarged."""
    height, width = picture.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale == 1:
        return picture, scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale
