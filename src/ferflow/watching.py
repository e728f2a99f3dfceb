"""One look at the live predictions, from the log to the report: which rows, which reference, and what is kept of the judgement.

Its steps are functions, which a flow can run as tasks. It owns ``reports/drift``. It knows no Prefect; what is drift says
``monitoring``.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from ferflow import livelog
from ferflow.livelog import Window
from ferflow.monitoring import Drift, MonitorError, compare, report
from ferflow.params import Params
from ferflow.vocabulary import LIVE_COLUMNS
from ferflow.whole import write_whole

log = logging.getLogger("ferflow.watching")
FOLDER = Path("reports/drift")
LATEST = FOLDER / "latest.html"  # the page, and .json: the judgement
TOLD = FOLDER / "told.json"  # the windows whose drift was announced
RELEASE = Path("models/release")
_REFERENCE = "reference.parquet"
_STAMP = "%Y-%m-%dT%H-%M-%SZ"
_NAMED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")
_LEFT_OUT = {"request_id", "member", "latency_ms", "id"}  # columns that nobody here looks at
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class NothingSeenError(MonitorError):
    """A window without a prediction: nothing to judge, and nothing wrong."""


@dataclass(frozen=True)
class Seen:
    """A window of the log: counts of all its rows, a sample of those that the model ``version`` answered, and how many others."""

    since: datetime
    until: datetime
    version: str
    window: Window
    rows: pd.DataFrame
    others: int


def when(text: str, now: datetime) -> datetime:
    """A time from words: ``24h``, ``30m``, ``7d`` or ``2w`` before ``now``, or an ISO time (UTC where it names no zone)."""
    if found := _SPAN.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[found[2]]: float(found[1])})
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise MonitorError(f"{text!r} is no time: write 30m, 24h, 7d, or 2026-03-01T12:00") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def span(since: str | None, until: str | None, hours: float, now: datetime | None = None) -> tuple[datetime, datetime]:
    """Where a window begins and ends; without words: the last ``hours``. ``since`` as a span counts back from ``until``.

    It ends now at the latest: a later end would be taken for a look that the next ones need not repeat.
    """
    now = now or datetime.now(UTC)
    end = min(when(until, now), now) if until else now
    begin = when(since, end) if since else end - timedelta(hours=hours)
    if begin >= end:
        raise MonitorError(f"the window begins at {begin:%Y-%m-%d %H:%M} and ends before, at {end:%Y-%m-%d %H:%M}")
    return begin, end


def at_once(function: Callable[..., Any], *arguments: Any, outside: bool = False) -> Any:
    """Call a step; ``outside`` says that it asks a database or a tracking server."""
    return function(*arguments)


def steps(
    settings: Params,
    since: str | None,
    until: str | None,
    url: str | None,
    reference: Path | None,
    do: Callable[..., Any] = at_once,
) -> tuple[Drift, Path, str]:
    """One look from the log to the report: the judgement, its folder, and MLflow's run ("" where there is none).

    ``do`` calls every step; a flow makes tasks of them. Raises as the steps do, but not where MLflow fails.
    """
    begin, end = span(since, until, settings.monitor.window_h)
    seen = do(look, settings, begin, end, url, outside=True)
    table = do(reference_of, settings, seen.version, reference, outside=True)
    drift = do(judge, settings, seen, table)
    folder = do(write, settings, drift, seen, table)
    try:
        run = do(record, settings, drift, folder, outside=True)
    except Exception as error:  # the judgement is made and lies on disk
        log.warning("MLflow does not have it: %s", error)
        run = ""
    return drift, folder, run


def in_words(drift: Drift, folder: Path) -> list[str]:
    """What was found, as lines for a person."""
    found = summary(drift)
    since, until = (str(found[name])[:16] for name in ("since", "until"))
    lines = [
        f"{found['verdict']}: {found['words']}",
        f"  {found['faces']:,} faces of {found['model_version']} from {since} to {until} UTC",
    ]
    if accuracy := found["accuracy"]:
        value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
        lines.append(f"  live accuracy {value:.0f} % [{low:.0f}, {high:.0f}]")
    return [*lines, f"  {folder}/index.html"]


def look(settings: Params, since: datetime, until: datetime, url: str | None = None) -> Seen:
    """What the model that answered most saw in a window.

    ``MonitorError`` where predictions are not logged, ``NothingSeenError`` where the window is empty; ``LogError`` where the log
    cannot be reached.
    """
    address = settings.serve.log if url is None else url
    if not address:
        raise MonitorError("predictions are not logged: serve.log of params.yaml is empty")
    window = livelog.window(address, since, until)
    columns = [name for name in (*LIVE_COLUMNS, "label") if name not in _LEFT_OUT]
    rows = livelog.read(address, since, until, settings.monitor.max_rows, columns)
    if not len(rows):
        times = f"from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        raise NothingSeenError(f"the log has no prediction {times}: there is nothing to judge; --since looks further back")
    version = next(iter(window.versions))
    mine = rows[rows["model_version"].fillna("") == version].reset_index(drop=True)
    own = window.of(version)
    return Seen(since, until, version, own, mine, window.total.rows - own.total.rows)


def reference_of(settings: Params, version: str, file: Path | None = None) -> pd.DataFrame:
    """What a model said of its own test faces: the table that travels with the release.

    ``version`` as the log has it: ``NAME/NUMBER`` of MLflow's registry, ``models/release``, ``starter``, ``file NAME``;
    ``file`` in place of all that. Raises ``MonitorError`` where there is none: any other model's would be the wrong one.
    """
    path = file or _reference_file(settings, version)
    if path is None or not path.is_file():
        raise MonitorError(
            f"{path or version}: there is no {_REFERENCE}; the stages export and register keep it ('dvc repro'), or name one: "
            "--reference FILE"
        )
    table = pd.read_parquet(path)
    if "split" in table and set(table["split"]) - {"test"}:
        raise MonitorError(f"{path}: a reference holds test faces alone; a model is too sure of the faces it has learned")
    return table


def _reference_file(settings: Params, version: str) -> Path | None:
    name, _, number = version.rpartition("/")
    if version == str(RELEASE):
        return RELEASE / _REFERENCE
    if version == "starter":
        return Path(__file__).parent / "starter" / _REFERENCE
    if version.startswith("file ") and (model := os.environ.get("FERFLOW_MODEL")):
        place = Path(model)
        return (place if place.is_dir() else place.parent) / _REFERENCE
    if name != settings.register_.model or not number.isdigit():
        return None
    from ferflow import tracking  # MLflow takes seconds to load

    if not tracking.has_store():
        return None
    try:
        if (found := tracking.reference_file(name, int(number))) is not None:
            return found
        tags = tracking.version_tags(name, int(number))
    except tracking.TrackingError as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise MonitorError(f"MLflow's registry cannot give the reference of {version}: {error}") from error
    model_file = RELEASE / "model.onnx"
    same = model_file.is_file() and tags.get("ferflow.release") == sha256(model_file.read_bytes()).hexdigest()
    return RELEASE / _REFERENCE if same else None


def judge(settings: Params, seen: Seen, reference: pd.DataFrame) -> Drift:
    """The judgement of a window, with where it comes from."""
    drift = compare(reference, seen.rows, settings.monitor, seen.window)
    window = {"since": seen.since.isoformat(), "until": seen.until.isoformat(), "model_version": seen.version}
    return replace(drift, window=window | {"other_versions": seen.others})


def write(settings: Params, drift: Drift, seen: Seen, reference: pd.DataFrame, now: datetime | None = None) -> Path:
    """The folder ``reports/drift/<UTC time>`` with page, Evidently's report and JSON, and copies as ``latest``; old ones go."""
    from ferflow import driftpage

    folder = _fresh(now or datetime.now(UTC))
    detail = any(row.statistic not in ("share", "AUC") for row in drift.rows if row.value is not None)
    if detail:
        html, found = report(reference, seen.rows, drift)
        (folder / "report.html").write_text(html)
        (folder / "evidently.json").write_text(json.dumps(found, default=str))
    page = driftpage.page(drift, reference, seen.rows, "report.html" if detail else "")
    said = json.dumps(drift.as_json() | {"report": str(folder)}, indent=2, default=_plain) + "\n"
    (folder / "index.html").write_text(page)
    (folder / "drift.json").write_text(said)
    write_whole(LATEST, page.replace('href="report.html"', f'href="{folder.name}/report.html"'))
    write_whole(LATEST.with_suffix(".json"), said)
    reports = sorted(path for path in FOLDER.iterdir() if path.is_dir() and _NAMED.fullmatch(path.name))
    for old in reports[: -settings.monitor.keep_reports]:
        shutil.rmtree(old)
    return folder


