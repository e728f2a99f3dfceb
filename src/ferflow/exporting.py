"""A network as files of several formats, each reloaded in its own runtime and compared with PyTorch on test faces.

The stage and the command share it. It knows formats by their names only, and no place of the pipeline's files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch

from ferflow.exporters import ExportError, Run, Source
from ferflow.registry import get
from ferflow.vocabulary import TASKS

BATCHES = (1, 32)
_AT_ONCE = 100  # faces
_ROUNDS = {1: 20, 32: 5}
REFERENCE = "pytorch"  # the row of what all others are compared with

Say = Callable[[str], None]


class ParityError(ValueError):
    """An export that does not answer as the network does."""


@dataclass(frozen=True)
class Limits:
    """``tolerance``: largest difference of a probability; ``agreement`` and ``drop``: of quantised formats, shares."""

    tolerance: float
    agreement: float
    drop: float


@dataclass(frozen=True)
class Trial:
    """What formats are tried on: N faces (uint8, N x S x S x 3), their class numbers of the main task (-1: no label).

    ``reported``, where there is one: the outputs that were evaluated, task by task.
    """

    faces: np.ndarray
    truth: np.ndarray
    reported: list[np.ndarray] | None = None


@dataclass(frozen=True)
class Exported:
    """A written format and how it answered: ``path``, ``exact``, and the row of the table."""

    name: str
    path: Path
    exact: bool
    runtime: str
    parity: dict[str, Any] = field(default_factory=dict)


def main_task(tasks: list[str]) -> int | None:
    """The place of the task by whose classes formats are judged: the expression, else the first with classes."""
    able = [place for place, task in enumerate(tasks) if TASKS[task].kind == "classification"]
    return tasks.index("expression") if "expression" in tasks else able[0] if able else None


def export(
    source: Source, formats: tuple[str, ...], folder: Path, trial: Trial, limits: Limits, say: Say = print
) -> list[Exported]:
    """Write every format into ``folder``, and compare it; the first of the list is PyTorch itself.

    Nothing stops here: ``demand`` does. Raises ``ExportError`` where a format cannot be written.
    """
    say("PyTorch")
    reference = in_pytorch(source.network, trial.faces)
    found = [Exported(REFERENCE, Path(), True, "PyTorch", _judged(source, trial, reference, reference))]
    found[0].parity["ms"] = latency(lambda faces: in_pytorch(source.network, faces), trial.faces)
    with TemporaryDirectory() as scratch:
        if source.onnx is None:
            entry: Any = get("exporters", "onnx")
            path = entry.write(source, folder if "onnx" in formats else Path(scratch))
            source = Source(source.network, source.card, path, source.calibration, source.settings, source.training)
        for name in formats:
            say(name)
            entry = get("exporters", name)
            path = source.made() if name == "onnx" else entry.write(source, folder)
            run = entry.read(path)
            answers = run(trial.faces) if hasattr(run, "milliseconds") else in_batches(run, trial.faces)
            parity = _judged(source, trial, reference, answers)
            parity |= {"ms": latency(run, trial.faces), "megabytes": round(_size(path) / 1e6, 3)}
            parity["allowed"] = _allowed(entry.exact, limits)
            found.append(Exported(name, path, entry.exact, entry.runtime, parity))
    return found


def _size(path: Path) -> int:
    """Bytes of an export: of its file, or of a graph and the weights beside it."""
    weights = path.with_suffix(".bin") if path.suffix == ".xml" else path
    return path.stat().st_size + (weights.stat().st_size if weights != path else 0)


def in_pytorch(network: torch.nn.Module, faces: np.ndarray) -> list[np.ndarray]:
    """The network's outputs for uint8 faces, task by task."""

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in network(torch.from_numpy(batch))]

    return in_batches(run, faces)


