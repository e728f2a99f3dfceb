"""Metric ``mae_groups``: the mean distance, in groups, of the most probable group from the right one."""

import numpy as np
from sklearn.metrics import mean_absolute_error

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(truth - predicted.argmax(axis=1)).astype(np.float64))[:, None]


@register
@scores("ordered", best=0.0, headline=True, means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean distance, in groups, of the most probable group from the right one."""
    return float(mean_absolute_error(truth, predicted.argmax(axis=1)))
