"""Metric ``brier``: the mean squared distance of the probabilities from the truth (Brier 1950), 0 to 2."""

import numpy as np

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    distance = predicted.astype(np.float64)
    distance[np.arange(len(truth)), truth] -= 1
    return np.asarray((distance**2).sum(axis=1))[:, None]


@register
@scores("classification", best=0.0, means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the faces of the sum over the classes of (probability - truth) squared."""
    return float(_rows(truth, predicted).mean())
