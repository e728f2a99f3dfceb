import numpy as np
import pandas as pd
import pytest
from conftest import png

from ferflow.duplicates import duplicate_groups
from ferflow.images import encode_png
from ferflow.ingestion import join
from ferflow.measuring import measure
from ferflow.params import Rule
from ferflow.quality import class_weights, face_rate, reasons, row_flags, run_suite, suite
from ferflow.tables import read_labels, write_rows


def measured(images: dict[str, bytes | None], tmp_path, **labels):
    """Labels, measures and groups of a manifest with these images."""
    rows = [{"id": id_, "image": data, "expression": "happy", "source": "t"} for id_, data in images.items()]
    write_rows(rows, tmp_path / "part.parquet")
    join([tmp_path / "part.parquet"], tmp_path / "manifest.parquet")
    measures = measure(tmp_path / "manifest.parquet")
    return read_labels(tmp_path / "manifest.parquet").assign(**labels), measures, duplicate_groups(measures, 4, 0.9)


def limits_with(settings, **changes):
    checks = {name: Rule(do=do) if isinstance(do, str) else do for name, do in changes.pop("checks", {}).items()}
    checks = settings.validation.checks.model_copy(update=checks)
    lax = {"min_class_rows": 1, "min_rows": 1, "face_sample": 0}
    return settings.validation.model_copy(update={**lax, **changes, "checks": checks})


def failed(labels, measures, groups, limits) -> dict[str, str]:
    flags = row_flags(labels, measures, groups, limits)
    kept = reasons(flags, labels, measures, limits) == ""
    found = run_suite(*suite(flags[kept], labels[kept], {"quarantined": float((~kept).mean())}, limits))
    assert [check.passed for check in found] == sorted(check.passed for check in found), "failures come first"
    return {check.name: check.found for check in found if not check.passed}


@pytest.fixture(scope="module")
def drawn(manifest):
    measures = measure(manifest)
    return read_labels(manifest), measures, duplicate_groups(measures, 4, 0.9)


def test_same_pixels_have_the_same_hash_and_damage_is_told(tmp_path):
    images = {"a": png(1), "b": png(1), "c": png(2), "d": b"broken", "e": png(1)[:80], "f": None}
    _, table, groups = measured(images, tmp_path)
    table = table.set_index("id")
    assert table.loc["a", "pixel_hash"] == table.loc["b", "pixel_hash"] != table.loc["c", "pixel_hash"]
    assert (table.loc[["a", "b", "c"], "unreadable"] == "").all()
    assert "not an image" in table.loc["d", "unreadable"]
    assert "empty" in table.loc["f", "unreadable"]
    assert table.loc[["d", "e", "f"], "brightness"].isna().all()
    assert groups["same"].nunique() == 6 - 1, "what cannot be read is identical to nothing"


def test_good_data_passes_every_check_that_is_not_about_looks(drawn, settings):
    assert set(failed(*drawn, limits_with(settings))) <= {"no images nearly identical to an earlier one"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("expression", "bored"), ("valence", 1.5), ("arousal", -3.0), ("age", 200.0), ("gender", "x"), ("race", "martian")],
)
def test_a_wrong_label_fails_is_reported_or_goes_to_quarantine(drawn, settings, column, value):
    labels, measures, groups = drawn
    labels = labels.copy()
    labels.loc[[0, 1], column] = value
    name = "no rows with a label that is unknown or out of range"
    found = failed(labels, measures, groups, limits_with(settings))
    assert found[name].startswith(f"2 of 160 rows (1.25 %), such as synthetic-000000 {column} is {value}")
    lenient = limits_with(settings, checks={"unknown_label": "quarantine"})
    assert name not in failed(labels, measures, groups, lenient)
    why = reasons(row_flags(labels, measures, groups, lenient), labels, measures, lenient)
    assert why[why != ""].tolist() == [f"{column} is {value}"] * 2


