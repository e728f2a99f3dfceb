"""MLflow: runs, the model registry, aliases. The only importer of mlflow.

Everything here can be done twice, also after it failed half-way: a version that MLflow has already (by the hash
of its file) is found again and completed, and so is a run (by that hash and the figures it holds), because a
stage is retried, and because DVC may restore its files without running it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked the user

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

TrackingError = MlflowException
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
_MOVE_TAG = "ferflow.move."  # of the registered model: aliases keep no history, so every move is written down
_HASH_TAG, _FIGURES_TAG = "ferflow.release", "ferflow.figures"
_COMPLETE_TAG = "ferflow.complete"


@dataclass(frozen=True)
class MemberRun:
    """What MLflow remembers of a member: settings, a row of figures an epoch, final figures, files to keep."""

    name: str
    settings: dict[str, Any]
    history: list[dict[str, float]]
    metrics: dict[str, float]
    files: list[Path]


@dataclass(frozen=True)
class Registration:
    """Where a release stands in MLflow's registry; ``created`` is False when it was there already."""

    model: str
    version: int
    alias: str
    run_id: str
    created: bool


def register_release(
    onnx_path: Path,
    *,
    release_hash: str,
    experiment: str,
    model: str,
    members: list[MemberRun],
    metrics: dict[str, float],
    tags: dict[str, str],
    input_example: Any,
    files: list[Path],
    tables: dict[str, Path],
) -> Registration:
    """One parent run with a child run a member, and the release as a version of ``model``.

    ``tables`` are CSV files by name: MLflow's pages show them as tables.
    The first version becomes ``champion``, a later one ``challenger``. Raises ``MlflowException`` when the
    tracking server cannot be reached.
    """
    client = MlflowClient()
    tags = {**tags, _HASH_TAG: release_hash, _FIGURES_TAG: _fingerprint(members, metrics)}
    version = _known_version(client, model, release_hash)
    created = version is None
    mlflow.set_experiment(experiment)
    if created or not _known_run(experiment, tags):
        with _quiet(), mlflow.start_run(run_name=f"pipeline {release_hash[:8]}", tags=tags):
            mlflow.log_metrics(_finite(metrics))
            for path in files:
                mlflow.log_artifact(str(path))
            for name, path in tables.items():
                mlflow.log_table(pd.read_csv(path), f"tables/{name}.json")
            for member in members:
                _log_member(client, member)
            if version is None:
                version = _log_version(client, onnx_path, model, tags, input_example)
            mlflow.set_tag(_COMPLETE_TAG, "true")
    assert version is not None
    champion = _champion_version(client, model)
    if champion is None:
        client.set_registered_model_alias(model, CHAMPION, str(version))
    elif version > champion and version == max(_versions(client, model)):
        client.set_registered_model_alias(model, CHALLENGER, str(version))
    found = client.get_model_version(model, str(version))
    return Registration(model, version, ", ".join(sorted(found.aliases)), str(found.run_id), created)


def record_trial(experiment: str, search: str, trial: MemberRun) -> None:
    """A child run for one trial of a hyperparameter search, under the search's own run, which is made for the first."""
    client = MlflowClient()
    mlflow.set_experiment(experiment)
    found = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.search = '{search}'", output_format="list", max_results=1
    )
    with _quiet(), mlflow.start_run(found[0].info.run_id if found else None, run_name=search, tags={"search": search}):
        _log_member(client, trial)


def _fingerprint(members: list[MemberRun], metrics: dict[str, float]) -> str:
    """A short name of everything that a parent run and its children say; NaN included."""
    said = [metrics, *([member.name, member.settings, member.history, member.metrics] for member in members)]
    return sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _known_run(experiment: str, tags: dict[str, str]) -> bool:
    """Whether a complete run holds these figures of this release."""
    wanted = {name: tags[name] for name in (_HASH_TAG, _FIGURES_TAG)} | {_COMPLETE_TAG: "true"}
    words = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    return bool(mlflow.search_runs(experiment_names=[experiment], filter_string=words, output_format="list", max_results=1))


def _log_member(client: MlflowClient, member: MemberRun) -> None:
    with mlflow.start_run(run_name=member.name, nested=True, tags={"member": member.name}) as run:
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, int(row["epoch"]))
            for row in member.history
            for name, value in _finite(row).items()
            if name != "epoch"
        ]
        settings = [Param(name, str(value)) for name, value in member.settings.items()]
        mlflow.log_metrics(_finite(member.metrics))  # first: its compare page draws what was logged first
        client.log_batch(run.info.run_id, metrics=metrics, params=settings)
        for path in member.files:
            mlflow.log_artifact(str(path))


