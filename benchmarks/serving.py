"""What the service holds: requests a second, latency, errors, memory, beside a bare ONNX Runtime loop and no batching.

    python benchmarks/serving.py [--picture photo.jpg] [--yunet FILE] [--seconds 10] [--soak 300] [--workers 1 2]
    python benchmarks/serving.py --out reports/benchmarks/serving.md

A 48 x 48 grey EfficientNet-B0 of random weights is exported and served on loopback; clients are coroutines with a
connection each that ask again as soon as they are answered, in this process, on the same cores. ``--picture`` is a
photograph of one face: it is brought to 640 x 480; without one the part with full images is left out. Figures are of this
machine at this moment; ratios compare what was taken in one run.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import running
from running import ROOT, Running, with_params

CLIENTS = (1, 8, 32, 128)
ROUNDS = 7
PATIENCE_S = 30.0  # after which a request counts as lost


@dataclass
class Load:
    """What came of some seconds of asking."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    slowest_refusal_ms: float = 0.0

    @property
    def rate(self) -> float:
        return self.statuses[200] / self.seconds

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.latencies_ms, share)) if self.latencies_ms else float("nan")

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in (200, 503))


def request(path: str, content_type: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def crops_request(face: np.ndarray) -> bytes:
    """A request with one ready crop."""
    crop = base64.b64encode(cv2.imencode(".png", face)[1].tobytes()).decode()
    return request("/predict_faces", "application/json", json.dumps({"crops": [crop]}).encode())


def picture_request(data: bytes) -> bytes:
    """A request with one picture."""
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return request("/predict", "multipart/form-data; boundary=x", part + data + b"\r\n--x--\r\n")


class Client(asyncio.Protocol):
    """Asks over one connection until the time is over; a lost connection is an error and is opened again.

    It is a protocol, not a stream: the client shares its cores with the service, and should take little of them.
    """

    def __init__(self, message: bytes, until: float, load: Load, done: "asyncio.Future[None]") -> None:
        self.message, self.until, self.load, self.done = message, until, load, done
        self.transport: asyncio.Transport | None = None
        self.received, self.wanted, self.status = b"", 0, 0
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send, unless the time is over."""
        if time.perf_counter() >= self.until:
            self.finish()
        elif self.transport is not None and not self.transport.is_closing():
            self.started, self.received, self.wanted = time.perf_counter(), b"", 0
            self.transport.write(self.message)
            self.timer = asyncio.get_running_loop().call_later(PATIENCE_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.wanted and (end := self.received.find(b"\r\n\r\n")) > 0:
            self.head = self.received[:end].lower() + b"\r\n"
            self.status = int(self.head[9:12])
            self.wanted = end + 4 + int(self.head.split(b"content-length:")[1].split(b"\r\n")[0])
        if self.wanted and len(self.received) >= self.wanted:
            self.answered(1000 * (time.perf_counter() - self.started))

    def answered(self, took_ms: float) -> None:
        """Count an answer, and ask again."""
        if self.timer:
            self.timer.cancel()
        self.load.statuses[self.status] += 1
        pause = 0.0
        if self.status == 200:
            self.load.latencies_ms.append(took_ms)
        elif self.status == 503:
            self.load.without_retry_after += b"retry-after:" not in self.head
            self.load.slowest_refusal_ms = max(self.load.slowest_refusal_ms, took_ms)
            pause = 0.2  # a kind client waits longer
        self.received = b""
        if b"connection: close" in self.head:
            self.started = 0.0
            asyncio.get_running_loop().call_later(pause, self.again)
        elif pause:
            asyncio.get_running_loop().call_later(pause, self.ask)
        else:
            self.ask()

    def again(self) -> None:
        """A new connection."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        if self.done.done():
            return
        if self.started and self.wanted == 0:
            self.load.statuses[0] += 1
        self.finish()

    def finish(self) -> None:
        """No more from this connection."""
        if not self.done.done():
            self.done.set_result(None)
        if self.transport is not None:
            self.transport.close()


async def ask(port: int, message: bytes, until: float, load: Load) -> None:
    """One client, over as many connections as it takes."""
    loop = asyncio.get_running_loop()
    while time.perf_counter() < until:
        done: asyncio.Future[None] = loop.create_future()
        try:
            await loop.create_connection(partial(Client, message, until, load, done), "127.0.0.1", port)
        except OSError:
            load.statuses[0] += 1
            await asyncio.sleep(0.05)
            continue
        await done


def loaded(port: int, message: bytes, clients: int, seconds: float) -> Load:
    """So many clients for so long."""
    load = Load()

    async def all_of_them() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(ask(port, message, until, load) for _ in range(clients)))

    started = time.perf_counter()
    asyncio.run(all_of_them())
    load.seconds = time.perf_counter() - started
    return load


