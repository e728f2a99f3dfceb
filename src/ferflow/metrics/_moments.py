"""First and second moments of two columns as means over rows."""

import numpy as np


def rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """N x 5: both values, both squares, the product."""
    true, found = truth.astype(np.float64), predicted.astype(np.float64)
    return np.stack([true, found, true**2, found**2, true * found], axis=1)


def spread(means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both variances (at least 0), the covariance, and the difference of the means."""
    true, found = means[..., 0], means[..., 1]
    variances = [np.maximum(means[..., 2 + i] - means[..., i] ** 2, 0) for i in range(2)]
    return variances[0], variances[1], means[..., 4] - true * found, true - found
