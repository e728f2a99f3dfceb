"""Combiner ``greedy``: members are added one after the other, again and again, while validation gets better.

Caruana et al., "Ensemble Selection from Libraries of Models" (ICML 2004): with replacement, so that a member's weight is how
often it was taken. Good where there are many members.
"""

import numpy as np

from ferflow.combiners import Combination, for_affect
from ferflow.combiners._loss import loss
from ferflow.registry import register

_STEPS = 40


@register
@for_affect
def fit(predictions: np.ndarray, target: np.ndarray) -> Combination:
    """How often each member was taken until no further one helped, as weights."""
    taken = np.zeros(len(predictions))
    total, least = np.zeros(predictions.shape[1:]), np.inf
    for step in range(1, _STEPS + 1):
        losses = [loss((total + member) / step, target) for member in predictions]
        if min(losses) >= least:
            break
        best = int(np.argmin(losses))
        least, total = losses[best], total + predictions[best]
        taken[best] += 1
    return Combination((taken / taken.sum()).tolist())
