"""The graph as DVC has it: which stages there are, what each needs, which are stale, and what ``dvc.lock`` says.

The only importer of dvc. Nothing about the pipeline is written down here: stages, needs and order are read from DVC, and a
stage is stale when DVC says so.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dvc.dvcfile import LOCK_FILE, PROJECT_FILE
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.utils.serialize import load_yaml, modify_yaml

Answer = TypeVar("Answer")
_LOCKED_S = 60.0  # how long others may hold DVC's locks before that is an error


class GraphError(RuntimeError):
    """DVC cannot read the graph, or its files; the message is DVC's."""


class Graph:
    """The stages of ``dvc.yaml`` in this folder, and what they stand on. DVC is asked anew every time."""

    def __init__(self, targets: Sequence[str] = ()) -> None:
        logging.getLogger("dvc").setLevel(logging.ERROR)
        self._targets = tuple(targets) or (PROJECT_FILE,)
        try:
            self._repo = Repo(_wait_for_lock=True)  # what 'dvc --wait-for-lock' does: others run at the same time
        except NotDvcRepoError as error:
            raise GraphError(f"{error}; run this in the project's root") from error

    def plan(self) -> dict[str, tuple[str, ...]]:
        """Every stage with those it needs, in the order in which a serial ``dvc repro`` goes through them."""

        def ask() -> dict[str, tuple[str, ...]]:
            with lock_repo(self._repo):
                graph = get_active_graph(self._repo.index.graph)
                wanted = [stage for target in self._targets for stage in self._repo.stage.collect(target)]
                # with few targets DVC's own order changes from call to call (a set's): the whole graph's does not
                places = {stage.addressing: place for place, stage in enumerate(plan_repro(graph))}
                steps = sorted(plan_repro(graph, wanted), key=lambda stage: places[stage.addressing])
                return {stage.addressing: tuple(need.addressing for need in graph.successors(stage)) for stage in steps}

        return self._asked(ask)

    def stale(self, stages: Iterable[str]) -> dict[str, str]:
        """Those of the stages that ``dvc repro`` would run now, with the reason."""
        if not (wanted := list(stages)):
            return {}

        def ask() -> dict[str, list[Any]]:
            with lock_repo(self._repo):  # 'Repo.status' reads dvc.yaml anew for every target: 200 stages took it 22 s
                known = {stage.addressing: stage for stage in self._repo.index.stages}
                if gone := [name for name in wanted if name not in known]:
                    raise GraphError(f"{', '.join(gone)}: not in {PROJECT_FILE} any more; it was changed while the pipeline ran")
                answers = [known[name].status(check_updates=False) for name in wanted]
            return {name: said for answer in answers for name, said in answer.items()}

        return {name: _reason(said) for name, said in self._asked(ask).items()}

    def known(self) -> list[str]:
        """The stages in ``dvc.lock``, in its order."""
        file = Path(LOCK_FILE)
        return list((load_yaml(file) if file.exists() else {}).get("stages") or {})

    def remote(self) -> str | None:
        """The name of DVC's default remote."""
        name: str | None = self._repo.config["core"].get("remote")
        return name

    def enter(self, stage: str, entry: dict[str, Any]) -> None:
        """Write into ``dvc.lock`` what another clone's says of a stage."""
        with lock_repo(self._repo), modify_yaml(LOCK_FILE, fs=self._repo.fs) as data:
            if not data:
                data["schema"] = "2.0"
            data["stages"] = data.get("stages") or {}
            data["stages"][stage] = entry

    def settle(self, before: Sequence[str]) -> None:
        """Put what is new in ``dvc.lock`` where a serial run would have: at its end, in the order of the plan."""
        if not Path(LOCK_FILE).exists():
            return
        order = [stage for stage in self.plan() if stage not in before]
        with lock_repo(self._repo), modify_yaml(LOCK_FILE, fs=self._repo.fs) as data:
            entries = data.get("stages") or {}
            for stage in order:
                if stage in entries:
                    entries[stage] = entries.pop(stage)

    def _asked(self, question: Callable[[], Answer]) -> Answer:
        deadline = time.monotonic() + _LOCKED_S
        while True:
            try:
                return question()
            except LockError as error:  # also of the paths that another DVC is at work with
                if time.monotonic() > deadline:
                    raise GraphError(f"another DVC is at work here for more than {_LOCKED_S:.0f} s: {error}") from error
                time.sleep(0.2)
            except DvcException as error:
                raise GraphError(f"{error}") from error


def _reason(said: list[Any]) -> str:
    """``changed deps: params.yaml`` and the like, in one line that stays short."""
    parts = []
    for entry in said:
        if isinstance(entry, dict):
            for what, names in entry.items():
                shown = [*names][:3]
                parts.append(f"{what}: {', '.join(shown)}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
        else:
            parts.append(str(entry))
    return "; ".join(parts)
