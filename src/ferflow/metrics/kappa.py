"""Metric ``kappa``: Cohen's (Educational and Psychological Measurement 20, 1960), agreement beyond chance."""

import numpy as np
from sklearn.metrics import cohen_kappa_score

from ferflow.metrics import Means, _confusion, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    cells = _confusion.matrix(means)
    agreed = np.trace(cells, axis1=-2, axis2=-1)
    chance = (cells.sum(axis=-1) * cells.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(1 - chance > 1e-6, (agreed - chance) / (1 - chance), np.nan))


@register
@scores("classification", means=Means(_confusion.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """1 for full agreement, 0 for what chance gives; NaN when truth and predictions are one and the same class."""
    guess = predicted.argmax(axis=1)
    return float(cohen_kappa_score(truth, guess)) if len(np.union1d(truth, guess)) > 1 else float("nan")
