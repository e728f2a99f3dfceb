"""``ferflow monitor``: one look at the live predictions, by hand or from cron.

It starts the flow with what was typed, and does not know what drift is.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ferflow.cli_errors import fail


def monitor(
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Where the window begins: 30m, 24h, 7d before its end, or a time. Without it monitor.window_h."),
    ] = None,
    until: Annotated[Optional[str], typer.Option(help="Where it ends: 2h (ago), or a time; without it now.")] = None,  # noqa: UP045
    url: Annotated[Optional[str], typer.Option(help="The log, if not serve.log of params.yaml.")] = None,  # noqa: UP045
    reference: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The test predictions to compare with, if not those that travel with the release."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 where there is drift, for cron and scripts.")] = False,
) -> None:
    """Say whether the live predictions still look like those of the test, and write a report to reports/drift.

    Compares class shares, confidence, the look of the pictures and more with the release's own test predictions. The page
    reports/drift/latest.html shows it, the service at /drift, too. A Prefect server that runs has a record and gets an event
    where there is drift.

    Example: ferflow monitor

    Example: ferflow monitor --since 7d

    Example: ferflow monitor --since 2026-03-01T08:00 --until 2026-03-01T18:00 --strict
    """
    given = {"--since": since, "--until": until, "--url": url, "--reference": reference}
    arguments = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    command = [sys.executable, "-m", "flows.monitoring", *arguments, *(["--strict"] if strict else [])]
    if not Path("flows/monitoring.py").exists():
        fail("flows/monitoring.py is not here; run the command in the project's root", "monitor")
    raise typer.Exit(subprocess.run(command, check=False).returncode)
