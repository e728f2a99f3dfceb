"""``ferflow video`` and ``ferflow webcam``: faces in moving pictures. Libraries are imported inside the commands.

It owns the words on the screen; how frames are read, tracked and drawn is known to ``video``, ``webcam`` and ``streaming``.
"""

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ferflow.cli_errors import fail
from ferflow.cli_options import ModelOption, detector_files

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ferflow.inference import Predictor
    from ferflow.streaming import Streaming
    from ferflow.video import Told

app = typer.Typer()
_RELEASE = "models/release"
_LONGEST_SIDE = 640  # what the detector sees of a frame: a face that is smaller than that shows is too small to read

Detector = Annotated[str, typer.Option(help="auto, or a name from 'ferflow list detectors'.")]
DetectorFile = Annotated[Optional[Path], typer.Option(help="The detector's model, where it needs one.")]  # noqa: UP045
DetectEvery = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Detect faces in every so many frames; tracked in between. Default: 6 times a second, live 10."),
]
NoSmooth = Annotated[bool, typer.Option("--no-smooth", help="Each frame for itself: no averages over time.")]
SmoothSeconds = Annotated[float, typer.Option("--smooth", min=0, help="Time constant of the averages, seconds.")]


class Table(StrEnum):
    """Forms of a timeline."""

    parquet = "parquet"
    csv = "csv"
    none = "none"


class Form(StrEnum):
    """Forms of a video."""

    mp4 = "mp4"
    webm = "webm"


def _predictor(model: str, detector: str, file: Path | None) -> "Predictor":
    from ferflow.api import load

    return load(model, detector=detector, files=detector_files(detector, file), longest_side=_LONGEST_SIDE)


def _streaming(detect_every: int | None, smooth: float, no_smooth: bool) -> "Streaming":
    from ferflow.streaming import Streaming

    return Streaming(detect_every=detect_every, smooth_s=0 if no_smooth else smooth)


def _quiet() -> None:
    """This process's libraries keep their remarks to themselves, and stages do not fight for cores."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # broken frames are counted by us; -8 is AV_LOG_QUIET
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    import cv2

    cv2.setNumThreads(1)  # detect, classify, draw and write run side by side already


@app.command()
def video(
    files: Annotated[list[str], typer.Argument(help="Videos, folders (with what lies below), patterns ('clips/**/*.mp4').")],
    out: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("reports/videos"),
    model: ModelOption = _RELEASE,
    detector: Detector = "auto",
    detector_file: DetectorFile = None,
    timeline: Annotated[Table, typer.Option(help="A table with a row a face a frame; with it comes a plot.")] = Table.parquet,
    form: Annotated[Form, typer.Option("--format", help="webm is for browsers, and slow to write.")] = Form.mp4,
    no_video: Annotated[bool, typer.Option("--no-video", help="Write no annotated video.")] = False,
    detect_every: DetectEvery = None,
    smooth: SmoothSeconds = 0.3,
    no_smooth: NoSmooth = False,
    again: Annotated[bool, typer.Option("--again", help="Videos whose results are there already, too.")] = False,
) -> None:
    """Find the faces of videos: annotated videos (without sound), timelines, plots; exit code 1 if one could not be done.

    What is finished is skipped, so the same command goes on after a stop.

    Example: ferflow video interview.mp4 --out reports/interview --timeline csv

    Example: ferflow video ~/clips --no-video --detect-every 5
    """
    _quiet()
    from ferflow.inference import ModelError
    from ferflow.video import found_in, outputs

    if no_video and timeline is Table.none:
        fail("--no-video and --timeline none: nothing is left to write")
    try:
        predictor = _predictor(model, detector, detector_file)
    except (ModelError, OSError, LookupError, ValueError) as error:
        fail(error)
    table = None if timeline is Table.none else timeline.value
    jobs = [(path, outputs(out, name, table, not no_video, f".{form.value}")) for path, name in found_in(files)]
    failed = _work(jobs, predictor, _streaming(detect_every, smooth, no_smooth), again)
    if failed:
        typer.echo(f"{len(failed)} of {len(jobs)} could not be done:", err=True)
        for words in failed:
            typer.echo(f"  {words}", err=True)
        raise typer.Exit(1)
    if not jobs:
        fail("no video was found")


def _work(jobs: list[tuple[Path, dict[str, Path]]], predictor: "Predictor", how: "Streaming", again: bool) -> list[str]:
    """Do every video; returns what went wrong, a line a video."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    failed: list[str] = []
    taken: dict[Path, Path] = {}
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(stderr=True), transient=True) as progress:
        for path, results in jobs:
            first = next(iter(results.values()))
            if first in taken:
                failed.append(f"{path}: its results would have the names of those of {taken[first]}; give it another --out")
                continue
            taken[first] = path
            needed = [file for kind, file in results.items() if kind != "plot"]
            if not again and all(file.exists() for file in needed):
                typer.echo(f"{path}: done before, --again does it again")
                continue
            task = progress.add_task(path.name, total=None)
            try:
                typer.echo(_one(path, results, predictor, how, partial(_show, progress, task)))
            except (ValueError, OSError, RuntimeError) as error:
                failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            progress.remove_task(task)
    return failed


