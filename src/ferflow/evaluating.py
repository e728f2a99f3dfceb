"""``ferflow evaluate``: a release on any source of faces, without training; the same tables and the same page come out.

It owns the folder that it writes; figures are ``judging``'s, the page's parts the report's. It knows no training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ferflow import params, starter
from ferflow.card import Card, task_columns
from ferflow.certainty import certain_answers
from ferflow.evaluation import tidy
from ferflow.images import ImageError, decode, resize
from ferflow.inference import Predictor
from ferflow.ingestion import ingest
from ferflow.judging import Judge, Judged, write_fairness, write_networks
from ferflow.params import Dataset, ParamsError
from ferflow.report import Section, Table, counted, joined, page, table, threshold
from ferflow.stages import Summary, fresh_folder, write_json
from ferflow.stages.report import DRAWN, calibration, fairness, figure, main_metric, network_by_network
from ferflow.tables import iter_images, predictions_table, read_labels, task_labels, task_target
from ferflow.vocabulary import TASKS

NAME = "release"
BATCH = 64


@dataclass
class _Seen:
    """What became of the pictures of a source."""

    ids: list[str] = field(default_factory=list)
    outputs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def run(predictor: Predictor, dataset: Dataset, out: Path, find: bool, resamples: int, seed: int) -> Summary:
    """Judge a release on every face of a source and write ``out/index.html`` with its tables and pictures.

    ``find``: end to end, the best face that the predictor finds in each picture; where it finds none, the answer counts as
    wrong, and ``out/missed.csv`` lists the picture. Without it a picture is a face. Pictures that cannot be read are listed
    in ``out/unreadable.csv`` and do not count. Raises ``DataError`` for a source that cannot be read, and ``ValueError``
    where no face has a label that the release could predict.
    """
    check_out(out, dataset.path)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; it is {resamples}")
    with TemporaryDirectory(prefix="ferflow-") as folder:  # for the manifest has the pictures
        manifest = Path(folder) / "manifest.parquet"
        ingest(dataset, seed, manifest)
        labels = read_labels(manifest).set_index("id")
        seen = _look(predictor, manifest, len(labels), find)
    card = predictor.card.model_copy(update={"name": NAME})
    outputs = {task: np.concatenate(parts) for task, parts in seen.outputs.items()}
    known = labels.loc[seen.ids]
    _count_as_wrong(outputs, known, card, set(seen.missed))
    judge = Judge(known, resamples, seed)
    one = judge(card, predictions_table(card, seen.ids, "test", outputs))
    if not any(values["n"] for values in one.figures["test"].values.values()):
        raise ValueError(f"{dataset.path}: no face has a label of {', '.join(card.tasks)} that the release knows")
    fresh_folder(out)
    one.predictions.to_parquet(out / "predictions.parquet", compression="zstd", index=False)
    figures = one.figures["test"]
    write_json({NAME: {"test": figures.headline()}}, out / "metrics.json")
    (out / "evaluation").mkdir()
    tidy([(NAME, "test", figures)]).to_csv(out / "evaluation/figures.csv", index=False)
    write_networks(out, {NAME: one})
    write_fairness(out, {NAME: one}, judge)
    for file, ids in (("missed", seen.missed), ("unreadable", seen.unreadable)):
        pd.DataFrame({"id": ids}).to_csv(out / f"{file}.csv", index=False)
    rows = [
        {"task": task, "metric": main_metric(values), "value": figure(values, main_metric(values)), "n": values["n"]}
        for task, values in figures.headline().items()
        if values["n"]
    ]
    words = _in_words(dataset, seen, known, card, find)
    sections = [
        Section("Figures", words, [table("Test faces, in brackets 95 % bootstrap intervals", pd.DataFrame(rows)), _every(out)]),
        calibration(out, [NAME], _certain(one)),
        fairness(out, NAME),
        network_by_network(out, [NAME]),
    ]
    title = f"ferflow: {card.dataset} release on {dataset.source}, {counted(len(seen.ids), 'face')}"
    (out / "index.html").write_text(page(title, [], dataset.source == DRAWN, sections))
    return Summary(f"evaluate: {'; '.join(words)}\n{out / 'index.html'}", rows)


def check_out(out: Path, source: Path) -> None:
    """Raise ``ValueError`` for a folder that may not be replaced: one that holds other things than an evaluation."""
    target = out.resolve()
    for other, what in ((Path.cwd(), "the folder that you are in"), (source.resolve(), "the source")):
        if target == other or target in other.parents or (what == "the source" and other in target.parents):
            raise ValueError(f"--out {out} is, holds or lies in {what}: name a folder of its own")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: name a folder")
    if out.exists() and any(out.iterdir()) and not (out / "evaluation/figures.csv").exists():
        raise ValueError(f"--out {out} holds files that are no evaluation: name another folder")


def open_release(path: Path) -> bytes | Path:
    """What ``Predictor`` takes: a release or export as it is; a trained member's folder as an ONNX export of it; ``starter``.

    Raises ``ParamsError`` for a member's folder whose settings params.yaml does not have.
    """
    if not (path / "weights.pt").exists():
        return starter.MODEL if str(path) == "starter" and not path.exists() else path
    settings = params.load()
    if path.name not in settings.networks:
        raise ParamsError(f"{path} has weights, but params.yaml has no member {path.name!r}, whose settings build the network")
    from ferflow.exporters import Source
    from ferflow.registry import get
    from ferflow.released import load_alone  # PyTorch takes seconds to load

    card, alone = load_alone(settings.networks[path.name], path)
    exporter: Any = get("exporters", "onnx")
    with TemporaryDirectory(prefix="ferflow-") as folder:
        return bytes(exporter.write(Source(alone, card), Path(folder)).read_bytes())


def _every(out: Path) -> Table:
    return table("Every figure", joined(pd.read_csv(out / "evaluation/figures.csv").drop(columns=["member", "faces"])))


def _certain(one: Judged) -> pd.DataFrame | None:
    """What the release's threshold of certainty is worth on these faces; None where it knows no expression."""
    if "expression" not in one.card.tasks:
        return None
    predictions, labels = one.predictions, one.labels
    classes = one.card.tasks["expression"]
    target = task_target(task_labels(labels, "expression"), "expression", classes)
    shares = predictions[task_columns("expression", classes)].to_numpy()
    found = certain_answers(shares, target, one.card.certain_above)
    return pd.DataFrame([{"network": NAME, "certain above": threshold(one.card.certain_above)} | found])


