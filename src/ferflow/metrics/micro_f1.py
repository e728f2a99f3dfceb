"""Metric ``micro_f1``: F1 over all decisions at once; with one label a face it is the accuracy."""

import numpy as np
from sklearn.metrics import f1_score

from ferflow.metrics import Means, _confusion, scores
from ferflow.registry import register


@register
@scores("classification", means=Means(_confusion.rows, lambda means: np.trace(_confusion.matrix(means), axis1=-2, axis2=-1)))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """F1 over all decisions at once."""
    return float(f1_score(truth, predicted.argmax(axis=1), average="micro"))
