"""What the drill plays with: a copy of the project, its processes, a camera that draws faces, and clients that ask.

Everything lies in one folder and listens on loopback; nothing of the user's is read but the project's own files.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import numpy as np
import yaml

from ferflow.datasets.synthetic import draw_row, read_action_units
from ferflow.images import decode, encode_png
from ferflow.vocabulary import EXPRESSIONS
from flows.companion import answers, descendants, end_all
from flows.remote import RemoteError

ROOT = Path(__file__).parent.parent
_OURS = ("MLFLOW_", "PREFECT", "FERFLOW_", "DVC_", "GIT_")


class DrillError(RemoteError):
    """The drill cannot go on; the message says at what."""


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Copy:
    """A copy of the project's files in ``folder``, with git and DVC of its own, and nothing that was made from data."""

    def __init__(self, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
        self.folder, self._processes = folder, list[subprocess.Popen[Any]]()
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if name != "dvc.lock" and (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        params = yaml.safe_load((folder / "params.yaml").read_text())
        change(params)
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        self.model = str(params["register"]["model"])
        self.prefect = f"http://127.0.0.1:{free_port()}/api"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self.env = clean | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # dvc.yaml says python
            "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder)]),
            "PREFECT_API_URL": self.prefect,
            "PREFECT_HOME": str(folder / ".prefect"),
            "FERFLOW_RECORD": "0",  # the flows are recorded; a dozen stages each time are not
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",  # seconds; ten are the default
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(folder / "bentoml"),
            "PYTHONWARNINGS": "ignore",
        }
        who = ["-c", "user.name=drill", "-c", "user.email=drill@example.invalid", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "the drill begins"]):
            subprocess.run(["git", *command], cwd=folder, check=True, env=self.env)

    def run(self, *module: str, timeout_s: float = 1800) -> str:
        """``python -m``; its output. ``DrillError`` with its last lines where it fails."""
        process = subprocess.Popen(
            [sys.executable, "-m", *module], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.folder, env=self.env, start_new_session=True, text=True,
        )  # fmt: skip
        self._processes.append(process)  # so that it ends with the drill
        said, _ = process.communicate(timeout=timeout_s)
        self._processes.remove(process)
        if process.returncode:
            raise DrillError(f"{' '.join(module)} ended with {process.returncode}:\n{said[-1500:]}")
        return said

    def start(self, log: str, *module: str) -> subprocess.Popen[bytes]:
        """``python -m`` in the background; ``stop`` ends it."""
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *module], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.folder, env=self.env, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End what was started, the last first, with what it started itself."""
        family = [one for process in self._processes for one in descendants(process.pid)]
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        end_all(family)


@dataclass(frozen=True)
class Shown:
    """A face before the camera: what it shows, and the picture (PNG)."""

    label: str
    picture: bytes


class Camera:
    """Draws faces that no training has seen. ``light``: 1 is day, 0 night."""

    def __init__(self, size: int, seed: int) -> None:
        self._table = read_action_units(ROOT / "src/ferflow/datasets/synthetic.yaml")
        self._size, self._seed, self._number = size, seed, 0

    def faces(self, count: int, light: float = 1.0) -> list[Shown]:
        """The next faces; expressions take turns."""
        found = []
        for _ in range(count):
            self._number += 1
            draw = np.random.default_rng([self._seed, self._number])
            label = EXPRESSIONS[self._number % len(EXPRESSIONS)]
            picture = draw_row(self._number, label, self._table, self._size, draw)["image"]
            found.append(Shown(label, picture if light == 1 else self._dimmed(picture, light, draw)))
        return found

    @staticmethod
    def _dimmed(picture: bytes, light: float, draw: np.random.Generator) -> bytes:
        """As a sensor sees little light: dark, and with more noise."""
        dark = decode(picture).astype(np.float32) * light + draw.normal(0, 2, decode(picture).shape)
        return encode_png(np.clip(dark, 0, 255).astype(np.uint8))


@dataclass
class Told:
    """What the service said of a face."""

    shown: Shown
    id: str
    expression: str
    version: str


@dataclass
class Service:
    """The service of the copy, over HTTP. Counts every answer by its status."""

    url: str
    key: str
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def post(self, path: str, body: bytes, kind: str, keyed: bool = False) -> dict[str, Any]:
        """The answer's JSON; empty where the status is not 200, which is counted."""
        headers = {"content-type": kind} | ({"authorization": f"Bearer {self.key}"} if keyed else {})
        started = time.monotonic()
        try:
            with urlopen(Request(self.url + path, body, headers), timeout=60) as reply:
                self.statuses[reply.status] += 1
                said: dict[str, Any] = loads(reply.read())
        except HTTPError as error:
            self.statuses[error.code] += 1
            return {}
        except OSError:
            self.statuses[0] += 1
            return {}
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        return said

    def predict(self, shown: Shown, consent: bool = False) -> Told | None:
        """Ask what a picture shows."""
        edge = uuid4().hex
        fields = f'--{edge}\r\nContent-Disposition: form-data; name="consent"\r\n\r\n{str(consent).lower()}\r\n'
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="face.png"\r\nContent-Type: image/png\r\n\r\n'
        body = fields.encode() + head.encode() + shown.picture + f"\r\n--{edge}--\r\n".encode()
        said = self.post("/predict", body, f"multipart/form-data; boundary={edge}")
        if not said or not said["faces"]:
            return None
        self.versions[said["model_version"]] += 1
        face = said["faces"][0]
        return Told(shown, face["id"], face["expression"], said["model_version"])

    def watch(self, shown: list[Shown], consent: bool = False) -> list[Told]:
        """Ask about many, four at a time."""
        with ThreadPoolExecutor(4) as pool:
            return [one for one in pool.map(lambda one: self.predict(one, consent), shown) if one is not None]

    def teach(self, told: list[Told], label: Callable[[str], str] = lambda name: name) -> int:
        """Say what the faces really show, as ``label`` makes of it; how many words were taken."""

        def say(one: Told) -> bool:
            word = dumps({"id": one.id, "label": label(one.shown.label)}).encode()
            return bool(self.post("/feedback", word, "application/json", keyed=True))

        with ThreadPoolExecutor(4) as pool:
            return sum(pool.map(say, told))

    def version(self) -> str:
        """Which version answers."""
        return str(self.post("/model", b"", "application/json").get("version", ""))


def accuracy(told: list[Told]) -> float:
    """The share of right answers."""
    return sum(one.expression == one.shown.label for one in told) / max(1, len(told))


@contextmanager
def asking(service: Service, faces: list[Shown]) -> Iterator[Service]:
    """A client that asks again and again while the block runs; gives its counts."""
    own, stop = Service(service.url, service.key), threading.Event()

    def ask() -> None:
        number = 0
        while not stop.is_set():
            own.predict(faces[number % len(faces)])
            number += 1
            stop.wait(0.05)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        stop.set()
        thread.join(70)


@contextmanager
def mailbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A local server that takes messages: its address, and what came."""
    came: list[dict[str, Any]] = []

    class Box(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Box)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", came
    finally:
        server.shutdown()
        server.server_close()


def ready(address: str) -> bool:
    """Whether something answers there."""
    return answers(address, timeout=2)
