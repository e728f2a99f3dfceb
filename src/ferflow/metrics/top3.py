"""Metric ``top3``: the share of faces whose right class is among the 3 most probable."""

from functools import partial

import numpy as np
from sklearn.metrics import top_k_accuracy_score

from ferflow.metrics import Means, _top, scores
from ferflow.registry import register


@register
@scores("classification", means=Means(partial(_top.within, 3), lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose right class is among the 3 most probable; not defined for 3 classes or fewer."""
    classes = predicted.shape[1]
    return float(top_k_accuracy_score(truth, predicted, k=3, labels=range(classes))) if classes > 3 else float("nan")
