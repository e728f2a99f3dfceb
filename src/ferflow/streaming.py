"""Frames in, frames with their faces out: detect | classify, each in its thread, with bounded queues between them.

It knows no file, no camera and no drawing; it is told of a predictor only what it asks of it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np

from ferflow.detectors import Detection
from ferflow.finding import Finder, touches
from ferflow.images import ImageError, read
from ferflow.tracks import Smoother, Tracked, Tracker, between

T = TypeVar("T")
P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
_LOOK = 0.05  # seconds after which a waiting thread looks whether it is still wanted


class Answering(Protocol[P_co]):
    """What is asked of a ``Predictor``."""

    finder: Finder

    def crop(self, rgb: np.ndarray, face: Detection) -> np.ndarray: ...
    def stacked(self, crops: Sequence[np.ndarray]) -> np.ndarray: ...
    def outputs(self, faces: np.ndarray) -> dict[str, np.ndarray]: ...
    def describe(self, found: Sequence[Detection], outputs: dict[str, np.ndarray]) -> Sequence[P_co]: ...


@dataclass(frozen=True)
class Shot:
    """A frame before anybody looked at it: its number, when it was, in seconds, and its pixels (H x W x 3, uint8)."""

    index: int
    time_s: float
    pixels: np.ndarray


@dataclass(frozen=True)
class TrackedFace(Generic[P]):
    """A face of a frame; ``track`` is the same number as long as it is the same face."""

    track: int
    face: P


@dataclass(frozen=True)
class Frame(Generic[P]):
    """A frame and its faces; ``pixels`` are those that were given, in the same order of colours."""

    index: int
    time_s: float
    pixels: np.ndarray
    faces: list[TrackedFace[P]]


@dataclass(frozen=True)
class Streaming:
    """How frames are looked at.

    ``detect_every``: faces are detected in every so many frames and lie on a line in between (None: about six times a
    second, ten times live; needs ``fps``). ``smooth_s``: time constant of the averages, seconds; 0 turns them off.
    ``batch``: so many frames go through the network together. ``live``: never wait for later frames: boxes in between are
    moved on with constant velocity, and a batch is what is there. ``bgr``: pixels come in OpenCV's order of colours.
    """

    fps: float = 25.0
    detect_every: int | None = None
    smooth_s: float = 0.3
    batch: int = 8
    live: bool = False
    bgr: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.fps < 10_000 or self.batch < 1 or (self.detect_every is not None and self.detect_every < 1):
            raise ValueError(
                "fps must be above 0 and under 10,000, batch and detect_every 1 or more; they are "
                f"{self.fps}, {self.batch} and {self.detect_every}"
            )

    @property
    def every(self) -> int:
        """Faces are detected in every so many frames."""
        return self.detect_every or max(1, round(self.fps / (10 if self.live else 6)))


def stream(predictor: Answering[P], shots: Iterable[Shot], settings: Streaming | None = None) -> Generator[Frame[P], None, None]:
    """Every frame with its faces, in order; it works ahead in threads.

    An error of any stage ends all threads and is raised here. Closing the iterator (``close()``, or leaving a loop that
    owns it) ends them too.
    """
    how = settings or Streaming()
    waiting = 1 if how.live else how.batch
    read = Ahead(lambda: shots, 1 if how.live else 4)
    seen = Ahead(lambda: _detected(predictor.finder, read, how), waiting)
    done = Ahead(lambda: _classified(predictor, seen, how), waiting)
    try:
        yield from done
    finally:
        close(done, seen, read)


def _detected(finder: Finder, shots: Iterable[Shot], how: Streaming) -> Iterator[tuple[Shot, list[Tracked]]]:
    tracker = Tracker(lost_after=max(round(how.fps), 2 * how.every))

    def look(shot: Shot) -> list[Tracked]:
        rgb = cv2.cvtColor(shot.pixels, cv2.COLOR_BGR2RGB) if how.bgr else shot.pixels
        return tracker.update(shot.index, finder.find(rgb))

    if how.live:
        for place, shot in enumerate(shots):
            faces = look(shot) if place % how.every == 0 else tracker.predicted(shot.index)
            yield shot, [one for one in faces if touches(one.face.box_xyxy, shot.pixels)]
        return
    held: list[Shot] = []  # frames since the last detection: they wait for the next one
    before: list[Tracked] = []
    first = -1
    for place, (shot, last) in enumerate(_with_last(shots)):
        if place % how.every and not last:
            held.append(shot)
            continue
        now = look(shot)
        for one in held:
            yield one, between(before, now, (one.index - first) / (shot.index - first))
        yield shot, now
        before, first, held = now, shot.index, []


def _with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Every item, and whether it is the last."""
    held: list[T] = []
    for item in items:
        yield from ((one, False) for one in held)
        held = [item]
    yield from ((one, True) for one in held)


