"""Combiner ``weighted_mean``: the mean of the members' outputs, with weights on the simplex.

The weights minimise the log loss of the mixture (affect: the squared error). Both are convex in the weights, so the
answer does not depend on where the search starts.
"""

import numpy as np
from scipy.optimize import minimize

from ferflow.combiners import Combination, for_affect
from ferflow.registry import register


@register
@for_affect
def fit(predictions: np.ndarray, target: np.ndarray) -> Combination:
    """The best weights, at least 0 and summing to 1."""
    members = len(predictions)
    if target.ndim == 1:
        of_truth = predictions[:, np.arange(len(target)), target].astype(np.float64)

        def loss(weights: np.ndarray) -> float:
            return float(-np.log(np.maximum(weights @ of_truth, 1e-12)).mean())
    else:
        values, truth = predictions.astype(np.float64).reshape(members, -1), target.astype(np.float64).ravel()

        def loss(weights: np.ndarray) -> float:
            return float(((weights @ values - truth) ** 2).mean())

    constraint = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    equal = np.full(members, 1 / members)
    found = minimize(loss, equal, bounds=[(0, 1)] * members, constraints=[constraint], method="SLSQP")
    weights = np.clip(found.x, 0, None)
    weights[weights < 1e-6] = 0
    return Combination((weights / weights.sum()).tolist())
