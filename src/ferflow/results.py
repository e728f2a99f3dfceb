"""What the last run found, in a screenful: figures, where the time went, where to look next.

It reads the reports and computes none of their figures.
"""

import json
from pathlib import Path

import pandas as pd

from ferflow.stages import ABLATION, METRICS, REGISTRATION, Summary, read_json

_TIMES = Path(".ferflow/results")
_HEADING = "{} (accuracy in percent with its 95 % bootstrap interval; CCC)"


def text() -> str:
    """The whole answer; a ``StageError`` when nothing has run yet."""
    metrics = read_json(METRICS)
    table = pd.read_csv(ABLATION)
    names = [str(name) for name in table["member"]]
    parts = [Summary(_HEADING.format("test split"), [_row(name, metrics[name]["test"]) for name in names]).as_text()]
    if any(metrics[name]["test"] != metrics[name]["test_leak_free"] for name in names):
        rows = [_row(name, metrics[name]["test_leak_free"]) for name in names]
        parts.append(Summary("without test images that are also in training or validation", rows).as_text())
    registered = read_json(REGISTRATION)
    parts += [
        _overhead(),
        f"registered: {registered['model']} version {registered['version']} as {registered['alias'] or 'no alias'}",
        "\n".join(
            (
                "look next:",
                "  reports/index.html        the report: everything on one page (open it in a browser)",
                "  reports/ablation.md       every member side by side",
                "  reports/evaluation/       all figures, comparisons, calibration, fairness, plots",
                "  reports/data/             what validation and split found",
                "  dvc metrics show          all figures;  dvc plots show: curves",
                "  make ui                   MLflow and Prefect in the browser",
                "  make serve                predictions on http://127.0.0.1:3000",
            )
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _row(name: str, figures: dict[str, dict[str, float]]) -> dict[str, str]:
    row = {"member": name}
    for task, values in figures.items():
        if "accuracy" in values and values["n"]:
            row[task] = f"{100 * values['accuracy']:.1f}"
            if task == "expression":
                row[task] += f" [{100 * values['accuracy_low']:.1f}, {100 * values['accuracy_high']:.1f}]"
        elif values.get("ccc") is not None:
            row[task] = f"{values['ccc']:.2f}"
    return row


def _overhead() -> str:
    """Seconds of work and of everything around it (Python, imports, Prefect) for each stage of the last run."""
    rows, around = [], []
    for path in sorted(_TIMES.glob("*.json"), key=lambda path: path.stat().st_mtime):
        timing = json.loads(path.read_text())
        if "wall_s" not in timing:
            continue
        extra = timing["wall_s"] - timing["work_s"]
        rows.append({"stage": path.stem, "work": f"{timing['work_s']:.1f} s", "around it": f"{extra:.1f} s"})
        if path.stem.startswith("train-"):
            around.append(extra)
    if not around:
        return ""
    table = Summary("time of each stage, when it last ran", rows).as_text()
    mean, worst = sum(around) / len(around), max(around)
    return (
        f"{table}\n  orchestration costs {mean:.1f} s a member:"
        f" {worst:.1f} s for the one that\n  loaded the libraries for all, {min(around):.1f} s for another"
    )
