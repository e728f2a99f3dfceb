"""``python -m flows.leash COMMAND ...``: a command that does not outlive whoever started it.

Standard input is the leash: the starter holds the other end of a pipe and never writes. When it closes, because the
starter was killed or wants an end, the command and everything it started are killed. A worker that dies so takes its
stage with it, on any engine, and the stage can be given to another worker at once. It knows no engine and no flow.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from threading import Thread

_LOCK = Path(".dvc/tmp/lock")  # DVC's own: whoever holds it may be in the middle of dvc.lock
_PATIENCE_S = 10.0


def main() -> int:
    """Run the command in a process group of its own; its exit code (minus the signal where one ended it)."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def end_all() -> None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)  # as if the machine had gone: DVC takes locks from the dead by itself

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                pass
        with _between_writes():
            end_all()

    Thread(target=watch, daemon=True).start()
    code = command.wait()
    end_all()  # nor does what it started outlive it
    return code


@contextmanager
def _between_writes() -> Iterator[None]:
    """While nobody writes ``dvc.lock``: a command killed there would leave half of it. Not waited for longer than it may take."""
    try:
        lock = os.open(_LOCK, os.O_RDONLY)
    except OSError:
        yield
        return
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
            break
        except OSError:
            time.sleep(0.01)
    yield
    os.close(lock)


if __name__ == "__main__":
    os._exit(main() & 0xFF)  # the watcher still reads: an orderly end would wait for it