@contextmanager
def serving(project: Path, model: Path, **serve: Any) -> Iterator[Running]:
    """``bentoml serve`` in ``project`` with these values of the block ``serve``, and as many threads as it takes by itself."""
    shutil.rmtree(project / ".ferflow", ignore_errors=True)
    threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    with running.serving(with_params(project, **serve), FERFLOW_MODEL=str(model), OMP_NUM_THREADS=threads) as service:
        yield service


def memory_mib(service: Running) -> float:
    """Of the workers: memory that is theirs alone, MiB."""
    return float(sum(one.memory_full_info().uss for one in service.process.children(recursive=True)) / 2**20)


def exported(folder: Path) -> Path:
    """EfficientNet-B0 for 48 x 48 grey faces and seven expressions, of random weights, as ONNX."""
    import torch

    from ferflow import params
    from ferflow.card import Card
    from ferflow.combiners import Combination
    from ferflow.exporters import Source
    from ferflow.model import EnsembleNetwork, build
    from ferflow.registry import get
    from ferflow.vocabulary import EXPRESSIONS

    torch.manual_seed(0)
    tasks = {"expression": EXPRESSIONS[:7]}
    base = params.load(ROOT / "params.yaml").member("gray-cnn").model_dump()
    member = params.Member.model_validate(
        base | {"backbone": "timm", "variant": "efficientnet_b0", "options": {}, "image_size": 48}
    )
    network = EnsembleNetwork([build(member, tasks, 48).eval()], {"expression": Combination([1.0])}).eval()
    count = sum(one.numel() for one in network.parameters())
    card = Card(name="b0", members={"b0": "efficientnet_b0"}, input_size=48, modality="gray", tasks=tasks, dataset="none",
                parameters=count)  # fmt: skip
    path: Path = get("exporters", "onnx").write(Source(network, card), folder)
    return path


def bare(model: Path, batch: int, seconds: float) -> float:
    """Faces a second of ONNX Runtime alone, one thread, arrays that lie ready."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    faces = np.random.default_rng(0).integers(0, 255, (batch, 48, 48, 3), dtype=np.uint8)
    session.run(None, {"faces": faces})
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        session.run(None, {"faces": faces})
        count += batch
    return count / (time.perf_counter() - started)


ROW = "| {name} | {clients} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {refused} | {errors} | {memory:.0f} |"
HEAD = "| what | clients | answers/s | p50 ms | p99 ms | 503 | errors | memory MiB |\n|---|---|---|---|---|---|---|---|"


def row(name: str, clients: int, load: Load, service: Running) -> str:
    """A line of the tables."""
    return ROW.format(
        name=name, clients=clients, rate=load.rate, p50=load.percentile(50), p99=load.percentile(99),
        refused=load.statuses[503], errors=load.errors, memory=memory_mib(service),
    )  # fmt: skip


def main() -> None:
    """Parse the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="a photograph of one face")
    parser.add_argument("--yunet", type=Path, help="YuNet's file, else Haar finds the faces")
    parser.add_argument("--seconds", type=float, default=10, help="of every load")
    parser.add_argument("--soak", type=float, default=0, help="seconds of the soak; 0: none")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=["crops", "pictures", "overload"], help="this part alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lines: list[str] = []

    def say(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    with TemporaryDirectory() as name:
        project = Path(name)
        model = exported(project / "model")
        say("# What the service holds\n\n`python benchmarks/serving.py`, EfficientNet-B0 at 48 x 48, random weights.")
        say(f"Service and clients on the same {os.cpu_count()} cores.\n")
        alone = {batch: bare(model, batch, given.seconds / 2) for batch in (1, 32)}
        say(f"Bare ONNX Runtime, one thread: {alone[1]:.0f} faces/s one by one, {alone[32]:.0f} in batches of 32.")
        if given.only in (None, "crops"):
            _crops(say, project, model, given)
        if given.picture and given.only in (None, "pictures"):
            for workers in given.workers:
                _pictures(say, project, model, given, workers)
        if given.only in (None, "overload"):
            _overload(say, project, model, given)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("\n".join(lines) + "\n")


def _crops(say: Any, project: Path, model: Path, given: argparse.Namespace) -> None:
    message = crops_request(np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8))
    say(f"\n{HEAD}")
    verdicts = []
    for workers in given.workers:
        folders = [project / f"{workers}-{name}" for name in ("batched", "single")]
        for folder in folders:
            folder.mkdir()
        with (
            serving(folders[0], model, workers=workers, max_waiting=256) as batched,
            serving(folders[1], model, workers=workers, max_waiting=256, max_batch=1) as single,
        ):
            for service in (batched, single):
                loaded(service.port, message, 8, 2)
            for clients in CLIENTS:
                load = loaded(batched.port, message, clients, given.seconds)
                say(row(f"ready crops, {workers} workers", clients, load, batched))
            say(row(f"the same without batching, {workers} workers", 32, loaded(single.port, message, 32, given.seconds), single))
            verdicts.append(_ratios(workers, message, model, batched, single, given.seconds / 3))
    for verdict in verdicts:
        say(verdict)


