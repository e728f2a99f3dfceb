"""Runs that were cut off: found, marked as crashed, and started anew. It knows Prefect's server and no flow's insides.

A server may have the runs of several folders and machines: a run that begins leaves a mark here, and only those are looked at,
and those that never began.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

log = logging.getLogger("prefect.ferflow")
_AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_CUT_OFF = [*_AT_WORK, StateType.CRASHED]  # Prefect itself says so where it sees the process end, or where it could not be asked
_TAG = "taken up"
_MARKS = Path(".ferflow/runs")
_UNBORN = timedelta(minutes=10)  # pending for so long: its process ended before it could leave a mark, on whichever machine


def mark() -> None:
    """Say that the run of the flow that calls this has a process in this folder; ``Reviver`` takes the mark away."""
    from prefect.runtime import flow_run

    if flow_run.id is not None:
        _MARKS.mkdir(parents=True, exist_ok=True)
        (_MARKS / str(flow_run.id)).touch()


class Reviver:
    """Looks after the runs of ``flows`` on this machine; those of ``taken_up`` are started anew, ``most`` times in a row."""

    def __init__(self, flows: Sequence[str], taken_up: Sequence[str], most: int) -> None:
        self._flows, self._taken_up, self._most = list(flows), list(taken_up), most

    def look_on(self, every_s: float, young_s: float) -> None:
        """``look`` for ever; a server that is away is asked again."""
        while True:
            time.sleep(every_s)
            try:
                self.look(young_s)
            except Exception as error:
                log.warning("cannot look for runs that were cut off: %s", error)

    def look(self, young_s: float) -> int:
        """Mark runs without a process as crashed, and start them anew; how many there were. Marks of runs that ended are removed.

        Runs whose state is younger than ``young_s`` are left alone: their process may be about to start.
        """
        oldest = datetime.now(UTC) - timedelta(seconds=young_s)
        found = 0
        with get_client(sync_client=True) as client:
            alive: set[str] | None = None
            for name in self._flows:
                for run in self._found(client, name):
                    if run.state is None or run.state.timestamp > oldest:
                        continue
                    if run.deployment_id is None or run.state.type not in _CUT_OFF:
                        (_MARKS / str(run.id)).unlink(missing_ok=True)
                        continue
                    alive = _alive() if alive is None else alive
                    if str(run.id) not in alive:
                        found += 1
                        self._bury(client, run, name)
        return found

    def _found(self, client: SyncPrefectClient, name: str) -> list[FlowRun]:
        """The flow's runs that left a mark here, and those that are pending for so long that they will leave none."""
        flow = FlowFilter(name=FlowFilterName(any_=[name]))
        marked = []
        for path in _MARKS.glob("*"):
            with suppress(ValueError):  # whatever else lies there
                marked.append(UUID(path.name))
        found = client.read_flow_runs(flow_filter=flow, flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=marked)))
        pending = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
        unborn = client.read_flow_runs(flow_filter=flow, flow_run_filter=pending)
        return [*found, *(run for run in unborn if run.id not in marked and run.state is not None and _unborn(run.state))]

    def _bury(self, client: SyncPrefectClient, run: FlowRun, name: str) -> None:
        cancelled = any(state.type == StateType.CANCELLING for state in client.read_flow_run_states(run.id))
        if run.state is None or run.state.type != StateType.CRASHED:
            client.set_flow_run_state(run.id, Crashed(message="its process ended before it did"), force=True)
        tries = next((int(tag.rpartition(" ")[2]) for tag in run.tags if tag.startswith(_TAG)), 0)
        if name not in self._taken_up or cancelled or run.deployment_id is None:
            log.warning("the run %s was cut off", run.name)
        elif tries >= self._most:
            log.error("the run %s was cut off for the %dth time: it is not started anew", run.name, tries + 1)
        else:
            tags = [*(tag for tag in run.tags if not tag.startswith(_TAG)), f"{_TAG} {tries + 1}"]
            made = client.create_flow_run_from_deployment(
                UUID(str(run.deployment_id)), parameters=run.parameters, tags=tags, idempotency_key=f"after-{run.id}"
            )
            log.warning("the run %s was cut off; %s goes on", run.name, made.name)
        (_MARKS / str(run.id)).unlink(missing_ok=True)  # last: the key above keeps a second try from starting it twice


def _unborn(state: State) -> bool:
    return datetime.now(UTC) - state.timestamp > _UNBORN


def _alive() -> set[str]:
    """The runs that have a process on this machine."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if run := process.environ().get("PREFECT__FLOW_RUN_ID"):
                found.add(run)
    return found
