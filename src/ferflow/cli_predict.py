"""``ferflow predict``: pictures, folders and patterns through a release.

It owns the words on the screen; how pictures are read and tables kept is known to ``predicting``.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ferflow.cli_errors import fail
from ferflow.cli_options import ModelOption, detector_files

if TYPE_CHECKING:
    from ferflow.inference import Predictor
    from ferflow.predicting import Answer

DetectorOption = Annotated[str, typer.Option(help="auto, a name from 'ferflow list detectors', or none: a picture is a face.")]
ThresholdOption = Annotated[Optional[float], typer.Option(help="Least detection score, 0 to 1; else the detector's own.")]  # noqa: UP045


def predict(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders (with all below them), or patterns in quotes.")],
    model: ModelOption = "models/release",
    detector: DetectorOption = "auto",
    detector_file: Annotated[Optional[Path], typer.Option(help="The detector's model, if it lies elsewhere.")] = None,  # noqa: UP045
    threshold: ThresholdOption = None,
    min_size: Annotated[int, typer.Option(help="Least side of a face, pixels.")] = 0,
    margin: Annotated[float, typer.Option(help="What is added around a face, a share of its side.")] = 0.1,
    align: Annotated[bool, typer.Option("--align", help="Turn faces until the eyes are level.")] = False,
    largest: Annotated[bool, typer.Option("--largest", help="Only the largest face of a picture.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a picture on standard output.")] = False,
    csv: Annotated[Optional[Path], typer.Option(help="A table, a row a face; goes on where it was cut off.")] = None,  # noqa: UP045
    parquet: Annotated[Optional[Path], typer.Option(help="The same as Parquet.")] = None,  # noqa: UP045
    draw: Annotated[Optional[Path], typer.Option(help="A folder for the pictures with their faces boxed and named.")] = None,  # noqa: UP045
    again: Annotated[bool, typer.Option("--again", help="Do over what is there already.")] = False,
) -> None:
    """Find the faces in pictures and say what they express; exit code 1 if a picture could not be read.

    Example: ferflow predict photo.jpg

    Example: ferflow predict ~/photos '~/more/**/*.png' --csv faces.csv --draw boxed
    """
    from ferflow import predicting
    from ferflow.api import load
    from ferflow.inference import ModelError

    if sum((json, csv is not None, parquet is not None)) > 1:
        fail("choose one of --json, --csv and --parquet")
    if (csv and csv.suffix == ".parquet") or (parquet and parquet.suffix != ".parquet"):
        fail("a table of --parquet ends in .parquet, one of --csv does not")
    try:
        found = predicting.pictures(images)
        predictor = load(
            model, detector=detector, files=detector_files(detector, detector_file), threshold=threshold, min_size=min_size,
            margin=margin, align=align, largest=largest,
        )  # fmt: skip
        errors = (
            _into_table(predictor, found, table, again, draw)
            if (table := csv or parquet)
            else _onto_screen(predictor, found, json, draw)
        )
    except BrokenPipeError:  # head, less: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except (ModelError, OSError, LookupError, ValueError) as error:
        fail(error)
    for problem in errors:
        typer.echo(predicting.printable(problem), err=True)
    if errors:
        fail(f"{len(errors)} of {len(found)} pictures could not be read")


def _onto_screen(predictor: "Predictor", paths: list[Path], json: bool, draw: Path | None) -> list[str]:
    from json import dumps

    from ferflow.predicting import answers, in_words, printable

    errors = []
    for answer in answers(predictor, paths):
        if answer.error:
            errors.append(answer.error)
            continue
        drawn, problem = _drawn(answer, draw) if draw else (None, "")
        if problem:
            errors.append(problem)
        if json:
            typer.echo(dumps(answer.as_dict()))
        else:
            notes = f" ({'; '.join(answer.notes)})" if answer.notes else ""
            typer.echo(f"{printable(answer.image)}: {len(answer.faces)} face{'' if len(answer.faces) == 1 else 's'}{notes}")
            for face in answer.faces:
                typer.echo(f"  {in_words(face)}")
            if drawn:
                typer.echo(f"  {drawn}")
    return errors


def _into_table(predictor: "Predictor", paths: list[Path], table: Path, again: bool, draw: Path | None) -> list[str]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ferflow.predicting import Journal, answers, drawn_place

    unfinished = table.with_name(table.name + ".partial")
    if again:
        unfinished.unlink(missing_ok=True)
    elif table.is_file() and not unfinished.exists():
        raise FileExistsError(f"{table} is there already; --again writes it anew")
    journal = Journal(table, predictor)
    undrawn = {path for path in paths if draw and not drawn_place(path, draw).exists()}
    left = [path for path in paths if str(path) not in journal.rows or path in undrawn]
    if len(left) < len(paths):
        typer.echo(f"{len(paths) - len(left)} pictures were done already", err=True)
    columns = (TextColumn("predict"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    errors = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("predict", total=len(left))
        for answer in answers(predictor, left):
            if answer.error:
                errors.append(answer.error)
            else:
                if draw and (problem := _drawn(answer, draw)[1]):
                    errors.append(problem)
                journal.add(answer)
            progress.advance(task)
    rows = journal.finish(table, paths)
    typer.echo(f"{table}: {rows} rows of {len(journal.rows)} pictures")
    if journal.path.exists():
        typer.echo("the same command tries the others again", err=True)
    return errors


def _drawn(answer: "Answer", folder: Path) -> tuple[Path | None, str]:
    """Where the picture was drawn, or why it could not be."""
    from ferflow.predicting import write_drawn

    try:
        return write_drawn(answer, folder), ""
    except OSError as error:
        return None, f"{answer.image}: it cannot be drawn: {error}"
