"""The choice of how members are combined: every way is fitted and judged on validation predictions alone.

What is fitted has seen the faces that it is judged on, so each way is judged by cross-validation over the validation faces,
with its temperature, as it would be shipped. Values in, values out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from ferflow.calibration import fit_temperature, tempered
from ferflow.combiners import Combination
from ferflow.combiners._loss import loss
from ferflow.registry import get, names

FOLDS = 5
MOST_FACES = 20_000  # that a fit looks at: more hardly change it, and time and memory grow with them
Fit = Callable[[np.ndarray, np.ndarray], Combination]


@dataclass(frozen=True)
class Candidate:
    """One way to combine: its name, its loss (log loss; affect: squared error), the fit on all faces.

    ``held_out`` are its outputs for the given faces (N x K, float32), each by a fit that has not seen it; the loss is theirs.
    """

    name: str
    loss: float
    combination: Combination
    held_out: np.ndarray


def candidates(
    predictions: np.ndarray, target: np.ndarray, ways: tuple[str, ...] = (), fixed: dict[str, list[float]] | None = None
) -> list[Candidate]:
    """Every way to combine M members' predictions of one task, the best first.

    ``predictions``: M x N x K probabilities with ``target`` N class numbers (-1: no label), or M x N x 2 values with
    ``target`` N x 2 (NaN: no label). ``ways`` names combiners (none: all); ``fixed`` has weights that are given, by name.
    Probabilities are softened by the temperature that suits ``held_out``. Without a labelled face there is the plain mean only.
    """
    known = np.flatnonzero(target >= 0 if target.ndim == 1 else ~np.isnan(target).any(axis=1))
    if not len(known):
        mean = get("combiners", "mean")(predictions, target)
        return [Candidate("mean", float("nan"), mean, mean(predictions))]
    if len(known) > MOST_FACES:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_FACES, replace=False))
    fits: dict[str, Fit] = {name: get("combiners", name) for name in ways or names("combiners")}
    if target.ndim > 1:
        fits = {name: fit for name, fit in fits.items() if getattr(fit, "for_affect", False)}
    fits |= {name: _always(weights) for name, weights in (fixed or {}).items()}
    found = [_candidate(name, fit, predictions, target, known) for name, fit in fits.items()]
    return sorted(found, key=lambda candidate: candidate.loss)


def _always(weights: list[float]) -> Fit:
    given = Combination((np.asarray(weights) / np.sum(weights)).tolist())
    return lambda predictions, target: given


def _candidate(name: str, fit: Fit, predictions: np.ndarray, target: np.ndarray, known: np.ndarray) -> Candidate:
    shown, truth = predictions[:, known], target[known]
    combination = fit(shown, truth)
    held_out = combination(predictions)  # right for the faces that it was not fitted on
    for learn, judge in _folds(truth):
        held_out[known[judge]] = fit(shown[:, learn], truth[learn])(shown[:, judge])
    if target.ndim == 1:
        combination = replace(combination, temperature=fit_temperature(held_out, target))
        held_out = tempered(held_out, combination.temperature)
    return Candidate(name, loss(held_out[known], truth), combination, held_out)


def _folds(target: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    folds = min(FOLDS, len(target))
    if folds < 2:
        return []
    stratify = target.ndim == 1 and np.bincount(target)[np.unique(target)].min() >= folds
    return list((StratifiedKFold if stratify else KFold)(folds, shuffle=True, random_state=0).split(target, target))
