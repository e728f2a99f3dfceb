"""What a worker does: one stage of the graph, run by DVC, in the folder that workers share or in a clone of its own.

It is called in threads of the pipeline's own process, on Dask's workers and on Ray's, and knows nothing of them. What
it starts dies with the worker (``leash``).
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Event, Lock
from time import perf_counter
from typing import Any

from ferflow.stages import CHECKPOINTS, HOPELESS

LOGS = Path(".ferflow/pipeline")  # what each stage said when it last ran
_TAIL = 3000  # characters of it that travel back
_EXITED = re.compile(r"exited with (-?\d+)")
_running: set[subprocess.Popen[bytes]] = set()
_guard, _stopped = Lock(), Event()


@dataclass(frozen=True)
class Clone:
    """What a clone needs: the code (``commit`` of ``origin``), ``dvc.lock`` as it is now, and stages whose files to pull."""

    origin: str
    commit: str
    lock: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """A stage to run. ``folder``: the one that workers share; ``clone``: work in a clone instead. ``cores`` 0: no limit."""

    stage: str
    folder: str
    cores: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    clone: Clone | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended. ``code`` 0: well; ``where``: host and process; ``entry``: the stage's in the ``dvc.lock`` of a clone."""

    stage: str
    code: int
    seconds: float
    where: str
    said: str = ""
    entry: dict[str, Any] | None = None

    @property
    def hopeless(self) -> bool:
        """Whether it would fail again."""
        return self.code == HOPELESS


class StageFailedError(RuntimeError):
    """A stage did not end well; ``outcome`` says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)  # all of it: errors travel between processes by their arguments
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.outcome.stage} ended with exit code {self.outcome.code} on {self.outcome.where}"


def run(order: Order) -> Outcome:
    """Run a stage if it is stale; ``StageFailedError`` where it or DVC fails."""
    started, where = perf_counter(), f"{socket.gethostname()}:{os.getpid()}"
    entry = None
    with _place(order) as folder:
        if order.clone:
            code, said = _dvc(folder, order, "pull", "--force", *order.clone.needs) if order.clone.needs else (0, "")
            if code == 0:
                code, said = _dvc(folder, order, "repro", "--single-item", order.stage)
            if code == 0:
                code, said = _dvc(folder, order, "push", order.stage)
            entry = _entry(folder, order.stage) if code == 0 else None
        else:
            code, said = _dvc(folder, order, "repro", "--single-item", order.stage)
    outcome = Outcome(order.stage, code, perf_counter() - started, where, said, entry)
    if code:
        raise StageFailedError(outcome)
    return outcome


def allow() -> None:
    """Stages may be run here (again)."""
    _stopped.clear()


def stop_all() -> None:
    """Let go of every leash held here: what runs is killed, and until ``allow`` nothing more is started."""
    with _guard:
        _stopped.set()
        for process in _running:
            if process.stdin:
                process.stdin.close()


def _dvc(folder: Path, order: Order, *arguments: str) -> tuple[int, str]:
    """Run DVC; the stage's own exit code where DVC tells it, and the end of what was said, which goes to a file as well."""
    log = folder / LOGS / (re.sub(r"[^\w.@-]", "_", order.stage) + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        with _guard:  # so that none is started past 'stop_all'
            if _stopped.is_set():
                raise RuntimeError("the pipeline was ended")
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.leash", sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
                cwd=folder,
                env=_environment(folder, order),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the pipeline, which then lets go of the leashes
            )
            _running.add(process)
        try:
            code = process.wait()
        finally:
            with _guard:
                _running.discard(process)
            if process.stdin:
                process.stdin.close()
    said = log.read_text(errors="replace")
    exits = _EXITED.findall(said)
    return (int(exits[-1]) or code if code and exits else code), said[-_TAIL:]


def _environment(folder: Path, order: Order) -> dict[str, str]:
    """The worker's own, what the order says, the folder's code first, and as many threads as the stage asked for."""
    paths = [str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    made = {**os.environ, **order.environment, "PYTHONPATH": os.pathsep.join(paths), "FERFLOW_RUN": str(os.getpid())}
    if order.cores:
        made |= {name: str(order.cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FERFLOW_WORKERS")}
    return made


@contextmanager
def _place(order: Order) -> Iterator[Path]:
    if order.clone is None:
        yield Path(order.folder)
        return
    with _free_clone(order.clone) as folder:
        yield folder


@contextmanager
def _free_clone(clone: Clone) -> Iterator[Path]:
    """The first clone on this machine that nobody works in, brought to the commit; made where all are taken.

    The system takes the lock from a worker that dies: whoever comes next finds its clone, and in it its checkpoint.
    """
    base = clones_folder() / sha256(clone.origin.encode()).hexdigest()[:12]
    base.mkdir(parents=True, exist_ok=True)
    for number in count():
        with (base / f"{number}.lock").open("w") as lock:
            try:
                flock(lock, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                continue
            _bring_up(base / str(number), clone)
            yield base / str(number)
            return


def clones_folder() -> Path:
    """Where a worker keeps its clones: ``FERFLOW_CLONES``, or a folder of the user's cache."""
    if given := os.environ.get("FERFLOW_CLONES"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ferflow/clones"


def _bring_up(folder: Path, clone: Clone) -> None:
    """The commit's files and nothing else, but for DVC's cache and checkpoints: what an earlier stage left could be read."""
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        git("clone", "--quiet", "--no-checkout", clone.origin, str(folder), folder=folder.parent)
    with suppress(subprocess.CalledProcessError):  # no such commit is said better below
        git("fetch", "--quiet", "origin", folder=folder)
    try:
        git("checkout", "--quiet", "--force", "--detach", clone.commit, folder=folder)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{clone.origin} has no commit {clone.commit}: push it first ({error.stderr.strip()})") from error
    kept = [part for name in (".dvc", ".ferflow", CHECKPOINTS.as_posix()) for part in ("-e", f"/{name}")]
    git("clean", "-xfdq", *kept, folder=folder)
    (folder / "dvc.lock").unlink(missing_ok=True)
    if clone.lock:
        (folder / "dvc.lock").write_text(clone.lock)


def git(*arguments: str, folder: Path) -> str:
    """What git says; ``subprocess.CalledProcessError`` where it fails."""
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def _entry(folder: Path, stage: str) -> dict[str, Any] | None:
    import yaml

    found: dict[str, Any] = yaml.safe_load((folder / "dvc.lock").read_text())
    return found["stages"].get(stage)
