"""Metric ``roc_auc``: the area under the ROC curve, one class against the rest, the mean over the classes."""

import numpy as np
from sklearn.metrics import roc_auc_score

from ferflow.metrics import scores
from ferflow.registry import register


def of_class(truth: np.ndarray, predicted: np.ndarray, number: int) -> float:
    """The area under the ROC curve, of one class; NaN where no face, or every face, is of it."""
    wanted = truth == number
    return float(roc_auc_score(wanted, predicted[:, number])) if 0 < wanted.sum() < len(wanted) else float("nan")


@register
@scores("classification")
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur, but not alone; NaN where none does."""
    found = [value for k in range(predicted.shape[1]) if (value := of_class(truth, predicted, k)) == value]
    return float(np.mean(found)) if found else float("nan")
