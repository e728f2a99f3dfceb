"""The flow that watches the live predictions: window, comparison, report, artifact, MLflow, and an event where there is drift.

    python -m flows.monitoring [--since 24h] [--until TIME] [--url ADDRESS] [--reference FILE]     once, by hand

Without a Prefect server it does the same, and is not recorded; an event that cannot be sent is sent by the next look. Order,
retries and records are here, what is drift is not.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flows import prefect_defaults  # noqa: F401
from flows.companion import answers, api_url

if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # what went wrong is said in one line, by main

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, State

from ferflow import params, watching
from ferflow.livelog import LogError
from ferflow.monitoring import Drift, MonitorError
from ferflow.params import Params
from ferflow.watching import NothingSeenError
from flows.reviving import mark

EVENT = "ferflow.drift.detected"
_NOTHING = "NothingSeen"


def resource_of(settings: Params) -> str:
    """The resource whose events these are: the registered model."""
    return f"ferflow.model.{settings.register_.model}"


def _may_help(_: Any, __: Any, state: Any) -> bool:
    """Whether to try again: not where the log or the reference has nothing to judge."""
    return not isinstance(state.result(raise_on_failure=False), MonitorError)


def _as_task(function: Callable[..., Any], *arguments: Any, outside: bool = False) -> Any:
    """Call a function as a task of the running flow; again, where it asks a database or a tracking server.

    The arguments are no parameters of the task: Prefect walks through those, tables and all, and takes the settings' field
    ``keys`` for the method of a mapping.
    """

    def call() -> Any:
        try:
            return function(*arguments)
        except NothingSeenError as error:
            return error  # no failure of the task

    how: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [2, 10], "retry_condition_fn": _may_help} if outside else {}
    found = task(call, name=function.__name__, cache_policy=NO_CACHE, **how)()
    if isinstance(found, NothingSeenError):
        raise found
    return found


@flow(name="monitoring", flow_run_name="monitoring")
def monitoring(
    since: str | None = None, until: str | None = None, url: str | None = None, reference: Path | None = None
) -> dict[str, Any] | State[Any]:
    """Compare the live predictions of a window with what the model said of its own test faces.

    A window without predictions ends as ``NothingSeen``, which is no failure: at night nobody may ask.

    Args:
        since: where the window begins: 24h, 7d, or a time; empty: monitor.window_h of params.yaml
        until: where it ends; empty: now
        url: the log's address, if not serve.log of params.yaml
        reference: the reference's file, if not the one that travels with the release
    """
    mark()
    try:
        return _steps(since, until, url, reference, recorded=True)
    except NothingSeenError as error:
        return Completed(name=_NOTHING, message=str(error))


def _steps(since: str | None, until: str | None, url: str | None, reference: Path | None, recorded: bool) -> dict[str, Any]:
    """The same steps as tasks of a flow, or bare."""
    settings = params.load_or_packed()
    drift, folder, run = watching.steps(settings, since, until, url, reference, _as_task if recorded else watching.at_once)
    told = False
    if recorded:
        _as_task(publish, drift, folder)
        if url is None and reference is None:  # else somebody looks at something else than what is served
            told = _as_task(tell, settings, drift)
    lines = watching.in_words(drift, folder)
    return watching.summary(drift) | {"report": str(folder), "mlflow_run": run, "event": told, "lines": lines}


def publish(drift: Drift, folder: Path) -> None:
    """Artifacts on Prefect's page: the judgement as a table, and the way to the report."""
    lines = [f"**{drift.verdict}**: {drift.words}", "", "| feature | value | limit | |", "|---|---|---|---|"]
    for row in drift.rows:
        figures = "| – | – |" if row.value is None or row.threshold is None else f"| {row.value:.3f} | {row.threshold:.3f} |"
        lines.append(f"| {'**' + row.feature + '**' if row.drifted else row.feature} {figures} {row.words or row.why} |")
    create_markdown_artifact("\n".join(lines), key="drift", description=f"drift, {folder.name}")
    page = (folder / "index.html").resolve().as_uri()
    create_link_artifact(page, link_text=str(folder / "index.html"), key="drift-report", description=drift.words)


def tell(settings: Params, drift: Drift) -> bool:
    """Send the event, once a window; again where the retraining that it started found too little feedback, and there is more.

    It has left when this returns.
    """

    def send(payload: dict[str, Any]) -> bool:
        resource = {"prefect.resource.id": resource_of(settings), "prefect.resource.name": settings.register_.model}
        if emit_event(event=EVENT, resource=resource, payload=payload) is None:
            return False
        EventsWorker.instance().drain()
        return True

    told = watching.tell(drift, send)
    if told or drift.verdict != "drift" or find_spec("mlflow") is None:
        return told
    from ferflow import retraining  # MLflow takes seconds to load

    return retraining.enough_waits() and send(watching.summary(drift))


def run(
    since: str | None = None, until: str | None = None, url: str | None = None, reference: Path | None = None
) -> dict[str, Any]:
    """The flow, recorded where a Prefect server answers, else the same steps without it."""
    if not answers(f"{api_url()}/health"):
        print(f"no Prefect server answers at {api_url()}: this look is not recorded, and sends no event", file=sys.stderr)
        return _steps(since, until, url, reference, recorded=False)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # its thread costs a second a flow
        state: Any = monitoring(since, until, url, reference, return_state=True)
    if state.name == _NOTHING:
        raise NothingSeenError(state.message)
    found: dict[str, Any] = state.result()
    return found


def main() -> int:
    """Look once, and say in words what was found: 0, or 3 with ``--strict`` where it is drift; 2 where it cannot be judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--since", "--until", "--url"):
        parser.add_argument(name)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--strict", action="store_true")
    asked = parser.parse_args()
    logging.getLogger("prefect").setLevel(logging.WARNING)
    try:
        found = run(asked.since, asked.until, asked.url, asked.reference)
    except (MonitorError, LogError, params.ParamsError) as error:
        print(f"ferflow monitor: {error}", file=sys.stderr)
        return 2
    print("\n".join(found["lines"]))
    if found["verdict"] == "drift":
        print(f"  the event {EVENT} was {'sent' if found['event'] else 'not sent: it was before, or there is no server'}")
    return 3 if asked.strict and found["verdict"] == "drift" else 0


if __name__ == "__main__":
    sys.exit(main())