def test_every_row_check_marks_what_it_is_about(tmp_path, settings):
    rng = np.random.default_rng(0)
    face = rng.integers(60, 200, (48, 48), dtype=np.uint8)
    images = {f"n{i}": encode_png(np.clip(rng.normal(120, 40, (48, 48)), 0, 255).astype(np.uint8)) for i in range(40)}
    images |= {
        "flat": encode_png(np.full((48, 48), 120, np.uint8)),
        "tiny": encode_png(face[:12, :12]),
        "white": encode_png(np.maximum(face, 200) + face % 50),
        "first": encode_png(face),
        "again": encode_png(face),
        "darker": encode_png((face * 0.8).astype(np.uint8)),
        "broken": b"x",
    }
    labels, measures, groups = measured(images, tmp_path)
    labels.loc[labels["id"] == "again", "expression"] = "sad"
    labels.loc[labels["id"] == "n0", "expression"] = None
    labels.loc[labels["id"] == "n1", ["expression", "problem"]] = [None, "not a face"]
    flags = row_flags(labels, measures, groups, settings.validation)
    marked = {name: set(labels["id"][flags[name]]) for name in flags}
    assert marked["unreadable"] == {"broken"}
    assert marked["source_problem"] == {"n1"}
    assert marked["unlabelled"] == {"n0"}
    assert marked["flat"] == {"flat"}
    assert marked["small"] == marked["size"] == {"tiny"}
    assert "white" in marked["light"]
    assert "flat" in marked["sharpness"]
    assert marked["identical"] == {"again"}
    assert "darker" in marked["alike"]
    assert marked["conflicting"] == {"first", "again"}


def test_strictness_is_a_parameter_and_no_row_is_lost(drawn, settings):
    labels, measures, groups = drawn
    measures = measures.copy()
    measures.loc[:9, "contrast"] = 0.0
    words = "no blank or nearly constant images"
    assert failed(labels, measures, groups, limits_with(settings))[words].startswith("10 of 160 rows (6.25 %)")
    assert words not in failed(labels, measures, groups, limits_with(settings, checks={"flat": Rule(do="warn", allow=0.1)}))
    assert words not in failed(labels, measures, groups, limits_with(settings, checks={"flat": "off"}))
    strict = limits_with(settings, checks={"flat": "quarantine", "quarantined": Rule(do="fail", allow=0.01)})
    assert failed(labels, measures, groups, strict)["not rows in quarantine"] == "0.0625, wanted at most 0.01"
    why = reasons(row_flags(labels, measures, groups, strict), labels, measures, strict)
    assert (why[:10] == "blank or nearly constant images").all()
    assert (why[10:] == "").all()


def test_too_few_rows_and_unequal_classes_are_told(drawn, settings):
    labels, measures, groups = drawn
    labels = labels.assign(expression=["happy"] * 159 + ["sad"])
    found = failed(labels, measures, groups, limits_with(settings, min_rows=1000, min_class_rows=5))
    assert found["not fewer rows than validate.min_rows"] == "160 rows"
    assert found["not a class with fewer rows than validate.min_class_rows"] == "1, wanted at least 5"
    assert found["not the largest class more than validate.max_class_ratio times the smallest"] == "159, wanted at most 20"


def test_a_set_without_expressions_has_no_classes_to_complain_of(drawn, settings):
    labels, measures, groups = drawn
    found = failed(labels.assign(expression=None), measures, groups, limits_with(settings, min_class_rows=5))
    assert not any("class" in name for name in found)


def test_great_expectations_writes_its_pages(drawn, settings, tmp_path):
    limits = limits_with(settings)
    flags = row_flags(*drawn, limits)
    run_suite(*suite(flags, drawn[0], {}, limits), tmp_path / "docs")
    assert "validations" in (tmp_path / "docs/index.html").read_text()
    assert len(list((tmp_path / "docs/validations").rglob("*.html"))) == 1


def test_class_weights_are_n_over_k_times_n_i():
    found = class_weights(pd.Series(["sad", "happy", "sad", None, "sad"]))
    assert found["class"].tolist() == ["happy", "sad"]
    assert found["weight"].tolist() == [4 / (2 * 1), round(4 / (2 * 3), 4)]
    assert class_weights(pd.Series([None, None], dtype=object)).empty


def test_the_detector_rate_is_counted_on_framed_and_enlarged_crops():
    seen = []

    def detect(image):
        seen.append(image.shape)
        return [1] if image.mean() > 100 else []

    pictures = [np.full((48, 48, 3), value, np.uint8) for value in (50, 150, 200)]
    assert face_rate(iter(pictures), detect) == (2, 3)
    assert set(seen) == {(200, 200, 3)}
