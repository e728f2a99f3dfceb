"""Recipe ``none``: the face as it is."""

import numpy as np

from ferflow.registry import register
from ferflow.transforms import Recipe


def _keep(face: np.ndarray) -> np.ndarray:
    return face


@register
def build(size: int, seed: int) -> Recipe:
    """The identity."""
    return Recipe(_keep)