def _log_version(client: MlflowClient, onnx_path: Path, model: str, tags: dict[str, str], input_example: Any) -> int:
    import numpy as np
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    network = onnx.load(onnx_path)
    widths = {output.name: output.type.tensor_type.shape.dim[1].dim_value for output in network.graph.output}
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("uint8"), (-1, *input_example.shape[1:]), "faces")]),
        Schema([TensorSpec(np.dtype("float32"), (-1, width), name) for name, width in widths.items()]),
    )
    info = mlflow.onnx.log_model(
        network,
        name="release",
        signature=signature,
        input_example={"faces": input_example},
        pip_requirements=["numpy", "onnxruntime"],
        save_as_external_data=False,
    )
    with suppress(MlflowException):  # it is there already
        client.create_registered_model(model)
    # With its tags at once: a version without the release's hash would never be found again.
    run = mlflow.active_run()
    made = client.create_model_version(
        model, info.model_uri, run_id=run.info.run_id if run else None, tags=tags, model_id=info.model_id
    )
    return int(made.version)


def champion_model(model: str) -> tuple[Path, int] | None:
    """The champion's ONNX file (a local copy) and version; None when no version has that alias.

    Raises ``MlflowException`` when the tracking server cannot be asked.
    """
    version = _champion_version(MlflowClient(), model)
    if version is None:
        return None
    return registered_file(f"models:/{model}@{CHAMPION}"), version


def registered_file(uri: str) -> Path:
    """The ONNX file (a local copy) of ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises ``LookupError`` when the registry has no such version, ``MlflowException`` when it cannot be asked.
    """
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise LookupError(f"MLflow's registry at {mlflow.get_tracking_uri()} has no {uri}: {error.message}") from error
        raise
    return next(iter(sorted(folder.rglob("*.onnx"))))


def promote(model: str, version: int | None = None, why: str = "by hand") -> tuple[int | None, int]:
    """Make a version (None: the challenger) the champion; gives the champion before and now.

    The one before stays at hand as ``previous``, and ``why`` is written down. Raises ``LookupError`` where there is no
    such version, no challenger, or the version is champion already.
    """
    client = MlflowClient()
    before = _champion_version(client, model)
    version = version or _version_of(client, model, CHALLENGER)
    if version is None:
        raise LookupError(f"{model} has no challenger: name a version, or register one ('dvc repro')")
    if version == before:
        raise LookupError(f"version {version} of {model} is the champion already")
    if version not in (known := _versions(client, model)):
        raise LookupError(f"{model} has no version {version}; it has {', '.join(map(str, known)) or 'none'}")
    _move(client, model, before, version, why)
    if _version_of(client, model, CHALLENGER) == version:
        client.delete_registered_model_alias(model, CHALLENGER)
    return before, version


def rollback(model: str, why: str = "rollback") -> tuple[int | None, int]:
    """Make the version that was champion before champion again; gives the champion before and now.

    Raises ``LookupError`` where none was. A second rollback goes forward again.
    """
    client = MlflowClient()
    before, version = _champion_version(client, model), _version_of(client, model, PREVIOUS)
    if version is None:
        raise LookupError(f"{model} had no champion before this one: there is nothing to go back to")
    _move(client, model, before, version, why)
    return before, version


def moves(model: str) -> list[dict[str, Any]]:
    """Every promotion and rollback, oldest first: ``time`` (UTC), ``before``, ``now``, ``why``."""
    try:
        tags = MlflowClient().get_registered_model(model).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    return [json.loads(value) for name, value in sorted(tags.items()) if name.startswith(_MOVE_TAG)]


def _move(client: MlflowClient, model: str, before: int | None, version: int, why: str) -> None:
    client.set_registered_model_alias(model, CHAMPION, str(version))
    if before is not None:
        client.set_registered_model_alias(model, PREVIOUS, str(before))
    now = datetime.now(UTC)
    said = {"time": now.isoformat(timespec="seconds"), "before": before, "now": version, "why": why[:500]}
    client.set_registered_model_tag(model, f"{_MOVE_TAG}{now.timestamp():.6f}", json.dumps(said))


def has_store() -> bool:
    """Whether there is a tracking store to ask: a configured address, or MLflow's default file in this folder."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path("mlflow.db").exists()


def _known_version(client: MlflowClient, model: str, release_hash: str) -> int | None:
    found = client.search_model_versions(f"name = '{model}' and tag.`{_HASH_TAG}` = '{release_hash}'")
    return max((int(version.version) for version in found), default=None)


def _versions(client: MlflowClient, model: str) -> list[int]:
    return sorted(int(version.version) for version in client.search_model_versions(f"name = '{model}'"))


def _champion_version(client: MlflowClient, model: str) -> int | None:
    return _version_of(client, model, CHAMPION)


def _version_of(client: MlflowClient, model: str, alias: str) -> int | None:
    try:
        return int(client.get_model_version_by_alias(model, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value == value and abs(value) != float("inf")}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide MLflow's progress bars and hints while a run is written."""
    before = os.environ.get("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"]
        else:
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = before
