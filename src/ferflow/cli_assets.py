"""``ferflow assets``: the files that detectors need, where they lie, and how they get there.

It owns the words on the screen; where files lie and how they are fetched is known to ``assets`` alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ferflow.cli_errors import fail

if TYPE_CHECKING:
    from ferflow.assets import Asset

app = typer.Typer(help="Model files of detectors: list, fetch, add.", no_args_is_help=True)
_Folder = Annotated[Optional[Path], typer.Option(help="Where it is put, if not where detectors look first.")]  # noqa: UP045


@app.command("list")
def list_assets(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a file instead of lines for people.")] = False,
) -> None:
    """List the files: which detector needs one, where it was found, its size, its licence.

    Example: ferflow assets list
    """
    from json import dumps

    from ferflow import assets

    for name, asset in _known().items():
        try:
            found, trouble = assets.find(asset), ""
        except assets.AssetError as error:
            found, trouble = None, str(error)
        size = found.stat().st_size if found else None
        if json:
            row = {"name": name, "file": asset.file, "found": str(found) if found else None, "bytes": size}
            typer.echo(dumps(row | {"licence": asset.licence, "url": asset.url, "sha256": asset.sha256, "trouble": trouble}))
            continue
        how = f"missing: ferflow assets fetch {name}" if asset.url else f"missing: ferflow assets add {name} FILE"
        where = f"{found} ({size / 1e6:.2f} MB)" if found and size else trouble or how
        typer.echo(f"{name:10} {asset.file}: {where} [{asset.licence}]")
    if not json:
        typer.echo("Looked for in: " + ", ".join(str(folder) for folder in assets.folders()))


@app.command("fetch")
def fetch_assets(
    names: Annotated[Optional[list[str]], typer.Argument(help="Detectors; without one: all that can be fetched.")] = None,  # noqa: UP045
    to: _Folder = None,
) -> None:
    """Fetch files from where their makers keep them, and check their SHA-256; offline, say what to do by hand.

    Example: ferflow assets fetch yunet
    """
    from ferflow import assets

    known = _known()
    failed = []
    for name in names or [name for name, asset in known.items() if asset.url]:
        try:
            typer.echo(f"{name}: {assets.get(_one(known, name), to)}")
        except assets.AssetError as error:
            failed.append(name)
            typer.echo(f"ferflow assets: {name}: {error}\n  or:      ferflow assets add {name} FILE", err=True)
    if failed:
        raise typer.Exit(1)


@app.command("add")
def add_asset(
    name: Annotated[str, typer.Argument(help="The detector that needs it.")],
    file: Annotated[Path, typer.Argument(help="The file that you have.")],
    to: _Folder = None,
) -> None:
    """Check a file that you fetched by hand, and copy it to where its detector looks.

    Example: ferflow assets add yunet ~/Downloads/face_detection_yunet_2023mar.onnx
    """
    from ferflow import assets

    try:
        typer.echo(f"{name}: {assets.add(_one(_known(), name), file, to)}")
    except assets.AssetError as error:
        fail(error, "assets")


def _known() -> "dict[str, Asset]":
    from ferflow.detectors import asset
    from ferflow.registry import names

    return {name: found for name in names("detectors") if (found := asset(name))}


def _one(known: "dict[str, Asset]", name: str) -> "Asset":
    if name not in known:
        fail(f"no file is called {name!r}; known: {', '.join(known)}", "assets")
    return known[name]
