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
from uuid import uuid4

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked the user

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

TrackingError = MlflowException
ALIASES = CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
_MOVE_TAG = "ferflow.move."  # of the registered model: aliases keep no history, so every move is written down
REFERENCE = "reference.parquet"  # a release's predictions on its own test faces, among the files of its run
_HASH_TAG, _FIGURES_TAG = "ferflow.release", "ferflow.figures"
_COMPLETE_TAG = "ferflow.complete"
_LOCK, _LOCK_OLD_S = ".moving", 60.0  # the name of a lock, and the age at which its owner is dead: a move takes a second


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
    _set_experiment(experiment)
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
    _set_experiment(experiment)
    found = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.search = '{search}'", output_format="list", max_results=1
    )
    with _quiet(), mlflow.start_run(found[0].info.run_id if found else None, run_name=search, tags={"search": search}):
        _log_member(client, trial)


def _set_experiment(name: str) -> None:
    """Make it the current one; a new one in a database keeps artifacts where ``MLFLOW_DEFAULT_ARTIFACT_ROOT`` says.

    That variable is MLflow's server's own, which heeds it by itself; a client that writes to a database does not.
    """
    root, store = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "").rstrip("/"), mlflow.get_tracking_uri()
    if root and not store.startswith("http") and mlflow.get_experiment_by_name(name) is None:
        with suppress(MlflowException):  # another process made it meanwhile
            mlflow.create_experiment(name, artifact_location=f"{root}/{name}")
    mlflow.set_experiment(name)


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
    found = sorted(folder.rglob("*.onnx"))
    if not found:
        raise LookupError(f"{uri} in MLflow's registry holds no ONNX file")
    return found[0]