def _look(predictor: Predictor, manifest: Path, count: int, find: bool) -> _Seen:
    """The release's answers for every picture that can be read."""
    seen = _Seen(outputs={task: [] for task in predictor.card.tasks})
    progress = tqdm(total=count, unit="face", desc="evaluate", mininterval=2, dynamic_ncols=True)
    for ids, crops in _crops(manifest, predictor, find, seen):
        for task, values in predictor.outputs(crops).items():
            seen.outputs[task].append(values)
        seen.ids += ids
        progress.update(len(ids))
    progress.close()
    if not seen.ids:
        raise ValueError("no picture of this source can be read")
    return seen


def _crops(manifest: Path, predictor: Predictor, find: bool, seen: _Seen) -> Iterator[tuple[list[str], np.ndarray]]:
    """Ids and faces (B x S x S x 3), a batch at a time; notes what is missed or unreadable."""
    ids: list[str] = []
    faces: list[np.ndarray] = []
    for batch in iter_images(manifest):
        for id_, data in batch:
            try:
                rgb = decode(data or b"")
            except ImageError:
                seen.unreadable.append(id_)
                continue
            found = predictor.finder.find(rgb) if find else None
            if found == []:
                seen.missed.append(id_)
            ids.append(id_)
            faces.append(predictor.crop(rgb, found[0]) if found else resize(rgb, predictor.card.input_size))
            if len(ids) == BATCH:
                yield ids, np.stack(faces)
                ids, faces = [], []
    if ids:
        yield ids, np.stack(faces)


_NEARLY_NOTHING = 1e-4


def _count_as_wrong(outputs: dict[str, np.ndarray], labels: pd.DataFrame, card: Card, missed: set[str]) -> None:
    """In place: where no face was found the answer is as wrong as can be, so that it counts as an error in every figure.

    A classification is nearly sure of the class farthest from the right one, which gets nothing; values lie at the end of
    their range that is farther from the truth.
    """
    rows = np.flatnonzero(labels.index.isin(missed))
    for task, values in outputs.items():
        truth = task_target(task_labels(labels, task), task, card.tasks[task])[rows]
        if TASKS[task].kind == "affect":
            values[rows] = np.where(truth > 0, -1.0, 1.0)
            continue
        count = values.shape[1]
        farthest = np.where(truth < count / 2, count - 1, 0) if TASKS[task].ordered else (truth + 1) % count
        values[rows] = _NEARLY_NOTHING
        values[rows, truth] = 0.0
        values[rows, farthest] = 1.0 - _NEARLY_NOTHING * (count - 2)


def _in_words(dataset: Dataset, seen: _Seen, labels: pd.DataFrame, card: Card, find: bool) -> list[str]:
    words = [f"{counted(len(seen.ids), 'picture')} of {dataset.path}"]
    if find:
        words.append(f"end to end: in {len(seen.missed):,} no face was found, which counts as an error (missed.csv)")
    if seen.unreadable:
        words.append(f"{len(seen.unreadable):,} could not be read and do not count (unreadable.csv)")
    for task, classes in card.tasks.items():
        if TASKS[task].kind == "classification":
            present = task_labels(labels, task).iloc[:, 0].dropna()
            if unknown := sorted(set(present) - set(classes)):
                count = int(present.isin(unknown).sum())
                words.append(
                    f"{task}: {count:,} faces are {', '.join(unknown)}, which the release does not know; they do not count"
                )
            if len(present) and (absent := [name for name in classes if name not in set(present)]):
                words.append(f"{task}: no face is {', '.join(absent)}")
    return words
