"""A camera, or a video that plays as one: always its newest frame. It knows no model and no window."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread

import cv2
import numpy as np

from ferflow.streaming import Shot

_PATIENCE = 10.0  # seconds without a frame before a camera counts as gone
_TRIES = 25  # reads that may fail one after another


class CameraError(OSError):
    """A camera that is not there, or stopped; the message says what to do."""


class Camera:
    """The newest frame of a camera, read in a thread of its own; older ones that nobody took are dropped.

    ``source`` is a camera's number ("0"), a device ("/dev/video0"), an address ("rtsp://..."), or a video file, which plays
    as fast as it was taken and then ends. ``mirror`` shows people as a mirror does. Raises ``CameraError``.
    """

    def __init__(self, source: str = "0", mirror: bool = True) -> None:
        self.source, self._mirror = source, mirror
        self._file = Path(source).is_file()
        number = source.isdecimal() and int(source) < 2**31
        self._capture = cv2.VideoCapture(int(source) if number else source)
        if not self._capture.isOpened():
            raise CameraError(_no_camera(source))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 1 <= fps <= 240 else 30.0
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._new = Condition()
        self._shot: Shot | None = None
        self._ended = False
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def shots(self) -> Iterator[Shot]:
        """The newest frame (BGR), each at most once, until the camera ends; may be asked for again."""
        last = -1

        def ready() -> bool:
            return self._ended or (self._shot is not None and self._shot.index > last)

        while True:
            with self._new:
                fresh = self._new.wait_for(ready, _PATIENCE)
                shot, ended = self._shot, self._ended
            if shot is not None and shot.index > last:
                last = shot.index
                yield shot
            elif ended and self._file and shot is not None:
                return
            elif ended or not fresh:
                raise CameraError(f"the camera {self.source} gives no frames; is it unplugged, or used by another program?")

    def close(self) -> None:
        """Let go of the camera."""
        self._ended = True
        self._thread.join(timeout=5)

    def _read(self) -> None:
        begin, failed, index = time.perf_counter(), 0, 0
        while not self._ended and failed <= _TRIES:
            good, pixels = self._capture.read()
            if not good:
                failed += 1
                continue
            now, failed = time.perf_counter() - begin, 0
            if self._file and (early := index / self.fps - now) > 0:
                time.sleep(early)
            self._put(Shot(index, index / self.fps if self._file else now, pixels))
            index += 1
        with self._new:
            self._ended = True
            self._new.notify_all()
        self._capture.release()

    def _put(self, shot: Shot) -> None:
        pixels: np.ndarray = cv2.flip(shot.pixels, 1) if self._mirror else shot.pixels
        with self._new:
            self._shot = Shot(shot.index, shot.time_s, pixels)
            self._new.notify_all()


def _no_camera(source: str) -> str:
    if not source.isdecimal() and not source.startswith("/dev/"):
        return f"{source}: neither a camera nor a video that can be read"
    there = sorted(str(path) for path in Path("/dev").glob("video*")) if sys.platform == "linux" else []
    hint = f"there are {', '.join(there)}: may you read them?" if there else "none is connected that this system shows"
    return f"the camera {source} cannot be opened; {hint}. Another number, a device or a video file can be given instead"
