"""How many frames a second the page's live view shows, service and browser on the same machine.

    python benchmarks/live.py --video one_face.mp4 [--yunet FILE] [--seconds 20] [--out reports/benchmarks/live.md]

The starter is served on loopback; a headless Chromium takes the video as its camera (640 x 480, 20 frames a second) and opens the
live view, as a person would. A frame counts when the service has answered it. It needs Chromium (apt install chromium).
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/serving"), str(ROOT / "benchmarks")]
STARTER = ROOT / "src/ferflow/starter/model.onnx"
GOAL = 10  # frames a second


def upright(video: Path, most: int = 150) -> Iterator[np.ndarray]:
    """Frames of a video, cut to 4 : 3 about the middle."""
    film = cv2.VideoCapture(str(video))
    for _ in range(most):
        read, frame = film.read()
        if not read:
            return
        height, width = frame.shape[:2]
        spare = max(0, width - height * 4 // 3) // 2
        yield frame[:, spare : width - spare]


def main() -> None:
    """Parse the command line, measure, print and write the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True, help="what the camera sees: a video of one face")
    parser.add_argument("--yunet", type=Path, help="YuNet's file, else Haar finds the faces")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--picture", type=Path, help="where a picture of the page is kept")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    from backend import camera
    from browser import Browser
    from serving import serving

    detector = {"detector": "yunet", "detector_files": {"yunet": str(given.yunet)}} if given.yunet else {"detector": "haar"}
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        film = camera(folder / "camera.mjpeg", lambda: upright(given.video))
        fake = (
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-video-capture={film}",
        )
        with serving(folder, STARTER, **detector) as service:
            browser = Browser(folder, *fake)
            try:
                page = browser.page(1280, 860)
                page.goto(f"http://127.0.0.1:{service.port}/ui/")
                page.js("performance.setResourceTimingBufferSize(10000)")
                page.wait("document.getElementById('served-name').innerText.length > 2", 60)
                page.js("document.getElementById('tab-live').click()")
                page.js("document.getElementById('choose').click()")
                page.wait("parseFloat(document.getElementById('fps').innerText) > 1", 30)
                time.sleep(3)
                rates = []
                for _ in range(3):
                    before, started = _answered(page), time.perf_counter()
                    time.sleep(given.seconds / 3)
                    rates.append((_answered(page) - before) / (time.perf_counter() - started))
                if given.picture:
                    page.picture(given.picture)
            finally:
                browser.close()
    each = ", ".join(f"{rate:.1f}" for rate in rates)
    said = (
        f"# The live view\n\n`python benchmarks/live.py`, starter, faces found by {detector['detector']}, camera 640 x 480 at 20 "
        f"frames a second;\nservice and Chromium (no GPU) on the same {os.cpu_count()} cores.\n\n"
        f"Frames answered a second: {np.mean(rates):.1f} (thirds of {given.seconds:.0f} s: {each}; goal {GOAL})."
    )
    print(said)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(said + "\n")


def _answered(page: object) -> int:
    """How many pictures the page has had answered: entries of the browser's own clock, which are written when an answer is in."""
    entries = "performance.getEntriesByType('resource')"
    return int(page.js(f"{entries}.filter(one => one.name.endsWith('/predict')).length"))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
