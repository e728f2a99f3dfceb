"""What the threshold of certainty is worth: how many answers are certain, and how many of those are right.

Values in, values out: it fits nothing (``calibration.certain_above`` does) and knows no file.
"""

import numpy as np


def certain_answers(probabilities: np.ndarray, target: np.ndarray, above: float) -> dict[str, float]:
    """Of labelled faces, those whose answer is certain: coverage (their share of all), accuracy of them, and n, their number.

    ``probabilities``: N x K; ``target``: N class numbers (-1: no label); an answer is certain from the confidence ``above``
    on. NaN where there is nothing to take a share of.
    """
    known = target >= 0
    confidence = probabilities[known].max(axis=1)
    right = probabilities[known].argmax(axis=1) == target[known]
    certain = confidence >= np.float32(above)  # predictions are float32: the threshold is one of theirs, and must count itself
    return {
        "coverage": float(certain.mean()) if len(certain) else float("nan"),
        "accuracy": float(right[certain].mean()) if certain.any() else float("nan"),
        "n": int(certain.sum()),
    }
