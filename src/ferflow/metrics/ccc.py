"""Metric ``ccc``: Lin's concordance correlation coefficient (Biometrics 45, 1989), the field's measure for affect."""

import numpy as np

from ferflow.metrics import scores
from ferflow.registry import register


@register
@scores("affect")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 for perfect agreement, 0 for none, -1 for perfect disagreement; NaN when both are constant and equal."""
    spread = truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2
    if spread == 0:
        return float("nan")
    return float(2 * np.cov(truth, predicted, bias=True)[0, 1] / spread)
