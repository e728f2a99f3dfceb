"""Workers with clones of their own: git brings them the code, the DVC remote their data; what they make comes back so.

The pipeline's side of it; the worker's is in ``work``. Nothing is committed for you: ``dvc.lock`` here is complete at the end.
It knows no engine.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.graph import Graph, GraphError
from flows.work import Clone, Order, Outcome, git

_LOCK = Path("dvc.lock")
_PAUSES_S = (2.0, 10.0)


class Sharing:
    """What is committed here, and which stages' files the remote has. ``GraphError`` where clones could not be like this one."""

    def __init__(self, graph: Graph) -> None:
        here = Path.cwd()
        try:
            changed = git("diff", "--name-only", "HEAD", folder=here).splitlines()
            self._commit = git("rev-parse", "HEAD", folder=here)
        except (OSError, subprocess.CalledProcessError) as error:
            raise GraphError(f"clones need git: {getattr(error, 'stderr', None) or error}") from error
        if changed := [name for name in changed if name != _LOCK.name]:
            raise GraphError(f"commit first, workers get the code by git: {', '.join(changed[:5])} differ from the last commit")
        if not graph.remote():
            raise GraphError("clones share data by a DVC remote, and there is none: dvc remote add --default NAME PLACE")
        self._origin = _origin(here)
        self._there: set[str] = set()

    def order(self, order: Order, needs: Sequence[str]) -> Order:
        """The order for a clone; what its stage needs is put where the clone will look for it."""
        if missing := [need for need in needs if need not in self._there]:
            _dvc("push", *missing)
            self._there.update(missing)
        lock = _LOCK.read_text() if _LOCK.exists() else ""
        return replace(order, clone=Clone(self._origin, self._commit, lock, tuple(needs)))

    def take_over(self, graph: Graph, outcome: Outcome) -> None:
        """What a clone made, here: its entry in ``dvc.lock``, then the files."""
        if outcome.entry is None:
            return
        graph.enter(outcome.stage, outcome.entry)
        _dvc("pull", "--force", outcome.stage)
        self._there.add(outcome.stage)


def _origin(here: Path) -> str:
    """Where clones come from: the remote ``origin``, or this folder."""
    try:
        url = git("remote", "get-url", "origin", folder=here)
    except subprocess.CalledProcessError:
        return str(here)
    return str((here / url).resolve()) if (here / url).exists() else url


def _dvc(*arguments: str) -> None:
    """Ask the remote; again where it does not answer, as a member that is trained twice costs more than a pause."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    for pause_s in (*_PAUSES_S, None):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        if pause_s is not None:
            time.sleep(pause_s)
    raise GraphError(f"dvc {' '.join(arguments)}: {done.stderr.strip()[-1000:]}")
