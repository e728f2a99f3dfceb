"""Stage ensemble: weights of the members, fitted on validation predictions, and the ensemble's own predictions.

It reads predictions and labels, and knows no network and no picture; which way is better is ``ferflow.ensemble``'s to judge.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ferflow import params
from ferflow.calibration import certain_above
from ferflow.card import Card, task_columns
from ferflow.combiners import Combination
from ferflow.ensemble import Candidate, candidates
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, SPLITS, STUDENTS, StageError, Summary, main, read_json, write_json
from ferflow.tables import load_labels, predictions_table, task_labels, task_target
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/ensemble/ensemble.json`` (every way to combine, and the chosen one) and ``predictions.parquet``.

    The ensemble's validation predictions are out of fold: each by a fit of the same way that has not seen the face.
    """
    settings = params.load()
    names = list(settings.members)
    forget_all_but(MEMBERS, names)
    STUDENTS.mkdir(parents=True, exist_ok=True)  # later stages depend on the folder, also where it has none
    forget_all_but(STUDENTS, list(settings.students))
    cards = {name: Card.model_validate(read_json(MEMBERS / name / "card.json")) for name in names}
    tasks = common_tasks(cards)
    index, is_val = faces_of(names)
    labels = load_labels(MANIFEST, SPLITS).loc[index]

    ways: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, Combination] = {}
    names_of_chosen: dict[str, str] = {}
    outputs: dict[str, np.ndarray] = {}
    certain = 0.0
    for task, classes in tasks.items():
        able = [name for name in names if task in cards[name].tasks]
        stacked = np.stack([outputs_of(name, task, classes) for name in able])
        target = task_target(task_labels(labels, task), task, classes)[is_val]
        fixed = {way: [weights.get(name, 0.0) for name in able] for way, weights in settings.ensemble.fixed.items()}
        fixed = {way: weights for way, weights in fixed.items() if sum(weights)}
        found = candidates(stacked[:, is_val], target, settings.ensemble.ways, fixed)
        best = _wanted(found, settings.ensemble.way)
        outputs[task] = best.combination(stacked)
        outputs[task][is_val] = best.held_out
        if task == "expression":
            certain = certain_above(best.held_out, target, settings.calibrate.certain_accuracy)
        places = [names.index(name) for name in able]
        ways[task] = [_as_dict(one, places, len(names), target) for one in found]
        chosen[task], names_of_chosen[task] = best.combination.among(places, len(names)), best.name

    card = Card(
        name="ensemble",
        members={name: cards[name].members[name] for name in names},
        input_size=cards[names[0]].input_size,
        modality="gray" if {card.modality for card in cards.values()} == {"gray"} else "rgb",
        tasks=tasks,
        dataset=cards[names[0]].dataset,
        parameters=sum(cards[name].parameters for name in asked(chosen, names)),
        temperatures={task: how.temperature for task, how in chosen.items() if TASKS[task].kind == "classification"},
        certain_above=certain,
    )
    frames = [
        predictions_table(card, list(index[side]), split, {task: values[side] for task, values in outputs.items()})
        for split, side in (("val", is_val), ("test", ~is_val))
    ]
    ENSEMBLE.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(ENSEMBLE / "predictions.parquet", compression="zstd", index=False)
    content = {"card": card.model_dump(), "combinations": {task: how.as_dict() for task, how in chosen.items()}}
    content["chosen"] = names_of_chosen
    content["ways"] = ways
    write_json(content, ENSEMBLE / "ensemble.json")
    return Summary(
        "ensemble: the way with the least loss in cross-validation on validation faces", _rows(ways, names_of_chosen, names)
    )


def faces_of(names: list[str]) -> tuple[pd.Index, np.ndarray]:
    """The ids of the faces that every member has predicted, in their order, and which of them are validation faces.

    Raises ``StageError`` that names a member whose faces are others, or come in another order.
    """
    first = pq.read_table(MEMBERS / names[0] / "predictions.parquet", columns=["id", "split"])
    for name in names[1:]:
        if not pq.read_table(MEMBERS / name / "predictions.parquet", columns=["id", "split"]).equals(first):
            raise StageError(
                f"the member {name} has predicted other faces than {names[0]}: train both on the same split (dvc repro)"
            )
    return pd.Index(first["id"].to_pandas()), (first["split"].to_pandas() == "val").to_numpy()


def outputs_of(name: str, task: str, classes: tuple[str, ...]) -> np.ndarray:
    """A member's outputs of one task, N x K, float32."""
    columns = task_columns(task, classes)
    table = pq.read_table(MEMBERS / name / "predictions.parquet", columns=columns)
    return np.column_stack([table[column].to_numpy() for column in columns]).astype(np.float32, copy=False)


def _as_dict(one: Candidate, places: list[int], count: int, target: np.ndarray) -> dict[str, Any]:
    """A way with its figures on validation faces, each judged by a fit that has not seen it."""
    found = {"way": one.name, "loss": one.loss, "combination": one.combination.among(places, count).as_dict()}
    if target.ndim > 1 or not (target >= 0).any():
        return found
    known = target >= 0
    return found | {"accuracy": float((one.held_out[known].argmax(axis=1) == target[known]).mean())}


def _wanted(found: list[Candidate], way: str) -> Candidate:
    """The best candidate, or the one that params.yaml names; the best where a task cannot be combined that way (affect)."""
    return next((one for one in found if one.name == way), found[0])


def asked(combinations: dict[str, Combination], names: list[str]) -> list[str]:
    """The members that do any work in these combinations."""
    return [name for index, name in enumerate(names) if any(how.weights[index] for how in combinations.values())]


def _rows(ways: dict[str, list[dict[str, Any]]], chosen: dict[str, str], names: list[str]) -> list[dict[str, object]]:
    rows = []
    for task, found in ways.items():
        way = next(one for one in found if one["way"] == chosen[task])
        weights = {name: round(weight, 3) for name, weight in zip(names, way["combination"]["weights"], strict=True)}
        rows.append({"task": task, "way": way["way"], "loss": round(way["loss"], 4), **weights})
    return rows


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
