"""The bootstrap: how far a figure would go if other faces had been drawn (Efron, Annals of Statistics 7, 1979).

All resamples of a metric are one product of matrices, and every member is judged on the same resamples, so that
differences between members are paired. It knows no table and no file.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

LEVEL = 95.0  # percent of the intervals
_CHUNK_BYTES = 64_000_000


class Resamples:
    """``count`` resamples of ``rows`` rows, drawn with replacement from a seed; memory: ``count * rows`` bytes."""

    def __init__(self, rows: int, count: int = 1000, seed: int = 0) -> None:
        self.count, self.rows = count, rows
        draw = np.random.default_rng(seed)
        self._times = np.zeros((count, rows), np.uint8)
        for resample in self._times:
            resample += np.bincount(draw.integers(rows, size=rows), minlength=rows).astype(np.uint8)

    def means(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The means (count x S) of the rows that are ``known``; ``values`` (n x S) has those rows only.

        NaN for a resample in which no known row was drawn.
        """
        found = np.empty((self.count, values.shape[1]))
        step = max(1, _CHUNK_BYTES // max(1, self.rows * values.itemsize))
        for start in range(0, self.count, step):
            times = self._times[start : start + step]
            times = (times if known.all() else times[:, known]).astype(values.dtype)
            drawn = times.sum(axis=1, dtype=np.float64)[:, None]
            with np.errstate(invalid="ignore"):
                found[start : start + step] = (times @ values) / drawn
        return found

    def scores(
        self, metrics: dict[str, Callable[..., float]], truth: np.ndarray, predicted: np.ndarray, known: np.ndarray
    ) -> dict[str, np.ndarray]:
        """``count`` values of every metric that is a function of means; ``truth`` and ``predicted`` have known rows only."""
        found: dict[str, np.ndarray] = {}
        means: dict[Any, np.ndarray] = {}  # metrics that read the same rows share the work
        for name, metric in metrics.items():
            form = metric.means  # type: ignore[attr-defined]
            if form is not None:
                if form.rows not in means:
                    means[form.rows] = self.means(form.rows(truth, predicted), known)
                found[name] = form.value(means[form.rows])
                if metric.biased and len(truth):  # type: ignore[attr-defined]
                    found[name] = centred(found[name], metric(truth, predicted))
        return found


def centred(values: np.ndarray, value: float) -> np.ndarray:
    """Resampled values moved until their mean is the value itself, none below 0 (Efron and Tibshirani 1993, chapter 10)."""
    known = values[np.isfinite(values)]
    return np.maximum(values - (known.mean() - value), 0) if len(known) else values


def interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile interval of some resampled values; NaN where none is defined."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def chance_of_no_difference(differences: np.ndarray) -> float:
    """A two-sided p value: twice the share of the paired differences on the smaller side of 0, never quite 0 itself.

    What was observed counts as one more resample (Davison and Hinkley, "Bootstrap Methods and their Application", 1997).
    """
    known = differences[np.isfinite(differences)]
    if not len(known):
        return float("nan")
    sides = [(known <= 0).sum(), (known >= 0).sum()]
    return float(min(1.0, 2 * (min(sides) + 1) / (len(known) + 1)))


def mean_of(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The mean over several metrics, resample by resample."""
    return np.asarray(np.mean(np.stack(list(parts)), axis=0))
