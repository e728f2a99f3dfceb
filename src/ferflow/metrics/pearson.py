"""Metric ``pearson``: the correlation coefficient, which forgives a wrong scale and a wrong mean."""

import numpy as np

from ferflow.metrics import Means, _moments, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    of_truth, of_found, together, _ = _moments.spread(means)
    whole = np.sqrt(of_truth * of_found)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 1e-9, together / whole, np.nan))


@register
@scores("affect", means=Means(_moments.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """-1 to 1; NaN when one side is constant."""
    return float(_value(_moments.rows(truth, predicted).mean(axis=0)))
