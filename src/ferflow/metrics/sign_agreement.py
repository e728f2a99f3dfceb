"""Metric ``sign_agreement``: the share of faces whose value has the right sign (SAGR)."""

import numpy as np

from ferflow.metrics import Means, scores
from ferflow.registry import register


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(truth) == np.sign(predicted), np.float64)[:, None]


@register
@scores("affect", means=Means(_rows, lambda means: means[..., 0]))
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The share of faces whose value has the right sign: Nicolaou, Gunes and Pantic (IEEE TAC 2, 2011)."""
    return float(_rows(truth, predicted).mean())
