"""Metric ``balanced_accuracy``: the mean of the recalls of the classes that occur."""

import numpy as np
from sklearn.metrics import recall_score

from ferflow.metrics import Means, _confusion, scores
from ferflow.registry import register


def _value(means: np.ndarray) -> np.ndarray:
    cells = _confusion.matrix(means)
    recalls = _confusion.ratio(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-1))
    return _confusion.over_classes_that_occur(recalls, means)


@register
@scores("classification", headline=True, means=Means(_confusion.rows, _value))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of the recalls of the classes that occur."""
    return float(recall_score(truth, predicted.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
