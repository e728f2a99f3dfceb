import numpy as np
import pandas as pd
import pytest

from ferflow.evaluation import ablation_row, confusion, evaluate

TASKS = {"expression": ("happy", "sad"), "affect": ("valence", "arousal")}


@pytest.fixture
def predictions() -> pd.DataFrame:
    happy = np.array([0.9, 0.8, 0.4, 0.3, 0.6])
    return pd.DataFrame(
        {
            "p_expression_happy": happy,
            "p_expression_sad": 1 - happy,
            "valence": [0.1, 0.2, 0.3, 0.4, 0.5],
            "arousal": [0.0] * 5,
        }
    )


def labels() -> dict[str, pd.DataFrame]:
    return {
        "expression": pd.DataFrame({"expression": ["happy", "sad", "sad", "sad", None]}),
        "affect": pd.DataFrame({"valence": [0.1, 0.2, 0.3, 0.4, np.nan], "arousal": [np.nan] * 5}),
    }


def test_figures_against_values_computed_by_hand(predictions):
    found = evaluate(predictions, labels(), TASKS)
    assert found["expression"]["n"] == 4
    assert found["expression"]["accuracy"] == 0.75
    assert found["expression"]["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["expression"]["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["expression"]["accuracy_low"] == pytest.approx(0.3006, abs=1e-3)  # Wilson, 3 of 4
    assert found["expression"]["accuracy_high"] == pytest.approx(0.9544, abs=1e-3)
    assert found["valence"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert found["valence"]["ccc"] == pytest.approx(1)
    assert found["arousal"]["n"] == 0
    assert found["arousal"]["ccc"] is None, "what is not defined is null in JSON"


def test_confusion_pairs_leave_unlabelled_rows_out(predictions):
    pairs = confusion(predictions, labels()["expression"], "expression", TASKS["expression"])
    assert pairs.to_numpy().tolist() == [["happy", "happy"], ["sad", "happy"], ["sad", "sad"], ["sad", "sad"]]


def test_an_ablation_row_has_percent_and_the_members_settings(predictions, settings):
    figures = evaluate(predictions, labels(), TASKS)
    row = ablation_row("gray-resnet", settings.member("gray-resnet"), 5, figures)
    assert (row["backbone"], row["modality"], row["expression_accuracy"], row["valence_ccc"]) == ("resnet10t", "gray", 75.0, 1.0)
    assert ablation_row("ensemble", None, 5, figures)["backbone"] == "weighted mean"