def in_batches(run: Run, faces: np.ndarray) -> list[np.ndarray]:
    """The outputs for any number of faces."""
    parts = [run(faces[start : start + _AT_ONCE]) for start in range(0, len(faces), _AT_ONCE)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def compare(expected: list[np.ndarray], found: list[np.ndarray], place: int | None = 0) -> dict[str, float]:
    """The largest difference of any output (NaN if one is not a number), and the share of faces with the same class.

    ``place`` says whose task's classes; None: there are none, and the share is 1.
    """
    differences = [np.abs(a - b).max() for a, b in zip(expected, found, strict=True)]
    same = 1.0 if place is None else (expected[place].argmax(axis=1) == found[place].argmax(axis=1)).mean()
    return {"largest_difference": float(np.max(differences)), "same_class": float(same)}


def _judged(source: Source, trial: Trial, expected: list[np.ndarray], found: list[np.ndarray]) -> dict[str, Any]:
    """Everything that is said of one format but its size and speed."""
    tasks = list(source.card.tasks)
    shapes = [output.shape for output in found], [output.shape for output in expected]
    if shapes[0] != shapes[1]:
        raise ExportError(f"the reloaded export gives outputs of {shapes[0]}, the network of {shapes[1]}")
    place = main_task(tasks)
    parity: dict[str, Any] = {"faces": len(trial.faces), "from_pytorch": compare(expected, found, place)}
    if trial.reported is not None:
        parity["from_evaluation"] = compare(trial.reported, found, place)
    parity["agreement"] = {
        task: compare(expected, found, index)["same_class"]
        for index, task in enumerate(tasks)
        if TASKS[task].kind == "classification"
    }
    known = trial.truth >= 0
    parity["labelled"] = int(known.sum())
    if place is not None and known.any():
        right = [(outputs[place].argmax(axis=1) == trial.truth)[known].mean() for outputs in (expected, found)]
        parity |= {"accuracy": float(right[1]), "accuracy_drop": float(right[0] - right[1])}
    return parity


def latency(run: Run, faces: np.ndarray) -> dict[str, float]:
    """Median milliseconds of a batch of 1 and of 32 faces, on one thread; what another process runs measures itself."""
    measure = getattr(run, "milliseconds", None)
    if measure is not None:
        return dict(measure(faces))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {str(size): _milliseconds(run, np.resize(faces, (size, *faces.shape[1:])), _ROUNDS[size]) for size in BATCHES}
    finally:
        torch.set_num_threads(threads)


def _milliseconds(run: Run, batch: np.ndarray, rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 2):  # the first two warm up
        started = perf_counter()
        run(batch)
        seconds.append(perf_counter() - started)
    return round(1000 * median(seconds[2:]), 3)


def _allowed(exact: bool, limits: Limits) -> dict[str, float]:
    if exact:
        return {"largest_difference": limits.tolerance}
    return {"agreement": limits.agreement, "accuracy_drop": limits.drop}


def demand(name: str, parity: dict[str, Any]) -> None:
    """``ParityError`` where a format misses what it is allowed; a value that is no number misses it, too."""
    allowed = parity["allowed"]
    for side in ("from_pytorch", "from_evaluation"):
        if side not in parity:
            continue
        found, words = parity[side], side.replace("_", " ")
        if "largest_difference" in allowed and not found["largest_difference"] <= allowed["largest_difference"]:
            raise ParityError(
                f"{name}: the largest difference {words} is {found['largest_difference']:.2g}, "
                f"more than export.tolerance = {allowed['largest_difference']:.2g}"
            )
    if "agreement" not in allowed:
        return
    if not np.isfinite(parity["from_pytorch"]["largest_difference"]):
        raise ParityError(f"{name}: an output is not a number")
    same = parity["from_pytorch"]["same_class"]
    if not same >= allowed["agreement"]:
        raise ParityError(
            f"{name}: {same:.1%} of the faces have PyTorch's class, fewer than export.int8_agreement = {allowed['agreement']:.1%}"
        )
    if not (drop := parity.get("accuracy_drop", 0.0)) <= allowed["accuracy_drop"]:
        raise ParityError(
            f"{name}: the accuracy falls by {100 * drop:.2f} points, more than "
            f"export.int8_drop = {100 * allowed['accuracy_drop']:.2f}"
        )


def table(exported: list[Exported]) -> pd.DataFrame:
    """One row a format, PyTorch first; empty where something does not apply."""
    return pd.DataFrame([_row(one) for one in exported])


def _row(one: Exported) -> dict[str, Any]:
    parity, alone = one.parity, one.name == REFERENCE
    return {
        "format": one.name,
        "runtime": one.runtime,
        "file": "" if alone else one.path.name,
        "MB": None if alone else round(parity["megabytes"], 2),
        "largest difference": None if alone else float(f"{parity['from_pytorch']['largest_difference']:.2g}"),
        "same class %": None if alone else round(100 * parity["from_pytorch"]["same_class"], 2),
        "accuracy %": _percent(parity.get("accuracy")),
        "accuracy drop": None if alone else _percent(parity.get("accuracy_drop")),
        "ms, 1 face": parity["ms"]["1"],
        "ms, 32 faces": parity["ms"]["32"],
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2) + 0.0  # not -0.0


def as_markdown(exported: list[Exported], title: str) -> str:
    """The table for people, with what its columns mean."""
    first = exported[0].parity
    rows = table(exported).astype(object)
    text = rows.where(rows.notna(), "").to_markdown(index=False, disable_numparse=True)
    words = (
        f"Each file was read again in its own runtime and compared with PyTorch on {first['faces']} test faces, "
        f"{first['labelled']} of them with a label of the main task. Largest difference: of any output. Accuracy drop: in "
        "points. Milliseconds: medians on one thread of this machine's CPU."
    )
    return f"# {title}\n\n{words}\n\n{text}\n"
