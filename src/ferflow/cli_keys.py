"""``ferflow keys``: who may ask the service, and for what.

It owns the words on the screen; how keys are kept is known to ``keys`` alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TypeVar

import typer

from ferflow.cli_errors import fail

if TYPE_CHECKING:
    from ferflow.keys import Keys

Result = TypeVar("Result")
app = typer.Typer(help="API keys of the service: add, list, remove.", no_args_is_help=True)
_File = Annotated[Optional[Path], typer.Option("--file", help="The file of the keys, if not serve.keys of params.yaml.")]  # noqa: UP045


@app.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Who gets it: a word for the logs.")],
    scopes: Annotated[str, typer.Option(help="What it opens: predict, feedback, admin (everything); several with commas.")],
    file: _File = None,
) -> None:
    """Make a key and print it, once: only its hash is stored. A running service knows it at once.

    Example: ferflow keys add labelling-team --scopes predict,feedback

    Then: curl -H "Authorization: Bearer KEY" -F image=@photo.jpg http://127.0.0.1:3000/predict
    """
    keys = _keys(file)
    secret = _or_fail(lambda: keys.add(name, [scope.strip() for scope in scopes.split(",") if scope.strip()]))
    typer.echo(f"the key of {name}; it is stored nowhere and not shown again:", err=True)
    typer.echo(secret)


@app.command("list")
def list_keys(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a key instead of lines for people.")] = False,
    file: _File = None,
) -> None:
    """List the keys' names, what they open, and when they were made; never the keys.

    Example: ferflow keys list
    """
    from dataclasses import asdict
    from json import dumps

    keys = _keys(file)
    found = _or_fail(keys.all)
    for key in found:
        typer.echo(dumps(asdict(key)) if json else f"{key.name:20} {','.join(key.scopes):25} {key.created}")
    if not found and not json:
        typer.echo(f"no keys in {keys.path}: feedback and admin are closed")


@app.command("remove")
def remove_key(name: Annotated[str, typer.Argument(help="Whose key.")], file: _File = None) -> None:
    """Remove a key; a running service refuses it from the next request on.

    Example: ferflow keys remove labelling-team
    """
    keys = _keys(file)
    _or_fail(lambda: keys.remove(name))
    typer.echo(f"{name}: removed")


def _keys(file: Path | None) -> "Keys":
    from ferflow import params
    from ferflow.keys import Keys

    return Keys(file if file is not None else _or_fail(params.load).serve.keys)


def _or_fail(action: Callable[[], Result]) -> Result:
    try:
        return action()
    except ValueError as error:  # KeysError, ParamsError
        fail(error, "keys")
