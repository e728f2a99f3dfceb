"""Metric ``accuracy``: the share of faces whose most probable class is the right one."""

import numpy as np
from sklearn.metrics import accuracy_score

from ferflow.metrics import scores
from ferflow.registry import register


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose most probable class is the right one."""
    return float(accuracy_score(truth, predicted.argmax(axis=1)))
