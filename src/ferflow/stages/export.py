"""Stage export: the ensemble, or one network, as files of every wanted format, checked against PyTorch on test faces.

Formats are known to their exporters alone, and what counts as the same answer to ``exporting``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.exporters import ExportError, Source
from ferflow.exporters._rebuilt import settings_of
from ferflow.exporting import REFERENCE, Exported, Limits, ParityError, Say, Trial, as_markdown, demand, export, main_task, table
from ferflow.faces import load_faces
from ferflow.images import decode, image_statistics, resize, to_gray
from ferflow.model import EnsembleNetwork
from ferflow.registry import get
from ferflow.released import load_alone, load_ensemble
from ferflow.stages import (
    ENSEMBLE,
    EXPORTS,
    HISTORIES,
    MANIFEST,
    MEMBERS,
    RELEASE,
    SPLITS,
    STUDENTS,
    StageError,
    Summary,
    main,
    read_json,
    write_json,
)
from ferflow.tables import iter_images, load_labels
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/release/``: the files of every format, card.json, parity.json and ``reference.parquet``.

    The table of formats goes to ``reports/exports.md`` and ``.csv``. Raises ``StageError`` when an answer differs from
    PyTorch's, or from the predictions that were evaluated, by more than the block ``export`` allows.
    """
    settings = params.load()
    card, network, folder = chosen(settings, settings.export.model)
    card = card.model_copy(update={"name": "release"})
    RELEASE.mkdir(parents=True, exist_ok=True)
    write_json(card.model_dump(), RELEASE / "card.json")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    reference(predictions, card).to_parquet(RELEASE / "reference.parquet", compression="zstd", index=False)
    exported = export_network(settings, settings.export.model, card, network, folder, settings.export.formats, RELEASE)
    parity = write_tables(exported, settings.export.model, RELEASE / "parity.json", EXPORTS)
    for name, found in parity.items():
        try:
            demand(name, found)
        except ParityError as error:
            raise StageError(f"{error}; see {RELEASE}/parity.json") from error
    rows = table(exported).astype(object)
    columns = [str(column) for column in rows]
    return Summary("export", [dict(zip(columns, row, strict=True)) for row in rows.where(rows.notna(), "").to_numpy()])


def reference(predictions: pd.DataFrame, card: Card) -> pd.DataFrame:
    """The test predictions in the columns of the log: with the answer, whether it is certain, how the picture is, its label.

    Pictures are measured on the crop that the network sees, as the service does it.
    """
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    unsaid = [column for task in TASKS.values() if task.auxiliary for column in task_columns(task.name, task.classes)]
    test = test.drop(columns=unsaid, errors="ignore")
    labels = load_labels(MANIFEST, SPLITS)
    wanted, found = set(test["id"]), {}
    for batch in iter_images(MANIFEST):
        for id_, data in batch:
            if id_ in wanted:
                found[id_] = image_statistics(to_gray(resize(decode(data), card.input_size))[:, :, 0])
    test = test.join(pd.DataFrame.from_dict(found, orient="index").astype("float32"), on="id")
    if classes := card.tasks.get("expression"):
        best = test[task_columns("expression", classes)].to_numpy().argmax(axis=1)
        test["expression"] = np.array(classes, dtype=object)[best]
        test["certain"] = test["confidence"] >= np.float32(card.certain_above)
        test["label"] = labels["expression"].reindex(test["id"]).to_numpy(dtype=object)
    return test


