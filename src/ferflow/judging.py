"""Networks judged by their predictions tables, and the tables and pictures that say how each one did.

What it writes lies below a folder of reports that is given: ``evaluation/`` and ``plots/evaluation/``, a folder a network.
It knows a network by its card and its table alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ferflow import plots
from ferflow.calibration import coverage, reliability, tempered
from ferflow.card import Card, task_columns
from ferflow.evaluation import Figures, by_class, confusion, evaluate, finite, right_answers
from ferflow.fairness import by_group
from ferflow.parallel import each
from ferflow.resampling import Resamples
from ferflow.tables import task_labels, task_target
from ferflow.vocabulary import TASKS

SIDES = ("val", "test", "test_leak_free")


@dataclass(frozen=True)
class Judged:
    """One network: its card, its predictions of the test faces with their labels, and its figures for each of ``SIDES``."""

    card: Card
    predictions: pd.DataFrame
    labels: pd.DataFrame
    figures: dict[str, Figures]

    def right(self) -> dict[str, np.ndarray]:
        """Which test faces it has right, for every classification: 1, 0, or -1 without a label."""
        return {
            task: right_answers(self.predictions, task_labels(self.labels, task), task, classes)
            for task, classes in self.card.tasks.items()
            if TASKS[task].kind == "classification"
        }


class _Faces:
    """The faces that the first network has predicted, in its order, with their labels: shared by all networks."""

    def __init__(self, name: str, predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
        self._first, self._ids = name, pd.Index(predictions["id"])
        if self._ids.has_duplicates:
            raise ValueError(f"{name} has predicted the face {self._ids[self._ids.duplicated()][0]!r} twice")
        if len(unknown := self._ids.difference(labels.index)):
            raise ValueError(f"{name} has predicted {len(unknown)} faces that the data does not have, such as {unknown[0]!r}")
        split = predictions["split"].to_numpy()
        self.val, self.test = split == "val", split == "test"
        self.test_ids = self._ids[self.test].to_numpy()
        self.labels, self.val_labels = labels.loc[self.test_ids], labels.loc[self._ids[self.val]]
        leaked = self.labels["nearly_leaked"].to_numpy(bool) if "nearly_leaked" in labels else np.zeros(len(self.labels), bool)
        self.leaked = leaked

    def in_order(self, name: str, predictions: pd.DataFrame) -> pd.DataFrame:
        """The rows in the order of the first network's, so that a resample means the same faces for all."""
        ids = pd.Index(predictions["id"])
        if ids.equals(self._ids):
            return predictions
        if ids.has_duplicates:
            raise ValueError(f"{name} has predicted the face {ids[ids.duplicated()][0]!r} twice")
        if len(odd := ids.symmetric_difference(self._ids)):
            raise ValueError(f"{name} has predicted other faces than {self._first}, such as {odd[0]!r}: train it again")
        return predictions.set_index("id").loc[self._ids].reset_index()


class Judge:
    """Figures of every network on the same faces and the same bootstrap resamples of them.

    ``labels`` (by id) may have the column ``nearly_leaked``: test faces with a twin in training or validation.
    """

    def __init__(self, labels: pd.DataFrame, resamples: int, seed: int) -> None:
        self._labels, self._count, self._seed = labels, resamples, seed
        self._resamples: dict[int, Resamples] = {}
        self._faces: _Faces | None = None

    def __call__(self, card: Card, predictions: pd.DataFrame) -> Judged:
        """The network whose card and predictions these are."""
        if self._faces is None:
            self._faces = _Faces(card.name, predictions, self._labels)
            self._labels = self._labels.iloc[:0]  # of a large set they would fill memory
        faces = self._faces
        predictions = faces.in_order(card.name, predictions)
        shown = predictions[faces.test].reset_index(drop=True)
        shown["id"] = faces.test_ids  # the same strings for all networks: of a large set they would fill memory
        resamples = self.of(len(shown)) if len(shown) else None
        truth = {task: task_labels(faces.labels, task) for task in card.tasks}
        figures = {"test": evaluate(shown, truth, card.tasks, resamples)}
        figures["test_leak_free"] = figures["test"]
        if faces.leaked.any():  # on the same resamples, as if the leaked faces had no label
            clean = {
                task: labels.mask(np.repeat(faces.leaked[:, None], labels.shape[1], axis=1)) for task, labels in truth.items()
            }
            figures["test_leak_free"] = evaluate(shown, clean, card.tasks, resamples)
        known = {task: task_labels(faces.val_labels, task) for task in card.tasks}
        figures["val"] = evaluate(predictions[faces.val], known, card.tasks)
        return Judged(card, shown, faces.labels, figures)

    def of(self, rows: int) -> Resamples:
        """The resamples of so many rows."""
        if rows not in self._resamples:
            self._resamples[rows] = Resamples(rows, self._count, self._seed)
        return self._resamples[rows]


