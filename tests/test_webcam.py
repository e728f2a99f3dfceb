import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ferflow.camera import Camera, CameraError
from ferflow.cli import app
from ferflow.drawing import Look
from ferflow.webcam import View, WindowError, check_window, pressed

run = CliRunner().invoke


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("camera") / "camera.avi"
    return clips.write(path, list(clips.frames(50)) * 60, codec="MJPG")  # two minutes: longer than the test


def test_every_key_changes_what_it_should():
    view = View()
    assert pressed(view, "q", 1, 0).quit
    assert pressed(view, "\x1b", 1, 0).quit
    assert pressed(view, "v", 1, 0).look == Look(plane=False)
    assert pressed(view, "p", 1, 0).look == Look(bars=False)
    assert pressed(view, "e", 1, 0).look == Look(emoji=False)
    assert pressed(pressed(view, "v", 1, 0), "v", 1, 0) == view
    assert not pressed(view, "h", 1, 0).help
    assert [pressed(View(model=now), "m", 2, 0).model for now in (0, 1)] == [1, 0]
    assert pressed(view, "+", 1, 0.4).threshold == 0.45
    assert pressed(pressed(view, "-", 1, 0.4), "-", 1, 0.4).threshold == 0.3
    assert pressed(View(threshold=0.98), "+", 1, 0.4).threshold == 1
    assert pressed(view, "x", 1, 0) == view


def test_a_camera_that_is_not_there_is_said():
    with pytest.raises(CameraError, match="camera 97 cannot be opened"):
        Camera("97")
    with pytest.raises(CameraError, match="neither a camera nor a video"):
        Camera("nothing.mp4")


def test_a_slow_looker_gets_the_newest_frame_and_a_file_plays_at_its_own_speed(tmp_path):
    path = clips.write(tmp_path / "c.avi", [np.full((64, 64, 3), value * 4, np.uint8) for value in range(50)], codec="MJPG")
    camera, start, seen = Camera(str(path), mirror=False), time.perf_counter(), []
    for shot in camera.shots():
        seen.append(shot.index)
        time.sleep(0.2)
    camera.close()
    assert time.perf_counter() - start > 1.9  # 50 frames at 25 a second
    assert seen == sorted(set(seen))
    assert len(seen) < 30
    assert seen[-1] == 49


def test_mirror_turns_left_and_right(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 255
    path = clips.write(tmp_path / "c.avi", [picture] * 10, codec="MJPG")
    for mirror, side in ((True, slice(40, 64)), (False, slice(0, 24))):
        camera = Camera(str(path), mirror)
        assert next(camera.shots()).pixels[:, side].mean() > 200
        camera.close()


def test_without_a_display_one_line_says_so(monkeypatch, release):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform != "linux":
        pytest.skip("only Linux tells by variables")
    with pytest.raises(WindowError, match="DISPLAY"):
        check_window()
    result = run(app, ["webcam", "--model", str(release)])
    assert (result.exit_code, "no display" in result.stderr) == (1, True)


def test_a_missing_camera_ends_the_command_with_one_line(monkeypatch, release):
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.setattr("ferflow.webcam.check_window", lambda: None)  # there is no display, and this is not about one
    result = run(app, ["webcam", "--camera", "97", "--model", str(release), "--detector", "none"])
    assert (result.exit_code, "camera 97" in result.stderr) == (1, True)


@pytest.fixture
def display():
    """A screen of its own, without a person before it."""
    if missing := [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed (apt install xvfb xdotool)")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)


class Session:
    """The command, its window, and the keys of a person."""

    def __init__(self, display: str, folder: Path, *arguments: str) -> None:
        self.env = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "ferflow.cli", "webcam", "--screenshots", str(folder), *arguments]
        self.log = folder / "log.txt"
        self.process = subprocess.Popen(command, env=self.env, stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        self.window = self.tool("search", "--sync", "--onlyvisible", "--name", "^ferflow$").split()[0]
        self.folder, self.shots = folder, 0
        time.sleep(1)

    def tool(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self.env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tool("windowfocus", self.window, "key", key)
            time.sleep(0.4)

    def picture(self) -> np.ndarray:
        """A screenshot by key s."""
        self.press("s")
        self.shots += 1
        for _ in range(100):
            files = sorted(self.folder.glob("ferflow-*.png"), key=lambda path: path.stat().st_mtime)
            if len(files) == self.shots and (found := cv2.imread(str(files[-1]))) is not None:
                return found
            time.sleep(0.1)
        raise AssertionError(f"no screenshot: {self.log.read_text()}")

    def close(self) -> None:
        """What the button in a window's frame does: it asks the program to close (ICCCM's WM_DELETE_WINDOW)."""
        subprocess.run([sys.executable, "-c", CLOSE, self.window], env=self.env, check=True)

    def ended(self) -> int:
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


CLOSE = """
import ctypes, sys
x = ctypes.CDLL("libX11.so.6")
x.XOpenDisplay.restype, x.XInternAtom.restype = ctypes.c_void_p, ctypes.c_ulong
display = ctypes.c_void_p(x.XOpenDisplay(None))
atom = [x.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
class Message(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("sent", ctypes.c_int), ("display", ctypes.c_void_p),
                ("window", ctypes.c_ulong), ("kind", ctypes.c_ulong), ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
                ("rest", ctypes.c_long * 12)]
window = int(sys.argv[1])
message = Message(33, 0, 1, display, window, atom[0], 32, (ctypes.c_long * 5)(atom[1], 0))
assert x.XSendEvent(display, ctypes.c_ulong(window), 0, 0, ctypes.byref(message))
x.XSync(display, 0)
"""


def plane(picture: np.ndarray) -> float:
    """How bright the corner is where the valence-arousal plane is drawn."""
    return float(picture[8:50, -50:-8].mean())


@pytest.mark.slow
def test_real_keys_in_a_real_window(display, release, clip, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(release, other / "model.onnx")
    models = ["--model", str(release), "--model", str(other)]
    session = Session(display, tmp_path, "--camera", str(clip), "--detector", "haar", "--threshold", "0", *models)
    first = session.picture()
    assert first.shape == (240, 320, 3)
    session.press("v")
    assert plane(session.picture()) > plane(first) + 20  # the dark ground of the plane is gone
    session.press("v")
    assert plane(session.picture()) == pytest.approx(plane(first), abs=20)
    session.press("h", "p", "e", "m", "minus", "plus", "plus")
    bare = session.picture()
    assert bare[-12:, :150].mean() > first[-12:, :150].mean() + 30  # no help line
    subprocess.run(["import", "-window", "root", str(tmp_path / "screen.png")], env=session.env, check=False)
    session.press("q")
    assert session.ended() == 0
    words = session.log.read_text()
    assert words.count(f"saved {tmp_path}") == 4
    assert "frames shown" in words


@pytest.mark.slow
@pytest.mark.parametrize("way", ["Escape", "close"])
def test_escape_and_the_windows_own_button_end_it(display, release, clip, tmp_path, way):
    session = Session(display, tmp_path, "--camera", str(clip), "--detector", "none", "--model", str(release))
    session.press("Escape") if way == "Escape" else session.close()
    assert session.ended() == 0
    assert not list(tmp_path.glob("*.png"))


def test_a_display_that_does_not_answer_is_said_and_does_not_end_python(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":7654")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(WindowError, match="no window can be opened on :7654"):
        check_window()
