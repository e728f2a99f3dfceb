"""Whether one member is better than another: paired differences, and the tables of single axes.

It reads figures and members' settings. It knows no file.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, false_discovery_control

from ferflow.evaluation import Figures
from ferflow.params import Member
from ferflow.resampling import chance_of_no_difference, interval

HEADLINES = {"accuracy", "macro_f1", "ccc", "score"}
_ALPHA = 0.05
_NO_AXES = {"devices", "nodes"}  # they change how, not what


def pairs(figures: dict[str, Figures], right: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Every two members on every headline figure they share, judged on the same bootstrap resamples.

    ``right`` maps a member to task -> 1, 0, -1 a face (``evaluation.right_answers``), faces in the same order. Columns:
    task, metric, first, second, difference (second - first), low, high, p (bootstrap), p_mcnemar (exact, accuracy
    only), p_adjusted (of the bootstrap, Benjamini-Hochberg over the pairs of a figure), significant.
    """
    rows = []
    for first, second in combinations(figures, 2):
        for task, metrics in figures[first].resampled.items():
            others = figures[second].resampled.get(task, {})
            for metric in [name for name in metrics if name in HEADLINES and name in others]:
                values = [figures[name].values[task][metric] for name in (first, second)]
                if None in values:
                    continue
                differences = others[metric] - metrics[metric]
                low, high = interval(differences)
                row = {"task": task, "metric": metric, "first": first, "second": second, "difference": values[1] - values[0]}
                row |= {"low": low, "high": high, "p": chance_of_no_difference(differences)}
                if metric == "accuracy":
                    row["p_mcnemar"] = mcnemar(right[first][task], right[second][task])
                rows.append(row)
    columns = ["task", "metric", "first", "second", "difference", "low", "high", "p", "p_mcnemar"]
    table = pd.DataFrame(rows, columns=columns)
    adjusted = [_adjust(part["p"]) for _, part in table.groupby(["task", "metric"], sort=False)]
    table["p_adjusted"] = pd.concat(adjusted) if adjusted else pd.Series(dtype=float)
    table["significant"] = table["p_adjusted"] < _ALPHA
    return table


def _adjust(chances: pd.Series) -> pd.Series:
    known = chances.dropna()
    return pd.Series(false_discovery_control(known, method="bh") if len(known) else [], index=known.index, dtype=float)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The exact p value of McNemar's test (Psychometrika 12, 1947) for two members' right (1) and wrong (0) answers."""
    known = (first >= 0) & (second >= 0)
    only_first = int((first[known] > second[known]).sum())
    only_second = int((second[known] > first[known]).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def settings_of(member: Member) -> dict[str, Any]:
    """The settings of a member, dotted where they lie in a mapping; a timm network is called by its variant."""
    flat: dict[str, Any] = {}
    for key, value in member.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        elif key not in ("variant", *_NO_AXES):
            flat[key] = value
    return flat | {"backbone": f"{member.backbone} {member.variant}".strip()}


def axes(members: dict[str, Member]) -> dict[str, list[list[str]]]:
    """The axes in which members differ: axis -> groups of two or more that differ in nothing but this axis.

    Where no two members do, the axis has one group of all members: its table says what else differs.
    """
    settings = {name: settings_of(member) for name, member in members.items()}
    keys = sorted({key for values in settings.values() for key in values})
    found: dict[str, list[list[str]]] = {}
    for axis in keys:
        alike: dict[str, list[str]] = {}
        for name, values in settings.items():
            rest = repr([(key, values.get(key)) for key in keys if key != axis])
            alike.setdefault(rest, []).append(name)
        groups = [sorted(group, key=lambda name: str(settings[name].get(axis))) for group in alike.values() if len(group) > 1]
        known = {str(values[axis]) for values in settings.values() if axis in values}
        if not groups and len(known) > 1 and all(axis in values for values in settings.values()):
            groups = [sorted(settings, key=lambda name: str(settings[name].get(axis)))]
        if groups:
            found[axis] = groups
    return found


def axis_table(
    axis: str,
    groups: list[list[str]],
    members: dict[str, Member],
    figures: dict[str, Figures],
    fps: dict[str, float],
    compared: pd.DataFrame,
) -> pd.DataFrame:
    """The members that differ in one axis, a row each: Setting, Modality, accuracies in percent, CCCs, FPS.

    ``Difference`` is the expression's accuracy against the first row of its group, in points with its 95 % interval;
    ``Significant`` is what ``compared`` (the table of ``pairs``) says of these two, so that it means one thing everywhere.
    ``Differs also in`` names the other axes in which a row and the first of its group differ.
    """
    shown = compared[(compared["task"] == "expression") & (compared["metric"] == "accuracy")]
    significant = {frozenset(names): bool(said) for *names, said in shown[["first", "second", "significant"]].to_numpy()}
    rows = []
    for group in groups:
        for name in group:
            row = {"Setting": f"{axis}: {settings_of(members[name]).get(axis, 'none')}", "Modality": members[name].modality}
            row |= _columns(figures[name]) | {"FPS": _rounded(fps.get(name)), "Member": name}
            row |= _against(figures[group[0]], figures[name], significant.get(frozenset((group[0], name))))
            row["Differs also in"] = ", ".join(_differ(members[group[0]], members[name], axis))
            rows.append(row)
    return pd.DataFrame(rows)


def _columns(figures: Figures) -> dict[str, Any]:
    names = {"expression": "Expr Acc", "race": "Race Acc", "gender": "Gender Acc", "age": "Age Acc"}
    row: dict[str, Any] = {}
    for task, column in names.items():
        accuracy = figures.values.get(task, {}).get("accuracy")
        row[column] = None if accuracy is None else round(100 * accuracy, 2)
    for task in ("valence", "arousal"):
        if (ccc := figures.values.get(task, {}).get("ccc")) is not None:
            row[f"{task.title()} CCC"] = round(ccc, 3)
    return row


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value)


def _differ(first: Member, other: Member, axis: str) -> list[str]:
    one, two = settings_of(first), settings_of(other)
    return sorted(key for key in one | two if key != axis and one.get(key) != two.get(key))


def _against(base: Figures, other: Figures, significant: bool | None) -> dict[str, Any]:
    accuracies = [figures.resampled.get("expression", {}).get("accuracy") for figures in (base, other)]
    if significant is None or accuracies[0] is None or accuracies[1] is None:
        return {"Difference": "", "Significant": ""}
    low, high = interval(accuracies[1] - accuracies[0])
    points = 100 * (other.values["expression"]["accuracy"] - base.values["expression"]["accuracy"])
    text = f"{points:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return {"Difference": text, "Significant": "yes" if significant else "no"}
