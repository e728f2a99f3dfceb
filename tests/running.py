"""``bentoml serve`` as a process of its own, as a user starts it, in a folder that is thrown away."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from loopback import free_port

from ferflow.keys import Keys

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
FERFLOW = "ferflow.serving.service:FerFlow"
OURS = ("MLFLOW_", "PREFECT_", "FERFLOW_", "BENTOML_", "PYTHONPATH")


@dataclass
class Running:
    """A service that answers at ``url``; ``folder`` is where it was started; ``client`` asks it."""

    process: psutil.Popen
    folder: Path
    port: int
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def key(self) -> str:
        """An API key that opens everything."""
        return Keys(self.folder / ".ferflow/keys.json").add("tests", ["admin"])

    @property
    def keyed(self) -> dict[str, str]:
        """The header with that key."""
        return {"authorization": f"Bearer {self.key}"}

    def rows(self, query: str) -> list[tuple]:
        """Of the log."""
        with sqlite3.connect(self.folder / ".ferflow/live.db") as log:
            return log.execute(query).fetchall()

    def memory(self) -> int:
        """Bytes that its processes hold."""
        return sum(one.memory_info().rss for one in (self.process, *self.process.children(recursive=True)))

    def said(self) -> str:
        return (self.folder / "serve.log").read_text()

    def workers(self) -> list[int]:
        """Process ids of those that answer."""
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]


def with_params(folder: Path, **serve: Any) -> Path:
    """``folder`` with the project's params.yaml, and these values of its block ``serve``."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["serve"] |= {"detector": "haar", **serve}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@contextmanager
def serving(folder: Path, *what: str, **env: str) -> Iterator[Running]:
    """``bentoml serve WHAT`` in ``folder``; nothing of this process's settings but ``env`` reaches it.

    Without WHAT it is this checkout's service.
    """
    port = free_port()
    if not what:
        what, env = (FERFLOW,), {"PYTHONPATH": str(ROOT / "src")} | env
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    clean |= {"BENTOML_HOME": str(folder / ".bentoml"), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
    with (folder / "serve.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, str(SCRIPTS / "bentoml"), "serve", *what, "--port", str(port)],
            cwd=folder, env=clean | env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    service = Running(process, folder, port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
    try:
        _wait(service)
        yield service
    finally:
        service.client.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        shutil.rmtree(folder / ".bentoml", ignore_errors=True)


def _wait(service: Running) -> None:
    deadline = time.monotonic() + 120
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/readyz").status_code == 200:
                return
        assert service.process.poll() is None, service.said()
        assert time.monotonic() < deadline, service.said()
        time.sleep(0.3)
