"""The weighted mean of members' predictions; weights on the simplex, fitted on validation predictions alone.

Each task has its own weights. They minimise the log loss of the mixture (affect: the squared error), both
convex in the weights, so the answer does not depend on where the search starts. Values in, values out.
"""

import numpy as np
from scipy.optimize import minimize


def fit_weights(predictions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights (M, at least 0, summing to 1) for M members' predictions of one task.

    ``predictions``: M x N x K probabilities with ``target`` N class numbers (-1: no label), or M x N x 2 values
    with ``target`` N x 2 (NaN: no label). Equal weights when no row has a label.
    """
    members = len(predictions)
    equal = np.full(members, 1 / members)
    if target.ndim == 1:
        known = target >= 0
        of_truth = predictions[:, known, target[known]].astype(np.float64)

        def loss(weights: np.ndarray) -> float:
            return float(-np.log(np.maximum(weights @ of_truth, 1e-12)).mean())
    else:
        known = ~np.isnan(target)
        values, truth = predictions[:, known].astype(np.float64), target[known]

        def loss(weights: np.ndarray) -> float:
            return float(((weights @ values - truth) ** 2).mean())

    if members == 1 or not known.any():
        return equal
    constraint = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(loss, equal, bounds=[(0, 1)] * members, constraints=[constraint], method="SLSQP")
    weights = np.clip(found.x, 0, None)
    weights[weights < 1e-6] = 0
    return np.asarray(weights / weights.sum())


def combine(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean: M x N x K and M weights to N x K, float32."""
    return np.tensordot(weights, predictions, axes=1).astype(np.float32)
