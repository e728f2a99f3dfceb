"""Metric ``macro_f1``: the mean over the classes that occur of the harmonic mean of precision and recall."""

import numpy as np
from sklearn.metrics import f1_score

from ferflow.metrics import Means, _confusion, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    cells = _confusion.matrix(means)
    found = 2 * np.diagonal(cells, axis1=-2, axis2=-1)
    return _confusion.over_classes_that_occur(_confusion.ratio(found, cells.sum(axis=-1) + cells.sum(axis=-2)), means)


@register
@scores("classification", headline=True, means=Means(_confusion.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur of the harmonic mean of precision and recall."""
    return float(f1_score(truth, predicted.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
