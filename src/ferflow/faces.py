"""Faces of one split in memory: decoded, at the dataset's size, with their targets, ready for a network."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ferflow.datasets import DataError
from ferflow.images import decode, resize
from ferflow.tables import check_splits, iter_images, labelled_tasks, read_labels, task_labels
from ferflow.training import Faces, encode_targets
from ferflow.vocabulary import Modality

Tasks = dict[str, tuple[str, ...]]


def load_labels(manifest: Path, splits: Path) -> pd.DataFrame:
    """Labels of every face that has a split, indexed by id, with the columns of the table of splits."""
    table = check_splits(pd.read_parquet(splits), str(splits))
    labels = read_labels(manifest).set_index("id")
    return labels.join(table, how="inner")


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
                pixels[name].append(resize(decode(data, gray=modality == "gray"), size))
    cv2.setNumThreads(threads)
    if empty := [name for name in names if not ids[name]]:
        raise DataError(f"the split {empty[0]} has no faces; see reports/data/split.md")
    return {name: Faces(ids[name], np.stack(pixels[name]), _targets(labels.loc[ids[name]], tasks)) for name in names}


def _targets(labels: pd.DataFrame, tasks: Tasks) -> dict[str, np.ndarray]:
    return encode_targets({task: task_labels(labels, task) for task in tasks}, tasks)
