"""Stage evaluate: metrics of every member and the ensemble, confusion matrices, and the ablation table."""

from typing import Any

import pandas as pd

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.evaluation import ablation_row, confusion, evaluate
from ferflow.faces import load_faces
from ferflow.plots import confusion_matrix, gallery
from ferflow.stages import (
    ABLATION,
    ENSEMBLE,
    EVALUATION,
    MANIFEST,
    MEMBERS,
    METRICS,
    SPLITS,
    STUDENTS,
    Summary,
    main,
    read_json,
    write_json,
)
from ferflow.tables import load_labels, task_labels
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``reports/metrics.json``, ``ablation.csv`` and ``.md``, and ``reports/evaluation/``.

    Test figures stand twice where the test split has images that are identical, or nearly, to ones in training or
    validation: on all of it (``test``), and without them (``test_leak_free``). Validation figures are beside them,
    and only those chose anything.
    """
    settings = params.load()
    labels = load_labels(MANIFEST, SPLITS)
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    release = Card.model_validate(ensemble["card"])
    metrics: dict[str, Any] = {}
    rows, leak_free_rows = [], []
    for name in [*settings.members, release.name, *settings.students]:
        folder = ENSEMBLE if name == release.name else (MEMBERS if name in settings.members else STUDENTS) / name
        predictions = pd.read_parquet(folder / "predictions.parquet")
        card = release if name == release.name else Card.model_validate(read_json(folder / "card.json"))
        metrics[name] = _figures(predictions, labels, card)
        member = settings.networks.get(name)
        rows.append(ablation_row(name, member, card.parameters, metrics[name]["test"]))
        leak_free_rows.append(ablation_row(name, member, card.parameters, metrics[name]["test_leak_free"]))
        _write_confusions(predictions, labels, card, name)
    _draw_gallery(labels, release, settings.seed)
    write_json(metrics, METRICS)
    table = pd.DataFrame(rows)
    leak_free = pd.DataFrame(leak_free_rows)
    figures = [name for name in table.columns if name.endswith(("_accuracy", "_macro_f1", "_ccc"))]
    table.join(leak_free[figures].add_suffix("_leak_free")).to_csv(ABLATION, index=False)
    _write_markdown(table, leak_free, bool(labels["nearly_leaked"].any()))
    shown = [name for name in table.columns if name in ("member", "backbone", "modality") or name.endswith(("_accuracy", "_ccc"))]
    return Summary("evaluate: test split", [{name: row.get(name, "") for name in shown} for row in rows])


def _figures(predictions: pd.DataFrame, labels: pd.DataFrame, card: Card) -> dict[str, Any]:
    leaked = predictions["id"].map(labels["nearly_leaked"]).to_numpy(bool)
    test = (predictions["split"] == "test").to_numpy()
    sides = {"val": (predictions["split"] == "val").to_numpy(), "test": test, "test_leak_free": test & ~leaked}
    return {name: _evaluate(predictions[side], labels, card) for name, side in sides.items()}


def _evaluate(predictions: pd.DataFrame, labels: pd.DataFrame, card: Card) -> dict[str, Any]:
    truth = labels.loc[predictions["id"]]
    return evaluate(predictions, {task: task_labels(truth, task) for task in card.tasks}, card.tasks)


def _write_confusions(predictions: pd.DataFrame, labels: pd.DataFrame, card: Card, name: str) -> None:
    test = predictions[predictions["split"] == "test"]
    folder = EVALUATION / name
    folder.mkdir(parents=True, exist_ok=True)
    for task, classes in card.tasks.items():
        if TASKS[task].kind == "classification":
            pairs = confusion(test, task_labels(labels.loc[test["id"]], task), task, classes)
            pairs.to_csv(folder / f"confusion_{task}.csv", index=False)
            confusion_matrix(pairs, classes, f"{name}: {task}, test", folder / f"confusion_{task}.png")


def _draw_gallery(labels: pd.DataFrame, card: Card, seed: int) -> None:
    """Thirty-two test faces, drawn by lot from all, with the ensemble's answer."""
    if "expression" not in card.tasks:
        return
    predictions = pd.read_parquet(ENSEMBLE / "predictions.parquet").set_index("id")
    chosen = labels[(labels["split"] == "test") & labels["expression"].notna()]
    chosen = chosen.sample(min(32, len(chosen)), random_state=seed)
    faces = load_faces(MANIFEST, chosen, ("test",), card.input_size, "rgb", {})["test"]
    table = predictions.loc[faces.ids]
    columns = task_columns("expression", card.tasks["expression"])
    guess = [card.tasks["expression"][number] for number in table[columns].to_numpy().argmax(axis=1)]
    right = [name == truth for name, truth in zip(guess, chosen.loc[faces.ids, "expression"], strict=True)]
    captions = [f"{name} {100 * sure:.0f} %" for name, sure in zip(guess, table["confidence"], strict=True)]
    gallery(
        list(faces.pixels), captions, right, f"{card.dataset}: test faces and the ensemble's answer", EVALUATION / "gallery.png"
    )


def _write_markdown(table: pd.DataFrame, leak_free: pd.DataFrame, leaks: bool) -> None:
    lines = ["# Ablation", "", "Test split; accuracies and F1 in percent.", ""]
    lines.append(table.astype(object).where(table.notna(), "").to_markdown(index=False))
    if leaks:
        lines += ["", "## Without test images that are also in training or validation", ""]
        lines.append(leak_free.astype(object).where(leak_free.notna(), "").to_markdown(index=False))
    ABLATION.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(run)
