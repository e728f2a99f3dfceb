"""Data quality: what is wrong with which row, and the expectations that the rest must meet.

Row checks mark rows; ``validate.checks`` in params.yaml says of each whether such rows stop the pipeline, go to
quarantine, or are reported. The rows that are kept are held to the suite in Great Expectations, which writes its own
pages. Values in, values out (but for those pages); it knows no stage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ferflow.params import Validate
from ferflow.vocabulary import EXPRESSIONS, GENDERS, RACES

_LABELS = ["expression", "valence", "arousal", "age", "gender", "race"]
_RANGES = {"valence": (-1, 1), "arousal": (-1, 1), "age": (0, 129)}
_NAMES = {"expression": EXPRESSIONS, "gender": GENDERS, "race": RACES}
WORDS = {
    "unreadable": "images that cannot be decoded",
    "source_problem": "rows that the source itself calls unusable",
    "unlabelled": "rows without any label",
    "unknown_label": "rows with a label that is unknown or out of range",
    "flat": "blank or nearly constant images",
    "small": "images below the least side",
    "size": "images of an outlying size",
    "light": "images of an outlying brightness",
    "sharpness": "images of an outlying sharpness",
    "identical": "images identical to an earlier one",
    "alike": "images nearly identical to an earlier one",
    "conflicting": "identical images with different expressions",
    "too_few_rows": "fewer rows than validate.min_rows",
    "too_few_in_class": "a class with fewer rows than validate.min_class_rows",
    "imbalance": "the largest class more than validate.max_class_ratio times the smallest",
    "no_face": "sampled images in which the detector finds no face",
    "quarantined": "rows in quarantine",
}


@dataclass(frozen=True)
class Check:
    """One expectation and what came of it; ``found`` says it in words."""

    name: str
    severity: str
    passed: bool
    found: str


def row_flags(labels: pd.DataFrame, measures: pd.DataFrame, groups: pd.DataFrame, limits: Validate) -> pd.DataFrame:
    """One boolean column a row check (see ``WORDS``), N rows; all tables have the same rows in the same order.

    ``groups`` has the columns ``same`` and ``near`` of ``duplicates.duplicate_groups``. Outliers lie beyond Tukey's far
    fences, ``outlier_iqr`` interquartile ranges outside the quartiles; size and sharpness on a logarithmic scale.
    """
    readable = measures["unreadable"] == ""
    side = labels[["width", "height"]].min(axis=1)
    identical = groups["same"].duplicated() & readable
    return pd.DataFrame(
        {
            "unreadable": ~readable,
            "source_problem": labels["problem"].notna(),
            "unlabelled": labels[_LABELS].isna().all(axis=1) & labels["problem"].isna(),
            "unknown_label": unknown_labels(labels) != "",
            "flat": measures["contrast"] < limits.min_contrast,
            "small": readable & (side < limits.min_side),
            "size": _outliers(np.log(side.where(readable & (side > 0))), limits.outlier_iqr, least=0.2),
            "light": _outliers(measures["brightness"], limits.outlier_iqr, least=5),
            "sharpness": _outliers(np.log1p(measures["sharpness"]), limits.outlier_iqr, least=0.2),
            "identical": identical,
            "alike": groups["near"].duplicated() & readable & ~identical,
            "conflicting": readable & (labels["expression"].groupby(groups["same"]).transform("nunique") > 1),
        }
    )


def unknown_labels(labels: pd.DataFrame) -> pd.Series:
    """Which label of a row is unknown or out of range, in words; empty where none is."""
    words = pd.Series("", index=labels.index)
    for column in _LABELS:
        values = labels[column]
        known = values.isin(_NAMES[column]) if column in _NAMES else values.between(*_RANGES[column])
        wrong = values.notna() & ~known
        words[wrong] += f"{column} is " + values[wrong].astype(str) + " "
    return words.str.strip()


def _outliers(values: pd.Series, fence: float, least: float) -> pd.Series:
    """Beyond the fences; an interquartile range below ``least`` counts as that, or a set of equals would have only outliers."""
    low, high = values.quantile(0.25), values.quantile(0.75)
    reach = fence * max(high - low, least)
    return (values < low - reach) | (values > high + reach)


def reasons(flags: pd.DataFrame, labels: pd.DataFrame, measures: pd.DataFrame, limits: Validate) -> pd.Series:
    """Why a row goes to quarantine, in words; empty where it does not."""
    words = pd.Series("", index=flags.index)
    for name in map(str, flags):
        if limits.checks.rule(name).do == "quarantine" and flags[name].any():
            rows = flags[name]
            details = {"unreadable": measures["unreadable"], "source_problem": labels["problem"]}
            detail = unknown_labels(labels) if name == "unknown_label" else details.get(name)
            said = detail[rows].astype(str) if detail is not None else WORDS[name]
            words[rows] += words[rows].map(lambda before: "; " if before else "") + said
    return words


def class_weights(labels: pd.Series) -> pd.DataFrame:
    """``class, rows, weight`` with weight = N / (K n), for the K classes that occur."""
    counts = labels.value_counts().sort_index()
    weights = counts.sum() / (len(counts) * counts) if len(counts) else counts.astype(float)
    return pd.DataFrame({"class": counts.index, "rows": counts.to_numpy(), "weight": weights.to_numpy().round(4)})


def face_rate(images: Iterator[np.ndarray], detect: Callable[[np.ndarray], list[Any]]) -> tuple[int, int]:
    """In how many of the images (H x W x 3) the detector finds a face, and how many there were.

    A crop is tight: it gets a border of half its side, and is enlarged to at least 200 pixels, before it is looked at.
    """
    import cv2

    found = count = 0
    for image in images:
        height, width = image.shape[:2]
        framed = cv2.copyMakeBorder(image, height // 2, height // 2, width // 2, width // 2, cv2.BORDER_REPLICATE)
        scale = max(1.0, 200 / min(framed.shape[:2]))
        found += bool(detect(cv2.resize(framed, None, fx=scale, fy=scale)))
        count += 1
    return found, count


Expectation = tuple[str, str, str, dict[str, Any]]  # name, severity, Great Expectations class, arguments


def suite(
    flags: pd.DataFrame, labels: pd.DataFrame, facts: dict[str, float], limits: Validate
) -> tuple[list[Expectation], pd.DataFrame]:
    """The expectations of the rows that were kept, and the table they are about.

    ``facts``: ``quarantined`` (share of all rows) and, where it was measured, ``no_face`` (share of the sample).
    """
    frame = pd.concat([labels.reset_index(drop=True), flags.reset_index(drop=True)], axis=1)
    counts = labels["expression"].value_counts()
    if len(counts):  # a set without expressions has no classes to be few or unequal
        facts = facts | {"too_few_in_class": counts.min(), "imbalance": counts.max() / counts.min()}
    between = "ExpectColumnValuesToBeBetween"
    found: list[Expectation] = [
        ("ids are there", "fail", "ExpectColumnValuesToNotBeNull", {"column": "id"}),
        ("ids are unique", "fail", "ExpectColumnValuesToBeUnique", {"column": "id"}),
    ]
    for name in WORDS:
        rule = limits.checks.rule(name)
        if rule.do in ("off", "quarantine"):
            continue
        if name in flags:
            arguments = {"column": name, "value_set": [False], "mostly": 1 - rule.allow}
            found.append((f"no {WORDS[name]}", rule.do, "ExpectColumnValuesToBeInSet", arguments))
        elif name == "too_few_rows":
            found.append((f"not {WORDS[name]}", rule.do, "ExpectTableRowCountToBeBetween", {"min_value": limits.min_rows}))
        elif name in facts:
            frame[f"fact_{name}"] = float(facts[name])
            low, high = {"too_few_in_class": (limits.min_class_rows, None), "imbalance": (None, limits.max_class_ratio)}.get(
                name, (None, rule.allow)
            )
            arguments = {"column": f"fact_{name}", "min_value": low, "max_value": high}
            found.append((f"not {WORDS[name]}", rule.do, between, arguments))
    return found, frame


def run_suite(expectations: list[Expectation], frame: pd.DataFrame, pages: Path | None = None) -> list[Check]:
    """Run the suite in Great Expectations, failures first; with ``pages`` it writes its data docs into that folder."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    batch = context.data_sources.add_pandas("faces").add_dataframe_asset("faces").add_batch_definition_whole_dataframe("all")
    gx_suite = context.suites.add(gx.ExpectationSuite(name="faces"))
    for name, severity, kind, arguments in expectations:
        meta = {"name": name, "severity": severity}
        grade = "critical" if severity == "fail" else "warning"
        gx_suite.add_expectation(getattr(gx.expectations, kind)(**arguments, meta=meta, severity=grade))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="faces", data=batch, suite=gx_suite))
    if pages is not None:
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(pages.resolve())}
        context.add_data_docs_site(site_name="faces", site_config={"class_name": "SiteBuilder", "store_backend": store})
    result = definition.run(batch_parameters={"dataframe": frame})
    if pages is not None:
        context.build_data_docs()
    return sorted((_as_check(one, frame) for one in result.results), key=lambda check: (check.passed, check.severity != "fail"))


