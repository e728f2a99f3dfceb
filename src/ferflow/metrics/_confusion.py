"""The confusion matrix as a mean over rows, and what several metrics read from it."""

import numpy as np


def rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """N x K*K: a one in the cell of every row's true and most probable class."""
    classes = predicted.shape[1]
    cells = np.zeros((len(truth), classes * classes), np.float32)
    cells[np.arange(len(truth)), truth * classes + predicted.argmax(axis=1)] = 1
    return cells


def matrix(means: np.ndarray) -> np.ndarray:
    """... x K x K shares: true classes down, predicted ones across."""
    classes = round(means.shape[-1] ** 0.5)
    return means.reshape(*means.shape[:-1], classes, classes).astype(np.float64)


def over_classes_that_occur(values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The mean of ... x K values over the classes that have a row."""
    occurs = matrix(means).sum(axis=-1) > 0
    with np.errstate(invalid="ignore"):  # no row at all: NaN
        return np.asarray(np.where(occurs, values, 0).sum(axis=-1) / occurs.sum(axis=-1))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
