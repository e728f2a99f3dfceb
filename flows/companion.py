"""The companion of a run: one process that lives as long as ``dvc repro`` does.

It starts a Prefect server where none answers, and forks every stage from its own interpreter, in which the
slow libraries (torch, timm, albumentations: 10 to 20 s) are loaded once, when the first stage that computes
with them asks. It ends, with the server it started, when the run that it accompanies has ended. Stages ask for
it and never need it: without it a stage starts an interpreter of its own and the flow runs without being recorded. It records
no run and knows no order of stages.

    python -m flows.companion PID     accompany the process PID (stages do this by themselves)
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil

STATE = Path(".ferflow")
_HOST = socket.gethostname()  # machines may share this folder, and each has a companion of its own
SOCKET = STATE / f"companion-{_HOST}.sock"
_WAITED_IN_VAIN = STATE / "no-prefect-server"
DEFAULT_API = "http://127.0.0.1:4200/api"
_TAKEN_UP = b"+"  # the companion's first word to who asked; the exit code is its second
_USE_TORCH = ("train", "distil", "export")
_PRELOAD = ("pandas", "pyarrow.parquet", "cv2", "torch", "torch._dynamo", "albumentations", "timm", "scipy.optimize")
_SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # its telemetry blocks without a network
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    # kept in memory, the leases of running flows would be lost with the server, and limits of concurrency full for ever
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def api_url() -> str:
    """The address of Prefect's API: ``PREFECT_API_URL``, or port 4200 on loopback."""
    return os.environ.get("PREFECT_API_URL", DEFAULT_API)


def is_local() -> bool:
    """Whether that is an address of this machine, where a server is started if none answers."""
    return urlsplit(api_url()).hostname in ("127.0.0.1", "localhost")


def recorded() -> bool:
    """Whether Prefect is to hear of the stages; ``FERFLOW_RECORD=0`` says no, which saves its three seconds a stage."""
    return os.environ.get("FERFLOW_RECORD", "1") != "0"


def answers(address: str, timeout: float = 1.0) -> bool:
    """Whether a server answers at an address with 200."""
    try:
        with urlopen(address, timeout=timeout) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError, ValueError):
        return False


def server_answers() -> bool:
    """Whether a Prefect server answers at ``api_url``."""
    return answers(f"{api_url()}/health")


def wait_for_server(seconds: float) -> bool:
    """Wait until the server answers; False when it did not within ``seconds``. A run waits in vain only once."""
    deadline = time.monotonic() + (0 if _WAITED_IN_VAIN.exists() else seconds)
    while not (up := server_answers()) and time.monotonic() < deadline:
        time.sleep(0.3)
    if not up:
        _WAITED_IN_VAIN.touch()
    return up


def descendants(process: int) -> list[psutil.Process]:
    """What a process has started, and what that has; nothing where it is gone."""
    with suppress(psutil.Error):
        return psutil.Process(process).children(recursive=True)
    return []


def end_all(processes: list[psutil.Process], seconds: float = 10) -> None:
    """Tell processes to end, and kill those that do not in time."""
    for one in processes:
        with suppress(psutil.Error):
            one.terminate()
    for one in psutil.wait_procs(processes, seconds)[1]:
        with suppress(psutil.Error):
            one.kill()


@contextmanager
def prefect_server(log: Path) -> Iterator[subprocess.Popen[bytes] | None]:
    """A Prefect server on loopback for as long as the block runs; None when one answers already or the address is remote."""
    address = urlsplit(api_url())
    if server_answers() or not is_local():
        yield None
        return
    home = Path(os.environ.get("PREFECT_HOME", ".prefect")).resolve()
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(address.port or 4200)]
    with log.open("ab") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **_SERVER_SETTINGS, "PREFECT_HOME": str(home)},
            start_new_session=True,
        )
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def ensure(seconds: float = 20) -> bool:
    """Start a companion for the run this process belongs to, unless one is there; whether it listens in time."""
    if _listens():
        return True
    STATE.mkdir(exist_ok=True)
    with (STATE / "companion.log").open("ab") as log:
        companion = subprocess.Popen(
            [sys.executable, "-m", "flows.companion", str(_run_to_accompany())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + seconds
    while not (up := _listens()) and companion.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return up or _listens()  # it may have ended because another one was there before it


def _listens() -> bool:
    if (client := _connect()) is None:
        return False
    client.close()
    return True


def _run_to_accompany() -> int:
    """The process that ``FERFLOW_RUN`` names (a pipeline, or a worker of it), or the ``dvc`` above this one, or this one."""
    process = psutil.Process()
    with suppress(psutil.Error, ValueError):
        return psutil.Process(int(os.environ.get("FERFLOW_RUN", ""))).pid
    for parent in process.parents():
        with suppress(psutil.Error):
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:3]):
                return parent.pid
    return process.pid


def _connect() -> socket.socket | None:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(str(SOCKET))
    except OSError:
        client.close()
        return None
    return client


def start_stage(stage: str, arguments: list[str], result: Path) -> "Job":
    """Start a stage in the companion's warm interpreter, or in a new one; its output goes to ours."""
    result.unlink(missing_ok=True)
    return start_module(f"ferflow.stages.{stage}", arguments, {"FERFLOW_RESULT": str(result)}, stage in _USE_TORCH)


