"""Combiner ``best``: the one member that does best on validation; what an ensemble has to beat."""

import numpy as np

from ferflow.combiners import Combination, for_affect
from ferflow.combiners._loss import loss
from ferflow.registry import register


@register
@for_affect
def fit(predictions: np.ndarray, target: np.ndarray) -> Combination:
    """Weight 1 for the member with the least log loss (affect: squared error), 0 for the others."""
    best = int(np.argmin([loss(member, target) for member in predictions]))
    return Combination([float(index == best) for index in range(len(predictions))])
