"""SIGTERM: what is in flight is answered and written down, nobody new is let in, and the process ends."""

import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path

import clips
import cv2
import httpx
import numpy as np
import pytest
from running import Running, serving, with_params

pytestmark = pytest.mark.slow
PICTURES = 5  # 45 megapixels; the service takes 50 at once
FRAMES = 40


def large_picture() -> bytes:
    """A PNG of nine megapixels that is small on the wire: half a second of work or more."""
    squares = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", squares.repeat(150, axis=0).repeat(150, axis=1))[1])


def rows(folder: Path) -> int:
    with sqlite3.connect(folder / ".ferflow/live.db") as log:
        return int(log.execute("select count(*) from predictions").fetchone()[0])


def refused(port: int) -> bool:
    """Whether nobody listens any more; a connection that is taken must be answered within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.settimeout(1)
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(12) in (b"HTTP/1.1 200", b"")
    except ConnectionError:  # refused, or reset
        return True
    return False


class HalfAsked:
    """A request of which only a half was sent: it is surely in flight until ``finish``."""

    def __init__(self, service: Running) -> None:
        request = httpx.Request("POST", service.url, files={"image": large_picture()}, headers={"Connection": "close"})
        body = request.read()
        self._rest = body[len(body) // 2 :]
        self._socket = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        head = b"".join(b"%s: %s\r\n" % line for line in request.headers.raw)
        self._socket.sendall(b"POST /predict HTTP/1.1\r\n" + head + b"\r\n" + body[: len(body) // 2])

    def finish(self) -> bytes:
        self._socket.sendall(self._rest)
        answer = b""
        while part := self._socket.recv(65536):
            answer += part
        return answer


class InFlight:
    """Pictures that are asked about beside the test, and what came back."""

    def __init__(self, service: Running) -> None:
        self.answer: httpx.Response | None = None
        self._asking = threading.Thread(target=self._ask, args=[service])
        self._asking.start()

    def _ask(self, service: Running) -> None:
        files = [("images", ("a.png", large_picture(), "image/png"))] * PICTURES
        self.answer = httpx.post(f"{service.url}/predict_batch", files=files, timeout=100)

    def wait(self) -> httpx.Response:
        self._asking.join(100)
        assert self.answer is not None, "the connection was cut"
        return self.answer


def test_what_is_in_flight_is_finished_and_new_connections_are_refused_at_once(release, tmp_path):
    with_params(tmp_path, workers=2)
    clip = clips.write(tmp_path / "clip.mp4", clips.frames(FRAMES, (320, 240)))
    with serving(tmp_path, FERFLOW_MODEL=str(release)) as service:
        task = httpx.post(f"{service.url}/predict_video/submit", files={"video": clip.read_bytes()}, timeout=30).json()
        half = HalfAsked(service)
        asked = InFlight(service)
        time.sleep(0.5)
        told = time.monotonic()
        service.process.send_signal(signal.SIGTERM)  # to the supervisor alone, as an engine of containers does it
        while not refused(service.port):
            assert time.monotonic() < told + 3, "strangers are still let in"
        service.process.send_signal(signal.SIGTERM)  # told twice, it does not hurry
        assert half.finish().startswith(b"HTTP/1.1 200 ")
        reply = asked.wait()
        assert reply.status_code == 200
        assert [one["width"] for one in reply.json()["answers"]] == [3000] * PICTURES
        assert service.process.wait(100) == 0
        assert f"{task['task_id']} is completed" in service.said()
        assert "Traceback" not in service.said()
    assert rows(tmp_path) == 1 + PICTURES + FRAMES
