"""The retraining flow: fold -> train -> judge -> promote, or take back -> notify. On a schedule, on drift, or by hand.

    python -m flows.retraining            now (make retrain); --help shows what else
    python -m flows.retraining --undo     take back what an interrupted run has changed

What each step does stands in ``ferflow.retraining``; here is when it is tried again, and what Prefect shows of it.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

from flows import prefect_defaults

# isort: split
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from pydantic import Field

from ferflow import params, retraining, tracking
from ferflow.folding import Folded, FoldError
from ferflow.gate import Decision
from ferflow.notifying import notify
from ferflow.retraining import RetrainError
from flows.companion import STATE, prefect_server, wait_for_server
from flows.reviving import mark

NAME = "retrain"
DRIFT = "drift"  # why, where monitoring's event starts it
_TRIES = 2  # after the first; with a minute's pause, then four
_CHAMPIONS = 3  # that may come between judging and promoting before we give up
_EARLIER_RUN_S = 6 * 3600.0  # for a run whose parent was killed to end


def _may_help(_: Any, __: Any, state: State) -> bool:
    """Whether trying again may help: not where a stage said that its input is wrong."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, FoldError) and not (isinstance(error, RetrainError) and error.hopeless)


_AGAIN: dict[str, Any] = {"retries": _TRIES, "retry_delay_seconds": prefect_defaults.back_off(60, _TRIES)}
_AGAIN |= {"retry_condition_fn": _may_help, "cache_policy": NO_CACHE}


@task(name="fold feedback", **_AGAIN)
def fold(why: str, min_feedback: int | None, refused_too: bool, after_rollback: bool) -> Folded | None:
    """Consented feedback as a new version of the data."""
    say = get_run_logger().info
    return retraining.begin(why, min_feedback, refused_too=refused_too, after_rollback=after_rollback, say=say)


@task(name="train", **_AGAIN)
def train(lock: IO[bytes]) -> None:
    """The pipeline, as far as it is stale."""
    retraining.reproduce(lock, say=get_run_logger().info)


@task(name="judge", **_AGAIN)
def judge(folded: Folded | None) -> Decision | None:
    """Challenger against champion: every check of the gate."""
    decision = retraining.judge(folded, say=get_run_logger().info)
    if decision is not None:
        try:
            create_markdown_artifact(key="gate", markdown=decision.as_markdown(), description=decision.in_words())
            create_table_artifact(key="gate-table", table=decision.as_json()["rows"], description=decision.in_words())
        except Exception as error:  # it is kept already: hours of training do not depend on Prefect's page
            get_run_logger().warning("Prefect's page does not have the decision: %s", error)
    return decision


@flow(name=NAME, flow_run_name="retrain-{why}", log_prints=False)
def retrain(
    why: str = "by hand",
    min_feedback: Annotated[int | None, Field(ge=1)] = None,
    promote: bool = True,
    refused_too: bool = False,
    after_rollback: bool = False,
) -> State:
    """Fold consented feedback, train, compare challenger with champion, promote what passes the gate, and tell people.

    Args:
        why: written down with what comes of it
        min_feedback: new labelled faces below which nothing is trained; empty: retrain.min_feedback of params.yaml
        promote: whether what passes becomes champion; else it waits for 'ferflow promote'
        refused_too: whether to fold also what was in versions that the gate refused
        after_rollback: whether to go on from the settings and the data of a version that somebody rolled back
    """
    log, webhook = get_run_logger(), ""
    mark()
    folded: Folded | None = None
    try:
        webhook = params.load().retrain.webhook
        with retraining.alone(_EARLIER_RUN_S) as lock:
            with _taken_back():
                folded = fold(why, min_feedback, refused_too, after_rollback)
            if folded is None:
                _remember(why, failed=False)
                return Completed(name="TooFew", message="too little feedback waits: nothing was trained")
            with _taken_back():
                train(lock)
                decision = judge(folded)
            name, message, more = _settle(decision, folded, why, promote)
    except Exception as error:
        if folded is None:
            _remember(why, failed=True)
        notify("ferflow.retraining.failed", f"Retraining ({why}) failed: {error}"[:1000], webhook, why=why)
        raise
    notify(f"ferflow.retraining.{name.lower()}", f"Retraining ({why}): {message}"[:2000], webhook, why=why, **more)
    log.info("%s: %s", name, message)
    return Completed(name=name, message=message[:1000])


