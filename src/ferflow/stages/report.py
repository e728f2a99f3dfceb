"""Stage report: everything that was measured as one page that opens from disk, and the model card of the release.

It loads no network; how the page looks is known to ``ferflow.report``.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from ferflow import limits, params
from ferflow.card import Card, task_columns
from ferflow.certainty import certain_answers
from ferflow.front import to_ship
from ferflow.report import (
    PERCENT,
    Cell,
    Section,
    counted,
    in_percent,
    joined,
    model_card,
    page,
    picture,
    share_cell,
    table,
    threshold,
    with_interval,
)
from ferflow.stages import (
    ABLATION,
    AXES,
    COST,
    DATA_REPORTS,
    ENSEMBLE,
    EVALUATION,
    EXPORTS,
    MANIFEST,
    MEMBERS,
    METRICS,
    MODEL_CARD,
    PAGE,
    PLOTS,
    RELEASE,
    REPORTS,
    ROBUSTNESS,
    SPLITS,
    STUDENTS,
    Summary,
    main,
    read_json,
)
from ferflow.tables import load_labels, task_labels, task_target
from ferflow.vocabulary import MIN_FACES

_BY_GROUP = ("accuracy", "macro_f1", "ccc")  # what the page shows of every group at once; the rest is folded away
DRAWN = "synthetic"  # the source whose faces are drawn


def run() -> Summary:
    """Write ``reports/index.html`` and ``reports/model_card.md``."""
    settings = params.load()
    metrics, cost = read_json(METRICS), read_json(COST)
    sections = [
        _members(metrics, cost),
        _comparisons(),
        _ensembles(),
        _cost(metrics),
        _exports(),
        calibration(REPORTS, list(metrics), _certain(settings, list(metrics))),
        fairness(REPORTS, settings.export.model),
        _robustness(),
        _axes(),
        network_by_network(REPORTS, list(metrics)),
        _looks(list(metrics)),
        _data(),
    ]
    sections = [section for section in sections if section.words or section.tables or section.pictures or section.folded]
    title = f"ferflow: {settings.dataset.source}, {len(settings.networks)} networks and their ensemble"
    PAGE.write_text(page(title, _tiles(settings, metrics, cost), settings.dataset.source == DRAWN, sections))
    MODEL_CARD.write_text(_card(settings, metrics, cost))
    return Summary("report", [{"file": str(path), "kilobytes": path.stat().st_size // 1000} for path in (PAGE, MODEL_CARD)])


def _tiles(settings: params.Params, metrics: dict[str, Any], cost: dict[str, Any]) -> list[tuple[str, str, str]]:
    name = settings.export.model
    found = metrics[name]["test"]
    tiles = [("released", name, f"{cost[name]['parameters'] / 1e6:.2f} M parameters, {cost[name]['gmac']:.3f} GMAC a face")]
    for task, metric, words in (
        ("expression", "accuracy", "accuracy of the expression"),
        ("expression", "macro_f1", "macro F1"),
        ("expression", "ece", "calibration error"),
    ):
        if (value := found.get(task, {}).get(metric)) is not None:
            low, high = found[task].get(f"{metric}_low"), found[task].get(f"{metric}_high")
            text = with_interval(value, low, high)
            tiles.append((words, text.split(" ")[0] + " %", f"95 %: {text.partition(' ')[2]}, {found[task]['n']} test faces"))
    for task in ("valence", "arousal"):
        if (value := found.get(task, {}).get("ccc")) is not None:
            tiles.append((f"CCC of {task}", f"{value:.3f}", "1 is perfect agreement"))
    return tiles


def figure(values: dict[str, Any], metric: str) -> str:
    """A figure of ``metrics.json`` with its interval; accuracy and F1 in percent."""
    return with_interval(values.get(metric), values.get(f"{metric}_low"), values.get(f"{metric}_high"), metric in PERCENT)


def main_metric(values: dict[str, Any]) -> str:
    """The figure by which a task is called good or bad."""
    return next(metric for metric in ("accuracy", "ccc", "score") if metric in values)


def _members(metrics: dict[str, Any], cost: dict[str, Any]) -> Section:
    """Every network side by side: all test faces, those without a twin in training, and validation."""
    rows, sides_of = [], []
    names = {"val": "validation", "test": "test, all", "test_leak_free": "test, leak-free"}
    for name, sides in metrics.items():
        found = {task: main_metric(values) for task, values in sides["test"].items()}
        row: dict[str, Any] = {"network": name}
        row |= {f"{task} {metric}": figure(sides["test"][task], metric) for task, metric in found.items()}
        price = {"M parameters": cost[name]["parameters"] / 1e6, "GMAC": cost[name]["gmac"], "FPS": cost[name]["fps"]}
        rows.append(row | price)
        for side, words in names.items():
            if values := sides[side].get("expression"):
                shown = {metric: figure(values, metric) for metric in ("accuracy", "macro_f1")}
                sides_of.append({"network": name, "faces": words, "n": values["n"]} | shown)
    words = "Test split; accuracy in percent, in brackets 95 % bootstrap intervals. Validation alone chose."
    section = Section("Networks", [words], [table("All test faces", pd.DataFrame(rows))])
    if sides_of:
        caption = "The expression on validation, on all test faces, and without those that have a twin in training or validation"
        section.tables.append(table(caption, pd.DataFrame(sides_of)))
    if (curves := PLOTS / "evaluation" / "training.png").exists():
        section.pictures.append(picture("Training, epoch by epoch", curves))
    return section


def _read(path: Path) -> pd.DataFrame:
    """A table of an earlier stage; empty where it had nothing to say."""
    try:
        return pd.read_csv(path)  # no member's name reads as a number or as nothing: params.py sees to that
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()


def _comparisons() -> Section:
    found = _read(EVALUATION / "comparisons.csv")
    section = Section("Is one better?")
    if found.empty:
        return section
    section.words.append(
        "Differences (second minus first) on the same test faces, judged on the same bootstrap resamples. Significant: the "
        "adjusted p value (Benjamini-Hochberg over the pairs of a figure) is below 0.05. p_mcnemar: McNemar's exact test."
    )
    found = joined(found, "difference", unit=" points", sign=True)
    shown = found[(found["task"] == "expression") & (found["metric"] == "accuracy")]
    section.tables.append(table("Accuracy of the expression", shown.drop(columns=["task", "metric"])))
    section.folded.append(Section("Every figure", tables=[table("All tasks and figures", found)]))
    return section


def _way(row: dict[Any, Any]) -> dict[str, Any]:
    """A row of ``ensembles.csv`` with its figures and their intervals in one cell each."""
    shown = {key: row[key] for key in ("way", "chosen", "validation loss")}
    for key in (key for key in row if str(key).endswith((" accuracy", " ccc")) and row[key] == row[key]):
        shown[key] = with_interval(row[key], row.get(f"{key}_low"), row.get(f"{key}_high"), key.endswith("accuracy"))
    return shown | {key: row[key] for key in ("gmac", "parameters", "members")}


def _ensembles() -> Section:
    found = _read(EVALUATION / "ensembles.csv")
    section = Section("Ensembles")
    if found.empty:
        return section
    section.words.append(
        "Ways to combine the networks. The loss in cross-validation on validation faces (log loss; affect: squared error) chose; "
        "test figures only report."
    )
    for task, own in found.groupby("task", sort=False):
        section.tables.append(table(str(task), pd.DataFrame([_way(row) for row in own.to_dict("records")])))
    return section


def _cost(metrics: dict[str, Any]) -> Section:
    found = _read(EVALUATION / "front.csv")
    section = Section("Accuracy and cost")
    if found.empty:
        return section
    section.pictures.append(picture("Accuracy against cost", PLOTS / "evaluation" / "front.png"))
    shown = joined(found.assign(metric="accuracy"), "accuracy").drop(columns="metric")
    section.tables.append(table("Every network", shown))
    validation = {name: sides["val"]["expression"]["accuracy"] for name, sides in metrics.items() if "expression" in sides["val"]}
    rows: list[dict[str, Any]] = []
    for by in ("ms", "parameters", "gmac"):
        for limit in sorted(found[by]):
            best = to_ship(found, validation, by, limit)
            if best is not None and (not rows or (rows[-1]["limit on"], rows[-1]["ship"]) != (by, best)):
                rows.append({"limit on": by, "from": limit, "ship": best, "validation accuracy": share_cell(validation[best])})
    section.tables.append(table("Which to ship under a limit: the best on validation that keeps it", pd.DataFrame(rows)))
    return section


def _exports() -> Section:
    found = _read(EXPORTS.with_suffix(".csv"))
    section = Section("Exports")
    if not found.empty:
        section.words.append("Every file was read again in its own runtime and compared with PyTorch on test faces; one thread.")
        section.tables.append(table("Formats", found))
    return section


def _certain(settings: params.Params, names: list[str]) -> pd.DataFrame:
    """What the threshold of each network is worth on labelled test faces."""
    labels = load_labels(MANIFEST, SPLITS)
    labels, rows = labels[labels["split"] == "test"], []
    for name in names:
        folder = ENSEMBLE if name == "ensemble" else (MEMBERS if name in settings.members else STUDENTS) / name
        known = read_json(ENSEMBLE / "ensemble.json")["card"] if name == "ensemble" else read_json(folder / "card.json")
        card = Card.model_validate(known)
        if "expression" not in card.tasks:
            continue
        columns = task_columns("expression", card.tasks["expression"])
        shares = pd.read_parquet(folder / "predictions.parquet", columns=["id", *columns]).set_index("id").reindex(labels.index)
        target = task_target(task_labels(labels, "expression"), "expression", card.tasks["expression"])
        found = certain_answers(shares.to_numpy(), target, card.certain_above)
        rows.append({"network": name, "certain above": threshold(card.certain_above)} | found)
    return pd.DataFrame(rows)


def calibration(reports: Path, names: list[str], certain: pd.DataFrame | None = None) -> Section:
    """Calibration errors before and after, what certainty is worth, and the picture of the ensemble, or of the only network.

    ``certain``: a row a network, with the columns coverage and accuracy (of ``certain_answers``).
    """
    section = Section("Calibration")
    rows = []
    for name in names:
        bins = _read(reports / "evaluation" / name / "reliability.csv")
        if not bins.empty:
            gaps = (bins["n"] * (bins["confidence"] - bins["accuracy"]).abs()).groupby(bins["probabilities"]).sum()
            errors = gaps / bins.groupby("probabilities")["n"].sum()
            row: dict[str, Any] = {"network": name}
            rows.append(row | {kind: share_cell(errors[kind]) if kind in errors else "" for kind in ("as trained", "calibrated")})
    if rows:
        section.words.append(
            "Temperatures and the threshold of certainty were fitted on validation faces; the figures are of the test split. "
            'Below the threshold an answer is "uncertain".'
        )
        section.tables.append(table("Expected calibration error (15 bins) before and after", pd.DataFrame(rows)))
        if certain is not None and not certain.empty:
            shown = in_percent(certain).rename(columns={"accuracy": "accuracy of certain answers", "n": "certain answers"})
            section.tables.append(table("Certain answers on the test split: their share of all (coverage) and accuracy", shown))
        best = "ensemble" if "ensemble" in names else names[0]
        if (path := reports / "plots/evaluation" / best / "calibration.png").exists():
            section.pictures.append(picture(best, path))
    return section


def fairness(reports: Path, released: str) -> Section:
    """Groups and gaps of what is released; gaps of all."""
    groups, gaps = (_read(reports / "evaluation" / f"fairness_{file}.csv") for file in ("groups", "gaps"))
    section = Section("Fairness")
    if groups.empty:
        return section
    section.words.append(
        f"By the labels of the faces, where there are some. Groups with fewer than {MIN_FACES} labelled test faces are too small "
        "to be judged. A gap is how far the best group and the worst lie apart, with the interval of these two."
    )
    gaps = joined(gaps, "gap", unit=" points")
    own = joined(groups[groups["member"] == released].drop(columns="member"))
    small = Cell(f"too small (n < {MIN_FACES})", "")
    cells = [small if n < MIN_FACES else cell for n, cell in zip(own["n"], own["value"], strict=True)]
    own["value"] = pd.Series(cells, index=own.index, dtype=object)
    mine = gaps[gaps["member"] == released].drop(columns="member")
    for words, some in ((f"Gaps of {released}", mine), (f"Groups of {released}", own)):
        section.tables.append(table(words, some[some["metric"].isin(_BY_GROUP)]))
    every = [table(f"Gaps of {released}, every figure", mine), table(f"Groups of {released}, every figure", own)]
    section.folded.append(Section("Every figure by group", tables=every))
    others = gaps[gaps["metric"].isin(_BY_GROUP)]
    section.folded.append(Section("Gaps of every network", tables=[table("Gaps", others)]))
    return section


def _robustness() -> Section:
    found = _read(ROBUSTNESS / "summary.csv")
    section = Section("Robustness")
    if not found.empty:
        faces = int(_read(ROBUSTNESS / "table.csv")["n"].max())
        section.words.append(
            f"{faces} test faces made worse in ten ways at five strengths; accuracy of the expression in percent."
        )
        section.tables.append(table("Mean over the strengths", found.round(1)))
        section.pictures.append(picture("Strength by strength", PLOTS / "robustness" / "robustness.png"))
    return section


def _axes() -> Section:
    section = Section("Ablations")
    for path in sorted(AXES.glob("*.csv")):
        section.tables.append(table(f"{path.stem}: members that differ in nothing else", _read(path)))
    if section.tables:
        section.words.append(
            "Accuracies in percent. Difference: accuracy of the expression against the first row of its group, in points, with "
            "its 95 % interval."
        )
    if (whole := _read(ABLATION)).size:
        section.folded.append(Section("All networks in one table", tables=[table("Test split", whole)]))
    return section


def network_by_network(reports: Path, names: list[str]) -> Section:
    """Every picture and every table of classes, folded, a part a network."""
    section = Section("Network by network")
    for name in names:
        folder = reports / "plots/evaluation" / name
        pictures = [picture(f"{name}: {path.stem.replace('_', ' ')}", path) for path in sorted(folder.glob("*.png"))]
        tables = [
            table(f"{name}: {path.stem.removeprefix('classes_')}, class by class", in_percent(_read(path)))
            for path in sorted((reports / "evaluation" / name).glob("classes_*.csv"))
        ]
        section.folded.append(Section(name, tables=tables, pictures=pictures))
    return section


def _looks(names: list[str]) -> Section:
    section = Section("Where they look")
    folder = PLOTS / "explanations"
    for file, words in (("mistakes", "The most confident mistakes"), ("doubts", "The most doubtful answers")):
        if (folder / f"{file}.png").exists():
            section.pictures.append(picture(words, folder / f"{file}.png"))
    for name in names:
        if (folder / f"{name}.png").exists():
            section.folded.append(
                Section(name, pictures=[picture(f"{name}: the mean map of every class", folder / f"{name}.png")])
            )
    if (gallery := PLOTS / "evaluation" / "gallery.png").exists():
        section.pictures.append(picture("Test faces drawn by lot, and the ensemble's answers", gallery))
    return section


def _data() -> Section:
    checked, split = read_json(DATA_REPORTS / "validation.json"), read_json(DATA_REPORTS / "split.json")
    section = Section(
        "Data", [f"{checked['rows_in']:,} rows in, {checked['kept']:,} kept, {checked['quarantined']:,} set aside."]
    )
    counts = pd.DataFrame(split["counts"]).rename_axis("expression").reset_index()
    section.tables.append(table("Faces of every class and split", counts))
    crossing = pd.DataFrame(list(split["leaks"].items()), columns=["", "count"])
    section.tables.append(table("What crosses from one split to another", crossing))
    failed = [check for check in checked["checks"] if not check["passed"]]
    if failed:
        section.tables.append(table("Checks that found something", pd.DataFrame(failed)))
    return section


def _card(settings: params.Params, metrics: dict[str, Any], cost: dict[str, Any]) -> str:
    """The model card of what is released."""
    name, source = settings.export.model, settings.dataset.source
    card = read_json(RELEASE / "card.json")
    results, rows = [], []
    for task, values in metrics[name]["test"].items():
        for metric in ("accuracy", "macro_f1", "ccc", "score"):
            if values.get(metric) is not None:
                rows.append({"task": task, "metric": metric, "value": figure(values, metric), "n": values["n"]})
                if metric in ("accuracy", "macro_f1"):  # the form has no task for valence and arousal of a picture
                    named: dict[str, Any] = {"metric_name": f"{task} {metric}", "dataset_split": "test"}
                    results.append(EvalResult("image-classification", source, source, metric, values[metric], **named))
    front = ModelCardData(
        license="apache-2.0",
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "ferflow"],
        datasets=[source],
        model_name=settings.register_.model,
        eval_results=results or None,
    )
    facts = {
        "title": f"{settings.register_.model}: {', '.join(card['tasks'])}",
        "summary": f"One ONNX graph: uint8 RGB face crops of {card['input_size']} pixels in, calibrated probabilities out.",
        "drawn": limits.DRAWN if source == DRAWN else "",
        "model": {
            "networks": ", ".join(f"{member} ({label})" for member, label in card["members"].items()),
            "parameters": f"{card['parameters']:,}",
            "GMAC a face": f"{cost[name]['gmac']:.4f}",
            "sees": "grey" if card["modality"] == "gray" else "RGB",
            "uncertain": _certainty_in_words(card["certain_above"], settings.calibrate.certain_accuracy),
            "seed": settings.seed,
        },
        "data": _data_in_words(source),
        "figures": pd.DataFrame(rows).to_markdown(index=False),
        "fairness": _gaps_in_words(name),
    }
    return model_card(front.to_yaml(), facts)


def _data_in_words(source: str) -> str:
    split = read_json(DATA_REPORTS / "split.json")
    sizes = ", ".join(f"{sum(counts.values()):,} {side}" for side, counts in split["counts"].items())
    leaks = split["leaks"].get("test images identical or nearly identical to one there", 0)
    twins = "No test image has a twin in training or validation."
    if leaks:
        has = "has" if leaks == 1 else "have"
        twins = f"{counted(leaks, 'test image')} {has} a twin in training or validation; the report has the figures without."
    return f"Source `{source}`; faces with an expression: {sizes}. {twins}"


def _certainty_in_words(above: float, wanted: float) -> str:
    """From which confidence on an answer is certain, and what that was fitted to."""
    least = f"{100 * wanted:g} %"
    if above <= 0:
        return f"never: at least {least} of all answers on validation faces are right"
    if above > 1:
        return f"always: not even of the surest answers on validation faces are {least} right"
    return f"below a confidence of {above:.3f}: above it at least {least} of the answers on validation faces are right"


def _gaps_in_words(name: str) -> str:
    gaps = _read(EVALUATION / "fairness_gaps.csv")
    if gaps.empty:
        return "No labels of age, gender or race: nothing can be said."
    shown = joined(gaps[gaps["member"] == name].drop(columns="member"), "gap", unit=" points")
    return shown.assign(gap=[cell.text for cell in shown["gap"]]).to_markdown(index=False)


if __name__ == "__main__":
    main(run)