def _as_check(result: Any, frame: pd.DataFrame) -> Check:
    meta, found = result.expectation_config.meta, result.result
    column = result.expectation_config.kwargs.get("column", "")
    if result.exception_info.get("raised_exception"):
        words = f"could not be checked: {result.exception_info.get('exception_message')}"
    elif column.startswith("fact_"):
        words = _fact(result, float(frame[column].iloc[0]) if len(frame) else float("nan"))
    elif "unexpected_count" in found:
        share = found.get("unexpected_percent") or 0.0
        words = f"{found['unexpected_count']} of {found['element_count']} rows ({share:.2f} %)"
        if column in WORDS and (rows := frame[frame[column]].head(3)).size:
            detail = unknown_labels(rows) if column == "unknown_label" else pd.Series("", index=rows.index)
            words += ", such as " + ", ".join(f"{i} {word}".strip() for i, word in zip(rows["id"], detail, strict=True))
    else:
        words = f"{found.get('observed_value')} rows"
    return Check(meta["name"], meta["severity"], bool(result.success), words)


def _fact(result: Any, value: float) -> str:
    limits = result.expectation_config.kwargs
    words = {"min_value": "at least", "max_value": "at most"}
    limit = " and ".join(f"{word} {limits[key]:g}" for key, word in words.items() if limits.get(key) is not None)
    return f"{value:.4g}, wanted {limit}"
