"""How fast videos go through: decode, detect, classify, draw, write, end to end, and what each stage costs.

    python benchmarks/video.py CLIP [CLIP...] --model models/release --yunet FILE [--repeat 5]

Medians over repetitions. The wall clock suffers from whatever else runs, so the processor's own time a frame and the load
are given too; two free cores give at most 2000 / (ms of processor time) frames a second. With it comes how many of the faces
that detection in every frame finds are still found at intersection over union of 0.5 when faces are detected less often.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from ferflow.drawing import draw
from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor
from ferflow.streaming import Shot, Streaming, stream
from ferflow.tracks import overlaps
from ferflow.video import Video, Writer, annotate


def main() -> None:
    """Measure, and print tables in Markdown."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("clips", nargs="+", type=Path)
    words.add_argument("--model", type=Path, default=Path("models/release"))
    words.add_argument("--yunet", type=Path, default=Path("models/detectors/face_detection_yunet_2023mar.onnx"))
    words.add_argument("--repeat", type=int, default=5)
    given = words.parse_args()
    cv2.setNumThreads(1)
    predictor = Predictor(given.model, Finder(Finding("yunet", (("yunet", given.yunet),))))
    print("| clip | faces detected in every | frames/s, median (best) | processor ms a frame | load |\n|---|---|---|---|---|")
    for clip in given.clips:
        for every in (1, None):
            print(end_to_end(predictor, clip, Streaming(detect_every=every), given.repeat), flush=True)
    print("\n| clip | " + " | ".join(STAGES) + " |   (processor ms a frame, one thread)\n|---|" + "---|" * len(STAGES))
    for clip in given.clips:
        print(f"| {clip.stem} | " + " | ".join(f"{ms:.2f}" for ms in stages(predictor, clip)) + " |", flush=True)
    print("\n| clip | faces detected in every | faces found again | faces besides | live: found again |\n|---|---|---|---|---|")
    for clip in given.clips:
        for line in recall(predictor, clip):
            print(line, flush=True)


def end_to_end(predictor: Predictor, clip: Path, how: Streaming, repeat: int) -> str:
    """A row: the whole of ``ferflow video`` without its start and its plot."""
    speeds, costs = [], []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for _ in range(repeat):
            wall, cpu = time.perf_counter(), time.process_time()
            done = annotate(predictor, clip, video=out / "v.mp4", timeline=out / "t.parquet", settings=how)
            speeds.append(done.frames / (time.perf_counter() - wall))
            costs.append(1000 * (time.process_time() - cpu) / done.frames)
    with Video(clip) as video:
        every = Streaming(fps=video.fps, detect_every=how.detect_every).every
    speed = f"{statistics.median(speeds):.0f} ({max(speeds):.0f})"
    return f"| {clip.stem} | {every} | {speed} | {statistics.median(costs):.1f} | {os.getloadavg()[0]:.1f} |"


STAGES = ("decode", "detect, every frame", "crop and classify", "draw", "write")


def stages(predictor: Predictor, clip: Path) -> list[float]:
    """Processor time of every stage alone, ms a frame."""
    with Video(clip) as video, tempfile.TemporaryDirectory() as folder, Writer(Path(folder) / "v.mp4", video.fps) as writer:
        shots, decode = _timed(lambda: list(video.shots()))
        rgb = [cv2.cvtColor(shot.pixels, cv2.COLOR_BGR2RGB) for shot in shots]
        found, detect = _timed(lambda: [predictor.finder.find(pixels) for pixels in rgb])
        crops, crop = _timed(lambda: [predictor.crop(pixels, f) for pixels, faces in zip(rgb, found, strict=True) for f in faces])
        _, classify = _timed(lambda: [predictor.outputs(predictor.stacked(crops[i : i + 8])) for i in range(0, len(crops), 8)])
        frames = list(stream(predictor, shots, Streaming(bgr=True)))
        _, drawing = _timed(lambda: [draw(frame.pixels, frame.faces) for frame in frames])
        _, write = _timed(lambda: [writer.write(frame.pixels) for frame in frames])
    return [1000 * seconds / len(shots) for seconds in (decode, detect, crop + classify, drawing, write)]


def _timed(work: Callable[[], list]) -> tuple[list, float]:
    start = time.thread_time()
    return work(), time.thread_time() - start


def recall(predictor: Predictor, clip: Path) -> Iterator[str]:
    """Rows: what is lost by detecting less often, against detection in every frame."""
    with Video(clip) as video:
        shots, fps = list(video.shots()), video.fps
    full = _boxes(predictor, shots, Streaming(fps, 1, bgr=True))
    for every in (2, 3, 4, 5, 6, 8):
        sparse = _boxes(predictor, shots, Streaming(fps, every, bgr=True))
        live = _boxes(predictor, shots, Streaming(fps, every, bgr=True, live=True))
        there, besides, moved = _share(full, sparse), 1 - _share(sparse, full), _share(full, live)
        yield f"| {clip.stem} | {every} | {there:.1%} | {besides:.1%} | {moved:.1%} |"


def _boxes(predictor: Predictor, shots: list[Shot], how: Streaming) -> list[list[tuple[float, float, float, float]]]:
    return [[one.face.box_xyxy for one in frame.faces] for frame in stream(_Blind(predictor), shots, how)]


class _Blind:
    """A predictor that only finds faces: what it would say of them does not matter here."""

    def __init__(self, predictor: Predictor) -> None:
        self.finder, self.crop, self.stacked = predictor.finder, lambda rgb, face: rgb[:1, :1], predictor.stacked
        self.outputs, self.describe = lambda faces: {}, lambda found, outputs: found


def _share(wanted: list, given: list) -> float:
    """How many of the wanted boxes overlap a given one by half."""
    hits = sum(int((overlaps(a, b).max(axis=1) >= 0.5).sum()) if a and b else 0 for a, b in zip(wanted, given, strict=True))
    return hits / max(1, sum(map(len, wanted)))


if __name__ == "__main__":
    main()
