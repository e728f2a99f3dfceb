"""The command ``ferflow``. Libraries are imported inside the commands, so that ``--help`` answers at once.

It owns which commands there are and the words that they print; what they do stands in the modules that they call.
"""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ferflow import cli_assets, cli_data, cli_export, cli_keys, cli_models, cli_monitor, cli_predict, cli_serve, cli_video
from ferflow.cli_errors import fail

app = typer.Typer(
    name="ferflow",
    help="Facial-expression recognition as a reproducible factory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(cli_data.app, name="data")
app.add_typer(cli_assets.app, name="assets")
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_video.app)
app.add_typer(cli_serve.app)
app.command()(cli_export.export)


@app.command()
def preset(
    name: Annotated[Optional[str], typer.Argument(help="The preset; without one they are listed.")] = None,  # noqa: UP045
    data: Annotated[Optional[Path], typer.Option(help="Where the raw data lies, if not where the preset says.")] = None,  # noqa: UP045
) -> None:
    """Switch params.yaml to a dataset and the members that suit it.

    Example: ferflow preset fer2013 --data ~/Downloads/fer2013.zip && dvc repro

    Back again: mv params.before.yaml params.yaml
    """
    from ferflow import presets
    from ferflow.params import ParamsError

    if name is None:
        typer.echo("\n".join(presets.names()))
        return
    try:
        blocks = presets.apply(name, data)
    except ParamsError as error:
        fail(error)
    typer.echo(f"params.yaml: {', '.join(blocks)} are now those of {name}. Next: dvc repro")


@app.command()
def ablation(
    write: Annotated[bool, typer.Option("--write", help="Write them into params.yaml; without it they are only listed.")] = False,
) -> None:
    """Make a member of every combination of the axes in the block 'ablation' of params.yaml.

    The block, for example: {base: {backbone: mobilevit, variant: xxs, recipe: crp}, axes: {modality: [rgb, gray],
    options.patch_size: [1, 2, 4]}}

    Example: ferflow ablation --write && dvc repro
    """
    from ferflow import params, presets
    from ferflow.ablation import combinations, with_members

    try:
        settings = params.load()
        if settings.ablation is None:
            raise params.ParamsError("params.yaml has no block 'ablation'; 'ferflow ablation --help' shows one")
        found = combinations(settings.ablation)
        if write:
            presets.set_members(lambda text: with_members(text, found))
    except params.ParamsError as error:
        fail(error)
    typer.echo("\n".join(f"{name}: {entry}" for name, entry in found.items()))
    typer.echo(
        f"{len(found)} members" + (" in params.yaml. Next: dvc repro" if write else "; --write puts them into params.yaml")
    )


@app.command()
def search(member: Annotated[str, typer.Argument(help="A member of params.yaml.")]) -> None:
    """Search good values for a member (Optuna): the block 'search' of params.yaml says which keys, and where between.

    The block, for example: {trials: 20, epochs: 5, space: {lr: {low: 0.001, high: 0.1, log: true}, recipe: [crp, strong]}}

    What was tried is in models/search/MEMBER.db and in MLflow, a child run a trial; the same command goes on.

    Example: ferflow search gray-cnn
    """
    from ferflow import searching
    from ferflow.params import ParamsError
    from ferflow.stages import StageError

    try:
        typer.echo(searching.run(member).as_text())
    except (ParamsError, StageError, ValueError) as error:
        fail(error)


@app.command()
def results() -> None:
    """Print what the last run of the pipeline found, where its time went, and where to look next.

    Example: ferflow results
    """
    from ferflow import results as report
    from ferflow.stages import StageError

    try:
        typer.echo(report.text())
    except StageError as error:
        fail(error)


@app.command()
def evaluate(
    release: Annotated[
        Path, typer.Argument(help="A release folder, a model.onnx, a member's folder (models/members/NAME), or starter.")
    ],
    source: Annotated[str, typer.Argument(help="A source: 'ferflow data list' shows them.")],
    path: Annotated[Path, typer.Argument(help="What the source reads.")],
    out: Annotated[Path, typer.Option(help="The folder to write; what it held is replaced.")] = Path("reports/evaluations/last"),
    detector: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="End to end: auto, or a name from 'ferflow list detectors'. Without it a picture is a face."),
    ] = None,
    option: Annotated[Optional[list[str]], typer.Option(help="An option of the source: NAME=VALUE (YAML).")] = None,  # noqa: UP045
    resamples: Annotated[int, typer.Option(help="Of the bootstrap, behind every interval.")] = 1000,
) -> None:
    """Evaluate a release on any faces with labels, without training: figures, tables, pictures, one page.

    Example: ferflow evaluate models/release folder ~/faces --detector auto --out reports/evaluations/faces
    """
    from ferflow import evaluating
    from ferflow.finding import Finder, Finding
    from ferflow.inference import ModelError, Predictor
    from ferflow.params import Dataset
    from ferflow.registry import names

    try:
        finder = Finder(Finding(detector or "none"))
        predictor = Predictor(evaluating.open_release(release), finder, threads=2)
        options = cli_data.options_of(option or [])
        if source not in names("datasets"):
            raise ValueError(f"no source is called {source!r}; known: {', '.join(names('datasets'))}")
        dataset = Dataset(source=source, path=path, image_size=predictor.card.input_size, options=options)
        typer.echo(evaluating.run(predictor, dataset, out, detector is not None, resamples, seed=0).as_text())
    except (ModelError, OSError, KeyError, ValueError) as error:
        fail(error)


for command in (
    cli_predict.predict,
    cli_models.train,
    cli_models.compare,
    cli_models.gate,
    cli_models.promote,
    cli_models.rollback,
    cli_monitor.monitor,
):
    app.command()(command)


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Check this environment (versions, windows, device, project, model, detectors, servers) and say how to mend it.

    Exit code 1 if something is wrong that everybody needs.

    Example: ferflow doctor
    """
    from dataclasses import asdict
    from json import dumps

    from ferflow.doctor import examine

    marks = {"good": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("bad ", "red")}
    found = []
    for one in examine():
        found.append(one)
        if not json:
            mark, colour = marks[one.state]
            typer.secho(mark, fg=colour, nl=False)
            typer.echo(f"  {one.check}: {one.found}" + (f"\n        -> {one.remedy}" if one.remedy else ""))
    if json:
        typer.echo(dumps([asdict(one) for one in found]))
    if any(one.state == "bad" for one in found):
        raise typer.Exit(1)


@app.command("list")
def list_entries(
    kind: Annotated[Optional[str], typer.Argument(help="backbones, datasets, transforms, …; without one: all.")] = None,  # noqa: UP045
) -> None:
    """List what is registered: every backbone, combiner, dataset, detector, exporter, head, metric and recipe.

    Example: ferflow list backbones
    """
    from ferflow.registry import KINDS, names

    if kind is not None and kind not in KINDS:
        fail(f"no kind is called {kind!r}; known: {', '.join(KINDS)}")
    for one in [kind] if kind else KINDS:
        typer.echo(f"{one}: {', '.join(names(one))}")


def main() -> None:
    """Run a command; one that needs a package of an extra that is not installed says which."""
    try:
        app()
    except ModuleNotFoundError as error:
        from ferflow.extras import missing

        if (words := missing(error.name or "")) is None:
            raise
        typer.echo(f"ferflow: {words}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
