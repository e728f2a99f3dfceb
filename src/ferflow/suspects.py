"""Labels that are probably wrong: confident learning (Northcutt et al., 2021) on cross-validated predictions.

A trained member's features describe every face; a linear classifier on them, cross-validated so that no face and none
alike to it is predicted by what was fitted to it, gives the probabilities that cleanlab needs. The features of training
faces have seen their labels, so that a suspect among them is found less easily than among the others. Values in, values
out.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def cross_validated(features: np.ndarray, target: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Out-of-fold probabilities (N x K) for class numbers ``target`` (N, from 0) from ``features`` (N x F).

    Rows of the same group are in the same fold. Raises ``ValueError`` when a class is missing from the rest of a fold.
    """
    classes = int(target.max()) + 1
    probabilities = np.zeros((len(target), classes))
    for fit, held in GroupKFold(folds, shuffle=True, random_state=seed).split(features, target, groups):
        if len(np.unique(target[fit])) < classes:
            raise ValueError(f"a class has too few faces for {folds} folds; take fewer folds")
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        model.fit(features[fit], target[fit])
        probabilities[held] = model.predict_proba(features[held])
    return probabilities


def find(ids: list[str], target: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """The suspects, worst first: ``id, label, suggested, quality``; quality is the probability of the label, 0 to 1."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    rows = find_label_issues(target, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    quality = get_label_quality_scores(target, probabilities)
    names = np.array(classes)
    table = {
        "label": names[target[rows]],
        "suggested": names[probabilities[rows].argmax(axis=1)],
        "quality": quality[rows].round(4),
    }
    return pd.DataFrame({"id": np.array(ids)[rows], **table})
