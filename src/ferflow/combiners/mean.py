"""Combiner ``mean``: the plain mean of the members' outputs."""

import numpy as np

from ferflow.combiners import Combination, for_affect
from ferflow.registry import register


@register
@for_affect
def fit(predictions: np.ndarray, target: np.ndarray) -> Combination:
    """The same weight for every member; nothing is fitted."""
    return Combination([1 / len(predictions)] * len(predictions))