def start_module(module: str, arguments: list[str], environment: dict[str, str], preload: bool = False) -> "Job":
    """Start ``python -m module`` in the companion, after the slow libraries where asked, or in a new interpreter."""

    def anew() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", module, *arguments], env={**os.environ, **environment})

    if (client := _connect()) is not None:
        request: dict[str, Any] = {
            "module": module,
            "arguments": arguments,
            "environment": {**os.environ, **environment},
            "preload": preload,
        }
        request["cwd"] = str(Path.cwd())
        message = json.dumps(request).encode() + b"\n"
        with suppress(ConnectionError):  # it has ended since, which the job finds out
            sent = socket.send_fds(client, [message], [1, 2])
            client.sendall(message[sent:])
        return Job(client, anew)
    return Job(None, anew)


class Job:
    """A stage that runs, in the companion that ``client`` is connected to, or in the interpreter that ``anew`` starts."""

    def __init__(self, client: socket.socket | None, anew: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._client, self._anew = client, anew
        self._process = None if client else anew()
        self._code: int | None = None

    def wait(self) -> int:
        """Its exit code; 1 when the companion went away before it could tell.

        A companion that was about to end may have been connected to and never have taken the stage up: then it did not
        say a word, and the stage is started in an interpreter of its own.
        """
        if self._client is not None and self._code is None:
            if reply := _read_line(self._client):
                self._code = int(reply.removeprefix(_TAKEN_UP) or 1)
            else:
                self._client, self._process = None, self._anew()
        if self._process is not None:
            return self._process.wait()
        return self._code if self._code is not None else 1


def _read_line(client: socket.socket) -> bytes:
    """What comes until the end of a line, or until the other side closes or breaks off."""
    reply = b""
    with suppress(ConnectionError):
        while not reply.endswith(b"\n") and (more := client.recv(64)):
            reply += more
    return reply


def main() -> None:
    """Accompany the process whose id is the first argument."""
    accompanied = psutil.Process(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server it started is stopped, too
    STATE.mkdir(exist_ok=True)
    lock = (STATE / f"companion-{_HOST}.lock").open("w")
    if not _take(lock):
        return  # another companion is already there
    SOCKET.unlink(missing_ok=True)
    _WAITED_IN_VAIN.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(SOCKET))
    listener.listen(64)
    listener.settimeout(0.1)
    with prefect_server(STATE / "prefect-server.log") if recorded() else nullcontext():
        try:
            _serve(listener, accompanied)
        finally:
            listener.close()  # who waits there goes on alone, and not only when the server has ended
            SOCKET.unlink(missing_ok=True)


def _take(lock: IO[str]) -> bool:
    """Take the lock, waiting for a companion that is about to end; False when one is there that listens."""
    while not _listens():
        with suppress(BlockingIOError):
            flock(lock, LOCK_EX | LOCK_NB)
            return True
        time.sleep(0.1)
    return False


def _preload() -> None:
    """Load the slow libraries; collecting garbage meanwhile, or from what they leave in a child, would only cost time."""
    gc.disable()
    for module in _PRELOAD:
        with suppress(ImportError):
            import_module(module)
    gc.freeze()
    gc.enable()


def _serve(listener: socket.socket, accompanied: psutil.Process) -> None:
    """Fork a child for every request until the accompanied process and the last child have ended."""
    children: dict[int, socket.socket] = {}
    preloaded = False
    try:
        while children or (accompanied.is_running() and accompanied.status() != psutil.STATUS_ZOMBIE):
            with suppress(TimeoutError):
                client, _ = listener.accept()
                if (received := _receive(client)) is not None:
                    request, descriptors = received
                    try:
                        client.sendall(_TAKEN_UP)
                    except OSError:  # whoever asked is gone
                        client.close()
                        for descriptor in descriptors:
                            os.close(descriptor)
                        continue
                    if request["preload"] and not preloaded:
                        with suppress(OSError):  # nobody may read any more
                            os.write(descriptors[0], b"loading libraries, once for the whole run\n")
                        _preload()
                        preloaded = True
                    children[_fork(request, descriptors, listener)] = client
                    for descriptor in descriptors:
                        os.close(descriptor)
            _reap(children)
    finally:
        for child in children:  # none is left unless this process is told to end
            os.kill(child, signal.SIGTERM)


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What is asked for and the two descriptors for its output; None when the client only looked whether one listens."""
    message, descriptors, _, _ = socket.recv_fds(client, 65536, 2)
    while message and not message.endswith(b"\n"):
        more = client.recv(65536)
        if not more:
            break
        message += more
    return (json.loads(message), list(descriptors)) if message.endswith(b"\n") else None


def _reap(children: dict[int, socket.socket]) -> None:
    for child in list(children):
        if _is_gone(children[child]):  # whoever asked has ended (Ctrl-C, say): so does what it asked for
            os.kill(child, signal.SIGTERM)
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with suppress(OSError):
                children[child].sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            children.pop(child).close()


def _is_gone(client: socket.socket) -> bool:
    """Whether the other side has closed; it never sends a second message."""
    try:
        return not client.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _fork(request: dict[str, Any], descriptors: list[int], listener: socket.socket) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        listener.close()
        for target, descriptor in zip((1, 2), descriptors, strict=True):
            os.dup2(descriptor, target)
        os.chdir(request["cwd"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])
        _heed_threads()
        sys.argv = [request["module"].rpartition(".")[2], *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=False)
        code = 0
    except SystemExit as stop:
        code = _exit_code(stop)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _heed_threads() -> None:
    """``OMP_NUM_THREADS`` as a fresh interpreter would heed it: torch read it when it was loaded, before this child was."""
    said, torch = os.environ.get("OMP_NUM_THREADS", ""), sys.modules.get("torch")
    if torch is not None and said.isdigit() and int(said):
        torch.set_num_threads(int(said))


def _exit_code(stop: SystemExit) -> int:
    if isinstance(stop.code, str):
        print(stop.code, file=sys.stderr)
        return 1
    return int(stop.code or 0)


if __name__ == "__main__":
    main()
