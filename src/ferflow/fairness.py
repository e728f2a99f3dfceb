"""Figures by group: how a member does for each age group, gender and race that the labels name, and how far they lie apart.

Groups are judged on the same bootstrap resamples as the whole, so that gaps have intervals. It knows no file.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

from ferflow.card import task_columns
from ferflow.metrics import of_kind
from ferflow.resampling import Resamples, interval
from ferflow.tables import task_labels, task_target
from ferflow.vocabulary import TASKS

GROUPINGS = ("age", "gender", "race")
MIN_FACES = 30  # a smaller group is named, not judged: the interval of its accuracy would be wider than 35 points


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
            for task, metric, truth, predicted in _figures(predictions, labels, tasks):
                if task != grouping:  # how well women are called women says nothing of another task
                    found, gap = _compare(metric, truth, predicted, belongs.to_numpy(object), resamples)
                    place = {"task": task, "metric": metric, "grouping": grouping}
                    groups += [place | row for row in found]
                    gaps += [place | gap] if gap else []
    columns = ["task", "metric", "grouping"]
    return (
        pd.DataFrame(groups, columns=[*columns, "group", "n", "value", "low", "high"]),
        pd.DataFrame(gaps, columns=[*columns, "worst", "best", "gap", "low", "high"]),
    )


def _figures(
    predictions: pd.DataFrame, labels: pd.DataFrame, tasks: dict[str, tuple[str, ...]]
) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    found = []
    for task, classes in tasks.items():
        values = predictions[task_columns(task, classes)].to_numpy()
        truth = task_target(task_labels(labels, task), task, classes)
        if TASKS[task].kind == "affect":
            found += [(name, "ccc", truth[:, index], values[:, index]) for index, name in enumerate(classes)]
        else:
            found += [(task, metric, truth, values) for metric in ("accuracy", "macro_f1")]
    return found


def _compare(
    name: str, truth: np.ndarray, predicted: np.ndarray, belongs: np.ndarray, resamples: Resamples
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    metric: Callable[..., float] = of_kind("classification", "affect")[name]
    labelled = (truth >= 0) if truth.dtype.kind == "i" else ~np.isnan(truth)
    known = labelled & np.array([value is not None and value == value for value in belongs])
    sizes = {str(group): int(count) for group, count in pd.Series(belongs[known]).value_counts(sort=False).sort_index().items()}
    large = [group for group in sizes if sizes[group] >= MIN_FACES]
    judged = known & np.isin(belongs.astype(str), large)
    values: dict[str, float] = {}
    resampled: dict[str, np.ndarray] = {}
    if large:
        rows = np.arange(judged.sum())  # MetricFrame slices what it is given: row numbers, for two kinds of arrays
        frame = MetricFrame(
            metrics=lambda chosen, _: metric(truth[judged][chosen], predicted[judged][chosen]),
            y_true=rows,
            y_pred=rows,
            sensitive_features=belongs[judged].astype(str),
        )
        values = {str(group): float(value) for group, value in frame.by_group.items()}
        for group in large:
            own = judged & (belongs.astype(str) == group)
            resampled[group] = resamples.scores({name: metric}, truth[own], predicted[own], own)[name]
    found = []
    for group in sizes:
        low, high = interval(resampled[group]) if group in resampled else (np.nan, np.nan)
        row = {"group": group, "n": sizes[group], "value": values.get(group, np.nan), "low": low, "high": high}
        found.append(row)
    return found, _gap(values, resampled)


def _gap(values: dict[str, float], resampled: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Best minus worst group. The interval is of these two groups' difference, as they were chosen on all faces."""
    known = {group: value for group, value in values.items() if value == value}
    if len(known) < 2:
        return None
    worst, best = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    low, high = interval(resampled[best] - resampled[worst])
    return {"worst": worst, "best": best, "gap": known[best] - known[worst], "low": low, "high": high}
