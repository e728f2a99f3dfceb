"""``ferflow export``: any trained network as files of any format, outside of the pipeline.

It owns the words on the screen and where files go; formats are known to their exporters alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ferflow.cli_errors import fail

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ferflow.exporting import Exported
    from ferflow.params import Params


def export(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[NAME]...", help="Members, students, or ensemble; without one: export.model of params.yaml."),
    ] = None,
    formats: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="'ferflow list exporters' shows them; a comma between two, or all. Without it: export.formats."),
    ] = None,
    out: Annotated[Path, typer.Option(help="A folder a network is made in it.")] = Path("exports"),
    faces: Annotated[Optional[int], typer.Option(min=1, help="Test faces to compare on; without it: export.faces.")] = None,  # noqa: UP045
) -> None:
    """Write trained networks as files of any format, read each file again in its own runtime, and compare it with PyTorch.

    Keras and LiteRT are made in an environment of their own, which uv installs on first use.

    Example: ferflow export gray-cnn --formats onnx_int8,openvino

    Example: ferflow export ensemble gray-cnn --formats all --out exports
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ferflow import params
    from ferflow.datasets import DataError
    from ferflow.stages import StageError
    from ferflow.stages.export import chosen, export_network, write_tables

    console = Console(stderr=True)
    failed: list[str] = []
    try:
        settings = _settings(formats, faces)
        wanted = names or [settings.export.model]
        found = {name: chosen(settings, name) for name in wanted}  # a wrong name is said before any work
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            for name, (card, network, folder) in found.items():
                step = progress.add_task(name, total=None)

                def say(words: str, step: "TaskID" = step, name: str = name) -> None:
                    progress.update(step, description=f"{name}: {words}")

                exported = export_network(settings, name, card, network, folder, settings.export.formats, out / name, say)
                write_tables(exported, name, out / name / "parity.json", out / name / "exports")
                progress.update(step, description=f"{name}: done", total=1, completed=1)
                _print(name, exported)
                failed += _failures(exported)
    except (params.ParamsError, StageError, DataError, ValueError, OSError, KeyError) as error:
        fail(error, "export")
    for words in failed:
        typer.echo(f"ferflow export: {words}", err=True)
    if failed:
        raise typer.Exit(1)
    typer.echo(f"written to {', '.join(str(out / name) for name in wanted)}")


def _settings(formats: str | None, faces: int | None) -> "Params":
    """params.yaml with what the command line says of the block ``export``."""
    from ferflow import params
    from ferflow.registry import get, names

    settings = params.load()
    changes: dict[str, object] = {} if faces is None else {"faces": faces}
    if formats is not None:
        listed = names("exporters") if formats == "all" else [name.strip() for name in formats.split(",") if name.strip()]
        for name in listed:
            get("exporters", name)
        if not listed:
            raise ValueError("--formats names none; 'ferflow list exporters' shows them")
        changes["formats"] = tuple(dict.fromkeys(listed))
    return settings.model_copy(update={"export": settings.export.model_copy(update=changes)})


def _print(name: str, exported: "list[Exported]") -> None:
    from rich.console import Console
    from rich.table import Table

    from ferflow.exporting import table

    rows = table(exported).drop(columns=["runtime", "file"]).astype(object)  # it has to fit into a terminal
    drawn = Table(title=name)
    for column in rows:
        drawn.add_column(str(column), justify="left" if column == "format" else "right", no_wrap=column == "format")
    for row in rows.where(rows.notna(), "").itertuples(index=False):
        drawn.add_row(*map(str, row))
    Console().print(drawn)


def _failures(exported: "list[Exported]") -> list[str]:
    """What every format misses that answers wrongly."""
    from ferflow.exporting import REFERENCE, ParityError, demand

    found = []
    for one in exported:
        if one.name == REFERENCE:
            continue
        try:
            demand(one.name, one.parity)
        except ParityError as error:
            found.append(f"{error}; {one.path} is not to be used")
    return found
