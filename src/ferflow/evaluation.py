"""Figures from predictions: metrics of every task with their intervals, tables of classes, confusion, rows for tables.

It reads predictions and labels as tables and never a network. It knows no file and no plot.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from ferflow.card import task_columns
from ferflow.metrics import of_kind, pr_auc, roc_auc
from ferflow.params import Member
from ferflow.resampling import Resamples, interval, mean_of
from ferflow.tables import task_target
from ferflow.vocabulary import TASKS

Tasks = dict[str, tuple[str, ...]]
Labels = dict[str, pd.DataFrame]
COMBINED = "combined"  # stands among the tasks: macro F1 of the expression + mean CCC


@dataclass(frozen=True)
class Figures:
    """What one member reached on one set of faces.

    ``values`` maps a task (or valence, arousal) to metric -> value, None where it is not defined, with ``n``, its
    labelled faces; ``resampled`` maps it to metric -> the values of the bootstrap resamples, where there are some.
    """

    values: dict[str, dict[str, Any]]
    resampled: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def interval(self, task: str, metric: str) -> tuple[float, float]:
        """The 95 % bootstrap interval; NaN where there is none."""
        found = self.resampled.get(task, {}).get(metric)
        return interval(found) if found is not None else (float("nan"), float("nan"))

    def headline(self) -> dict[str, dict[str, Any]]:
        """The figures that short tables show: task -> metric -> value, with ``metric_low`` and ``metric_high``."""
        shown: dict[str, dict[str, Any]] = {}
        for task, values in self.values.items():
            shown[task] = {name: value for name, value in values.items() if name in _HEADLINES}
            for name in [name for name in shown[task] if name in self.resampled.get(task, {})]:
                low, high = self.interval(task, name)
                shown[task] |= {f"{name}_low": _defined(low), f"{name}_high": _defined(high)}
        return shown

    def rows(self) -> list[dict[str, Any]]:
        """Every figure as a row: task, metric, value, low, high, n."""
        table = []
        for task, values in self.values.items():
            for metric, value in values.items():
                if metric not in ("n", "not_finite"):
                    low, high = self.interval(task, metric)
                    table.append({"task": task, "metric": metric, "value": value, "low": low, "high": high, "n": values["n"]})
        return table


def _headlines() -> set[str]:
    kinds = of_kind("classification", "ordered", "affect")
    return {"n", "not_finite", "score"} | {name for name, metric in kinds.items() if metric.headline}  # type: ignore[attr-defined]


_HEADLINES = _headlines()


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def evaluate(predictions: pd.DataFrame, labels: Labels, tasks: Tasks, resamples: Resamples | None = None) -> Figures:
    """The figures of one member; ``labels`` maps a task to its label columns, with the rows of ``predictions``.

    Faces without a label of a task do not count for it. Where a prediction of a labelled face is not a finite number
    nothing of that task is defined, and ``not_finite`` counts such faces.
    """
    found = Figures({}, {})
    for task, classes in tasks.items():
        values = predictions[task_columns(task, classes)].to_numpy()
        truth = task_target(labels[task], task, classes)
        if TASKS[task].kind == "affect":
            for index, column in enumerate(classes):
                _judge(found, column, ("affect",), truth[:, index], values[:, index], ~np.isnan(truth[:, index]), resamples)
        else:
            kinds = ("classification", "ordered") if TASKS[task].ordered else ("classification",)
            _judge(found, task, kinds, truth, values, truth >= 0, resamples)
    _combine(found)
    return found


def _judge(
    found: Figures,
    name: str,
    kinds: tuple[str, ...],
    truth: np.ndarray,
    predicted: np.ndarray,
    known: np.ndarray,
    resamples: Resamples | None,
) -> None:
    metrics = of_kind(*kinds)
    n, wrong = int(known.sum()), int((~np.isfinite(predicted[known])).any(axis=-1).sum() if known.any() else 0)
    if kinds == ("affect",):
        wrong = int((~np.isfinite(predicted[known])).sum())
    if not n or wrong:
        found.values[name] = {"n": n} | ({"not_finite": wrong} if wrong else {}) | dict.fromkeys(metrics)
        return
    values = {metric: score(truth[known], predicted[known]) for metric, score in metrics.items()}
    found.values[name] = {"n": n} | {metric: _defined(value) for metric, value in values.items()}
    if resamples:
        found.resampled[name] = resamples.scores(metrics, truth[known], predicted[known], known)


def _combine(found: Figures) -> None:
    """Add the combined score where there are expression and affect."""
    affect = [found.values[name] for name in TASKS["affect"].columns if name in found.values]
    expression = found.values.get("expression", {})
    cccs = [values["ccc"] for values in affect]
    if not cccs or expression.get("macro_f1") is None or None in cccs:
        return
    n = min(values["n"] for values in (expression, *affect))
    found.values[COMBINED] = {"n": n, "score": expression["macro_f1"] + float(np.mean(cccs))}
    if found.resampled:
        parts = mean_of(found.resampled[name]["ccc"] for name in TASKS["affect"].columns)
        found.resampled[COMBINED] = {"score": found.resampled["expression"]["macro_f1"] + parts}


def by_class(predictions: pd.DataFrame, labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row a class: n, precision, recall, f1, roc_auc, pr_auc (one against the rest); NaN for what is not defined."""
    truth = task_target(labels, task, classes)
    known = truth >= 0
    truth, shares = truth[known], predictions[task_columns(task, classes)].to_numpy()[known]
    numbers = range(len(classes))
    if len(truth):
        guess = shares.argmax(axis=1)
        found = precision_recall_fscore_support(truth, guess, labels=list(numbers), zero_division=np.nan)
    else:
        found = [np.full(len(classes), np.nan)] * 3 + [np.zeros(len(classes), int)]
    return pd.DataFrame(
        {
            "class": classes,
            "n": found[3],
            "precision": found[0],
            "recall": found[1],
            "f1": found[2],
            "roc_auc": [roc_auc.of_class(truth, shares, number) for number in numbers],
            "pr_auc": [pr_auc.of_class(truth, shares, number) for number in numbers],
        }
    )


