"""The Prefect flow of every stage: named tasks, retries where something outside can fail, the result as a table.

What a stage does is not known here; it runs in a process of its own.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from flows.companion import Job, api_url, start_stage, wait_for_server

os.environ.setdefault("PREFECT_API_URL", api_url())
os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # a stage has said itself what went wrong

from prefect import Flow, flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from ferflow.stages import HOPELESS, read_json

RETRIES = {"ingest": 2, "register": 2}  # these reach outside: a source, a tracking server
_RETRY_DELAYS_S = [5, 20]


class StageFailedError(RuntimeError):
    """A stage ended with an exit code other than 0; its own message is in the output."""


class _Attempts:
    """The job that was started before Prefect was loaded, then, at a retry, a new one."""

    def __init__(self, stage: str, arguments: list[str], job: Job, result: Path) -> None:
        self.stage, self.arguments, self.job, self.result = stage, arguments, job, result
        self.tries, self.code = 0, -1

    def run(self) -> dict[str, Any]:
        self.tries += 1
        if self.tries > 1:
            self.job = start_stage(self.stage, self.arguments, self.result)
        self.code = self.job.wait()
        if self.code != 0:
            raise StageFailedError(f"{self.stage} {' '.join(self.arguments)} ended with exit code {self.code}")
        found: dict[str, Any] = read_json(self.result)
        return found


def record(stage: str, arguments: list[str], job: Job, result: Path) -> int:
    """Run the flow around a job and return the stage's exit code; without a server just wait for the job."""
    attempts = _Attempts(stage, arguments, job, result)
    if not wait_for_server(40):
        print(f"no Prefect server answers at {api_url()}: {stage} runs without being recorded", file=sys.stderr)
        return job.wait()
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # its thread costs a second a flow
            stage_flow(stage, arguments, attempts)()
    except StageFailedError:
        return attempts.code
    except Exception as error:  # whatever Prefect raises must not fail a stage
        print(f"Prefect could not record {stage}: {type(error).__name__}: {error}", file=sys.stderr)
        return attempts.code if attempts.tries and attempts.code >= 0 else job.wait()
    return attempts.code


def stage_flow(stage: str, arguments: list[str], attempts: _Attempts) -> Flow[[], None]:
    """The flow called ``stage``, with the tasks ``run STAGE`` and ``publish table``."""
    run_name = "-".join([stage, *arguments])

    @task(
        name=f"run {stage}",
        retries=RETRIES.get(stage, 0),
        retry_delay_seconds=_RETRY_DELAYS_S,
        retry_condition_fn=lambda *_: attempts.code != HOPELESS,
        cache_policy=NO_CACHE,
    )
    def run_stage() -> dict[str, Any]:
        return attempts.run()

    @task(name="publish table", cache_policy=NO_CACHE)
    def publish_table(found: dict[str, Any]) -> None:
        key = run_name.lower().replace("_", "-").replace(".", "-")
        create_table_artifact(table=found["rows"], key=key, description=f"{found['title']}, {found['work_s']:.1f} s of work")

    @flow(name=stage, flow_run_name=run_name, log_prints=False)
    def run_flow() -> None:
        publish_table(run_stage())

    logging.getLogger("prefect").setLevel(logging.WARNING)
    return run_flow