def export_network(
    settings: params.Params,
    name: str,
    card: Card,
    network: EnsembleNetwork,
    folder: Path,
    formats: tuple[str, ...],
    to: Path,
    say: Say = lambda words: None,
) -> list[Exported]:
    """Write the formats of a network whose predictions lie in ``folder``, and compare them on ``export.faces`` test faces."""
    block = settings.export
    quantised = not all(_exact(one) for one in formats)
    labels = load_labels(MANIFEST, SPLITS)
    if quantised:  # a few hundred of the training faces are enough, and decoding all takes longer than the rest
        train = labels.index[labels["split"] == "train"].to_series()
        some = set(train.sample(min(block.calibration, len(train)), random_state=settings.seed))
        labels = labels[(labels["split"] == "test") | labels.index.isin(some)]
    sides = ("test", "train") if quantised else ("test",)
    data = load_faces(MANIFEST, labels, sides, card.input_size, "rgb", card.tasks)
    source = Source(
        network,
        card,
        calibration=data["train"].pixels if quantised else np.zeros((0, 1, 1, 3), np.uint8),
        settings=settings_of({one: settings.networks[one] for one in card.members}, network, _classes(settings, card)),
        training=training(card),
    )
    test = data["test"]
    count = min(block.faces, len(test.ids))
    predictions = pd.read_parquet(folder / "predictions.parquet")
    evaluated = predictions[predictions["split"] == "test"].set_index("id").loc[test.ids[:count]]
    reported = [evaluated[task_columns(task, classes)].to_numpy() for task, classes in card.tasks.items()]
    place = main_task(list(card.tasks))
    truth = np.full(count, -1) if place is None else test.targets[list(card.tasks)[place]][:count]
    limits = Limits(block.tolerance, block.int8_agreement, block.int8_drop)
    try:
        return export(source, formats, to, Trial(test.pixels[:count], truth, reported), limits, say)
    except ExportError as error:
        raise StageError(f"{name}: {error}") from error


def _exact(name: str) -> bool:
    entry: Any = get("exporters", name)
    return bool(entry.exact)


def _folder(settings: params.Params, name: str) -> Path:
    return ENSEMBLE if name == "ensemble" else (MEMBERS if name in settings.members else STUDENTS) / name


def _classes(settings: params.Params, card: Card) -> list[dict[str, tuple[str, ...]]]:
    """The tasks of every member, those that a release leaves out as well: its weights have heads for them."""
    return [Card.model_validate(read_json(_folder(settings, one) / "card.json")).tasks for one in card.members]


def training(card: Card) -> dict[str, Any]:
    """The epochs of every member, where their table lies: plain values."""
    tables = {name: HISTORIES / f"{name}.csv" for name in card.members}
    return {"epochs": {name: pd.read_csv(file).to_dict("list") for name, file in tables.items() if file.exists()}}


def write_tables(exported: list[Exported], name: str, parity: Path, files: Path) -> dict[str, dict[str, Any]]:
    """Write the comparison in full (``parity``, JSON) and as a table (``files``, .md and .csv); the former, format by format."""
    found = {one.name: {"file": one.path.name, **one.parity} for one in exported if one.name != REFERENCE}
    write_json(found, parity)
    files.parent.mkdir(parents=True, exist_ok=True)
    files.with_suffix(".md").write_text(as_markdown(exported, f"Exports of {name}"))
    table(exported).to_csv(files.with_suffix(".csv"), index=False)
    return found


def chosen(settings: params.Params, name: str) -> tuple[Card, EnsembleNetwork, Path]:
    """A network by its name: its card as a release, itself, and the folder of its predictions.

    Raises ``StageError`` for an unknown name, or one that is not trained yet.
    """
    if name not in ("ensemble", *settings.networks):
        raise StageError(f"no network is called {name!r}; params.yaml has: ensemble, {', '.join(settings.networks)}")
    folder = _folder(settings, name)
    if name == "ensemble":
        ensemble = read_json(folder / "ensemble.json")
        return Card.model_validate(ensemble["card"]), load_ensemble(ensemble, settings.members, MEMBERS), folder
    if not (folder / "card.json").exists():
        raise StageError(f"{folder} is not there; run the stage that makes it (dvc repro)")
    return *load_alone(settings.networks[name], folder), folder


if __name__ == "__main__":
    main(run)
