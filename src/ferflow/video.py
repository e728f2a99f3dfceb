"""A video file in; an annotated video, a timeline and a plot out. Memory does not grow with the length of the video.

Sound is not kept: OpenCV reads and writes pictures only. It knows no command line and no window.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from glob import glob  # pathlib refuses patterns that shells take, such as **mp4
from pathlib import Path

import cv2
import numpy as np

from ferflow import extras
from ferflow.drawing import Look, draw
from ferflow.images import MAX_PIXELS
from ferflow.inference import FacePrediction, Predictor
from ferflow.streaming import Ahead, Frame, Shot, Streaming, close, stream
from ferflow.timeline import Timeline, main_track

# H.264 plays in every browser, but few builds of OpenCV may write it; MPEG-4 they all do, for players. VP8 plays in browsers
# and is slow to write.
CODECS = {".mp4": ("avc1", "mp4v"), ".webm": ("VP80",), ".avi": ("MJPG",)}
_TRIES = 25  # reads that may fail one after another before a video counts as ended
_USUAL_FPS = 25.0
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # what an MP4 or a MOV begins with
_MAGIC = (b"\x1aE\xdf\xa3", b"OggS", b"GIF8")
_REFUSED: set[str] = set()  # codecs that this OpenCV does not have: asked once, since FFmpeg says a lot about it

Told = Callable[[int, int | None], None]


class VideoError(ValueError):
    """A file that cannot be used as a video, or a video that cannot be written; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of a video. ``skipped`` frames could not be decoded; ``fps`` are frames a second of work."""

    frames: int
    skipped: int
    faces: int
    fps: float
    notes: tuple[str, ...] = ()


def is_video(path: Path) -> bool:
    """Whether a file begins as MP4, MOV, AVI, WebM, Matroska, Ogg or GIF do.

    FFmpeg reads far more: lists of other files among them, so that what a stranger sends could name a file of this machine.
    """
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] in _BOXES or (head[:4] == b"RIFF" and head[8:] == b"AVI ") or head.startswith(_MAGIC)


class Video:
    """A video file that is open: its frames, turned as its metadata say. A context manager.

    ``fps`` and ``declared`` (frames, or None) are what the file says; ``skipped`` counts, once the frames were read, those
    that could not be. Raises ``VideoError`` for what is no video, has no frame, or is larger than ``max_pixels``.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        if not path.is_file():
            raise VideoError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty")
        self.path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError(f"{path}: no video that can be read; its form is unknown, or the file is damaged or cut off")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            self.close()
            raise VideoError(f"{path}: a frame has {width} x {height} pixels; at most {max_pixels} are accepted")
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps_known = math.isfinite(fps) and 0 < fps <= 1000
        self.fps = float(fps) if self.fps_known else _USUAL_FPS
        self.declared = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        self.skipped = 0

    def shots(self) -> Iterator[Shot]:
        """Every frame that can be decoded (BGR), with the time that the file gives it; all of the first one's size.

        Raises ``VideoError`` where there is none.
        """
        given, failed, last, size = 0, 0, -1.0, None
        while failed <= _TRIES:
            good, pixels = self._capture.read()
            if not good or pixels is None or (size is not None and pixels.shape != size):
                failed += 1
                continue
            size, self.skipped, failed = pixels.shape, self.skipped + failed, 0
            moment = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            last = moment if moment > last else last + 1 / self.fps
            yield Shot(given + self.skipped, last, pixels)
            given += 1
        if not given:
            raise VideoError(f"{self.path}: the video has no frame that can be decoded")
        self.skipped = max(self.skipped, (self.declared or 0) - given)

    def close(self) -> None:
        """Let the file go."""
        self._capture.release()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Writer:
    """Writes frames (BGR) to a video file; its ending chooses the form: ``.mp4``, ``.webm`` or ``.avi``. A context manager.

    The size is the first frame's; odd sides get a row or column more, which the codecs need.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix not in CODECS:
            raise VideoError(f"{path}: a video can be written as {', '.join(CODECS)}")
        self.path, self.fps = path, fps
        self.codec: str | None = None
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def write(self, pixels: np.ndarray) -> None:
        """Add a frame (H x W x 3, BGR)."""
        height, width = pixels.shape[:2]
        if self._writer is None:
            self._writer = self._opened((width + width % 2, height + height % 2))
        if height % 2 or width % 2:
            pixels = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._writer.write(pixels)
        self._frames += 1

    def _opened(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        for codec in (codec for codec in CODECS[self.path.suffix] if codec not in _REFUSED):
            code = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.fps, size_wh)
            if writer.isOpened():
                self.codec = codec
                _REFUSED.update(CODECS[self.path.suffix][: CODECS[self.path.suffix].index(codec)])
                return writer
        raise VideoError(f"{self.path}: this OpenCV can write none of {', '.join(CODECS[self.path.suffix])}, or not to there")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if error[0] is None:
            self._check()

    def _check(self) -> None:
        """OpenCV says nothing of a full disk: the file has to open again and to have its frames, else ``VideoError``."""
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        good = capture.isOpened() and capture.read()[0]
        capture.release()
        if not good or 0 < found < self._frames - 1:  # some containers have no count
            raise VideoError(f"{self.path}: only {found} of {self._frames} frames could be written; is the disk full?")


def annotate(
    predictor: Predictor,
    path: Path,
    *,
    video: Path | None = None,
    timeline: Path | None = None,
    plot: Path | None = None,
    settings: Streaming | None = None,
    look: Look | None = None,
    told: Told | None = None,
) -> Outcome:
    """Look at every frame of a video, and write what is asked for.

    ``video`` is the annotated video, ``timeline`` a table (.parquet or .csv) with a row a face a frame, ``plot`` a picture
    of the emotions of the face that was seen longest (it needs the timeline). Files appear under their names when they are
    whole. ``settings.fps`` and ``settings.bgr`` are the video's. ``told`` hears how many frames are done, of how many.
    Raises ``VideoError`` for a video that cannot be read or written.
    """
    if plot and not timeline:
        raise ValueError("a plot is drawn from the timeline: ask for both")
    wanted = [file for file in (video, timeline, plot) if file]
    parts = {file: file.with_name(f"{file.stem}.part{file.suffix}") for file in wanted}
    try:
        with Video(path) as source:
            how = replace(settings or Streaming(), fps=source.fps, bgr=True, live=False)
            part_of = [parts[file] if file else None for file in (video, timeline)]
            outcome = _annotated(predictor, source, part_of[0], part_of[1], how, look or Look(), told)
        if plot and timeline:
            outcome = _plotted(parts[timeline], parts[plot], path.name, outcome)
        for file, part in parts.items():
            if part.exists():
                part.replace(file)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return outcome


def _annotated(
    predictor: Predictor, source: Video, video: Path | None, timeline: Path | None, how: Streaming, look: Look, told: Told | None
) -> Outcome:
    begin, frames, faces = time.perf_counter(), 0, 0
    notes = [] if source.fps_known else [f"the file does not say how many frames a second it has; {_USUAL_FPS:.0f} assumed"]
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(video, source.fps)) if video else None
        table = stack.enter_context(Timeline(timeline, predictor.card)) if timeline else None
        seen = stack.enter_context(closing(stream(predictor, source.shots(), how)))
        drawn = Ahead(lambda: _drawn(seen, look), 4) if writer else None
        stack.callback(close, *([drawn] if drawn else []))
        for frame in drawn or seen:
            if writer:
                writer.write(frame.pixels)
            if table:
                table.add(frame)
            frames, faces = frames + 1, faces + len(frame.faces)
            if told:
                told(frames, source.declared)
    if writer and writer.codec == "mp4v":
        notes.append("the video is MPEG-4 (mp4v), for players; browsers want .webm")
    return Outcome(frames, source.skipped, faces, frames / (time.perf_counter() - begin), tuple(notes))


def _drawn(frames: Iterator[Frame[FacePrediction]], look: Look) -> Iterator[Frame[FacePrediction]]:
    for frame in frames:
        draw(frame.pixels, frame.faces, look)
        yield frame


def _plotted(timeline: Path, plot: Path, name: str, outcome: Outcome) -> Outcome:
    try:
        from ferflow.plots import emotions  # matplotlib comes with the extra "train"
    except ImportError as error:
        return replace(outcome, notes=(*outcome.notes, f"no plot: {error}; {extras.how('train')}"))
    track, means = main_track(timeline)
    if track is None:
        return replace(outcome, notes=(*outcome.notes, "no plot: no face was found"))
    emotions(means, f"{name}: face {track}", plot)
    return outcome


def outputs(out: Path, name: Path, timeline: str | None, with_video: bool, suffix: str = ".mp4") -> dict[str, Path]:
    """Where the results of a video go: ``out`` and the video's relative ``name`` without its ending, then what it is."""
    base = out / name.parent / name.stem
    found = {"video": base.with_name(f"{base.name}.annotated{suffix}")} if with_video else {}
    if timeline:
        found["timeline"] = base.with_name(f"{base.name}.timeline.{timeline}")
        found["plot"] = base.with_name(f"{base.name}.emotions.png")
    return found


ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".3gp")

