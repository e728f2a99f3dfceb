"""Figures by group: how a member does for each age group, gender and race that the labels name, and how far they lie apart.

Groups are judged on the same bootstrap resamples as the whole, so that gaps have intervals. It knows no file.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from ferflow.card import task_columns
from ferflow.metrics import of_kind
from ferflow.resampling import Resamples, interval
from ferflow.tables import task_labels, task_target
from ferflow.vocabulary import MIN_FACES, TASKS

GROUPINGS = ("age", "gender", "race")


def by_group(
    predictions: pd.DataFrame, labels: pd.DataFrame, tasks: dict[str, tuple[str, ...]], resamples: Resamples
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables: figures of every group, and the gap between the best and the worst group of every grouping.

    ``labels`` has the rows of ``predictions``. Groups: task, metric, grouping, group, n, value, low, high; a group of
    fewer than ``MIN_FACES`` labelled faces has no value (NaN). Gaps: task, metric, grouping, worst, best, gap, low,
    high; only where two groups are large enough.
    """
    groups: list[dict[str, Any]] = []
    gaps: list[dict[str, Any]] = []
    for grouping in GROUPINGS:
        belongs = task_labels(labels, grouping)[grouping]
        if belongs.notna().any():
            for task, metrics, truth, predicted in _figures(predictions, labels, tasks):
                if task != grouping:  # how well women are called women says nothing of another task
                    for metric, found, gap in _compare(metrics, truth, predicted, belongs.to_numpy(object), resamples):
                        place = {"task": task, "metric": metric, "grouping": grouping}
                        groups += [place | row for row in found]
                        gaps += [place | gap] if gap else []
    columns = ["task", "metric", "grouping"]
    return (
        pd.DataFrame(groups, columns=[*columns, "group", "n", "value", "low", "high"]),
        pd.DataFrame(gaps, columns=[*columns, "worst", "best", "gap", "low", "high"]),
    )


Metrics = dict[str, Callable[..., float]]


def _figures(
    predictions: pd.DataFrame, labels: pd.DataFrame, tasks: dict[str, tuple[str, ...]]
) -> list[tuple[str, Metrics, np.ndarray, np.ndarray]]:
    found = []
    for task, classes in tasks.items():
        values = predictions[task_columns(task, classes)].to_numpy()
        truth = task_target(task_labels(labels, task), task, classes)
        if TASKS[task].kind == "affect":
            found += [(name, of_kind("affect"), truth[:, index], values[:, index]) for index, name in enumerate(classes)]
        else:
            kinds = ("classification", "ordered") if TASKS[task].ordered else ("classification",)
            found.append((task, of_kind(*kinds), truth, values))
    return found


def _compare(
    metrics: Metrics, truth: np.ndarray, predicted: np.ndarray, belongs: np.ndarray, resamples: Resamples
) -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any] | None]]:
    """For every metric a row a group, and the gap."""
    labelled = (truth >= 0) if truth.dtype.kind == "i" else ~np.isnan(truth)
    known = labelled & np.array([value is not None and value == value for value in belongs])
    sizes = {str(group): int(count) for group, count in pd.Series(belongs[known]).value_counts(sort=False).sort_index().items()}
    defined = bool(np.isfinite(predicted[known]).all())
    large = [group for group in sizes if sizes[group] >= MIN_FACES and defined]
    names = belongs.astype(str)
    judged = known & np.isin(names, large)
    resampled: dict[str, dict[str, np.ndarray]] = {}
    values: dict[str, dict[str, float]] = {name: {} for name in metrics}
    if large:
        rows = np.arange(judged.sum())  # MetricFrame slices what it is given: row numbers, for two kinds of arrays
        frame = MetricFrame(
            metrics={name: _on(metric, truth[judged], predicted[judged]) for name, metric in metrics.items()},
            y_true=rows,
            y_pred=rows,
            sensitive_features=names[judged],
        )
        values = {name: {str(group): float(value) for group, value in frame.by_group[name].items()} for name in metrics}
        for group in large:
            own = judged & (names == group)
            resampled[group] = resamples.scores(metrics, truth[own], predicted[own], own)
    for name, metric in metrics.items():
        drawn = {group: found[name] for group, found in resampled.items() if name in found}
        rows_of = [
            {"group": group, "n": sizes[group], "value": values[name].get(group, np.nan)}
            | dict(zip(("low", "high"), interval(drawn[group]) if group in drawn else (np.nan, np.nan), strict=True))
            for group in sizes
        ]
        yield name, rows_of, _gap(values[name], drawn, higher_is_better=metric.best == 1.0)  # type: ignore[attr-defined]


def _on(metric: Callable[..., float], truth: np.ndarray, predicted: np.ndarray) -> Callable[..., float]:
    return lambda chosen, _: metric(truth[chosen], predicted[chosen])


def _gap(values: dict[str, float], resampled: dict[str, np.ndarray], higher_is_better: bool) -> dict[str, Any] | None:
    """Best against worst group. The interval is of these two groups' difference, as they were chosen on all faces."""
    known = {group: value for group, value in values.items() if value == value}
    if len(known) < 2:
        return None
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    low, high = interval(resampled[most] - resampled[least]) if most in resampled else (np.nan, np.nan)
    worst, best = (least, most) if higher_is_better else (most, least)
    return {"worst": worst, "best": best, "gap": known[most] - known[least], "low": low, "high": high}
