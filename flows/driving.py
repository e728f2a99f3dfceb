"""Drives a graph: gives every stale stage to a worker as soon as what it needs is there, asks DVC again, tries again.

It knows no stage by name, no engine by kind and no Prefect: the graph says what there is, an engine runs orders, and
``submit`` (the engine's own, or Prefect's) is how an order gets there.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ferflow.params import Pipeline, Resources
from flows.board import Board
from flows.engines import Engine, Processes
from flows.graph import Graph, GraphError
from flows.sharing import Sharing
from flows.work import Order, Outcome, StageFailedError

_LOOK_S = 0.1  # between looks at what runs
_PAUSE_S = 2.0  # before another attempt, and twice that before the next one
_VISIBLE_S = 30.0  # after which what another machine wrote must be seen here: network folders remember what was there
_ROUNDS = 3
_ALWAYS = "always changed"

Ended = tuple[Callable[[], bool], Callable[[], Outcome]]
Submit = Callable[[Engine, Order, Resources], Ended]


@dataclass(frozen=True)
class _Running:
    engine: Engine
    order: Order
    wants: Resources
    done: Callable[[], bool]
    result: Callable[[], Outcome]


def bare(engine: Engine, order: Order, wants: Resources) -> Ended:
    """Straight to the engine."""
    handle = engine.submit(order, wants)
    return partial(engine.done, handle), partial(engine.result, handle)


class Drive:
    """One run of a graph. ``failed``: what did not end well, and why; ``left``: what was not begun because of it."""

    def __init__(
        self,
        graph: Graph,
        engine: Engine,
        settings: Pipeline,
        board: Board,
        plan: dict[str, tuple[str, ...]],
        sharing: Sharing | None,
    ) -> None:
        self.graph, self.engine, self.settings = graph, engine, settings
        self.board, self.plan, self.sharing = board, plan, sharing
        self.here = Processes(1, None, Resources())
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.finished = False
        self._waiting: dict[str, str] = {}  # stale, and all they need is there: the reason
        self._running: dict[str, _Running] = {}
        self._attempts: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._ran: set[str] = set()
        self._runs = 0  # of stages, in all rounds

    @property
    def left(self) -> list[str]:
        """Stages that were not begun because one that they need failed."""
        return [stage for stage in self.plan if stage not in self.done and stage not in self.failed]

    def run(self, submit: Submit = bare) -> None:
        """Until every stage is up to date, or what failed stands in the way; then ``dvc.lock`` is put in order."""
        before = self.graph.known()
        self.here.start()
        try:
            for number in range(1, _ROUNDS + 1):
                ran = self._runs
                self._round(submit)
                # who edits a file meanwhile finds it heeded, as if the run had begun afterwards
                if self.failed or self._runs == ran or not (changed := self._changed_meanwhile()):
                    break
                self.board.say(f"changed while the pipeline ran: what {', '.join(changed)} reads")
                if number == _ROUNDS:
                    self.done.difference_update(changed)
                    self.failed |= dict.fromkeys(changed, "what it reads was changed again and again")
                    break
                self.done.clear()
                self._attempts.clear()
        finally:
            self.here.stop()
            self.graph.settle(before)
        self.finished = True

    def _round(self, submit: Submit) -> None:
        while True:
            self._ask()
            for stage in list(self._waiting):
                self._start(stage, submit)
            if not self._running and not self._waiting:
                return
            for stage in [name for name, running in self._running.items() if running.done()]:
                self._end(stage)
            time.sleep(_LOOK_S)

    def _changed_meanwhile(self) -> list[str]:
        return [stage for stage, why in self.graph.stale(self.plan).items() if why != _ALWAYS]

    def _ask(self) -> None:
        """Of every stage whose needs are done: is it stale? What is not is done, too, and others may be ready then."""
        while True:
            begun = self.done.union(self.failed, self._waiting, self._running)
            ready = [stage for stage, needs in self.plan.items() if stage not in begun and self.done.issuperset(needs)]
            stale = self.graph.stale(ready)
            for stage in ready:
                if stage in stale and not (stale[stage] == _ALWAYS and stage in self._ran):
                    self._waiting[stage] = stale[stage]
                else:
                    self.done.add(stage)
                    self.board.up_to_date(stage)
            if self.done.isdisjoint(ready):
                return

    def _start(self, stage: str, submit: Submit) -> None:
        if time.monotonic() < self._not_before.get(stage, 0):
            return
        wants = self.settings.wants(stage)
        here = self.settings.runs_here(stage)
        engine = self.here if here else self.engine
        order = engine.take(Order(stage, str(Path.cwd()), wants.cores), wants)
        if order is None:
            return
        self._attempts[stage] += 1
        self.board.started(stage, self._waiting.pop(stage), self._attempts[stage])
        try:
            if self.sharing and not here:
                order = self.sharing.order(order, self.plan[stage])
        except GraphError as error:  # the remote may answer the next time
            engine.give_back(order, wants)
            self._did_not_end_well(stage, str(error))
        else:
            done, result = (bare if here else submit)(engine, order, wants)
            self._running[stage] = _Running(engine, order, wants, done, result)

    def _end(self, stage: str) -> None:
        running = self._running.pop(stage)
        running.engine.give_back(running.order, running.wants)
        again = True
        try:
            outcome = running.result()
            if self.sharing:
                self.sharing.take_over(self.graph, outcome)
            stale = self._still_stale(stage, outcome)
        except StageFailedError as error:
            why, again = str(error), not error.outcome.hopeless
            if not again or self._attempts[stage] > self.settings.retries:
                self.board.say(error.outcome.said.rstrip())
        except GraphError as error:
            why = str(error)
        except Exception as error:  # an engine has many names for the loss of a worker
            why = f"its worker is gone ({type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''})"
        else:
            if not stale:
                self.done.add(stage)
                self._ran.add(stage)
                self._runs += 1
                self.board.ended(stage, outcome.where, outcome.seconds, self._attempts[stage])
                return
            why = f"it ran, and DVC still finds it stale: {stale}"
        self._did_not_end_well(stage, why, again)

    def _did_not_end_well(self, stage: str, why: str, again: bool = True) -> None:
        """An attempt failed: the stage waits for another one, or that was the last."""
        attempt = self._attempts[stage]
        final = not again or attempt > self.settings.retries
        self.board.failed(stage, why, attempt, final)
        if final:
            self.failed[stage] = why
        else:
            self._not_before[stage] = time.monotonic() + _PAUSE_S * attempt
            self._waiting[stage] = why

    def _still_stale(self, stage: str, outcome: Outcome) -> str:
        """Why it is, if it is; on a network folder what another machine wrote may take a while to be seen."""
        deadline = time.monotonic() + (_VISIBLE_S if self.engine.address and outcome.entry is None else 0)
        while (why := self.graph.stale([stage]).get(stage, "")) not in ("", _ALWAYS) and time.monotonic() < deadline:
            time.sleep(1)
        return "" if why == _ALWAYS else why
