"""``ferflow data``: which sets there are, how one gets them, and what is in a manifest.

It owns the words on the screen and where raw data is put (``data/raw``); how a set is read is known to its source alone.
"""

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ferflow.cli_errors import fail

app = typer.Typer(help="Sets of faces: list, download, import, describe, export, suspects.", no_args_is_help=True)
RAW = Path("data/raw")
_MANIFEST = Path("data/manifest.parquet")


class Format(StrEnum):
    """Forms of an export."""

    csv = "csv"
    parquet = "parquet"
    folder = "folder"


@app.command("list")
def list_sources() -> None:
    """List every source: what it is, and how one gets it.

    Example: ferflow data list
    """
    from ferflow.datasets import about
    from ferflow.registry import names

    for name in names("datasets"):
        found = about(name)
        how = "download" if found.kaggle or found.remotes else "signed agreement" if found.agreement else "by hand"
        typer.echo(f"{name:10} {found.title}: {found.faces} [{how}]")


@app.command()
def download(
    source: Annotated[str, typer.Argument(help="A name from 'ferflow data list'.")],
    to: Annotated[Path, typer.Option(help="Where it is put.")] = RAW,
) -> None:
    """Fetch a set from where its makers keep it; where that cannot be, say exactly what to do by hand.

    Example: ferflow data download fer2013
    """
    from ferflow.datasets import about
    from ferflow.downloads import DownloadError
    from ferflow.downloads import download as fetch

    try:
        found = about(_known(source))
        for path in fetch(source, found, to):
            typer.echo(path)
        next_step = found.by_hand or f"ferflow data import {source} {path} --use"
        typer.echo(f"Next: {next_step}")
    except DownloadError as error:
        fail(error, "data")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A name from 'ferflow data list'.")],
    path: Annotated[Path, typer.Argument(help="The folder, archive or table.")],
    use: Annotated[bool, typer.Option("--use", help="Make it the dataset of params.yaml.")] = False,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of the source, VALUE in YAML; may be repeated.")] = None,
) -> None:
    """Read a set from its first row to its last, put it into data/raw, and track it with DVC.

    New labelled data is a new file beside the old ones: nothing that is there is overwritten.

    Example: ferflow data import fer2013 ~/Downloads/fer2013.zip --use

    Example: ferflow data import folder ~/faces --option task=gender --option "classes={men: male, women: female}"
    """
    from ferflow.datasets import DataError
    from ferflow.params import ParamsError
    from ferflow.presets import set_dataset

    target = RAW / path.name
    try:
        options = options_of(option or [])
        count, first = _read_all(_known(source), path, options)
        if target.exists() and target.resolve() != path.resolve():
            raise DataError(f"{target} is there already; give the new file another name")
        if not target.exists():
            _copy(source, path, target, options)
        typer.echo(f"{target}: {count} rows can be read, the first is {first}")
        typer.echo(_track(target))
        if use:
            set_dataset(source, target, options)
            typer.echo(f"params.yaml: dataset is now {source} at {target}. Next: dvc repro")
    except (DataError, ParamsError, OSError, ValueError) as error:
        fail(error, "data")


def options_of(words: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as options of a source; the values are YAML."""
    import yaml

    if wrong := [word for word in words if "=" not in word]:
        raise ValueError(f"--option {wrong[0]}: expected KEY=VALUE")
    try:
        return {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)}
    except yaml.YAMLError as error:
        raise ValueError(f"--option: the value is not YAML: {error}") from error


def _read_all(source: str, path: Path, options: dict[str, Any]) -> tuple[int, str]:
    """How many rows a source has, and the id of the first; ``DataError`` for the first that cannot be read."""
    from tqdm import tqdm

    from ferflow.datasets import WHOLE, DataError
    from ferflow.registry import check_options, get

    load = get("datasets", source)
    check_options(load, f"--option of the source {source}", options)
    count, first = 0, ""
    for row in tqdm(load(path, seed=0, part=WHOLE, **options), unit="row", desc="read", mininterval=1, leave=False):
        first = first or str(row.get("id"))
        count += 1
    if not count:
        raise DataError(f"{path} has no row")
    return count, first


def _copy(source: str, path: Path, target: Path, options: dict[str, Any]) -> None:
    """Copy the raw data; ``DataError``, and no copy, when it cannot be read in its new place."""
    from ferflow.datasets import WHOLE, DataError
    from ferflow.registry import get

    RAW.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, target)
    try:
        next(get("datasets", source)(target, seed=0, part=WHOLE, **options), None)
    except DataError as error:
        (shutil.rmtree if target.is_dir() else Path.unlink)(target)
        hint = "A table and its pictures belong together: import the folder that holds both" if path.is_file() else ""
        raise DataError("\n".join(filter(None, (str(error), hint)))) from error


def _track(path: Path) -> str:
    import subprocess

    if not Path(".dvc").is_dir() or shutil.which("dvc") is None:
        return f"not tracked: here is no DVC repository. Later: dvc add {path}"
    done = subprocess.run(["dvc", "add", "--quiet", str(path)], capture_output=True, text=True, check=False)
    return f"tracked: git add {path}.dvc" if done.returncode == 0 else f"dvc add {path} failed: {done.stderr.strip()}"


@app.command()
def describe(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")] = _MANIFEST,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines for people.")] = False,
) -> None:
    """Say what is in a manifest: rows, labels, sizes, splits, problems.

    Example: ferflow data describe
    """
    from json import dumps

    from ferflow.datasets import DataError
    from ferflow.manifests import described

    try:
        found = described(manifest)
    except DataError as error:
        fail(error, "data")
    if json:
        typer.echo(dumps(found, indent=2))
        return
    for name, value in found.items():
        words = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name:16} {words}")


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    form: Annotated[Format, typer.Option("--format", help="A table and pictures, Parquet, or a folder a class.")] = Format.csv,
    manifest: Annotated[Path, typer.Option(help="A manifest.")] = _MANIFEST,
) -> None:
    """Write a manifest as files that other programs read; 'ferflow data import csv|parquet|folder' reads them again.

    Example: ferflow data export /tmp/faces --format folder
    """
    from ferflow.datasets import DataError
    from ferflow.manifests import exported

    try:
        written, left_out = exported(manifest, target, form.value)
        typer.echo(f"{written} faces in {target}" + (f"; {left_out} without an expression left out" if left_out else ""))
    except DataError as error:
        fail(error, "data")


@app.command()
def suspects(
    member: Annotated[str, typer.Argument(help="A trained member of params.yaml.")],
    folds: Annotated[int, typer.Option(help="Of the cross-validation.")] = 5,
    show: Annotated[int, typer.Option(help="How many are printed.")] = 10,
) -> None:
    """Find labels that are probably wrong (confident learning): reports/data/suspects.csv and .png.

    Example: ferflow data suspects gray-resnet
    """
    from ferflow import audit
    from ferflow.params import ParamsError
    from ferflow.stages import StageError

    try:
        found = audit.suspects(member, folds)
    except (ParamsError, StageError, ValueError) as error:
        fail(error, "data")
    typer.echo(f"{len(found)} suspects in {audit.SUSPECTS}, pictures in {audit.SUSPECTS.with_suffix('.png')}")
    for row in found.head(show).itertuples():
        typer.echo(f"  {row.id}: {row.label}, rather {row.suggested} (belief in the label {row.quality:.2f})")


def _known(source: str) -> str:
    from ferflow.registry import names

    if source not in names("datasets"):
        fail(f"no source is called {source!r}; known: {', '.join(names('datasets'))}", "data")
    return source
