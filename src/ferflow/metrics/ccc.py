"""Metric ``ccc``: Lin's concordance correlation coefficient (Biometrics 45, 1989), the field's measure for affect."""

import numpy as np

from ferflow.metrics import Means, _moments, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    of_truth, of_found, together, shift = _moments.spread(means)
    whole = of_truth + of_found + shift**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 1e-12, 2 * together / whole, np.nan))


@register
@scores("affect", headline=True, means=Means(_moments.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 for perfect agreement, 0 for none, -1 for perfect disagreement; NaN when both are constant and equal."""
    return float(_value(_moments.rows(truth, predicted).mean(axis=0)))
