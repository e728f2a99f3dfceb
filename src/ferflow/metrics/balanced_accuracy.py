"""Metric ``balanced_accuracy``: the mean of the recalls of the classes that occur."""

import numpy as np
from sklearn.metrics import recall_score

from ferflow.metrics import scores
from ferflow.registry import register


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean of the recalls of the classes that occur."""
    return float(recall_score(truth, predicted.argmax(axis=1), labels=np.unique(truth), average="macro", zero_division=0))
