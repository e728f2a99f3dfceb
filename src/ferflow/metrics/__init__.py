"""Metrics, one file each: truth and predictions in, one number out.

An entry is a function ``score(truth, predicted) -> float`` marked with the kind of task it scores:
classification takes class numbers (N) and probabilities (N x K), ordered the same of classes that have an order, affect
takes values (N) of one column twice. Rows without a label are left out before it is called; what is not defined is NaN.

A metric that is a function of means over the rows says so (``Means``): then all its bootstrap resamples are one product
of matrices, and it has an interval. An entry owns its formula, and knows no network, no table and no file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ferflow import registry

Score = TypeVar("Score", bound=Callable[..., float])


@dataclass(frozen=True)
class Means:
    """A metric as ``value(mean over the rows of rows(truth, predicted))``.

    ``rows`` gives N x S numbers; ``value`` takes ... x S means and gives ... values.
    """

    rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


def scores(
    kind: str, best: float = 1.0, headline: bool = False, means: Means | None = None, biased: bool = False
) -> Callable[[Score], Score]:
    """Mark a metric with the kind of task that it scores, its value for a perfect prediction (1 or 0), whether short
    tables show it, its form over means, and whether resamples lie to one side of it (a sum of absolute differences grows
    with noise): their interval is then moved back around the value."""

    def mark(function: Score) -> Score:
        marks = {"kind": kind, "best": best, "headline": headline, "means": means, "biased": biased}
        for name, value in marks.items():
            setattr(function, name, value)
        return function

    return mark


def of_kind(*kinds: str) -> dict[str, Callable[..., float]]:
    """Every registered metric for some kinds of task, by name."""
    found = {name: registry.get("metrics", name) for name in registry.names("metrics")}
    return {name: metric for name, metric in found.items() if metric.kind in kinds}  # type: ignore[attr-defined]