def _ratios(workers: int, message: bytes, model: Path, batched: Running, single: Running, seconds: float) -> str:
    """What 32 clients get of the bare loop, and of no batching: taken in turns, for machines do not keep their pace."""
    of_loop, of_single, of_bare = [], [], []
    for _ in range(ROUNDS):
        loop, rate = bare(model, 32, seconds), loaded(batched.port, message, 32, seconds).rate
        of_loop.append(rate / loop)
        of_single.append(rate / loaded(single.port, message, 32, seconds).rate)
        of_bare.append(loop / bare(model, 1, seconds))
    return (
        f"\n{workers} workers, 32 clients, medians of {ROUNDS} rounds (least to most): {_spread(of_loop)} of the bare loop in "
        f"batches of 32 (goal 0.6), {_spread(of_single)} times the endpoint without batching (goal 2; the bare loop in batches "
        f"of 32 is {_spread(of_bare)} times the one without)"
    )


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _pictures(say: Any, project: Path, model: Path, given: argparse.Namespace, workers: int) -> None:
    pixels = cv2.resize(cv2.imread(str(given.picture)), (640, 480), interpolation=cv2.INTER_AREA)
    message = picture_request(cv2.imencode(".jpg", pixels)[1].tobytes())
    detector = {"detector": "yunet", "detector_files": {"yunet": str(given.yunet)}} if given.yunet else {"detector": "haar"}
    say(f"\nFull images, 640 x 480, one face, found by {detector['detector']}, {workers} workers")
    say(f"(goal: p99 under 150 ms at 8 clients)\n\n{HEAD}")
    with serving(project, model, workers=workers, **detector) as service:
        found = httpx.post(f"http://127.0.0.1:{service.port}/predict", files={"image": cv2.imencode(".jpg", pixels)[1].tobytes()})
        loaded(service.port, message, 8, 2)
        for clients in (1, 8, 32):
            say(
                row(f"{len(found.json()['faces'])} face", clients, loaded(service.port, message, clients, given.seconds), service)
            )
        if given.soak and workers == given.workers[0]:
            loaded(service.port, message, 8, 20)
            before = memory_mib(service)
            load = loaded(service.port, message, 8, given.soak)
            after = memory_mib(service)
            say(row(f"soak, {given.soak:.0f} s", 8, load, service))
            say(f"\nMemory over the soak: {before:.0f} to {after:.0f} MiB, {100 * (after / before - 1):+.1f} % (goal under 5 %)")


def _overload(say: Any, project: Path, model: Path, given: argparse.Namespace) -> None:
    message = crops_request(np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8))
    say(f"\nPast capacity: `max_waiting` 16, clients that come back 0.2 s after a refusal\n\n{HEAD}")
    with serving(project, model, max_waiting=16) as service:
        for clients in (64, 256):
            load = loaded(service.port, message, clients, given.seconds)
            say(row("too many", clients, load, service))
            bare, slowest = load.without_retry_after, load.slowest_refusal_ms
            say(f"| refusals without Retry-After: {bare}; slowest refusal {slowest:.0f} ms | | | | | | | |")


if __name__ == "__main__":
    main()
