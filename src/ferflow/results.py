"""What the last run found, in a screenful: figures, where the time went, where to look next."""

import json
from pathlib import Path

import pandas as pd

from ferflow.stages import ABLATION, METRICS, REGISTRATION, Summary, read_json

_TIMES = Path(".ferflow/results")
_PRELOAD = Path(".ferflow/preload_s")  # written by flows/companion.py
_MEMBER_LIMIT_S = 15.0


def text() -> str:
    """The whole answer; a ``StageError`` when nothing has run yet."""
    metrics = read_json(METRICS)
    table = pd.read_csv(ABLATION)
    rows = [_row(str(name), metrics[str(name)]["test"]) for name in table["member"]]
    registered = read_json(REGISTRATION)
    parts = [
        Summary("test split (accuracy in percent with its 95 % Wilson interval; CCC)", rows).as_text(),
        _overhead(),
        f"registered: {registered['model']} version {registered['version']} as {registered['alias'] or 'no alias'}",
        "\n".join(
            (
                "look next:",
                "  reports/ablation.md       every member side by side",
                "  reports/evaluation/       confusion matrices",
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
        elif "ccc" in values:
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
    shared = float(_PRELOAD.read_text()) if _PRELOAD.exists() else 0.0
    cost = max(around) + shared / len(around)
    verdict = "within" if cost <= _MEMBER_LIMIT_S else "OVER"
    return (
        f"{table}\n  libraries loaded once for all stages: {shared:.1f} s"
        f"\n  so orchestration costs a member at most {cost:.1f} s ({verdict} the {_MEMBER_LIMIT_S:.0f} s allowed)"
    )
