"""What predictions cost: the classifier in every runtime against a bare call, and videos end to end.

    python benchmarks/inference.py [--network ensemble] [--media FOLDER] [--yunet FILE] [--peer PYTHON]

To be run in a project whose pipeline has run. Every figure is a median of rounds that take turns, so that a slow moment of the
machine strikes all alike; a ratio is the median of the rounds' ratios. ``--media`` holds one_face.mp4 and several_faces.mp4;
``--peer`` is the Python of an environment that has the packages fer, setuptools<81 and opencv-contrib-python<5.
Writes reports/benchmarks/inference.md.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

from ferflow import params
from ferflow.exporters import Source
from ferflow.faces import load_faces
from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor
from ferflow.registry import get
from ferflow.stages import MANIFEST, SPLITS
from ferflow.stages.export import chosen
from ferflow.streaming import Streaming
from ferflow.tables import load_labels
from ferflow.video import annotate

OUT = Path("reports/benchmarks/inference.md")
ROUNDS, BATCH = 15, 32
PEER = """
import sys, time, statistics, cv2
from fer.fer import FER
detector, clip = FER(mtcnn=False), cv2.VideoCapture(sys.argv[1])
frames = []
while len(frames) < 100:
    good, frame = clip.read()
    if not good: break
    frames.append(frame)
detector.detect_emotions(frames[0])
start = time.perf_counter()
for frame in frames: detector.detect_emotions(frame)
print(len(frames) / (time.perf_counter() - start))
"""


def main() -> None:
    """Measure, print and write."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--network", default="ensemble")
    words.add_argument("--media", type=Path)
    words.add_argument("--yunet", type=Path, default=Path("models/detectors/face_detection_yunet_2023mar.onnx"))
    words.add_argument("--peer")
    given = words.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines = [
        "# What predictions cost\n",
        f"{os.cpu_count()} cores, one thread a runtime, medians of {ROUNDS} rounds that take turns; load at the start "
        f"{os.getloadavg()[0]:.1f}.\nRatios are medians of the rounds' ratios, not ratios of the medians.\n",
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines += classifier(given.network, Path(folder))
        if given.media:
            lines += videos(Path(folder) / "model.onnx", given.media, given.yunet, given.peer)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def classifier(name: str, folder: Path) -> list[str]:
    """Faces that are cut out already, through every runtime."""
    settings = params.load()
    card, network, _ = chosen(settings, name)
    labels = load_labels(MANIFEST, SPLITS)
    shown = labels[labels["split"] == "train"].sample(300, random_state=0)
    pixels = load_faces(MANIFEST, shown, ("train",), card.input_size, "rgb", {})["train"].pixels
    source = Source(network, card, folder / "model.onnx", pixels)
    runs: dict[str, Callable[[np.ndarray], Any]] = {}
    for format_ in ("onnx", "onnx_int8", "openvino"):
        exporter: Any = get("exporters", format_)
        runs[format_] = exporter.read(exporter.write(source, folder))
    predictor = Predictor(folder, Finder(Finding("none")))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession((folder / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"])
    names = list(card.tasks)
    every = {
        "bare ONNX Runtime call": lambda faces: session.run(names, {"faces": faces}),
        "ferflow, arrays out (Predictor.outputs)": predictor.outputs,
        "ferflow, typed predictions out (predict_faces)": predictor.predict_faces,
        "PyTorch": lambda faces: network(torch.from_numpy(faces)),
        "onnx_int8": runs["onnx_int8"],
        "openvino": runs["openvino"],
    }
    lines = [
        f"## The classifier alone: {name}, {card.parameters:,} parameters, faces of {card.input_size} x {card.input_size}\n",
        f"| runtime | ms a face, alone | to bare | faces/s in batches of {BATCH} | time to bare |\n|---|---|---|---|---|",
    ]
    with torch.inference_mode():
        single, many = _rounds(every, pixels[:1], 20), _rounds(every, pixels[:BATCH], 2)
    bare = next(iter(every))
    for runtime in every:
        ratios = [statistics.median(a / b for a, b in zip(times[runtime], times[bare], strict=True)) for times in (single, many)]
        alone, together = 1000 * statistics.median(single[runtime]), BATCH / statistics.median(many[runtime])
        lines.append(f"| {runtime} | {alone:.2f} | {ratios[0]:.2f} | {together:.0f} | {ratios[1]:.2f} |")
    return lines


def _rounds(every: dict[str, Callable[[np.ndarray], Any]], faces: np.ndarray, repeats: int) -> dict[str, list[float]]:
    """Seconds of one call, round by round."""
    found: dict[str, list[float]] = {name: [] for name in every}
    for run in every.values():
        run(faces)
    for _ in range(ROUNDS):
        for name, run in every.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run(faces)
            found[name].append((time.perf_counter() - start) / repeats)
    return found


def videos(model: Path, media: Path, yunet: Path, peer: str | None) -> list[str]:
    """Decode, detect, track, classify, draw and write whole videos."""
    finding = Finding("yunet", (("yunet", yunet),), longest_side=640)
    predictor = Predictor(model, Finder(finding))
    lines = [
        "\n## Videos end to end: decode, detect, track, classify, draw, write\n",
        "| video | what | frames/s, median (best) |\n|---|---|---|",
    ]
    for clip in ("one_face.mp4", "several_faces.mp4"):
        for words, how in (("as the command does", Streaming()), ("a detection in every frame", Streaming(detect_every=1))):
            speeds = []
            with tempfile.TemporaryDirectory() as folder:
                for _ in range(5):
                    start = time.perf_counter()
                    done = annotate(predictor, media / clip, video=Path(folder) / "v.mp4", settings=how)
                    speeds.append(done.frames / (time.perf_counter() - start))
            lines.append(f"| {clip} | {words} | {statistics.median(speeds):.0f} ({max(speeds):.0f}) |")
        if peer:
            found = subprocess.run([peer, "-c", PEER, str(media / clip)], capture_output=True, text=True, check=False)
            speed = f"{float(found.stdout.split()[-1]):.1f}" if found.returncode == 0 else "did not run"
            lines.append(f"| {clip} | fer (haar, a detection in every frame, nothing drawn or written) | {speed} |")
    return lines


if __name__ == "__main__":
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    main()
