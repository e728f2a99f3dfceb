"""Metric ``log_loss``: minus the mean logarithm of the probability of the right class, in nats."""

import numpy as np
from sklearn.metrics import log_loss

from ferflow.metrics import Means, scores
from ferflow.registry import register
from ferflow.vocabulary import LEAST_PROBABILITY


def _shares(predicted: np.ndarray) -> np.ndarray:
    clipped = np.clip(predicted.astype(np.float64), LEAST_PROBABILITY, 1)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(_shares(predicted)[np.arange(len(truth)), truth]))[:, None]


@register
@scores("classification", best=0.0, means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Minus the mean logarithm of the probability of the right class, of at least 1e-7."""
    return float(log_loss(truth, _shares(predicted), labels=range(predicted.shape[1])))
