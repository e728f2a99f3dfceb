"""Metric ``pr_auc``: the average precision, one class against the rest, the mean over the classes."""

import numpy as np
from sklearn.metrics import average_precision_score

from ferflow.metrics import _curves, scores
from ferflow.registry import register


def of_class(truth: np.ndarray, predicted: np.ndarray, number: int) -> float:
    """The average precision (area under the precision-recall curve) of one class; NaN where no face, or every face, is of it."""
    return _curves.of_class(average_precision_score, truth, predicted, number)


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur, but not alone; NaN where none does."""
    return _curves.over_classes(average_precision_score, truth, predicted)
