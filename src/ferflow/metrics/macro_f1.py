"""Metric ``macro_f1``: the mean over the classes that occur of the harmonic mean of precision and recall."""

import numpy as np
from sklearn.metrics import f1_score

from ferflow.metrics import scores
from ferflow.registry import register


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur of the harmonic mean of precision and recall."""
    return float(f1_score(truth, predicted.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
