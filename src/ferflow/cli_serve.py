"""``ferflow forget`` and ``ferflow log``: what the service keeps of predictions, to look at and to remove.

It owns the words on the screen; it knows no database (``livelog`` does) and no folder of crops (``consent`` does).
"""

from typing import TYPE_CHECKING, Annotated

import typer

from ferflow.cli_errors import fail

if TYPE_CHECKING:
    import pandas as pd

    from ferflow.consent import Crops
    from ferflow.livelog import Summary
    from ferflow.params import Serve

app = typer.Typer()
_LINE = ("time", "id", "client", "model_version", "expression", "confidence", "certain", "label", "latency_ms")


def _settings(command: str) -> "Serve":
    from ferflow import params

    try:
        return params.load_or_packed().serve
    except params.ParamsError as error:
        fail(error, command)


@app.command()
def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Ids of predictions, as the service gave them.")
    ] = None,
    expired: Annotated[bool, typer.Option("--expired", help="Remove the crops that are older than serve.keep_days.")] = False,
) -> None:
    """Remove predictions, what people said of them, and their crops: from the log, its waiting rows, and the consented crops.

    Example: ferflow forget 3f2b8a52e3f94cf5a3c1d8f6b7a90e14
    """
    from ferflow.consent import Crops

    if not ids and not expired:
        fail("say which: ids of predictions, or --expired; 'ferflow log' shows the last ones", "forget")
    serve = _settings("forget")
    crops = Crops(serve.keep_crops, serve.keep_days)
    if expired:
        typer.echo(f"{crops.purge()} crops older than {serve.keep_days:g} days are removed; {len(crops.paths())} stay")
    gone = [_forget_one(prediction, serve.log, crops) for prediction in ids or []]
    if not all(gone):
        raise typer.Exit(1)


def _forget_one(prediction: str, url: str, crops: "Crops") -> bool:
    """Whether there was something, and all of it is gone."""
    from ferflow import livelog

    try:
        kept = crops.forget(prediction)
        rows = livelog.forget(url, prediction) if url else 0
    except (livelog.LogError, OSError) as error:
        typer.echo(f"ferflow forget: {prediction}: {error}\n  The rest of it is still there: try again.", err=True)
        return False
    if not rows + kept:
        typer.echo(f"ferflow forget: {prediction}: no prediction has this id, in the log or among the crops", err=True)
        return False
    typer.echo(f"{prediction}: {_many(rows, 'row')} of the log and {_many(kept, 'crop')} removed")
    return True


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@app.command()
def log(
    last: Annotated[int, typer.Option(min=0, help="How many of the newest rows are shown.")] = 20,
) -> None:
    """Show what is in the prediction log: the time it spans, classes, clients, the uncertain share, the last rows.

    Example: ferflow log --last 5
    """
    from ferflow import livelog

    url = _settings("log").log
    if not url:
        typer.echo("Predictions are not logged: serve.log of params.yaml is empty.")
        return
    try:
        found = livelog.summary(url)
        rows = livelog.recent(url, last, _LINE) if found and last else None
    except livelog.LogError as error:
        fail(error, "log")
    typer.echo("\n".join(_lines(found)) if found else "The log is there, and has no prediction yet.")
    if rows is not None:
        typer.echo(f"\nThe last {len(rows)}, times in UTC:\n{_table(rows)}")


def _lines(found: "Summary") -> list[str]:
    span = f"{found.first:%Y-%m-%d %H:%M:%S} to {found.last:%Y-%m-%d %H:%M:%S} UTC"
    faces = sum(found.expressions.values())
    uncertain = f"; {found.uncertain:.1%} of the answers are uncertain" if faces else ""
    return [
        f"{_many(found.rows, 'row')} from {span}",
        f"{_many(faces, 'face')}, {_many(found.no_face, 'picture')} without one{uncertain}",
        f"{_many(found.feedback, 'word')} of feedback",
        "by class:  " + _counts(found.expressions),
        "by client: " + _counts(found.clients),
    ]


def _counts(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {number} ({number / total:.0%})" for name, number in counts.items()) or "-"


def _table(rows: "pd.DataFrame") -> str:
    shown = rows.assign(
        time=rows["time"].dt.strftime("%m-%d %H:%M:%S"),
        certain=rows["certain"].map({1.0: "yes", 0.0: "no"}),
        confidence=rows["confidence"].map("{:.2f}".format, na_action="ignore"),
        latency_ms=rows["latency_ms"].map("{:.1f}".format, na_action="ignore"),
    )
    return shown.astype(object).where(shown.notna(), "-").to_string(index=False)
