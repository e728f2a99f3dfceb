"""Metric ``roc_auc``: the area under the ROC curve, one class against the rest, the mean over the classes."""

import numpy as np
from sklearn.metrics import roc_auc_score

from ferflow.metrics import _curves, scores
from ferflow.registry import register


def of_class(truth: np.ndarray, predicted: np.ndarray, number: int) -> float:
    """The area under the ROC curve, of one class; NaN where no face, or every face, is of it."""
    return _curves.of_class(roc_auc_score, truth, predicted, number)


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur, but not alone; NaN where none does."""
    return _curves.over_classes(roc_auc_score, truth, predicted)
