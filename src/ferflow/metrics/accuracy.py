"""Metric ``accuracy``: the share of faces whose most probable class is the right one."""

import numpy as np
from sklearn.metrics import accuracy_score

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _right(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(predicted.argmax(axis=1) == truth, np.float64)[:, None]


@register
@scores("classification", headline=True, means=Means(_right, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose most probable class is the right one."""
    return float(accuracy_score(truth, predicted.argmax(axis=1)))
