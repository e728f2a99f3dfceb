"""The bootstrap: how far a figure would go if other faces had been drawn (Efron, Annals of Statistics 7, 1979).

All resamples of a metric are one product of matrices, and every member is judged on the same resamples, so that
differences between members are paired. It knows no table and no file.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

LEVEL = 95.0  # percent of the intervals
_CHUNK_BYTES = 64_000_000
_ROWS = 8192  # at a time, times the number of resamples

Rows = Callable[[np.ndarray, np.ndarray], np.ndarray]


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

    def _means_of(self, tables: set[Rows], truth: np.ndarray, predicted: np.ndarray, known: np.ndarray) -> dict[Rows, np.ndarray]:
        """The means of several tables of the same rows, some thousand rows at a time: metrics share them, and so does memory."""
        places = np.flatnonzero(known)
        drawn = np.zeros((self.count, 1))
        sums: dict[Rows, Any] = dict.fromkeys(tables, 0)
        for start in range(0, max(1, len(places)), _ROWS):
            part = slice(start, start + _ROWS)
            times = self._times[:, places[part]]
            drawn += times.sum(axis=1, dtype=np.float64)[:, None]
            of_kind: dict[Any, np.ndarray] = {}
            for table in tables:
                values = table(truth[part], predicted[part])
                if values.dtype not in of_kind:
                    of_kind[values.dtype] = times.astype(values.dtype)
                sums[table] = sums[table] + (of_kind[values.dtype] @ values).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return {table: total / drawn for table, total in sums.items()}

    def scores(
        self, metrics: dict[str, Callable[..., float]], truth: np.ndarray, predicted: np.ndarray, known: np.ndarray
    ) -> dict[str, np.ndarray]:
        """``count`` values of every metric that is a function of means; ``truth`` and ``predicted`` have known rows only."""
        found: dict[str, np.ndarray] = {}
        forms = {name: metric.means for name, metric in metrics.items() if metric.means is not None}  # type: ignore[attr-defined]
        means = self._means_of({form.rows for form in forms.values()}, truth, predicted, known)
        for name, metric in metrics.items():
            if name in forms:
                found[name] = forms[name].value(means[forms[name].rows])
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
