"""Stage ensemble: weights of the members, fitted on validation predictions, and the ensemble's own predictions."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.ensemble import combine, fit_weights
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, SPLITS, STUDENTS, StageError, Summary, main, read_json, write_json
from ferflow.tables import load_labels, predictions_table, task_labels, task_target
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/ensemble/weights.json`` and ``predictions.parquet``."""
    settings = params.load()
    names = list(settings.members)
    forget_all_but(MEMBERS, names)
    STUDENTS.mkdir(parents=True, exist_ok=True)  # later stages depend on the folder, also where it has none
    forget_all_but(STUDENTS, list(settings.students))
    cards = {name: Card.model_validate(read_json(MEMBERS / name / "card.json")) for name in names}
    tasks = common_tasks(cards)
    tables = {name: pd.read_parquet(MEMBERS / name / "predictions.parquet").set_index("id") for name in names}
    labels = load_labels(MANIFEST, SPLITS)
    index = tables[names[0]].index
    is_val = (tables[names[0]]["split"] == "val").to_numpy()

    weights: dict[str, list[float]] = {}
    outputs: dict[str, np.ndarray] = {}
    for task, classes in tasks.items():
        able = [name for name in names if task in cards[name].tasks]
        stacked = np.stack([tables[name].loc[index, task_columns(task, classes)].to_numpy() for name in able])
        target = task_target(task_labels(labels.loc[index], task), task, classes)
        fitted = fit_weights(stacked[:, is_val], target[is_val])
        share = dict(zip(able, fitted.tolist(), strict=True))
        weights[task], outputs[task] = [share.get(name, 0.0) for name in names], combine(stacked, fitted)

    card = Card(
        name="ensemble",
        members={name: cards[name].members[name] for name in names},
        input_size=cards[names[0]].input_size,
        modality="gray" if {card.modality for card in cards.values()} == {"gray"} else "rgb",
        tasks=tasks,
        dataset=cards[names[0]].dataset,
        parameters=sum(card.parameters for card in cards.values()),
    )
    frames = [
        predictions_table(card, list(index[side]), split, {task: values[side] for task, values in outputs.items()})
        for split, side in (("val", is_val), ("test", ~is_val))
    ]
    ENSEMBLE.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(ENSEMBLE / "predictions.parquet", compression="zstd", index=False)
    write_json({"card": card.model_dump(), "weights": weights}, ENSEMBLE / "ensemble.json")
    rows = [{"task": task} | {n: round(w, 3) for n, w in zip(names, weights[task], strict=True)} for task in weights]
    return Summary("ensemble: weights fitted on validation", rows)


def common_tasks(cards: dict[str, Card]) -> dict[str, tuple[str, ...]]:
    """Every task that a member has, in the vocabulary's order; ``StageError`` where members name its classes differently."""
    tasks: dict[str, tuple[str, ...]] = {}
    for task in TASKS:
        found = {name: card.tasks[task] for name, card in cards.items() if task in card.tasks and not TASKS[task].auxiliary}
        if len(set(found.values())) > 1:
            raise StageError(f"the members {', '.join(found)} have different classes of {task}: train them on the same data")
        if found:
            tasks[task] = next(iter(found.values()))
    return tasks


def forget_all_but(folder: Path, names: list[str]) -> None:
    """Remove what networks left behind that params.yaml no longer names; DVC's cache still has it.

    Stages depend on the folder as a whole: a stale one would make another clone's status differ.
    """
    for stale in folder.iterdir():
        if stale.is_dir() and stale.name not in names:
            shutil.rmtree(stale)
            print(f"removed {stale}: params.yaml has no such member any more (its commit's dvc checkout brings it back)")


if __name__ == "__main__":
    main(run)