def _classified(predictor: Answering[P], seen: "Ahead[tuple[Shot, list[Tracked]]]", how: Streaming) -> Iterator[Frame[P]]:
    smoother = Smoother(how.smooth_s)
    for group in seen.groups(how.batch, wait=not how.live):
        crops = [predictor.crop(shot.pixels, one.face) for shot, faces in group for one in faces]
        stack = predictor.stacked(crops)
        outputs = predictor.outputs(np.ascontiguousarray(stack[..., ::-1]) if how.bgr else stack)
        times = [(one, shot.time_s) for shot, faces in group for one in faces]
        rows = [
            smoother.smoothed(one.track, time_s, {task: values[place] for task, values in outputs.items()})
            for place, (one, time_s) in enumerate(times)
        ]
        smooth = {task: np.stack([row[task] for row in rows]) if rows else values for task, values in outputs.items()}
        answers = iter(predictor.describe([one.face for one, _ in times], smooth))
        for shot, faces in group:
            yield Frame(shot.index, shot.time_s, shot.pixels, [TrackedFace(one.track, next(answers)) for one in faces])


class _End:
    """What comes after the last item, and why."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """The items of ``make()``, made ahead in a thread of their own; at most ``waiting`` lie ready. One thread may ask.

    The thread starts with the first item that is asked for. What it raises is raised where items are asked for.
    """

    def __init__(self, make: Callable[[], Iterable[T]], waiting: int) -> None:
        self._make = make
        self._line: Queue[T | _End] = Queue(max(1, waiting))
        self.stop, self.thread = Event(), Thread(target=self._work, daemon=True)
        self._ended = False

    def __iter__(self) -> Iterator[T]:
        for (item,) in self.groups(1, wait=True):
            yield item

    def groups(self, most: int, wait: bool) -> Iterator[list[T]]:
        """Lists of up to ``most`` items: full ones where ``wait``, else what lies ready, but at least one."""
        while group := list(self._asked(1)):
            ready = most - 1 if wait else min(most - 1, self._line.qsize())
            group.extend(self._asked(ready))
            yield group

    def _asked(self, count: int) -> Iterator[T]:
        if self.thread.ident is None:
            self.thread.start()
        while count and not self._ended and not self.stop.is_set():
            try:
                item = self._line.get(timeout=_LOOK)
            except Empty:
                if self.thread.is_alive() or not self._line.empty():
                    continue
                return
            if not isinstance(item, _End):
                count -= 1
                yield item
                continue
            self._ended = True
            if item.error is not None:
                raise item.error

    def _work(self) -> None:
        source: Any = None
        try:
            source = iter(self._make())
            for item in source:
                if not self._put(item):
                    break
            self._put(_End())
        except BaseException as error:
            self._put(_End(error))
        finally:
            if hasattr(source, "close"):
                source.close()

    def _put(self, item: T | _End) -> bool:
        while not self.stop.is_set():
            try:
                self._line.put(item, timeout=_LOOK)
                return True
            except Full:
                continue
        return False


def close(*lines: Ahead[Any]) -> None:
    """End the threads of all, and close what they read from; what lies ready is dropped."""
    for line in lines:
        line.stop.set()
    for line in lines:
        if line.thread.is_alive():
            line.thread.join(timeout=10)  # a source that hangs does not hang us: the threads are daemons


def numbered(frames: Iterable[np.ndarray], fps: float) -> Iterator[Shot]:
    """Frames as shots, ``fps`` a second; ``ImageError`` that names the frame which is no picture."""
    for index, pixels in enumerate(frames):
        try:
            rgb = read(pixels).rgb
        except ImageError as error:
            raise ImageError(f"frame {index}: {error}") from error
        yield Shot(index, index / fps, rgb)
