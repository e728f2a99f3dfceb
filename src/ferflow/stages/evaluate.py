"""Stage evaluate: every figure of every network and the ensemble, with intervals; what is better than what; tables and plots.

It reads predictions and loads no network; what a figure is stands in the modules that it calls.
"""

from typing import Any

import numpy as np
import pandas as pd

from ferflow import params, plots
from ferflow.card import Card, task_columns
from ferflow.combiners import Combination
from ferflow.comparison import axes, axis_table, pairs
from ferflow.evaluation import Figures, ablation_row, evaluate, tidy
from ferflow.faces import load_faces
from ferflow.front import efficient
from ferflow.judging import SIDES, Judge, Judged, write_fairness, write_networks
from ferflow.stages import (
    ABLATION,
    AXES,
    COST,
    ENSEMBLE,
    EVALUATION,
    HISTORIES,
    MANIFEST,
    MEMBERS,
    METRICS,
    PLOTS,
    REPORTS,
    SPLITS,
    STUDENTS,
    Summary,
    fresh_folder,
    main,
    read_json,
    write_json,
)
from ferflow.tables import load_labels, predictions_table, task_labels

PICTURES = PLOTS / "evaluation"


def run() -> Summary:
    """Write ``reports/metrics.json``, ``reports/ablation*``, ``reports/evaluation/``, and pictures of it all.

    Test figures stand twice where the test split has images that are identical, or nearly, to ones in training or
    validation: on all of it (``test``), and without them (``test_leak_free``). Validation figures are beside them,
    and only those chose anything.
    """
    settings = params.load()
    labels = load_labels(MANIFEST, SPLITS)
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    cost = read_json(COST)
    fresh_folder(EVALUATION)
    fresh_folder(AXES)
    fresh_folder(PICTURES)
    leaks = bool(labels["nearly_leaked"].any())
    judge = Judge(labels, settings.evaluate.resamples, settings.seed)
    del labels  # of a large set they would fill memory
    judged: dict[str, Judged] = {}
    for name in [*settings.members, "ensemble", *settings.students]:
        folder = ENSEMBLE if name == "ensemble" else (MEMBERS if name in settings.members else STUDENTS) / name
        card = Card.model_validate(ensemble["card"] if name == "ensemble" else read_json(folder / "card.json"))
        judged[name] = judge(card, pd.read_parquet(folder / "predictions.parquet"))
    write_networks(REPORTS, judged)
    figures = {name: one.figures["test"] for name, one in judged.items()}
    write_json({name: {side: one.figures[side].headline() for side in SIDES} for name, one in judged.items()}, METRICS)
    tidy((n, side, one.figures[side]) for n, one in judged.items() for side in SIDES).to_csv(
        EVALUATION / "figures.csv", index=False
    )
    compared = pairs(figures, {name: one.right() for name, one in judged.items()})
    compared.to_csv(EVALUATION / "comparisons.csv", index=False)
    write_fairness(REPORTS, judged, judge)
    _write_ways(settings, ensemble, judged, judge, cost)
    fps = {name: values["fps"] for name, values in cost.items()}
    for axis, groups in axes(settings.networks).items():
        _write_axis(axis, axis_table(axis, groups, settings.networks, figures, fps, compared))
    _write_front(figures, cost)
    histories = {name: pd.read_csv(HISTORIES / f"{name}.csv") for name in settings.networks}
    plots.histories(histories, PICTURES / "training.png")
    rows = _write_ablation(settings, judged, leaks)
    _draw_gallery(judged["ensemble"], settings.seed)
    shown = [name for name in rows[0] if name in ("member", "backbone", "modality") or name.endswith(("_accuracy", "_ccc"))]
    return Summary("evaluate: test split", [{name: row.get(name, "") for name in shown} for row in rows])