_OURS = (".annotated", ".annotated.part")  # what the stems of our own videos end in


def found_in(places: Sequence[str]) -> list[tuple[Path, Path]]:
    """Every video of files, folders (with what lies below) and patterns (``clips/**/*.mp4``), each with its relative name.

    A file has its own name, one from a folder or pattern its way from there. Annotated videos are left out. What is no
    file, folder or pattern with a match is given as it is, so that it is reported.
    """
    found: dict[Path, Path] = {}
    for place in places:
        path = Path(place).expanduser() if place.startswith("~/") else Path(place)
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in ENDINGS]
            found |= {file: file.relative_to(path) for file in inside if not file.stem.endswith(_OURS)}
        elif not path.exists() and set(place) & set("*?["):
            base = Path(*[part for part, _ in zip(path.parts, _plain(path.parts), strict=False)])
            matches = sorted(Path(file) for file in glob(str(path), recursive=True) if Path(file).is_file())  # noqa: PTH207
            found |= {file: file.relative_to(base) for file in matches} or {path: Path(path.name)}
        else:
            found[path] = Path(path.name)
    names = Counter(name.with_suffix("") for name in found.values())
    return [  # a.mp4 beside a.mkv: each keeps its ending, or the results of one would replace the other's
        (path, name if names[name.with_suffix("")] == 1 else name.with_name(name.name + name.suffix))
        for path, name in found.items()
    ]


def _plain(parts: Sequence[str]) -> Iterator[str]:
    """The parts of a pattern before the first that is one."""
    for part in parts:
        if set(part) & set("*?["):
            return
        yield part
