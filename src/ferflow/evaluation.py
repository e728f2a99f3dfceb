"""Figures from predictions: metrics of every task, confusion matrices, and the ablation table.

It reads predictions and labels as tables and never a network. It knows no file and no plot.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ferflow.card import task_columns
from ferflow.metrics import of_kind
from ferflow.params import Member
from ferflow.tables import task_target
from ferflow.vocabulary import TASKS

Tasks = dict[str, tuple[str, ...]]


def evaluate(predictions: pd.DataFrame, labels: dict[str, pd.DataFrame], tasks: Tasks) -> dict[str, Any]:
    """Metrics of one member: task (or valence, arousal) -> metric -> value; None where it is not defined.

    ``labels`` maps a task to its label columns, with the rows of ``predictions``. A classification task also
    has ``n`` and the 95 % Wilson interval of its accuracy (``accuracy_low``, ``accuracy_high``).
    """
    figures: dict[str, Any] = {}
    for task, classes in tasks.items():
        values = predictions[task_columns(task, classes)].to_numpy()
        truth = task_target(labels[task], task, classes)
        if TASKS[task].kind == "affect":
            for index, column in enumerate(classes):
                figures[column] = _score("affect", truth[:, index], values[:, index], ~np.isnan(truth[:, index]))
        else:
            figures[task] = _score("classification", truth, values, truth >= 0)
            figures[task] |= _interval(figures[task])
    return figures


def _score(kind: str, truth: np.ndarray, predicted: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    n = int(known.sum())
    found = {name: metric(truth[known], predicted[known]) if n else np.nan for name, metric in of_kind(kind).items()}
    return {"n": n} | {name: value if np.isfinite(value) else None for name, value in found.items()}


def _interval(figures: dict[str, Any]) -> dict[str, float]:
    if not figures["n"]:
        return {}
    right = round(figures["accuracy"] * figures["n"])
    interval = binomtest(right, figures["n"]).proportion_ci(method="wilson")
    return {"accuracy_low": float(interval.low), "accuracy_high": float(interval.high)}


def confusion(predictions: pd.DataFrame, labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> pd.DataFrame:
    """True and predicted class names of every labelled row: the columns ``actual`` and ``predicted``."""
    truth = task_target(labels, task, classes)
    guess = predictions[task_columns(task, classes)].to_numpy().argmax(axis=1)
    names = np.array(classes)
    return pd.DataFrame({"actual": names[truth[truth >= 0]], "predicted": names[guess[truth >= 0]]})


def ablation_row(name: str, member: Member | None, parameters: int, figures: dict[str, Any]) -> dict[str, Any]:
    """One row of the ablation table; ``member`` is None for the ensemble. Accuracies in percent."""
    row: dict[str, Any] = {
        "member": name,
        "backbone": member.label if member else "weighted mean",
        "modality": member.modality if member else "",
        "recipe": member.recipe if member else "",
        "image_size": (member.image_size or None) if member else None,
        "parameters": parameters,
    }
    for task, values in figures.items():
        for metric in ("accuracy", "macro_f1"):
            if values.get(metric) is not None:
                row[f"{task}_{metric}"] = round(100 * values[metric], 2)
        if values.get("ccc") is not None:
            row[f"{task}_ccc"] = round(values["ccc"], 3)
    return row
