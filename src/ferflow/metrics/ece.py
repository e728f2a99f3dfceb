"""Metric ``ece``: expected calibration error, Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017)."""

import numpy as np

from ferflow.metrics import Means, scores
from ferflow.registry import register

BINS = 15


def bins(confidence: np.ndarray) -> np.ndarray:
    """The number of every confidence's bin, of ``BINS`` equally wide ones; each has its upper edge."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def _rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    confidence, right = predicted.max(axis=1), predicted.argmax(axis=1) == truth
    gaps = np.zeros((len(truth), BINS))
    gaps[np.arange(len(truth)), bins(confidence)] = right - confidence
    return gaps


@register
@scores("classification", best=0.0, headline=True, means=Means(_rows, lambda means: np.abs(means).sum(axis=-1)), biased=True)
def score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean gap between confidence and accuracy over 15 equally wide bins of confidence, weighed by their faces."""
    return float(np.abs(_rows(truth, predicted).mean(axis=0)).sum())
