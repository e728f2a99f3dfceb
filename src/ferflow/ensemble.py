"""The choice of how members are combined: every way is fitted and judged on validation predictions alone.

What is fitted has seen the faces that it is judged on, so each way is judged by cross-validation over the validation faces.
Values in, values out.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from ferflow.calibration import fit_temperature
from ferflow.combiners import Combination
from ferflow.combiners._loss import loss
from ferflow.registry import get, names

FOLDS = 5


@dataclass(frozen=True)
class Candidate:
    """One way to combine: its name, its loss in cross-validation (log loss; affect: squared error), the fit on all faces."""

    name: str
    loss: float
    combination: Combination


def candidates(
    predictions: np.ndarray, target: np.ndarray, ways: tuple[str, ...] = (), fixed: dict[str, list[float]] | None = None
) -> list[Candidate]:
    """Every way to combine M members' predictions of one task, the best first.

    ``predictions``: M x N x K probabilities with ``target`` N class numbers (-1: no label), or M x N x 2 values with
    ``target`` N x 2 (NaN: no label). ``ways`` names combiners (none: all); ``fixed`` has weights that are given, by name.
    Without a labelled face there is the plain mean only.
    """
    known = target >= 0 if target.ndim == 1 else ~np.isnan(target).any(axis=1)
    if not known.any():
        return [Candidate("mean", float("nan"), get("combiners", "mean")(predictions, target))]
    shown, truth = predictions[:, known], target[known]
    found = []
    for name in ways or names("combiners"):
        fit = get("combiners", name)
        if truth.ndim == 1 or getattr(fit, "for_affect", False):
            found.append(Candidate(name, _cross_validated(fit, shown, truth), fit(shown, truth)))
    for name, weights in (fixed or {}).items():
        given = Combination((np.asarray(weights) / np.sum(weights)).tolist())
        found.append(Candidate(name, loss(given(shown), truth), given))
    return sorted(found, key=lambda candidate: candidate.loss)


def _cross_validated(fit, predictions: np.ndarray, target: np.ndarray) -> float:  # type: ignore[no-untyped-def]
    folds = min(FOLDS, len(target))
    if folds < 2:
        return loss(fit(predictions, target)(predictions), target)
    stratify = target.ndim == 1 and np.bincount(target)[np.unique(target)].min() >= folds
    splits = (StratifiedKFold if stratify else KFold)(folds, shuffle=True, random_state=0).split(predictions[0], target)
    losses = [
        loss(fit(predictions[:, train], target[train])(predictions[:, test]), target[test]) * len(test) for train, test in splits
    ]
    return float(np.sum(losses) / len(target))


def calibrated(combination: Combination, predictions: np.ndarray, target: np.ndarray) -> Combination:
    """The combination with the temperature that suits validation predictions (M x N x K; ``target``: -1 is no label)."""
    return replace(combination, temperature=fit_temperature(combination(predictions), target))