def _show(progress: "Progress", task: "TaskID", done: int, of: int | None) -> None:
    progress.update(task, completed=done, total=of)


def _one(path: Path, results: dict[str, Path], predictor: "Predictor", how: "Streaming", told: "Told") -> str:
    from ferflow.video import annotate

    for file in results.values():
        file.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = results
    done = annotate(predictor, path, **options, settings=how, told=told)
    words = f"{path}: {done.frames} frames, {done.faces} faces, {done.fps:.0f} frames a second"
    if done.skipped:
        words += f", {done.skipped} frames could not be decoded"
    return "\n".join([words, *(f"  {note}" for note in done.notes), *(f"  {file}" for file in results.values() if file.exists())])


@app.command()
def webcam(
    camera: Annotated[str, typer.Option(help="A number, a device, an address, or a video file that plays as a camera.")] = "0",
    model: Annotated[list[str], typer.Option(help="As of 'ferflow predict'; more than one: key m.")] = [_RELEASE],  # noqa: B006
    detector: Detector = "auto",
    detector_file: DetectorFile = None,
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, max=1, help="Below this confidence a face is 'uncertain'. Default: what the model's card says."),
    ] = None,
    screenshots: Annotated[Path, typer.Option(help="The folder for the pictures of key s.")] = Path(),
    detect_every: DetectEvery = None,
    smooth: SmoothSeconds = 0.3,
    no_smooth: NoSmooth = False,
    no_mirror: Annotated[bool, typer.Option("--no-mirror", help="As others see it, not as a mirror does.")] = False,
) -> None:
    """Show a camera with the faces' expressions. No picture is stored but by key s.

    Keys: q or Esc quit, v valence-arousal plane, p probability bars, e emoji, s screenshot, m next model,
    + and - confidence threshold, h help line.

    Example: ferflow webcam --camera 0 --model models/release --model models/other
    """
    _quiet()
    from ferflow.camera import Camera
    from ferflow.inference import ModelError
    from ferflow.webcam import View, Webcam, WindowError, check_window

    try:
        check_window()
        models = [
            ((Path(name).parent if Path(name).is_file() else Path(name)).name, _predictor(name, detector, detector_file))
            for name in model
        ]
        source = Camera(camera, mirror=not no_mirror)
        try:
            how = _streaming(detect_every, smooth, no_smooth)
            shown = Webcam(models, source, how, View(threshold=threshold), screenshots, typer.echo).run()
        finally:
            source.close()
    except (ModelError, OSError, LookupError, ValueError, WindowError) as error:
        fail(error)
    typer.echo(f"{shown} frames shown")
