"""MLflow: runs, the model registry, aliases. The only importer of mlflow.

Everything here can be done twice: a release that MLflow knows already (by the hash of its file) is found again
and not written a second time, because DVC may restore a stage's files without running it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

CHAMPION, CHALLENGER = "champion", "challenger"
_HASH_TAG = "ferflow.release"


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
) -> Registration:
    """One parent run with a child run a member, and the release as a version of ``model``.

    The first version becomes ``champion``, a later one ``challenger``. Raises ``MlflowException`` when the
    tracking server cannot be reached.
    """
    client = MlflowClient()
    if (known := _known_version(client, model, release_hash)) is not None:
        return _registration(client, model, known, created=False)
    mlflow.set_experiment(experiment)
    with _quiet(), mlflow.start_run(run_name=f"pipeline {release_hash[:8]}", tags={**tags, _HASH_TAG: release_hash}) as run:
        mlflow.log_metrics(_finite(metrics))
        for path in files:
            mlflow.log_artifact(str(path))
        for member in members:
            _log_member(client, member)
        version = _log_version(onnx_path, model, {**tags, _HASH_TAG: release_hash}, input_example)
    alias = CHALLENGER if _champion_version(client, model) else CHAMPION
    client.set_registered_model_alias(model, alias, str(version))
    return Registration(model, version, alias, run.info.run_id, created=True)


def _log_member(client: MlflowClient, member: MemberRun) -> None:
    with mlflow.start_run(run_name=member.name, nested=True, tags={"member": member.name}) as run:
        metrics = [
            Metric(name, value, 0, int(row["epoch"]))
            for row in member.history
            for name, value in _finite(row).items()
            if name != "epoch"
        ]
        settings = [Param(name, str(value)) for name, value in member.settings.items()]
        client.log_batch(run.info.run_id, metrics=metrics, params=settings)
        mlflow.log_metrics(_finite(member.metrics))
        for path in member.files:
            mlflow.log_artifact(str(path))


def _log_version(onnx_path: Path, model: str, tags: dict[str, str], input_example: Any) -> int:
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
        registered_model_name=model,
    )
    version = int(info.registered_model_version)
    client = MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(model, str(version), key, value)
    return version


def champion_model(model: str) -> tuple[Path, int] | None:
    """The champion's ONNX file (a local copy) and version; None when nothing is registered or no server answers."""
    client = MlflowClient()
    try:
        version = _champion_version(client, model)
        if version is None:
            return None
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}@{CHAMPION}"))
    except MlflowException:
        return None
    found = sorted(folder.rglob("*.onnx"))
    return (found[0], version) if found else None


def has_store() -> bool:
    """Whether there is a tracking store to ask: a configured address, or MLflow's default file in this folder."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path("mlflow.db").exists()


def _known_version(client: MlflowClient, model: str, release_hash: str) -> int | None:
    found = client.search_model_versions(f"name = '{model}' and tag.`{_HASH_TAG}` = '{release_hash}'")
    return max((int(version.version) for version in found), default=None)


def _champion_version(client: MlflowClient, model: str) -> int | None:
    try:
        return int(client.get_model_version_by_alias(model, CHAMPION).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _registration(client: MlflowClient, model: str, version: int, *, created: bool) -> Registration:
    found = client.get_model_version(model, str(version))
    return Registration(model, version, ", ".join(found.aliases), str(found.run_id), created)


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
