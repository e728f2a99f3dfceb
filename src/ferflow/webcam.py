"""The window: a camera's picture with what is seen in it, and the keys that change it.

No picture is stored, except by the key for a screenshot. It knows no command line.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from ferflow.camera import Camera
from ferflow.drawing import Look, draw, lines
from ferflow.inference import FacePrediction, Predictor
from ferflow.streaming import Frame, Streaming, TrackedFace, stream

TITLE = "ferflow"
HELP = ("q quit  v plane  p bars  e emoji  s screenshot", "m next model  + - threshold  h help")
_STEP = 0.05
_TOLD = 2.5  # seconds that a message stays


class WindowError(RuntimeError):
    """There can be no window here; the message says what is missing."""


@dataclass(frozen=True)
class View:
    """What the keys change. ``threshold``: below this confidence a face is uncertain (None: the model's own value)."""

    look: Look = field(default_factory=Look)
    model: int = 0
    threshold: float | None = None
    help: bool = True
    quit: bool = False


def pressed(view: View, key: str, models: int, own: float) -> View:
    """The view after a key; ``models`` is how many there are, ``own`` the threshold of the one in use."""
    look = view.look
    threshold = own if view.threshold is None else view.threshold
    match key:
        case "q" | "\x1b":
            return replace(view, quit=True)
        case "v":
            return replace(view, look=replace(look, plane=not look.plane))
        case "p":
            return replace(view, look=replace(look, bars=not look.bars))
        case "e":
            return replace(view, look=replace(look, emoji=not look.emoji))
        case "h":
            return replace(view, help=not view.help)
        case "m":
            return replace(view, model=(view.model + 1) % models)
        case "+" | "=":
            return replace(view, threshold=min(1.0, round(threshold + _STEP, 2)))
        case "-":
            return replace(view, threshold=max(0.0, round(threshold - _STEP, 2)))
    return view


class Webcam:
    """Shows a camera until q, Esc, the window's own button, or the end of a video.

    ``models``: name and predictor of each. ``screenshots`` is where the key s puts pictures, ``told`` hears of them.
    """

    def __init__(
        self,
        models: Sequence[tuple[str, Predictor]],
        camera: Camera,
        settings: Streaming | None = None,
        view: View | None = None,
        screenshots: Path = Path(),
        told: Callable[[str], None] = print,
    ) -> None:
        self.models, self.camera, self.view = models, camera, view or View()
        self.settings = replace(settings or Streaming(), fps=camera.fps, live=True, bgr=True)
        self.screenshots, self._told = screenshots, told
        self._message, self._until = tuple[str, ...](), 0.0
        self._shown: deque[float] = deque(maxlen=120)

    def run(self) -> int:
        """Show it; returns how many frames were shown. Raises ``WindowError`` and ``CameraError``."""
        check_window()
        frames = 0
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        try:
            while not self.view.quit:
                shown = self._with_model()
                frames += shown
                if not shown and not self.view.quit:
                    break
        finally:
            if _is_open():
                cv2.destroyAllWindows()
        return frames

    def _with_model(self) -> int:
        """Show frames until the end, or until another model is wanted."""
        number, count = self.view.model, 0
        with closing(stream(self.models[number][1], self.camera.shots(), self.settings)) as frames:
            for frame in frames:
                picture = self._drawn(frame)
                if not self._shown:
                    cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
                cv2.imshow(TITLE, picture)
                self._shown.append(time.perf_counter())
                count += 1
                self._keys(picture)
                if self.view.quit or self.view.model != number:
                    return count
        self.view = replace(self.view, quit=True)
        return count

    def _keys(self, picture: np.ndarray) -> None:
        while (code := cv2.waitKey(1)) != -1:
            key = chr(code & 0xFF)
            if key == "s":
                self._save(picture)
            self.view = pressed(self.view, key, len(self.models), self._own)
        if not _is_open():
            self.view = replace(self.view, quit=True)

    def _drawn(self, frame: Frame[FacePrediction]) -> np.ndarray:
        picture = frame.pixels
        threshold = self._own if self.view.threshold is None else self.view.threshold
        draw(picture, [TrackedFace(one.track, _judged(one.face, threshold)) for one in frame.faces], self.view.look)
        name = self.models[self.view.model][0]
        status = [f"{self._fps():.0f} FPS  {name}  sure from {threshold:.0%}"]
        lines(picture, [*status, *(self._message if time.perf_counter() < self._until else ())])
        if self.view.help:
            lines(picture, HELP, bottom=True)
        return picture

    def _save(self, picture: np.ndarray) -> None:
        base = f"ferflow-{time.strftime('%Y%m%d-%H%M%S')}"
        paths = (self.screenshots / f"{base}{more}.png" for more in ("", *(f"-{n}" for n in range(2, 1000))))
        path = next(path for path in paths if not path.exists())
        try:
            self.screenshots.mkdir(parents=True, exist_ok=True)
            saved = cv2.imwrite(str(path), picture)
        except (OSError, cv2.error):
            saved = False
        what = "saved" if saved else "cannot write"
        self._message = (f"{what} {path.name}", f"in {path.resolve().parent}")
        self._until = time.perf_counter() + _TOLD
        self._told(f"{what} {path.resolve()}")

    @property
    def _own(self) -> float:
        return self.models[self.view.model][1].card.certain_above

    def _fps(self) -> float:
        """Frames shown a second, over the last two seconds."""
        now = time.perf_counter()
        recent = [moment for moment in self._shown if now - moment < 2]
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-3) if len(recent) > 1 else 0.0


def _is_open() -> bool:
    try:
        return bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1)
    except cv2.error:  # Qt's way to say that the last window was closed
        return False


def _judged(face: FacePrediction, threshold: float) -> FacePrediction:
    return replace(face, certain=None if face.confidence is None else face.confidence >= threshold)


_TRY = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"


def check_window() -> None:
    """Raise ``WindowError`` where there is no display or no window in this OpenCV.

    A process of its own tries it: where a display does not answer, OpenCV's window ends the process that asks.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise WindowError("there is no display here (DISPLAY is not set); 'ferflow video' writes files instead")
    if "GUI:                           NONE" in cv2.getBuildInformation():
        raise WindowError("this OpenCV has no window (opencv-python-headless); install opencv-python in its place")
    try:
        tried = subprocess.run([sys.executable, "-c", _TRY], capture_output=True, timeout=60, check=False).returncode
    except subprocess.TimeoutExpired:
        tried = 1
    if tried:
        where = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "the screen"
        raise WindowError(f"no window can be opened on {where}; 'ferflow video' writes files instead")