def _write_ways(
    settings: params.Params, ensemble: dict[str, Any], judged: dict[str, Judged], judge: Judge, cost: dict[str, Any]
) -> None:
    """``ensembles.csv``: every way to combine, with its loss on validation, which chose, and its figures on test."""
    rows = []
    names = list(settings.members)
    predictions, labels = judged["ensemble"].predictions, judged["ensemble"].labels
    resamples = judge.of(len(predictions))
    for task, ways in ensemble["ways"].items():
        classes = tuple(judged["ensemble"].card.tasks[task])
        card = judged["ensemble"].card.model_copy(update={"tasks": {task: classes}})
        truth = {task: task_labels(labels, task)}
        outputs = {
            name: judged[name].predictions[task_columns(task, classes)].to_numpy()
            for name in names
            if task in judged[name].card.tasks
        }
        nothing = np.zeros((len(predictions), len(classes)), np.float32)
        for way in ways:
            how = Combination(**way["combination"])
            asked = [name for name, weight in zip(names, how.weights, strict=True) if weight]
            shown = how(np.stack([outputs[name] if name in asked else nothing for name in names]))
            found = evaluate(
                predictions_table(card, list(predictions["id"]), "test", {task: shown}), truth, card.tasks, resamples
            )
            row = {
                "task": task,
                "way": way["way"],
                "chosen": way["way"] == ensemble["chosen"][task],
                "validation loss": way["loss"],
            }
            if "accuracy" in way:
                row[f"val {task} accuracy"] = way["accuracy"]
            for column, value in found.headline().items():
                for metric in ("accuracy", "ccc"):
                    if metric in value:
                        row |= {f"test {column} {m}": value.get(m) for m in (metric, f"{metric}_low", f"{metric}_high")}
            row |= {"members": " ".join(asked), "gmac": sum(cost[name]["gmac"] for name in asked)}
            rows.append(row | {"parameters": sum(cost[name]["parameters"] for name in asked)})
    pd.DataFrame(rows).dropna(axis=1, how="all").to_csv(EVALUATION / "ensembles.csv", index=False)


def _write_axis(axis: str, table: pd.DataFrame) -> None:
    shown = table.replace("", None).dropna(axis=1, how="all")
    shown.to_csv(AXES / f"{axis}.csv", index=False)
    text = shown.astype(object).where(shown.notna(), "").to_markdown(index=False)
    (AXES / f"{axis}.md").write_text(f"# {axis}\n\nTest split; accuracies in percent, FPS on this machine's CPU.\n\n{text}\n")


def _write_front(figures: dict[str, Figures], cost: dict[str, Any]) -> None:
    """``front.csv`` and ``front.png``: what the expression's accuracy costs, and which networks none beats at their cost."""
    rows = []
    for name, found in figures.items():
        accuracy = found.values.get("expression", {}).get("accuracy")
        if accuracy is not None:
            low, high = found.interval("expression", "accuracy")
            rows.append({"network": name, "accuracy": accuracy, "low": low, "high": high, **cost[name]})
    if rows:
        table = pd.DataFrame(rows)
        for by in ("gmac", "ms", "parameters"):
            table[f"efficient by {by}"] = efficient(table[by], table["accuracy"])
        table.to_csv(EVALUATION / "front.csv", index=False)
        plots.front(table, PICTURES / "front.png")


def _write_ablation(settings: params.Params, judged: dict[str, Judged], leaks: bool) -> list[dict[str, Any]]:
    sides = {}
    for side in ("test", "test_leak_free"):
        sides[side] = [
            ablation_row(name, settings.networks.get(name), one.card.parameters, one.figures[side])
            for name, one in judged.items()
        ]
    table, leak_free = pd.DataFrame(sides["test"]), pd.DataFrame(sides["test_leak_free"])
    figures = [name for name in table.columns if name.endswith(("_accuracy", "_macro_f1", "_ccc"))]
    table.join(leak_free[figures].add_suffix("_leak_free")).to_csv(ABLATION, index=False)
    lines = ["# Ablation", "", "Test split; accuracies and F1 in percent.", ""]
    lines.append(table.astype(object).where(table.notna(), "").to_markdown(index=False))
    if leaks:
        lines += ["", "## Without test images that are also in training or validation", ""]
        lines.append(leak_free.astype(object).where(leak_free.notna(), "").to_markdown(index=False))
    ABLATION.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return sides["test"]


def _draw_gallery(one: Judged, seed: int) -> None:
    """Thirty-two test faces, drawn by lot from all, with the ensemble's answer."""
    card = one.card
    if "expression" not in card.tasks:
        return
    predictions = one.predictions.set_index("id")
    chosen = one.labels[one.labels["expression"].notna()]
    chosen = chosen.sample(min(32, len(chosen)), random_state=seed)
    faces = load_faces(MANIFEST, chosen, ("test",), card.input_size, "rgb", {})["test"]
    table = predictions.loc[faces.ids]
    columns = task_columns("expression", card.tasks["expression"])
    guess = [card.tasks["expression"][number] for number in table[columns].to_numpy().argmax(axis=1)]
    truth = chosen.loc[faces.ids, "expression"]
    right = [name == label for name, label in zip(guess, truth, strict=True)]
    captions = [
        f"{name} {100 * sure:.0f} %" + ("" if good else f"\nis {label}")
        for name, sure, label, good in zip(guess, table["confidence"], truth, right, strict=True)
    ]
    title = f"{card.dataset}: test faces and the ensemble's answer"
    plots.gallery(list(faces.pixels), captions, right, title, PICTURES / "gallery.png")


if __name__ == "__main__":
    main(run)
