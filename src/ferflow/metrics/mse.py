"""Metric ``mse``: the mean squared error."""

import numpy as np
from sklearn.metrics import mean_squared_error

from ferflow.metrics import Means, scores
from ferflow.metrics._squares import rows
from ferflow.registry import register


@register
@scores("affect", best=0.0, means=Means(rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean squared error."""
    return float(mean_squared_error(truth, predicted))