def aliases(model: str) -> dict[str, int]:
    """The versions that have an alias; none where nothing is registered. One question: a service asks it every second."""
    try:
        return {alias: int(version) for alias, version in MlflowClient().get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def version_tags(model: str, version: int) -> dict[str, str]:
    """What a version says of itself: ``code`` (git commit), ``data`` (SHA-256 of the manifest), ``dataset``."""
    return dict(MlflowClient().get_model_version(model, str(version)).tags)


def reference_file(model: str, version: int) -> Path | None:
    """The reference of a version (a local copy): what it said of its test faces; None where none was kept, or no such version."""
    try:
        run = MlflowClient().get_model_version(model, str(version)).run_id
        with _quiet():
            return Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=REFERENCE))
    except OSError:
        return None
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def record_drift(experiment: str, name: str, metrics: dict[str, float], tags: dict[str, str], folder: Path) -> str:
    """A run for one look at the live predictions, with the files of ``folder``; gives its id. Once for a name."""
    _set_experiment(experiment)
    found = mlflow.search_runs(
        experiment_names=[experiment], filter_string=f"tags.`{_COMPLETE_TAG}` = '{name}'", output_format="list", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    with _quiet(), mlflow.start_run(run_name=name, tags={key: value[:4000] for key, value in tags.items()}) as run:
        mlflow.log_metrics(_finite(metrics))
        mlflow.log_artifacts(str(folder))
        mlflow.set_tag(_COMPLETE_TAG, name)
        return str(run.info.run_id)


class AlreadyChampionError(LookupError):
    """The version is champion already: nothing was moved."""


class ChampionChangedError(LookupError):
    """The champion is not the one any more that a version was compared with: nothing was moved."""


def promote(
    model: str, version: int | None = None, why: str = "by hand", *, compared_with: int | None = None
) -> tuple[int | None, int]:
    """Make a version (None: the challenger) the champion; gives the champion before and now.

    The one before stays at hand as ``previous``, and ``why`` is written down. ``compared_with``: the champion that a gate
    judged it against. Raises ``ChampionChangedError`` where another one is champion by now, so that of two gates at once one
    alone promotes, and ``LookupError`` where there is no such version, no challenger, or the version is champion already.
    """
    client = MlflowClient()
    with _alone(client, model):
        before = _champion_version(client, model)
        version = version or _version_of(client, model, CHALLENGER)
        if version is None:
            raise LookupError(f"{model} has no challenger: name a version, or register one ('dvc repro')")
        if version == before:
            raise AlreadyChampionError(f"version {version} of {model} is the champion already")
        if compared_with is not None and before != compared_with:
            raise ChampionChangedError(
                f"version {version} of {model} was compared with version {compared_with}, but by now version {before} is "
                "champion: judge it again"
            )
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
    with _alone(client, model):
        before, version = _champion_version(client, model), _version_of(client, model, PREVIOUS)
        if version is None or version == before:
            raise LookupError(f"{model} had no champion before this one: there is nothing to go back to")
        _move(client, model, before, version, why)
    return before, version


@contextmanager
def _alone(client: MlflowClient, model: str, wait_s: float = 90.0) -> Iterator[None]:
    """Nobody else moves the model's aliases meanwhile, on whatever machine.

    MLflow can set an alias or a tag, but cannot compare first. What it can do once only, in every kind of store and through
    every server, is to make a registered model of a name: that is the lock, and it is there for as long as a move takes. One
    that is older than a minute was left by a process that died; it is renamed, which one process alone can do, and removed.
    """
    name, token, until = f"{model}{_LOCK}", uuid4().hex, time.monotonic() + wait_s
    while True:
        try:
            client.create_registered_model(name, tags={"token": token}, description="a move of an alias is going on")
            break
        except MlflowException as error:  # it is there; or the database is busy, or it went as we looked
            if time.monotonic() > until:
                raise LookupError(
                    f"another process moves the aliases of {model}, or did not end well: {error.message}"
                ) from error
            _break_old(client, name)
            time.sleep(0.05)
    try:
        if client.get_registered_model(name).tags.get("token") != token:
            raise LookupError(f"another process took over the lock of {model}; try again")
        yield
    finally:
        with suppress(MlflowException):
            if client.get_registered_model(name).tags.get("token") == token:
                client.delete_registered_model(name)


def _break_old(client: MlflowClient, name: str) -> None:
    with suppress(MlflowException):
        if time.time() - client.get_registered_model(name).creation_timestamp / 1000 > _LOCK_OLD_S:
            client.rename_registered_model(name, broken := f"{name}.{uuid4().hex}")
            client.delete_registered_model(broken)


def record_decision(model: str, version: int, tags: dict[str, str], files: dict[str, str], table: dict[str, list[str]]) -> None:
    """Keep what a gate decided of a version: tags on it; texts by file name below ``gate/``, and a table, in its run."""
    client = MlflowClient()
    for name, value in tags.items():
        client.set_model_version_tag(model, str(version), name, value[:2000])
    if run_id := client.get_model_version(model, str(version)).run_id:
        with _quiet():
            for name, text in files.items():
                client.log_text(run_id, text, f"gate/{name}")
            client.log_table(run_id, table, f"tables/gate/{time.time_ns()}.json")


def decision_text(model: str, version: int | None = None, name: str = "decision.json") -> str:
    """The text that ``record_decision`` kept of a version (None: of the newest that was judged).

    Raises ``LookupError`` where no version was judged.
    """
    client = MlflowClient()
    found = {int(one.version): one for one in client.search_model_versions(f"name = '{model}'") if "ferflow.gate" in one.tags}
    version = version or max(found, key=lambda one: found[one].tags.get("ferflow.gate.time", ""), default=None)
    if version not in found:
        raise LookupError(
            f"{model} has no version that a gate has judged" if version is None else f"no gate has judged {version}"
        )
    with _quiet():
        return str(mlflow.artifacts.load_text(f"runs:/{found[version].run_id}/gate/{name}"))


def drop_challenger(model: str, version: int, before: int | None = None) -> None:
    """Take the alias ``challenger`` from a version that was refused, or never judged, so that nobody promotes it by accident.

    ``before``: the version that has it then, if it is still there and not champion.
    """
    client = MlflowClient()
    if _version_of(client, model, CHALLENGER) != version:
        return
    if before in _versions(client, model) and before != _champion_version(client, model):
        client.set_registered_model_alias(model, CHALLENGER, str(before))
    else:
        client.delete_registered_model_alias(model, CHALLENGER)


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
    if before is not None:  # first: killed between the two, nothing has moved, and no rollback goes to a version before that
        client.set_registered_model_alias(model, PREVIOUS, str(before))
    client.set_registered_model_alias(model, CHAMPION, str(version))
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
