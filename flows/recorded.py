"""The pipeline as a Prefect flow: a task run for every attempt at a stage, on the engine's workers, and a table at the end.

Prefect records; it decides nothing. Without a server, or with one that goes away, the same stages run all the same.
"""

import logging
from contextlib import suppress
from functools import partial

from ferflow.params import Resources
from flows import (
    stages,  # noqa: F401  settles how Prefect is found, before it is imported
    work,
)
from flows.driving import Drive, Ended, bare
from flows.engines import Engine
from flows.graph import GraphError
from flows.work import Order, Outcome, StageFailedError

from prefect import flow, task  # isort: skip
from prefect.artifacts import create_table_artifact  # isort: skip
from prefect.cache_policies import NO_CACHE  # isort: skip
from prefect.client.orchestration import get_client  # isort: skip
from prefect.futures import PrefectFuture  # isort: skip
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # isort: skip
from prefect.states import Crashed  # isort: skip

_drives: list[Drive] = []  # the one that the flow is about: engines pickle a flow, and a drive cannot travel


class PipelineFailedError(RuntimeError):
    """Some stages did not end well; the message names them."""


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE)
def run_stage(stage: str, order: Order) -> Outcome:
    """One attempt at a stage."""
    return work.run(order)


@flow(name="pipeline", log_prints=False)
def pipeline() -> None:
    """Every stale stage of the graph."""
    import flows.recorded  # by its name: what a flow's function names itself would be pickled with it

    flows.recorded.drive_in_flow()


def drive_in_flow() -> None:
    """The body of the flow."""
    drive = _drives[-1]
    drive.run(_submit)
    if drive.board.rows:
        create_table_artifact(table=drive.board.rows, key="pipeline", description=f"{len(drive.board.rows)} stages ran")
    if drive.failed:
        raise PipelineFailedError(", ".join(drive.failed))


def record(drive: Drive) -> None:
    """Run the drive as a flow; where Prefect fails, go on without it."""
    logging.getLogger("prefect").setLevel(logging.CRITICAL)  # a stage has said itself what went wrong
    _drives.append(drive)
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # its thread costs a second
            pipeline.with_options(task_runner=drive.engine.runner())()
    except PipelineFailedError:
        pass  # the drive knows
    except GraphError:
        raise  # DVC's word, not Prefect's
    except Exception as error:  # whatever Prefect raises must not fail the pipeline
        drive.board.say(f"Prefect could not record the pipeline: {type(error).__name__}: {error}")
        if not drive.finished:
            drive.run()
    finally:
        _drives.pop()


def _submit(engine: Engine, order: Order, wants: Resources) -> Ended:
    """By Prefect where it can, else straight to the engine."""
    try:
        with engine.asking(wants):
            future = run_stage.submit(order.stage, order)
    except Exception as error:
        logging.getLogger(__name__).warning("Prefect could not submit %s: %s", order.stage, error)
        return bare(engine, order, wants)
    return partial(engine.done, future.wrapped_future), partial(_result, future)


def _result(future: PrefectFuture[Outcome]) -> Outcome:
    """What the task gave. A worker that is gone said nothing to Prefect, where its task would run for ever."""
    try:
        return future.result()
    except StageFailedError:
        raise
    except Exception as error:
        with suppress(Exception), get_client(sync_client=True) as client:
            client.set_task_run_state(future.task_run_id, Crashed(message=f"its worker is gone: {error}"), force=True)
        raise