def confusion(predictions: pd.DataFrame, labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> pd.DataFrame:
    """True and predicted class names of every labelled row: the columns ``actual`` and ``predicted``."""
    truth = task_target(labels, task, classes)
    guess = predictions[task_columns(task, classes)].to_numpy().argmax(axis=1)
    names = np.array(classes)
    return pd.DataFrame({"actual": names[truth[truth >= 0]], "predicted": names[guess[truth >= 0]]})


def finite(predictions: pd.DataFrame, labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> bool:
    """Whether every prediction of a labelled face is a finite number: without it no figure of the task is defined."""
    known = task_target(labels, task, classes) >= 0
    return bool(np.isfinite(predictions[task_columns(task, classes)].to_numpy()[known]).all())


def right_answers(predictions: pd.DataFrame, labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> np.ndarray:
    """For every row 1 where the most probable class is right, 0 where it is not, -1 without a label (int8).

    -1 everywhere where a prediction is no finite number.
    """
    truth = task_target(labels, task, classes)
    if not finite(predictions, labels, task, classes):
        return np.full(len(truth), -1, np.int8)
    guess = predictions[task_columns(task, classes)].to_numpy().argmax(axis=1)
    return np.where(truth < 0, -1, guess == truth).astype(np.int8)


def ablation_row(name: str, member: Member | None, parameters: int, figures: Figures) -> dict[str, Any]:
    """One row of the table of members; ``member`` is None for the ensemble. Accuracies in percent."""
    row: dict[str, Any] = {
        "member": name,
        "backbone": member.label if member else "",
        "modality": member.modality if member else "",
        "recipe": member.recipe if member else "",
        "image_size": (member.image_size or None) if member else None,
        "parameters": parameters,
    }
    for task, values in figures.values.items():
        for metric in ("accuracy", "macro_f1"):
            if values.get(metric) is not None:
                row[f"{task}_{metric}"] = round(100 * values[metric], 2)
        if values.get("ccc") is not None:
            row[f"{task}_ccc"] = round(values["ccc"], 3)
    return row


def tidy(members: Iterable[tuple[str, str, Figures]]) -> pd.DataFrame:
    """Every figure of several members as one table: member, faces (which set of them), task, metric, value, low, high, n."""
    return pd.DataFrame(
        [{"member": member, "faces": faces, **row} for member, faces, figures in members for row in figures.rows()]
    )
