"""``make schedule``: one command serves every deployment until Ctrl-C, and outlives its parts.

Two processes below it: a Prefect server, where none answers, and a worker, which runs what is due. Either is started again when
it dies. A run whose process died is marked as crashed and, where it is to be ended, started anew: DVC and the journal of
``ferflow.retraining`` know what is done already.

    python -m flows.schedule              everything
    python -m flows.schedule --list       what is scheduled, and when
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from flows.companion import STATE, descendants, end_all, prefect_server, server_answers

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

LOG = STATE / "schedule.log"
NAME = "scheduled"  # of every deployment: a flow has one
_AT_ONCE = 3  # runs
_LOOK_S = 30.0  # between looks for runs whose process died
_YOUNG_S = 60.0  # a run that is younger may not have its process yet
_TAKEN_UP = ("retrain", "reproduce")  # flows that are started anew where they were cut off
_MOST = 3  # times in a row
_SERVER_S = 3.0  # without an answer, after which a server is started


@contextmanager
def only_one(name: str, wait_s: float = 0.0) -> Iterator[None]:
    """The only process of this folder that has this lock; ``SystemExit`` where another one has it."""
    STATE.mkdir(exist_ok=True)
    until = time.monotonic() + wait_s
    with (STATE / f"{name}.lock").open("ab") as lock:
        while not _taken(lock):
            if time.monotonic() >= until:
                sys.exit(f"{name}: it runs in this folder already")
            time.sleep(0.2)
        yield


def _taken(lock: IO[bytes]) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def supervise() -> None:
    """Keep a server and a worker running, until we are told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with only_one("schedule"), LOG.open("ab") as output, ExitStack() as stack:
        worker: subprocess.Popen[bytes] | None = None
        server: subprocess.Popen[bytes] | None = None
        own = stack.enter_context(ExitStack())
        stack.callback(lambda: _end(worker))
        failures, silent_since, started, told = 0, None, 0.0, False
        print("starting, which takes up to a minute; Ctrl-C ends it", flush=True)
        while True:
            if server is not None and server.poll() is not None:
                print("the Prefect server ended; another one is started", flush=True)
                own.close()  # what is left of it
                server = None
            up = server_answers()
            silent_since = None if up else silent_since or time.monotonic()
            if server is None and silent_since and time.monotonic() - silent_since > (_SERVER_S if told else 0):
                server = own.enter_context(prefect_server(LOG))
            if worker is not None and worker.poll() is not None:
                failures = 0 if time.monotonic() - started > 300 else failures + 1
                print(f"the worker ended with exit code {worker.returncode}; another one is started", flush=True)
                worker = None
                time.sleep(min(60, 2**failures) if failures > 1 else 0)
            if worker is None and up:
                command = [sys.executable, "-m", "flows.schedule", "--work", str(os.getpid())]
                worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
                started = time.monotonic()
                if not told:
                    from flows.companion import api_url

                    print(f"Prefect's page: {api_url().removesuffix('/api')}; output: {LOG}", flush=True)
                told = True
            time.sleep(0.5)


def _end(worker: "subprocess.Popen[bytes] | None") -> None:
    if worker is None or worker.poll() is not None:
        return
    family = descendants(worker.pid)
    with suppress(ProcessLookupError):
        worker.terminate()
        try:
            worker.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
    end_all(family)  # a pipeline in the middle of its work, too: the next run goes on


def deployments() -> "list[RunnerDeployment]":
    """Everything that is served."""
    from flows import prefect_defaults  # noqa: F401, I001  (before Prefect)
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from ferflow import params
    from flows.monitoring import EVENT, monitoring, resource_of
    from flows.reproducing import reproduce
    from flows.retraining import DRIFT, retrain

    settings = params.load()
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    shared: dict[str, Any] = {"entrypoint_type": EntrypointType.MODULE_PATH, "concurrency_limit": alone, "tags": ["ferflow"]}
    on_drift = DeploymentEventTrigger(
        name=f"ferflow: retrain {settings.register_.model} on drift",
        expect={EVENT},
        match={"prefect.resource.id": resource_of(settings)},
        parameters={"why": DRIFT},
    )
    by_clock: dict[str, Any] = {"parameters": {"why": "schedule"}}
    if settings.retrain.cron:
        by_clock["cron"] = settings.retrain.cron
    found = [
        retrain.to_deployment(NAME, triggers=[on_drift], **by_clock, **shared),
        reproduce.to_deployment(NAME, **shared),
    ]
    watch: dict[str, Any] = {"cron": settings.monitor.cron} if settings.monitor.cron else {}
    found.append(monitoring.to_deployment(NAME, **watch, **shared))
    return found


def work(supervisor: int) -> None:
    """Serve the deployments; end with the process ``supervisor``."""
    with only_one("worker", wait_s=60):
        served = deployments()
        from prefect import serve

        from flows.reviving import Reviver

        threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
        reviver = Reviver([one.flow_name for one in served if one.flow_name], _TAKEN_UP, _MOST)
        reviver.look(young_s=0)
        threading.Thread(target=reviver.look_on, args=(_LOOK_S, _YOUNG_S), daemon=True).start()
        serve(*served, pause_on_shutdown=False, print_starting_message=False, limit=_AT_ONCE)


def _end_with(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _list() -> None:
    for one in deployments():
        when = [str(getattr(schedule.schedule, "cron", "")) for schedule in one.schedules or []]
        events = [", ".join(trigger.expect) for trigger in one.triggers]
        said = [*(f"cron {cron}" for cron in when), *(f"event {event}" for event in events)]
        print(f"{one.flow_name}: {'; '.join(said) or 'by hand'}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.schedule", description="Serve every deployment until Ctrl-C.")
    parser.add_argument("--list", action="store_true", help="say what is scheduled, and stop")
    parser.add_argument("--work", type=int, metavar="PID", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.list:
        return _list()
    with suppress(KeyboardInterrupt):
        work(asked.work) if asked.work else supervise()
    return None


if __name__ == "__main__":
    main()
