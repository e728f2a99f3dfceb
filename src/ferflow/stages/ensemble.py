"""Stage ensemble: weights of the members, fitted on validation predictions, and the ensemble's own predictions."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ferflow import params
from ferflow.calibration import certain_above
from ferflow.card import Card, task_columns
from ferflow.combiners import Combination
from ferflow.ensemble import Candidate, calibrated, candidates
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, SPLITS, STUDENTS, StageError, Summary, main, read_json, write_json
from ferflow.tables import load_labels, predictions_table, task_labels, task_target
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/ensemble/ensemble.json`` (every way to combine, and the chosen one) and ``predictions.parquet``."""
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

    ways: dict[str, list[Candidate]] = {}
    chosen: dict[str, Combination] = {}
    names_of_chosen: dict[str, str] = {}
    outputs: dict[str, np.ndarray] = {}
    certain = 0.0
    for task, classes in tasks.items():
        able = [name for name in names if task in cards[name].tasks]
        stacked = np.stack([tables[name].loc[index, task_columns(task, classes)].to_numpy() for name in able])
        target = task_target(task_labels(labels.loc[index], task), task, classes)[is_val]
        fixed = {way: [weights.get(name, 0.0) for name in able] for way, weights in settings.ensemble.fixed.items()}
        fixed = {way: weights for way, weights in fixed.items() if sum(weights)}
        found = candidates(stacked[:, is_val], target, settings.ensemble.ways, fixed)
        if TASKS[task].kind == "classification":
            found = [replace(one, combination=calibrated(one.combination, stacked[:, is_val], target)) for one in found]
        best = _wanted(found, settings.ensemble.way)
        outputs[task] = best.combination(stacked)
        if task == "expression":
            certain = certain_above(outputs[task][is_val], target, settings.calibrate.certain_accuracy)
        places = [names.index(name) for name in able]
        ways[task] = [replace(one, combination=one.combination.among(places, len(names))) for one in found]
        chosen[task], names_of_chosen[task] = best.combination.among(places, len(names)), best.name

    card = Card(
        name="ensemble",
        members={name: cards[name].members[name] for name in names},
        input_size=cards[names[0]].input_size,
        modality="gray" if {card.modality for card in cards.values()} == {"gray"} else "rgb",
        tasks=tasks,
        dataset=cards[names[0]].dataset,
        parameters=sum(cards[name].parameters for name in asked(chosen, names)),
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
    content["ways"] = {
        task: [{"way": one.name, "loss": one.loss, "combination": one.combination.as_dict()} for one in found]
        for task, found in ways.items()
    }
    write_json(content, ENSEMBLE / "ensemble.json")
    return Summary(
        "ensemble: the way with the least loss in cross-validation on validation faces", _rows(ways, names_of_chosen, names)
    )


def _wanted(found: list[Candidate], way: str) -> Candidate:
    """The best candidate, or the one that params.yaml names; the best where a task cannot be combined that way (affect)."""
    return next((one for one in found if one.name == way), found[0])


def asked(combinations: dict[str, Combination], names: list[str]) -> list[str]:
    """The members that do any work in these combinations."""
    return [name for index, name in enumerate(names) if any(how.weights[index] for how in combinations.values())]


def _rows(ways: dict[str, list[Candidate]], chosen: dict[str, str], names: list[str]) -> list[dict[str, object]]:
    rows = []
    for task, found in ways.items():
        way = next(one for one in found if one.name == chosen[task])
        weights = {name: round(weight, 3) for name, weight in zip(names, way.combination.weights, strict=True)}
        rows.append({"task": task, "way": way.name, "loss": round(way.loss, 4), **weights})
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
