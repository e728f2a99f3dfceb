"""How fast data goes in, as ratios taken in one run: reading, training input, and what a row costs at 400,000 rows.

    python benchmarks/data.py ingest FER2013_ZIP     against reading and decoding the same files with OpenCV
    python benchmarks/data.py input                  training input against what the fastest default member consumes
    python benchmarks/data.py rows [--small N --large N]   ingest, validate and split of N drawn faces; time and peak memory

Run in the project's root. Times are of this machine at this moment: only the ratios mean something.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from zipfile import ZipFile

import cv2
import numpy as np
import psutil
import yaml

from ferflow import params
from ferflow.datasets import Part
from ferflow.ingestion import ingest
from ferflow.params import Dataset


def timed(function: Callable[[], object], times: int = 3) -> float:
    """The least of a few measurements, seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def read_and_decode(path: Path, part: Part = Part()) -> int:  # noqa: B008 (a frozen value)
    """What nobody can do without: list, read and decode every image of a zip with OpenCV."""
    cv2.setNumThreads(1)
    with ZipFile(path) as archive:
        names = part.of(sorted(name for name in archive.namelist() if name.endswith(".jpg")))
        return sum(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR).shape[0] > 0 for name in names)


def bench_ingest(path: Path) -> None:
    """Ingest in one process, as it is done for a set of this size, against one process that reads and decodes."""
    dataset = Dataset(source="fer2013", path=path, image_size=48)
    with TemporaryDirectory() as folder:
        ours = timed(lambda: ingest(dataset, 0, Path(folder) / "manifest.parquet"))
    floor = timed(lambda: read_and_decode(path))
    print("| what | seconds | ratio |\n|---|---|---|")
    print(f"| list, read and decode with OpenCV | {floor:.2f} | 1 |")
    print(f"| ingest to a manifest | {ours:.2f} | {ours / floor:.2f} (at most 2.5) |")


def _augment(pixels: np.ndarray, recipe: str, seconds: float) -> float:
    from ferflow.registry import get

    cv2.setNumThreads(1)
    augment = get("transforms", recipe)(pixels.shape[1], 0)
    encoded = [cv2.imencode(".png", face)[1] for face in pixels[:256]]
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        augment(cv2.imdecode(encoded[count % 256], cv2.IMREAD_COLOR))
        count += 1
    return count / (time.perf_counter() - started)


def bench_input() -> None:
    """Decoding and augmenting in two processes against the training step of the fastest default member, and waiting."""
    import torch

    from ferflow.faces import Faces
    from ferflow.training import train

    settings = params.load()
    rng = np.random.default_rng(0)
    size = settings.dataset.image_size
    pixels = rng.integers(0, 255, (1024, size, size, 3), dtype=np.uint8)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        list(pool.map(_augment, [pixels] * 2, ["crp"] * 2, [0.1] * 2))
        supply = sum(pool.map(_augment, [pixels] * 2, ["crp"] * 2, [5.0] * 2))
    print(f"| training input, decode + crp, 2 processes | {supply:.0f} images/s | |")
    torch.set_num_threads(2)
    target = {"expression": rng.integers(0, 8, 1024)}
    tasks = {"expression": tuple(f"c{i}" for i in range(8))}
    for name, member in settings.members.items():
        fed = Faces([str(i) for i in range(1024)], pixels if member.modality == "rgb" else pixels[..., :1], target)
        small = Faces(fed.ids[:64], fed.pixels[:64], {"expression": target["expression"][:64]})
        trained = train(member.model_copy(update={"epochs": 3}), tasks, fed, small, 0)
        best = min(trained.history, key=lambda row: row["epoch_s"])
        rate = 1024 // member.batch_size * member.batch_size / (best["epoch_s"] - best["wait_s"])
        print(f"| {name} consumes | {rate:.0f} images/s | {supply / rate:.1f} (at least 3) |")
        print(f"| {name} waits for data | {100 * best['wait_s'] / best['epoch_s']:.1f} % of an epoch | (at most 5 %) |")


def run_stages(root: Path, count: int) -> tuple[dict[str, float], float]:
    """Seconds of each stage and the peak memory of all processes together (GiB) for ``count`` drawn faces."""
    raw = yaml.safe_load(Path("params.yaml").read_text())
    raw["dataset"] = {"source": "synthetic", "path": str(Path(raw["dataset"]["path"]).resolve()), "image_size": 64,
                      "options": {"count": count, "size": 64}}  # fmt: skip
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    seconds, peak = {}, 0.0
    for stage in ("ingest", "validate", "split"):
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", f"ferflow.stages.{stage}"], cwd=root, env={**os.environ})
        done, found = Event(), [0.0]
        watcher = Thread(target=_watch, args=(process.pid, done, found))
        watcher.start()
        code = process.wait()
        done.set()
        watcher.join()
        if code:
            sys.exit(f"{stage} ended with exit code {code}")
        seconds[stage] = time.perf_counter() - started
        peak = max(peak, found[0])
    return seconds, peak


def _watch(pid: int, done: Event, found: list[float]) -> None:
    """The largest sum of proportional memory of a process and its children, GiB."""
    while not done.wait(0.5):
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            found[0] = max(found[0], sum(one.memory_full_info().pss for one in family) / 2**30)
        except psutil.Error:
            continue


def bench_rows(small: int, large: int) -> None:
    """The same stages on few and on many drawn faces."""
    print("| rows | ingest | validate | split | all | ms a row | peak GiB |\n|---|---|---|---|---|---|---|", flush=True)
    costs = []
    for count in (small, large):
        with TemporaryDirectory() as folder:
            seconds, peak = run_stages(Path(folder), count)
        total = sum(seconds.values())
        costs.append(total / count)
        cells = [f"{seconds[stage]:.0f} s" for stage in ("ingest", "validate", "split")]
        print(f"| {count} | {' | '.join(cells)} | {total / 60:.1f} min | {1000 * costs[-1]:.2f} | {peak:.2f} |", flush=True)
    print(f"\na row costs {costs[1] / costs[0]:.2f} times as much (at most 1.2)")


def main() -> None:
    """Choose by the first argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ingest", "input", "rows"))
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--small", type=int, default=40_000)
    parser.add_argument("--large", type=int, default=400_000)
    chosen = parser.parse_args()
    if chosen.what == "ingest":
        if chosen.path is None:
            parser.error("ingest needs the path of FER-2013's zip")
        bench_ingest(chosen.path)
    elif chosen.what == "input":
        bench_input()
    else:
        bench_rows(chosen.small, chosen.large)
    print(f"(peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB)", file=sys.stderr)


if __name__ == "__main__":
    main()