def _fresh(now: datetime) -> Path:
    name, number = now.astimezone(UTC).strftime(_STAMP), 1
    folder = FOLDER / name
    FOLDER.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = FOLDER / f"{name}-{number}"
        else:
            return folder


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def record(settings: Params, drift: Drift, folder: Path) -> str:
    """A run ``drift <time>`` in MLflow with the figures and the files; gives its id, "" where there is no MLflow."""
    if find_spec("mlflow") is None:
        return ""
    from ferflow import tracking

    if not tracking.has_store():
        return ""
    accuracy = drift.accuracy
    counts = drift.counts
    metrics = {"drift": float(drift.verdict == "drift"), "drifted_features": float(len(drift.drifted))}
    metrics |= {"faces": float(counts.faces)}
    metrics |= {f"effect.{row.feature.replace(' ', '_')}": row.value for row in drift.rows if row.value is not None}
    metrics |= {f"limit.{row.feature.replace(' ', '_')}": row.threshold for row in drift.rows if row.threshold is not None}
    if counts.faces:
        metrics["uncertain"] = counts.uncertain / counts.faces
    if accuracy is not None:
        metrics |= {"accuracy": accuracy.value, "accuracy_low": accuracy.low, "accuracy_high": accuracy.high}
    tags = {"verdict": drift.verdict, "words": drift.words, **{name: str(value) for name, value in drift.window.items()}}
    return tracking.record_drift(f"{settings.register_.experiment}-drift", f"drift {folder.name}", metrics, tags, folder)


