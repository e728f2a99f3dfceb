"""Several tasks at once on FER-2013 and UTKFace together: colours against grey, and against a twin that learns expressions alone.

    ferflow preset multitask && dvc repro && python benchmarks/multitask.py

reads what the pipeline made and writes reports/benchmarks/multitask.md.
"""

from pathlib import Path

import pandas as pd

from ferflow import params
from ferflow.card import Card
from ferflow.comparison import pairs
from ferflow.cost import gmac
from ferflow.evaluation import evaluate, right_answers
from ferflow.released import load_alone
from ferflow.resampling import Resamples
from ferflow.stages import HISTORIES, MANIFEST, MEMBERS, SPLITS, read_json
from ferflow.stages.register import code_version
from ferflow.tables import load_labels, task_labels
from ferflow.vocabulary import TASKS

TABLE = Path("reports/benchmarks/multitask.md")


def main() -> None:
    """Judge every member that is there on the test faces, and write both tables."""
    settings, labels = params.load(), load_labels(MANIFEST, SPLITS)
    shared: Resamples | None = None
    figures, right, rows = {}, {}, []
    for name, member in settings.members.items():
        if not (folder := MEMBERS / name).joinpath("card.json").exists():
            continue
        card = Card.model_validate(read_json(folder / "card.json"))
        tasks = {task: classes for task, classes in card.tasks.items() if TASKS[task].kind == "classification"}
        predictions = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'").sort_values("id")
        shared = shared or Resamples(len(predictions), settings.evaluate.resamples)
        truth = {task: task_labels(labels.loc[predictions["id"]], task) for task in tasks}
        figures[name] = found = evaluate(predictions, truth, tasks, shared)
        right[name] = {task: right_answers(predictions, truth[task], task, classes) for task, classes in tasks.items()}
        history = pd.read_csv(HISTORIES / f"{name}.csv")
        row = {"member": name, "sees": "grey" if member.modality == "gray" else "colours"}
        for task in tasks:
            low, high = found.interval(task, "accuracy")
            row[task] = f"{100 * found.values[task]['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        row |= {"M parameters": card.parameters / 1e6, "GMAC": gmac(load_alone(member, folder)[1], card.input_size)}
        row |= {"epochs": len(history), "minutes": round(history["epoch_s"].sum() / 60), "precision": member.precision}
        rows.append(row | {"seed": settings.seed, "commit": code_version()[:7]})
    compared = pairs(figures, right).query("metric == 'accuracy'")
    differences = pd.DataFrame(
        {
            "task": compared["task"],
            "difference": compared["second"] + " - " + compared["first"],
            "points [95 %]": [
                f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]" for row in compared.itertuples()
            ],
        }
    )
    counts = {task: int((right_side >= 0).sum()) for sides in right.values() for task, right_side in sides.items()}
    lines = [
        "# Several tasks at once",
        "",
        "Made by `python benchmarks/multitask.py`. Accuracy on test faces in percent: "
        + ", ".join(f"{task} of {count:,}" for task, count in counts.items())
        + ". Those of the expression are FER-2013's PublicTest, which is grey for every member; those of the other tasks are",
        "a part of UTKFace held out by the split. Intervals of differences are of paired bootstrap resamples of the same faces.",
        "",
        pd.DataFrame(rows).fillna("").to_markdown(index=False, floatfmt=".3g"),
        "",
        differences.to_markdown(index=False),
    ]
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