def write_networks(reports: Path, judged: dict[str, Judged]) -> None:
    """Tables and plots of every classification of every network on its test faces, in several processes: drawing takes time."""
    items = [(reports, name, one.card, one.predictions, one.labels) for name, one in judged.items()]
    for _ in each(_write_network, items, worth_it=len(items) > 2):
        pass


def _write_network(item: tuple[Path, str, Card, pd.DataFrame, pd.DataFrame]) -> None:
    reports, name, card, predictions, labels = item
    folder, shown = reports / "evaluation" / name, reports / "plots/evaluation" / name
    folder.mkdir(parents=True)
    shown.mkdir(parents=True)
    for task, classes in card.tasks.items():
        own = task_labels(labels, task)
        if TASKS[task].kind != "classification" or not (task_target(own, task, classes) >= 0).any():
            continue
        if not finite(predictions, own, task, classes):
            continue  # nothing is defined: figures.csv says so
        found = confusion(predictions, own, task, classes)
        found.to_csv(folder / f"confusion_{task}.csv", index=False)
        plots.confusion_matrix(found, classes, f"{name}: {task}, test", shown / f"confusion_{task}.png")
        by_class(predictions, own, task, classes).to_csv(folder / f"classes_{task}.csv", index=False)
        if task == "expression":
            _write_expression(folder, shown, name, card, predictions, task_target(own, task, classes))


def _write_expression(folder: Path, shown: Path, name: str, card: Card, predictions: pd.DataFrame, target: np.ndarray) -> None:
    classes = card.tasks["expression"]
    shares = predictions[task_columns("expression", classes)].to_numpy()
    plots.curves(target, shares, classes, f"{name}: expression, test", shown / "curves.png")
    bins = {"calibrated": reliability(shares, target)}
    if (temperature := card.temperatures.get("expression", 1.0)) != 1.0:  # as it was before it was softened
        bins = {"as trained": reliability(tempered(shares, 1 / temperature), target)} | bins
    pd.concat([table.assign(probabilities=kind) for kind, table in bins.items()]).to_csv(folder / "reliability.csv", index=False)
    covered = coverage(shares, target)
    covered.to_csv(folder / "coverage.csv", index=False)
    plots.reliability(bins, covered, card.certain_above, f"{name}: expression, test", shown / "calibration.png")


def write_fairness(reports: Path, judged: dict[str, Judged], judge: Judge) -> None:
    """``fairness_groups.csv`` and ``fairness_gaps.csv`` of all networks."""
    tables = []
    for name, one in judged.items():
        labels = one.labels
        found = by_group(one.predictions, labels, one.card.tasks, judge.of(len(labels)))
        tables.append([table.assign(member=name) for table in found])
    for file, parts in zip(("groups", "gaps"), zip(*tables, strict=True), strict=True):
        table = pd.concat(parts)
        table[["member", *table.columns.drop("member")]].to_csv(reports / "evaluation" / f"fairness_{file}.csv", index=False)
