"""The area under a curve of one class against the rest, and its mean over the classes."""

from collections.abc import Callable

import numpy as np

Area = Callable[[np.ndarray, np.ndarray], float]  # of who is of the class (N), and its probabilities (N)


def of_class(area: Area, truth: np.ndarray, predicted: np.ndarray, number: int) -> float:
    """The area of one class; NaN where no face, or every face, is of it."""
    wanted = truth == number
    return float(area(wanted, predicted[:, number])) if 0 < wanted.sum() < len(wanted) else float("nan")


def over_classes(area: Area, truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur, but not alone; NaN where none does."""
    found = [value for k in range(predicted.shape[1]) if (value := of_class(area, truth, predicted, k)) == value]
    return float(np.mean(found)) if found else float("nan")
