"""Metric ``mae``: the mean absolute error."""

import numpy as np
from sklearn.metrics import mean_absolute_error

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(truth.astype(np.float64) - predicted))[:, None]


@register
@scores("affect", best=0.0, means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean absolute error."""
    return float(mean_absolute_error(truth, predicted))
