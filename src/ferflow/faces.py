"""Faces of one split in memory: decoded, at the dataset's size, with their targets, ready for a network.

It owns how a split is read into arrays, and knows no network.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ferflow.datasets import DataError
from ferflow.images import decode, resize, to_gray
from ferflow.tables import iter_images, labelled_tasks, read_votes, task_labels, task_target
from ferflow.vocabulary import EXPRESSIONS, TASKS, Modality

Tasks = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Faces:
    """Faces of one split, in memory.

    ``ids``: N names; ``pixels``: uint8, N x S x S x C; ``targets``: task name -> N class numbers (-1: no
    label) or N x 2 values (NaN: no label). ``soft``: task name -> N x K shares of its classes, from people's votes or
    from a teacher; a row of zeros where there are none.
    """

    ids: list[str]
    pixels: np.ndarray
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    soft: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.pixels), *(len(target) for target in (*self.targets.values(), *self.soft.values()))}
        if len(lengths) != 1:
            raise ValueError(f"ids, pixels and targets differ in length: {sorted(lengths)}")
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ValueError(f"pixels must be uint8 N x S x S x C, not {self.pixels.dtype} {self.pixels.shape}")

    def digest(self) -> str:
        """A hash of all that is in them."""
        found = hashlib.blake2b(repr((self.ids, list(self.targets), list(self.soft))).encode())
        for values in (self.pixels, *self.targets.values(), *self.soft.values()):
            found.update(np.ascontiguousarray(values).data)
        return found.hexdigest()

    def labelled(self) -> "Faces":
        """Those that have a label or soft shares for one task at least: a training learns nothing from the others."""
        known = [(target >= 0) if target.ndim == 1 else ~np.isnan(target).all(axis=1) for target in self.targets.values()]
        rows = np.any([*known, *(shares.sum(axis=1) > 0 for shares in self.soft.values())], axis=0)
        if rows.all():
            return self
        targets, soft = ({task: values[rows] for task, values in kind.items()} for kind in (self.targets, self.soft))
        return Faces([id_ for id_, kept in zip(self.ids, rows, strict=True) if kept], self.pixels[rows], targets, soft)


def tasks_of(labels: pd.DataFrame) -> Tasks:
    """The tasks that the training labels allow: what every member learns."""
    tasks = labelled_tasks(labels[labels["split"] == "train"])
    if not tasks:
        raise DataError("the training split has no label of any task with two classes or more: there is nothing to learn")
    return tasks


def load_faces(
    manifest: Path, labels: pd.DataFrame, names: tuple[str, ...], size: int, modality: Modality, tasks: Tasks
) -> dict[str, Faces]:
    """Faces of the named splits, each N x ``size`` x ``size`` x 3 (or x 1 for grey), in the manifest's order."""
    wanted = labels[labels["split"].isin(names)]["split"]
    ids: dict[str, list[str]] = {name: [] for name in names}
    pixels: dict[str, list[np.ndarray]] = {name: [] for name in names}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # starting threads costs more than a small face is worth
    for batch in iter_images(manifest):
        for id_, data in batch:
            if (name := wanted.get(id_)) is not None:
                ids[name].append(id_)
                face = resize(decode(data), size)  # grey only then: in the order of a service's crops
                pixels[name].append(to_gray(face) if modality == "gray" else face)
    cv2.setNumThreads(threads)
    if empty := [name for name in names if not ids[name]]:
        raise DataError(f"the split {empty[0]} has no faces; see reports/data/split.md")
    votes = read_votes(manifest)
    shares = {task: vote_shares(votes, classes) for task, classes in tasks.items() if TASKS[task].classes == EXPRESSIONS}
    return {
        name: Faces(
            ids[name],
            np.stack(pixels[name]),
            _targets(labels.loc[ids[name]], tasks),
            {
                task: found.reindex(ids[name]).fillna(0).to_numpy(np.float32)
                for task, found in shares.items()
                if found is not None
            },
        )
        for name in names
    }


def vote_shares(votes: pd.Series, classes: tuple[str, ...]) -> pd.DataFrame | None:
    """Shares of ``classes`` in people's votes (id -> a count an expression); None where no face has votes for them.

    Votes for other classes are left out; a face whose votes are all for those has no row.
    """
    known = votes.dropna()
    counts = pd.DataFrame(known.tolist(), index=known.index, columns=list(EXPRESSIONS)).reindex(columns=list(classes))
    counts = counts[counts.sum(axis=1) > 0]
    return counts.div(counts.sum(axis=1), axis=0) if len(counts) else None


def _targets(labels: pd.DataFrame, tasks: Tasks) -> dict[str, np.ndarray]:
    return {task: task_target(task_labels(labels, task), task, classes) for task, classes in tasks.items()}
