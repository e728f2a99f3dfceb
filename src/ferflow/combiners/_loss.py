"""What combiners are fitted and chosen by."""

import numpy as np

from ferflow.vocabulary import LEAST_PROBABILITY


def loss(predicted: np.ndarray, target: np.ndarray) -> float:
    """The log loss of N x K probabilities of N class numbers, or the mean squared error of N x 2 values."""
    if target.ndim == 1:
        of_truth = predicted[np.arange(len(target)), target].astype(np.float64)
        return float(-np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean())
    return float(((predicted.astype(np.float64) - target) ** 2).mean())