def tell(drift: Drift, send: Callable[[dict[str, Any]], bool]) -> bool:
    """Announce drift once: not for a window that overlaps one of the same model that was announced. Whether it was sent.

    ``send`` gets the summary, and says whether it arrived: what did not is announced by the next look.
    """
    if drift.verdict != "drift":
        return False
    told = json.loads(TOLD.read_text()) if TOLD.exists() else []
    window = {name: drift.window[name] for name in ("since", "until", "model_version")}
    begin, end = (datetime.fromisoformat(window[name]) for name in ("since", "until"))
    for one in told:
        same = one["model_version"] == window["model_version"]
        if same and begin < datetime.fromisoformat(one["until"]) and datetime.fromisoformat(one["since"]) < end:
            return False
    if not send(summary(drift)):
        return False
    TOLD.parent.mkdir(parents=True, exist_ok=True)
    write_whole(TOLD, json.dumps([*told, window][-1000:], indent=2) + "\n")
    return True


def summary(drift: Drift) -> dict[str, Any]:
    """What a message about a judgement carries."""
    accuracy = drift.accuracy
    return {
        "verdict": drift.verdict,
        "words": drift.words,
        "drifted": drift.drifted,
        "faces": drift.counts.faces,
        "accuracy": None if accuracy is None else {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        **drift.window,
    }
