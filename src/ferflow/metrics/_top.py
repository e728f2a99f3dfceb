"""Whether the right class is among the k most probable ones."""

import numpy as np


def within(k: int, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """N x 1: 1 where it is; of equal probabilities the later class goes first, as scikit-learn has it."""
    best = predicted.argsort(axis=1, kind="stable")[:, ::-1][:, :k]
    return np.asarray((best == truth[:, None]).any(axis=1), np.float64)[:, None]
