"""How a command ends that cannot go on: one message on standard error, and an exit code. It knows no command."""

from typing import NoReturn

import typer


def fail(error: object, command: str = "", code: int = 1) -> NoReturn:
    """Say ``ferflow COMMAND: error`` (``ferflow: error`` without a command) and end with ``code``.

    A ``KeyError`` is said without the quotes that its ``str`` puts around the message.
    """
    words = error.args[0] if isinstance(error, KeyError) and error.args else error
    typer.echo(f"ferflow{command and ' '}{command}: {words}", err=True)
    raise typer.Exit(code)
