"""``python -m flows.pipeline``: what ``dvc repro`` does, with everything that can at the same time, on one machine or many.

The graph, what is stale, and ``dvc.lock`` are DVC's (``graph``); here it is put together with workers (``engines``), a display
(``board``) and Prefect (``recorded``). The order of stages stands in dvc.yaml alone.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import TYPE_CHECKING

from ferflow import params
from ferflow.params import Resources
from flows import companion

if TYPE_CHECKING:
    from flows.driving import Drive
    from flows.graph import Graph

_EXAMPLES = """
examples:
  python -m flows.pipeline                               every stale stage, as many at once as there are cores
  python -m flows.pipeline --dry                         what would run, and why
  python -m flows.pipeline --workers 2 ensemble          the ensemble and all it needs, two stages at a time
  python -m flows.pipeline --on dask --workers 4         a Dask cluster of this machine, for as long as the run
  python -m flows.pipeline --on dask --address tcp://10.0.0.5:8786
                                                         a Dask cluster whose workers see this folder under the same path
  python -m flows.pipeline --on ray --address auto       a Ray cluster; GPUs and cores of a member: pipeline.resources
  python -m flows.pipeline --on ray --address auto --clones
                                                         workers that share nothing but git and the DVC remote

docs/scale.md says what each way needs, and what it costs.
"""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.pipeline",
        description="Run every stale stage of dvc.yaml as soon as what it needs is there, independent ones side by side. "
        "dvc.lock ends as after 'dvc repro'.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="only these and what they need (default: all of dvc.yaml)")
    parser.add_argument("--on", choices=("processes", "dask", "ray"), default="processes", help="where stages run")
    parser.add_argument("--workers", type=int, metavar="N", help="stages at once on this machine (default: pipeline.workers)")
    parser.add_argument("--address", metavar="URL", help="a cluster that is there: Dask's scheduler, or Ray's head")
    parser.add_argument("--clones", action="store_true", help="each worker in a clone of its own, by git and the DVC remote")
    parser.add_argument("--dry", action="store_true", help="say what is stale, and run nothing")
    asked = parser.parse_args(given)
    if asked.address and asked.on == "processes":
        parser.error("--address needs --on dask or --on ray")
    if asked.address and asked.workers:
        parser.error("--workers is for clusters of this machine; the one at --address has its own")
    if asked.workers is not None and asked.workers < 1:
        parser.error("--workers must be at least 1")
    return asked


def main(given: Sequence[str] | None = None) -> int:
    """Run the pipeline; 0 where every stage is up to date at the end, 1 where one failed, 2 where it could not begin."""
    asked = arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started here is stopped
    try:
        settings = params.load().pipeline
        from flows.engines import EngineError
        from flows.graph import Graph, GraphError
    except params.ParamsError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        graph = Graph(asked.stages)
        if asked.dry:
            return _tell(graph)
        with _alone():
            return _run(asked, settings, graph)
    except (GraphError, EngineError) as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pipeline: interrupted; 'python -m flows.pipeline' goes on from here", file=sys.stderr)
        return 130


def _run(asked: argparse.Namespace, settings: params.Pipeline, graph: "Graph") -> int:
    from flows.board import Board
    from flows.driving import Drive
    from flows.engines import ENGINES, cores_here
    from flows.sharing import Sharing

    plan = graph.plan()
    largest = _largest([settings.wants(stage) for stage in plan if not settings.runs_here(stage)])
    workers = asked.workers or settings.workers or max(1, cores_here() // max(1, largest.cores))
    if not graph.stale(plan):
        print(f"all {len(plan)} stages are up to date")
        return 0
    root = Path.cwd()
    paths = [str(root), str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "FERFLOW_RUN": str(os.getpid())}  # for workers that start here
    companion.ensure()
    record = _recorder()  # before workers start here: they take the environment that it settles
    engine = ENGINES[asked.on](workers, asked.address, largest)
    try:
        engine.start()
        with Board(len(plan)) as board:
            drive = Drive(graph, engine, settings, board, plan, Sharing(graph) if asked.clones else None)
            record(drive)
    finally:
        engine.stop()
    ran = len([row for row in board.rows if row["state"] == "done"])
    print(f"{ran} stages ran, {board.fresh} were up to date" + ("; dvc.lock is complete" if not drive.failed else ""))
    for stage, why in drive.failed.items():
        print(f"failed: {stage}: {why}; see .ferflow/pipeline/{stage}.log", file=sys.stderr)
    if drive.left:
        print(f"not begun because of that: {', '.join(drive.left)}", file=sys.stderr)
    return 1 if drive.failed else 0


def _recorder() -> Callable[["Drive"], None]:
    """Prefect's way to run a drive; the plain one without a server or without Prefect, which must not fail the pipeline."""
    if not companion.wait_for_server(40 if companion.is_local() else 3):
        print(f"no Prefect server answers at {companion.api_url()}: the pipeline runs without being recorded", flush=True)
    else:
        try:
            from flows.recorded import record
        except Exception as error:
            print(f"Prefect cannot be loaded, so the pipeline is not recorded: {error}", file=sys.stderr)
        else:
            return record
    return lambda drive: drive.run()


def _largest(wanted: list[Resources]) -> Resources:
    return Resources(cores=max((one.cores for one in wanted), default=0), gpus=max((one.gpus for one in wanted), default=0))


def _tell(graph: "Graph") -> int:
    """What is stale, why, and what waits for it."""
    plan = graph.plan()
    stale, touched = graph.stale(plan), set[str]()
    for stage, needs in plan.items():
        waits = [need for need in needs if need in touched]
        if stage in stale or waits:
            touched.add(stage)
        why = f"stale ({stale[stage]})" if stage in stale else "up to date"
        again = f", asked again after {', '.join(waits)}" if waits and stage not in stale else ""
        print(f"{stage}: {why}{again}")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """One pipeline a folder: two would only wait for each other."""
    from flows.graph import GraphError

    companion.STATE.mkdir(exist_ok=True)
    with (companion.STATE / "pipeline.lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise GraphError("another pipeline is at work in this folder") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
