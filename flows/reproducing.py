"""The whole pipeline as a flow that a schedule or Prefect's page can start: the same command as by hand, and its last lines.

It knows no stage and no order of stages: that is ``pipeline``'s.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from flows import prefect_defaults

# isort: split
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from ferflow import retraining
from flows.reviving import mark

_OUTPUT = Path(".ferflow/pipeline.log")
_RETRAINING_S = 6 * 3600.0  # for one that is at work to end: until then params.yaml may name data that the gate refuses


class PipelineFailedError(RuntimeError):
    """The pipeline ended with an exit code other than 0; the message has its last lines."""


@flow(name="reproduce", log_prints=False)
def reproduce(
    stages: list[str] = [],  # noqa: B006  (a form's default)
) -> None:
    """Run every stale stage of the pipeline; what is up to date is not done again.

    Args:
        stages: only these and what they need; empty: all of dvc.yaml
    """
    mark()
    with retraining.alone(_RETRAINING_S) as lock:
        if retraining.unfinished() is not None:
            raise retraining.RetrainError(
                "a retraining was cut off, and params.yaml may name data that the gate has not seen: 'make retrain' goes on "
                "with it, 'python -m flows.retraining --undo' takes it back"
            )
        run_pipeline(stages, lock)


@task(name="pipeline", retries=2, retry_delay_seconds=prefect_defaults.back_off(60, 2), cache_policy=NO_CACHE)
def run_pipeline(stages: list[str], lock: IO[bytes]) -> None:
    """The command, and its last lines; a task, because the pauses of a flow's retries cannot grow.

    The command holds the lock, too: where this process is killed, whoever comes next waits for it.
    """
    command = [sys.executable, "-m", "flows.pipeline", *stages]  # independent stages side by side
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    _OUTPUT.parent.mkdir(exist_ok=True)
    with _OUTPUT.open("wb") as output:
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        run = subprocess.Popen(command, env=env, pass_fds=[lock.fileno()], **how)
        try:
            while run.poll() is None:
                time.sleep(0.2)  # in short naps, so that a cancellation reaches this thread
        finally:
            if run.poll() is None:
                run.terminate()
                run.wait()
    last = "\n".join(line for line in _OUTPUT.read_text(errors="replace").splitlines()[-15:] if line.strip())
    if run.returncode:
        raise PipelineFailedError(f"exit code {run.returncode}:\n{last}")
    get_run_logger().info("%s", last)
