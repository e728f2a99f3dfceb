"""Whether a confidence means what it says: temperature scaling, reliability, and accuracy against coverage.

Values in, values out. Reading and applying a temperature takes no more than the probabilities themselves.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from ferflow.metrics import ece
from ferflow.vocabulary import LEAST_PROBABILITY

NEVER = 1.01  # a threshold that no confidence reaches


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N x K) with their logarithms divided by ``temperature``, summing to 1; above 1 they are less sure."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)) / temperature
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def fit_temperature(probabilities: np.ndarray, target: np.ndarray) -> float:
    """The temperature with the least log loss, between 0.05 and 20: Guo et al. (ICML 2017), on validation predictions.

    ``target`` has N class numbers (-1: no label); 1.0 where no face has a label.
    """
    known = target >= 0
    if not known.any():
        return 1.0
    logs, truth = np.log(np.maximum(probabilities[known].astype(np.float64), LEAST_PROBABILITY)), target[known]

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1, keepdims=True)
        whole = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
        return float((whole - scaled[np.arange(len(truth)), truth]).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def certain_above(probabilities: np.ndarray, target: np.ndarray, accuracy: float) -> float:
    """The least confidence from which on answers are right in a share of at least ``accuracy``.

    0 where all answers together are that good, more than 1 where not even the surest ones are: below it an answer is
    "uncertain". Fitted on validation predictions; ``target`` has class numbers (-1: no label).
    """
    known = target >= 0
    if not known.any():
        return 0.0
    confidence = probabilities[known].max(axis=1).astype(np.float64)
    right = probabilities[known].argmax(axis=1) == target[known]
    order = np.argsort(-confidence, kind="stable")
    confidence, share = confidence[order], right[order].cumsum() / np.arange(1, len(order) + 1)
    ends = np.append(confidence[1:] < confidence[:-1], True)  # answers of the same confidence go together
    good = np.flatnonzero(ends & (share >= accuracy))
    if not len(good):
        return NEVER
    return 0.0 if good[-1] == len(order) - 1 else float(confidence[good[-1]])


def reliability(probabilities: np.ndarray, target: np.ndarray) -> pd.DataFrame:
    """A row a bin of confidence that has faces: confidence (mean), accuracy, n; the bins are those of the metric ``ece``."""
    known = target >= 0
    confidence = probabilities[known].max(axis=1)
    right = probabilities[known].argmax(axis=1) == target[known]
    table = pd.DataFrame({"bin": ece.bins(confidence), "confidence": confidence, "accuracy": right})
    grouped = table.groupby("bin")
    return grouped[["confidence", "accuracy"]].mean().assign(n=grouped.size()).reset_index(drop=True)


def coverage(probabilities: np.ndarray, target: np.ndarray, points: int = 20) -> pd.DataFrame:
    """Accuracy of the surest answers against their share of all: coverage, accuracy, confidence (the least among them)."""
    known = target >= 0
    if not known.any():
        return pd.DataFrame(columns=["coverage", "accuracy", "confidence"])
    confidence = probabilities[known].max(axis=1)
    right = probabilities[known].argmax(axis=1) == target[known]
    order = np.argsort(-confidence, kind="stable")
    share = right[order].cumsum() / np.arange(1, len(order) + 1)
    ends = np.unique(np.ceil(np.linspace(1 / points, 1, points) * len(order)).astype(int)) - 1
    return pd.DataFrame({"coverage": (ends + 1) / len(order), "accuracy": share[ends], "confidence": confidence[order][ends]})
