"""Metric ``rmse``: root of the mean squared error."""

import numpy as np
from sklearn.metrics import root_mean_squared_error

from ferflow.metrics import Means, scores
from ferflow.metrics._squares import rows
from ferflow.registry import register


@register
@scores("affect", best=0.0, headline=True, means=Means(rows, lambda means: np.sqrt(means[..., 0])))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error."""
    return float(root_mean_squared_error(truth, predicted))
