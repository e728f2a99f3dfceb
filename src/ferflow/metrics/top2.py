"""Metric ``top2``: the share of faces whose right class is among the 2 most probable."""

from functools import partial

import numpy as np
from sklearn.metrics import top_k_accuracy_score

from ferflow.metrics import Means, _top, scores
from ferflow.registry import register


@register
@scores("classification", means=Means(partial(_top.within, 2), lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose right class is among the 2 most probable; not defined for 2 classes or fewer."""
    classes = predicted.shape[1]
    return float(top_k_accuracy_score(truth, predicted, k=2, labels=range(classes))) if classes > 2 else float("nan")
