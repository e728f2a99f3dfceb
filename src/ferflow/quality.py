"""Data quality: what each image measures, which rows go to quarantine, and the expectations the rest must meet.

The suite runs in Great Expectations. Values in, values out; it knows no stage and reads no file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import cv2
import great_expectations as gx
import numpy as np
import pandas as pd

from ferflow.images import ImageError, decode, image_statistics
from ferflow.params import Validate
from ferflow.vocabulary import EXPRESSIONS, GENDERS, RACES

MEASURES = ("brightness", "contrast", "sharpness")


def measure(images: Iterable[tuple[str, bytes]]) -> pd.DataFrame:
    """One row an image: ``id, pixel_hash, brightness, contrast, sharpness, problem``.

    Brightness is the mean grey level (0 to 255), contrast its standard deviation, sharpness the variance of
    the Laplacian. Images with the same decoded pixels have the same hash. ``problem`` is empty, or says why
    the image cannot be used; its measures are then null.
    """
    return pd.DataFrame([_measure(id_, data) for id_, data in images])


def _measure(id_: str, data: bytes) -> dict[str, Any]:
    try:
        rgb = decode(data)
    except ImageError as error:
        return {"id": id_, "pixel_hash": None, **dict.fromkeys(MEASURES, np.nan), "problem": str(error)}
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    digest = blake2b(rgb.tobytes(), digest_size=16, salt=f"{rgb.shape[0]}x{rgb.shape[1]}".encode()).hexdigest()
    return {"id": id_, "pixel_hash": digest, **image_statistics(gray), "problem": ""}


@dataclass(frozen=True)
class Check:
    """One expectation and what came of it; ``found`` says it in words."""

    name: str
    severity: Literal["error", "warning"]
    passed: bool
    found: str


def checks(labels: pd.DataFrame, measures: pd.DataFrame, limits: Validate) -> list[Check]:
    """Run the suite over the rows that were kept; errors first. Both tables have the same ids in the same order."""
    if labels["id"].tolist() != measures["id"].tolist():
        raise ValueError("labels and measures are not of the same rows")
    frame = pd.concat([labels.reset_index(drop=True), measures.drop(columns="id").reset_index(drop=True)], axis=1)
    results = _run_suite(_suite(limits, frame), frame)
    return sorted(results, key=lambda check: (check.severity != "error", check.passed))


def _suite(limits: Validate, frame: pd.DataFrame) -> list[tuple[str, Literal["error", "warning"], str, dict[str, Any]]]:
    """``(name, severity, Great Expectations class, arguments)`` of every expectation."""
    present = sorted(set(frame["expression"].dropna()))
    frame["is_flat"] = frame["contrast"] < limits.min_contrast
    frame["is_duplicate"] = frame["pixel_hash"].duplicated()
    frame["has_label"] = frame[["expression", "valence", "age", "gender", "race"]].notna().any(axis=1)
    between, members = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"
    suite: list[tuple[str, Literal["error", "warning"], str, dict[str, Any]]] = [
        ("enough rows", "error", "ExpectTableRowCountToBeBetween", {"min_value": limits.min_rows}),
        ("ids are there", "error", "ExpectColumnValuesToNotBeNull", {"column": "id"}),
        ("ids are unique", "error", "ExpectColumnValuesToBeUnique", {"column": "id"}),
        ("every row has a label", "error", members, {"column": "has_label", "value_set": [True]}),
        ("expressions are known", "error", members, {"column": "expression", "value_set": list(EXPRESSIONS)}),
        ("genders are known", "error", members, {"column": "gender", "value_set": list(GENDERS)}),
        ("races are known", "error", members, {"column": "race", "value_set": list(RACES)}),
        ("valence is in range", "error", between, {"column": "valence", "min_value": -1, "max_value": 1}),
        ("arousal is in range", "error", between, {"column": "arousal", "min_value": -1, "max_value": 1}),
        ("ages are in range", "error", between, {"column": "age", "min_value": 0, "max_value": 129}),
        ("few flat images", "warning", members,
         {"column": "is_flat", "value_set": [False], "mostly": 1 - limits.max_flat_share}),
        ("few identical images", "warning", members,
         {"column": "is_duplicate", "value_set": [False], "mostly": 1 - limits.max_duplicate_share}),
    ]  # fmt: skip
    for name in present:
        rows = {"column": f"n_{name}", "min_value": limits.min_class_rows}
        frame[f"n_{name}"] = int((frame["expression"] == name).sum())
        suite.append((f"enough faces of class {name}", "warning", between, rows))
    return suite


def _run_suite(suite: list[tuple[str, Literal["error", "warning"], str, dict[str, Any]]], frame: pd.DataFrame) -> list[Check]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    batch = context.data_sources.add_pandas("faces").add_dataframe_asset("faces").add_batch_definition_whole_dataframe("all")
    expectations = gx.ExpectationSuite(name="faces")
    for name, severity, kind, arguments in suite:
        meta = {"name": name, "severity": severity}
        expectations.add_expectation(getattr(gx.expectations, kind)(**arguments, meta=meta))
    result = batch.get_batch(batch_parameters={"dataframe": frame}).validate(expectations)
    return [_as_check(one) for one in result.results]


def _as_check(result: Any) -> Check:
    meta, found = result.expectation_config.meta, result.result
    if result.exception_info.get("raised_exception"):
        words = f"could not be checked: {result.exception_info.get('exception_message')}"
    elif "unexpected_count" in found:
        share = found.get("unexpected_percent") or 0.0
        words = f"{found['unexpected_count']} of {found['element_count']} rows ({share:.2f} %)"
        if found["unexpected_count"] and (examples := found.get("partial_unexpected_list")):
            words += f", such as {', '.join(map(str, dict.fromkeys(examples[:5])))}"
    else:
        words = f"{found.get('observed_value')} rows"
    return Check(meta["name"], meta["severity"], bool(result.success), words)
