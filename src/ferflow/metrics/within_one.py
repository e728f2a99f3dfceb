"""Metric ``within_one``: the share of faces whose most probable group is the right one or its neighbour."""

import numpy as np

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(truth - predicted.argmax(axis=1)) <= 1, np.float64)[:, None]


@register
@scores("ordered", headline=True, means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose most probable group is the right one or its neighbour."""
    return float(_rows(truth, predicted).mean())
