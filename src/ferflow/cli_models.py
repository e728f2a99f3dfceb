"""``ferflow train | compare | gate | promote | rollback``: the pipeline's members and the registry's versions, by hand.

It owns the words on the screen; stages and their order are known to DVC, versions to ``tracking``.
"""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ferflow.cli_errors import fail

_COMPARISONS = Path("reports/evaluation/comparisons.csv")


def train(
    members: Annotated[list[str] | None, typer.Argument(help="Members of params.yaml; without one: the whole pipeline.")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would run.")] = False,
) -> None:
    """Train members as params.yaml says, with all that comes before them; what is up to date is not done again.

    Example: ferflow train gray-cnn
    """
    import subprocess
    import sys

    from ferflow import params

    try:
        settings = params.load()
    except (params.ParamsError, OSError) as error:
        fail(error)
    if unknown := sorted(set(members or []) - set(settings.networks)):
        fail(f"params.yaml has no member {', '.join(unknown)}; it has {', '.join(settings.networks)}")
    stages = [f"{'train' if name in settings.members else 'distil'}@{name}" for name in members or []]
    command = [sys.executable, "-m", "dvc", "repro", *(["--dry"] if dry else []), *stages]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def compare(
    networks: Annotated[Optional[list[str]], typer.Argument(help="Members, students or 'ensemble'; without one: all.")] = None,  # noqa: UP045
    metric: Annotated[str, typer.Option(help="accuracy, macro_f1, ccc or score.")] = "accuracy",
    task: Annotated[str, typer.Option(help="expression, age, gender, race, valence or arousal.")] = "expression",
) -> None:
    """Say which network of the last run is better, pair by pair, with the interval of the difference on the test split.

    Example: ferflow compare gray-cnn ensemble
    """
    import pandas as pd

    if not _COMPARISONS.exists():
        fail(f"{_COMPARISONS} is not there; 'dvc repro' makes it")
    table = pd.read_csv(_COMPARISONS)
    names = sorted({*table["first"], *table["second"]})
    if unknown := sorted(set(networks or []) - set(names)):
        fail(f"the last run compared {', '.join(names) or 'nothing'}, not {', '.join(unknown)}")
    some = table[(table["task"] == task) & (table["metric"] == metric)]
    if some.empty:
        known = ", ".join(f"{one} of {of}" for of, one in table[["task", "metric"]].drop_duplicates().itertuples(index=False))
        fail(f"no network has {metric} of {task}; the last run compared {known or 'nothing'}")
    wanted = set(networks or names)
    both = some["first"].isin(wanted) & some["second"].isin(wanted)
    some = some[both if len(wanted) > 1 else some["first"].isin(wanted) | some["second"].isin(wanted)]
    typer.echo(
        f"{metric} of {task}, test split; points, with their 95 % interval (paired bootstrap), p adjusted for the number of pairs"
    )
    for row in some.to_dict("records"):
        typer.echo(f"  {_in_words(row)}")


def _in_words(row: dict[Any, Any]) -> str:
    """The pair with the better one first."""
    names, sign = (row["second"], row["first"]), 100
    if row["difference"] < 0:
        names, sign = (row["first"], row["second"]), -100
    low, high = sorted((sign * row["low"], sign * row["high"]))
    verdict = "better" if row["significant"] else "no difference shown"
    return (
        f"{names[0]} against {names[1]}: {sign * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}], "
        f"p {row['p_adjusted']:.3f}: {verdict}"
    )


def promote(
    version: Annotated[int | None, typer.Argument(help="A version of the registered model; without one: the challenger.")] = None,
    why: Annotated[str, typer.Option(help="Written down with the promotion.")] = "by hand",
) -> None:
    """Make a version the champion, which the service takes up; the one before stays at hand.

    Example: ferflow promote 3 --why "better on the new camera"
    """
    _move("promote", version, why)


def rollback(why: Annotated[str, typer.Option(help="Written down with the rollback.")] = "rollback by hand") -> None:
    """Make the version that was champion before champion again.

    Example: ferflow rollback --why "it takes smiles for anger"
    """
    _move("rollback", None, why)


def gate(
    version: Annotated[int | None, typer.Argument(help="A version that was judged; without one: the last.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Instead: every promotion and rollback, when and why.")] = False,
) -> None:
    """Show what the gate decided of a version: every check, both models' figures, and why.

    Example: ferflow gate

    Example: ferflow gate --history
    """
    from json import dumps

    from ferflow import params, tracking  # MLflow takes seconds to load

    try:
        model = params.load().register_.model
        if history:
            moved = tracking.moves(model)
            text = dumps(moved) if json else "\n".join(_moved(**one) for one in moved) or f"{model} was never promoted"
        else:
            text = tracking.decision_text(model, version, "decision.json" if json else "decision.md")
    except (params.ParamsError, LookupError, OSError, tracking.TrackingError) as error:
        fail(error)
    typer.echo(text.rstrip())


def _moved(time: str, before: int | None, now: int, why: str) -> str:
    return f"{time}  {f'version {before} -> {now}' if before else f'version {now}'}: {why}"


def _move(how: str, version: int | None, why: str) -> None:
    from ferflow import params, tracking  # MLflow takes seconds to load

    try:
        model = params.load().register_.model
        before, now = tracking.promote(model, version, why) if how == "promote" else tracking.rollback(model, why)
    except (params.ParamsError, LookupError, OSError, tracking.TrackingError) as error:
        fail(error)
    typer.echo(f"{model}: version {now} is champion" + (f"; before it was version {before}" if before else ""))
    if before is not None and now < before:
        words = (
            f"  the project still has the settings and the data of version {before}: nothing is retrained on them until somebody"
        )
        typer.echo(f"{words} calls 'python -m flows.retraining --after-rollback'", err=True)
