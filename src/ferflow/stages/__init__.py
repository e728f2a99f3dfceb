"""The stages of the pipeline, one file each: read files, call the pure function, write files.

It owns where the pipeline's files lie (the same paths stand in dvc.yaml, which decides when a stage
runs). ``python -m ferflow.stages.NAME`` runs one without DVC, Prefect, MLflow or BentoML. It knows no stage by name, and
nothing of what stages compute.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import getdoc, signature
from pathlib import Path
from time import perf_counter
from typing import Any

MANIFEST = Path("data/manifest.parquet")
MEASURES = Path("data/measures.parquet")
QUARANTINE = Path("data/quarantine.parquet")
SPLITS = Path("data/splits.parquet")
DATA_REPORTS = Path("reports/data")
MEMBERS = Path("models/members")
CHECKPOINTS = Path("models/checkpoints")  # of unfinished trainings; no stage's output, for DVC removes those
ENSEMBLE = Path("models/ensemble")
STUDENTS = Path("models/students")
RELEASE = Path("models/release")
REPORTS = Path("reports")
METRICS = Path("reports/metrics.json")
COST = Path("reports/cost.json")
EXPORTS = Path("reports/exports")  # .md and .csv
ABLATION = Path("reports/ablation.csv")
AXES = Path("reports/ablation")  # a table for every axis in which members differ
EVALUATION = Path("reports/evaluation")
ROBUSTNESS = Path("reports/robustness")
PLOTS = Path("reports/plots")  # every picture of a figure, a folder a stage
PAGE = Path("reports/index.html")
MODEL_CARD = Path("reports/model_card.md")
HISTORIES = Path("reports/training")
REGISTRATION = Path("reports/registration.json")


HOPELESS = 2  # exit code of a stage that would fail again: its input, its parameters or its files are wrong


class StageError(RuntimeError):
    """A stage that cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Summary:
    """What a stage did, as a small table for people: the command line prints it, Prefect shows it."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    imports_s: float = 0.0  # seconds of the run that went into loading libraries

    def as_text(self) -> str:
        """The table in aligned columns."""
        if not self.rows:
            return self.title
        columns = list(self.rows[0])
        cells = [columns] + [[str(row.get(column, "")) for column in columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([self.title, *(f"  {line}" for line in lines)])


def write_json(value: Any, path: Path) -> None:
    """Write a value as readable JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def fresh_folder(path: Path) -> None:
    """An empty folder: what an earlier run left there may have no owner any more."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def read_json(path: Path) -> Any:
    """Read JSON; a ``StageError`` that names the file when it is not there."""
    if not path.exists():
        raise StageError(f"{path} is not there; run the stage that makes it (dvc repro)")
    return json.loads(path.read_text())


def main(run: Callable[..., Summary]) -> None:
    """Run a stage from the command line: its arguments are the stage's; a known error ends with one message.

    The exit code is ``HOPELESS`` where trying again cannot help, 1 where it might. Other arguments than the stage's, or
    ``--help``, show how it is called. Where ``FERFLOW_RESULT`` names a file, the summary and the seconds of work (without
    imports) go there too.
    """
    started = perf_counter()
    given, names = sys.argv[1:], [name.upper() for name in signature(run).parameters]
    if given[:1] in (["--help"], ["-h"]) or len(given) != len(names):
        asked = given[:1] in (["--help"], ["-h"])
        print(
            f"usage: {' '.join(['python -m', f'ferflow.stages.{Path(sys.argv[0]).stem}', *names])}\n\n{getdoc(run)}",
            file=sys.stdout if asked else sys.stderr,
        )
        sys.exit(0 if asked else HOPELESS)
    try:
        summary = run(*given)
    except (StageError, ArithmeticError, MemoryError, ValueError, KeyError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)
        sys.exit(1 if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) else HOPELESS)
    print(summary.as_text(), flush=True)
    if result := os.environ.get("FERFLOW_RESULT"):
        work_s = perf_counter() - started - summary.imports_s
        write_json({"title": summary.title, "rows": summary.rows, "work_s": work_s}, Path(result))
