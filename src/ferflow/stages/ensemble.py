"""Stage ensemble: weights of the members, fitted on validation predictions, and the ensemble's own predictions."""

import numpy as np
import pandas as pd

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.ensemble import combine, fit_weights
from ferflow.evaluation import class_numbers
from ferflow.faces import load_labels
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, SPLITS, StageError, Summary, main, read_json, write_json
from ferflow.tables import predictions_table, task_labels
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/ensemble/weights.json`` and ``predictions.parquet``."""
    settings = params.load()
    names = list(settings.members)
    cards = {name: Card.model_validate(read_json(MEMBERS / name / "card.json")) for name in names}
    first = cards[names[0]]
    if differing := [name for name in names if cards[name].tasks != first.tasks]:
        raise StageError(f"the members {differing} have other tasks or classes than {names[0]}: train them on the same data")
    tables = {name: pd.read_parquet(MEMBERS / name / "predictions.parquet").set_index("id") for name in names}
    labels = load_labels(MANIFEST, SPLITS)
    index = tables[names[0]].index
    is_val = (tables[names[0]]["split"] == "val").to_numpy()

    weights: dict[str, list[float]] = {}
    outputs: dict[str, np.ndarray] = {}
    for task, classes in first.tasks.items():
        columns = task_columns(task, classes)
        stacked = np.stack([tables[name].loc[index, columns].to_numpy() for name in names])
        truth = task_labels(labels.loc[index], task)
        target = truth.to_numpy(np.float64) if TASKS[task].kind == "affect" else class_numbers(truth, classes)
        fitted = fit_weights(stacked[:, is_val], target[is_val])
        weights[task], outputs[task] = fitted.tolist(), combine(stacked, fitted)

    card = Card(
        name="ensemble",
        members={name: cards[name].members[name] for name in names},
        input_size=first.input_size,
        modality="gray" if {card.modality for card in cards.values()} == {"gray"} else "rgb",
        tasks=first.tasks,
        dataset=first.dataset,
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


if __name__ == "__main__":
    main(run)
