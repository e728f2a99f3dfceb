"""``ferflow monitor``: one look at the live predictions, by hand or from cron.

It starts the flow with what was typed, or takes its steps where Prefect is missing, and does not know what drift is.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Optional

import typer

from ferflow.cli_errors import fail

_PACKED = Path(__file__).parents[1]  # where a wheel puts the flows


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
    if find_spec("prefect") is None:
        raise typer.Exit(_without_prefect(since, until, url, reference, strict))
    flow = Path("flows/monitoring.py")
    if not flow.exists() and not (_PACKED / flow).exists():
        fail("flows/monitoring.py is not here; run the command in the project's root", "monitor")
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def _without_prefect(since: str | None, until: str | None, url: str | None, reference: Path | None, strict: bool) -> int:
    from ferflow import params, watching
    from ferflow.livelog import LogError
    from ferflow.monitoring import MonitorError

    typer.echo("Prefect is not installed: this look is not recorded, and sends no event", err=True)
    try:
        drift, folder, _ = watching.steps(params.load_or_packed(), since, until, url, reference)
    except (MonitorError, LogError, params.ParamsError) as error:
        fail(error, "monitor", code=2)
    typer.echo("\n".join(watching.in_words(drift, folder)))
    return 3 if strict and drift.verdict == "drift" else 0
