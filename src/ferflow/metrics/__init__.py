"""Metrics, one file each: truth and predictions in, one number out.

An entry is a function ``score(truth, predicted) -> float`` marked with the kind of task it scores:
classification takes class numbers (N) and probabilities (N x K), affect takes values (N) of one column twice.
Rows without a label are left out before it is called; with no row left the answer is NaN.
"""

from collections.abc import Callable
from typing import TypeVar

from ferflow import registry

Score = TypeVar("Score", bound=Callable[..., float])


def scores(kind: str, best: float = 1.0) -> Callable[[Score], Score]:
    """Mark a metric with the kind of task that it scores and its value for a perfect prediction."""

    def mark(function: Score) -> Score:
        function.kind, function.best = kind, best  # type: ignore[attr-defined]
        return function

    return mark


def of_kind(kind: str) -> dict[str, Callable[..., float]]:
    """Every registered metric for a kind of task, by name."""
    found = {name: registry.get("metrics", name) for name in registry.names("metrics")}
    return {name: metric for name, metric in found.items() if metric.kind == kind}  # type: ignore[attr-defined]
