"""Metric ``macro_precision``: the mean of the precisions of the classes that occur."""

import numpy as np
from sklearn.metrics import precision_score

from ferflow.metrics import Means, _confusion, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    cells = _confusion.matrix(means)
    precisions = _confusion.ratio(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-2))
    return _confusion.over_classes_that_occur(precisions, means)


@register
@scores("classification", means=Means(_confusion.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur of the share of right ones among those so called; 0 for one never called."""
    return float(precision_score(truth, predicted.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
