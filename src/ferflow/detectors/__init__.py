"""Face detectors, one file each: a picture in, boxes out.

An entry is a function ``build(model_path) -> Detector``; a detector takes an RGB picture (H x W x 3,
uint8) and gives every face it finds, best first. It knows no expression.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detection:
    """One face: ``box_xyxy`` in pixels (left, top, right, bottom), ``score`` between 0 and 1."""

    box_xyxy: tuple[float, float, float, float]
    score: float


Detector = Callable[[np.ndarray], list[Detection]]
