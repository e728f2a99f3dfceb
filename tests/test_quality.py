import numpy as np
import pandas as pd
import pytest
from conftest import png

from ferflow.quality import checks, measure
from ferflow.tables import iter_images, read_labels


def test_same_pixels_have_the_same_hash_and_damage_is_told():
    table = measure([("a", png(1)), ("b", png(1)), ("c", png(2)), ("d", b"broken"), ("e", png(1)[:80])]).set_index("id")
    assert table.loc["a", "pixel_hash"] == table.loc["b", "pixel_hash"] != table.loc["c", "pixel_hash"]
    assert (table.loc[["a", "b", "c"], "problem"] == "").all()
    assert "not an image" in table.loc["d", "problem"]
    assert table.loc[["d", "e"], "brightness"].isna().all()


@pytest.fixture
def data(manifest):
    labels = read_labels(manifest)
    return labels, measure(pair for batch in iter_images(manifest) for pair in batch).drop(columns="problem")


def failed(labels, measures, limits) -> dict[str, str]:
    return {check.name: check.severity for check in checks(labels, measures, limits) if not check.passed}


def test_good_data_passes_every_check(data, settings):
    assert failed(*data, settings.validation.model_copy(update={"min_class_rows": 1})) == {}


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("expression", "bored", "expressions are known"),
        ("valence", 1.5, "valence is in range"),
        ("arousal", -3.0, "arousal is in range"),
        ("age", 200.0, "ages are in range"),
        ("gender", "x", "genders are known"),
        ("race", "martian", "races are known"),
        ("id", "same", "ids are unique"),
    ],
)
def test_a_wrong_label_is_an_error_with_its_name(data, settings, column, value, name):
    labels, measures = data
    labels.loc[[0, 1], column] = value
    measures["id"] = labels["id"]
    found = checks(labels, measures, settings.validation)
    broken = next(check for check in found if check.name == name)
    assert (broken.passed, broken.severity) == (False, "error")
    assert str(value) in broken.found
    assert found[0].severity == "error"


def test_flat_and_identical_images_and_small_classes_are_warnings(data, settings):
    labels, measures = data
    measures.loc[:20, "contrast"] = 0.0
    measures.loc[:20, "pixel_hash"] = "same"
    limits = settings.validation.model_copy(update={"min_class_rows": 10_000})
    found = failed(labels, measures, limits)
    assert {"few flat images", "few identical images", "enough faces of class happy"} <= set(found)
    assert set(found.values()) == {"warning"}


def test_rows_without_any_label_and_too_few_rows_are_errors(data, settings):
    labels, measures = data
    labels.loc[0, ["expression", "valence", "age", "gender", "race"]] = [None, np.nan, np.nan, None, None]
    found = failed(labels, measures, settings.validation.model_copy(update={"min_rows": 1000}))
    assert found["every row has a label"] == found["enough rows"] == "error"


def test_tables_of_different_rows_are_refused(data, settings):
    labels, measures = data
    with pytest.raises(ValueError, match="same rows"):
        checks(labels, pd.DataFrame(measures.iloc[::-1]), settings.validation)