def _remember(why: str, failed: bool) -> None:
    """An alarm that trained nothing: monitoring sends its event again when enough waits."""
    if why == DRIFT:
        retraining.want(failed)


@contextmanager
def _taken_back() -> Iterator[None]:
    """Everything is as it was where this fails; not where we are told to end: the next run goes on."""
    try:
        yield
    except Exception as error:
        retraining.take_back(f"{type(error).__name__}: {error}"[:1000], say=get_run_logger().info)
        raise


def _settle(decision: Decision | None, folded: Folded, why: str, promote: bool) -> tuple[str, str, dict[str, Any]]:
    """What becomes of the challenger: a word, a sentence, and what a message says beside."""
    say = get_run_logger().info
    for _ in range(_CHAMPIONS):
        if decision is None:
            retraining.close_accepted("the challenger is the champion")
            return "Unchanged", "the pipeline made the model that is champion already", {}
        more = {"version": decision.challenger, "champion": decision.champion, "data": str(folded.path)}
        more["checks"] = {row.check: row.passed for row in decision.rows}
        if not decision.passed:
            retraining.refuse(decision, say=say)
            return "Refused", decision.in_words(), more
        if not promote:
            retraining.close_accepted(f"{decision.in_words()}; not promoted, as was asked")
            return "Passed", f"{decision.in_words()}; it waits: ferflow promote {decision.challenger}", more
        if retraining.unwanted():
            break
        try:
            before, now = retraining.accept(decision, why)
            files = f"params.yaml, dvc.lock and {folded.path}.dvc"
            words = f"{decision.in_words()}, and is champion now ({before} before); commit {files}"
            return "Promoted", words, more | {"champion": now, "previous": before}
        except tracking.ChampionChangedError as error:
            say(f"{error}")
            decision = judge(folded)
    why = "another version was made champion by hand, or again and again, while the challenger was judged"
    retraining.take_back(why, say=say)
    raise RetrainError(why, hopeless=False)


def main(given: list[str] | None = None) -> int:
    """Retrain now, with a Prefect server for as long as it takes where none answers."""
    parser = argparse.ArgumentParser(prog="python -m flows.retraining", description="Retrain now.")
    parser.add_argument("--why", default="by hand", help="written down with what comes of it")
    parser.add_argument(
        "--min-feedback", type=int, metavar="N", help="new labelled faces it takes (default: retrain.min_feedback)"
    )
    parser.add_argument("--judge-only", action="store_true", help="do not promote")
    parser.add_argument("--refused-too", action="store_true", help="fold also what was in refused versions")
    parser.add_argument("--after-rollback", action="store_true", help="go on from what somebody rolled back")
    parser.add_argument("--undo", action="store_true", help="take back what an interrupted run has changed, and stop")
    asked = parser.parse_args(given)
    STATE.mkdir(exist_ok=True)
    try:
        if asked.undo:
            with retraining.alone():
                retraining.take_back("taken back by hand")
            return 0
        with prefect_server(STATE / "prefect-server.log"):
            _wait_for_server()
            how = (not asked.judge_only, asked.refused_too, asked.after_rollback)
            state: Any = retrain(asked.why, asked.min_feedback, *how, return_state=True)
    except (RetrainError, params.ParamsError) as error:
        print(f"retrain: {error}", file=sys.stderr)
        return 1
    print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 1


def _wait_for_server(seconds: float = 60) -> None:
    Path(".ferflow/no-prefect-server").unlink(missing_ok=True)
    if not wait_for_server(seconds):
        raise RetrainError("no Prefect server answers; see .ferflow/prefect-server.log")


if __name__ == "__main__":
    sys.exit(main())
