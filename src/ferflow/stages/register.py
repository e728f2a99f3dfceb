"""Stage register: one MLflow run a member under a parent run, and the release as a version in the registry.

It computes no figure, and MLflow is known to ``tracking`` alone.
"""

import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from ferflow import params, tracking
from ferflow.faces import load_faces
from ferflow.frozen import TEST_FACES, fingerprint
from ferflow.stages import (
    ABLATION,
    AXES,
    COST,
    DATA_REPORTS,
    ENSEMBLE,
    EVALUATION,
    HISTORIES,
    MANIFEST,
    MEMBERS,
    METRICS,
    MODEL_CARD,
    PAGE,
    PLOTS,
    REGISTRATION,
    RELEASE,
    REPORTS,
    ROBUSTNESS,
    SPLITS,
    STUDENTS,
    Summary,
    main,
    read_json,
    write_json,
)  # fmt: skip
from ferflow.tables import load_labels

_FILES = (METRICS, ABLATION, ABLATION.with_suffix(".md"), RELEASE / "parity.json", DATA_REPORTS / "validation.md")
_PICTURES, _TABLES = ("evaluation", "robustness", "explanations"), (EVALUATION, AXES, ROBUSTNESS)


def run() -> Summary:
    """Register ``models/release`` (once, however often it is called) and write ``reports/registration.json``."""
    settings = params.load()
    metrics, cost, released = read_json(METRICS), read_json(COST), settings.export.model
    release = RELEASE / "model.onnx"
    card = read_json(RELEASE / "card.json")
    labels = load_labels(MANIFEST, SPLITS)
    example = load_faces(MANIFEST, labels, ("test",), card["input_size"], "rgb", {})["test"].pixels[:2]
    members = [
        tracking.MemberRun(
            name=name,
            settings=flat_settings(member.model_dump()) | {"seed": settings.seed, "dataset": settings.dataset.source},
            history=read_history(HISTORIES / f"{name}.csv"),
            metrics=headline(metrics[name], cost[name]) | flatten(metrics[name]),
            files=[
                (MEMBERS if name in settings.members else STUDENTS) / name / "card.json",
                *sorted((PLOTS / "evaluation" / name).glob("*.png")),
                *(PLOTS / "explanations").glob(f"{name}.png"),
            ],
        )
        for name, member in settings.networks.items()
    ]
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    members.append(  # beside the members on the compare page
        tracking.MemberRun(
            name="ensemble",
            settings={"backbone": "ensemble"} | {f"way.{task}": way for task, way in ensemble["chosen"].items()},
            history=[],
            metrics=headline(metrics["ensemble"], cost["ensemble"]) | flatten(metrics["ensemble"]),
            files=[ENSEMBLE / "ensemble.json", *sorted((PLOTS / "evaluation/ensemble").glob("*.png"))],
        )
    )
    result = tracking.register_release(
        release,
        release_hash=sha256(release.read_bytes()).hexdigest(),
        experiment=settings.register_.experiment,
        model=settings.register_.model,
        members=members,
        metrics=headline(metrics[released], cost[released]) | flatten(metrics[released]),
        tags={
            "code": code_version(),
            "data": file_hash(MANIFEST),
            "dataset": settings.dataset.source,
            TEST_FACES: fingerprint(MANIFEST, SPLITS),
        },
        input_example=example,
        files=[
            PAGE,
            MODEL_CARD,
            RELEASE / tracking.REFERENCE,
            *_FILES,
            *(path for folder in _PICTURES for path in sorted((PLOTS / folder).glob("*.png"))),
        ],
        tables={
            str(path.relative_to(REPORTS).with_suffix("")): path
            for path in (ABLATION, *(table for folder in _TABLES for table in sorted(folder.glob("*.csv"))))
            if path.stat().st_size > 1
        },
    )
    write_json(vars(result), REGISTRATION)
    return Summary("register", [vars(result)])


def read_history(path: Path) -> list[dict[str, float]]:
    """A row of figures an epoch, named so that MLflow groups them under ``training``."""
    rows = pd.read_csv(path).to_dict("records")
    return [{name if name == "epoch" else f"training.{name}": float(value) for name, value in row.items()} for row in rows]


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a mapping each by itself (``options.width``), so that every axis of an ablation is a column."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def headline(figures: dict[str, Any], cost: dict[str, float]) -> dict[str, float]:
    """The expression's test figures, and the cost, under short names: MLflow's compare page shows the first of all names."""
    shown: dict[str, float] = {}
    for side, suffix in (("test", ""), ("test_leak_free", "_leak_free")):
        found = figures[side].get("expression", {})
        shown |= {f"{name}{suffix}": found[name] for name in ("accuracy", "macro_f1") if found.get(name) is not None}
    return shown | cost


def flatten(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures as MLflow's flat names: ``{"test": {"expression": {"accuracy": 1}}}`` to ``test.expression.accuracy``."""
    flat: dict[str, float] = {}
    for key, value in figures.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        elif value is not None:
            flat[name] = float(value)
    return flat


def code_version() -> str:
    """The git commit, with ``+changes`` where files differ from it; ``unknown`` outside git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changes.strip() else "")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    main(run)
