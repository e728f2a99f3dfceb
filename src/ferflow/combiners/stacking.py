"""Combiner ``stacking``: a logistic regression on the logarithms of all members' probabilities (Wolpert 1992).

It starts from nothing but the labels of the validation faces, so it is regularised; the strength is chosen among a few on
a third of them.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from ferflow.combiners import Combination
from ferflow.registry import register
from ferflow.vocabulary import LEAST_PROBABILITY

_STRENGTHS = (0.001, 0.01, 0.1)


@register
def fit(predictions: np.ndarray, target: np.ndarray) -> Combination:
    """A matrix for every member and a bias; classes without a validation face can never be the answer."""
    members, rows, classes = predictions.shape
    logs = np.log(np.maximum(predictions.astype(np.float64), LEAST_PROBABILITY))
    features = logs.transpose(1, 0, 2).reshape(rows, members * classes)
    present = np.unique(target)
    if len(present) < 2:
        return Combination([1 / members] * members, logs=True)
    models = [LogisticRegression(C=strength, max_iter=2000) for strength in _STRENGTHS]
    best = models[0]
    if np.bincount(target)[present].min() >= 3:
        learn, hold, truth, held = train_test_split(features, target, test_size=1 / 3, stratify=target, random_state=0)
        best = min(models, key=lambda model: log_loss(held, model.fit(learn, truth).predict_proba(hold), labels=model.classes_))
    best.fit(features, target)
    coefficients, intercept = best.coef_, best.intercept_
    if len(present) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercept = np.vstack([-coefficients, coefficients]) / 2, np.hstack([-intercept, intercept]) / 2
    matrix, bias = np.zeros((members * classes, classes)), np.full(classes, -30.0)
    matrix[:, present], bias[present] = coefficients.T, intercept
    return Combination(
        [1 / members] * members, logs=True, matrix=matrix.reshape(members, classes, classes).tolist(), bias=bias.tolist()
    )
