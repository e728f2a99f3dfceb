import numpy as np
import pandas as pd
import pytest

from ferflow.card import Card
from ferflow.comparison import axes, axis_table, mcnemar, pairs
from ferflow.evaluation import COMBINED, ablation_row, by_class, confusion, evaluate, right_answers, tidy
from ferflow.fairness import by_group
from ferflow.front import efficient, to_ship
from ferflow.judging import Judge
from ferflow.metrics import of_kind
from ferflow.resampling import Resamples, interval
from ferflow.vocabulary import MIN_FACES

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
    found = evaluate(predictions, labels(), TASKS, Resamples(5, 200)).values
    assert found["expression"]["n"] == 4
    assert found["expression"]["accuracy"] == 0.75
    assert found["expression"]["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["expression"]["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["valence"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert found["valence"]["ccc"] == pytest.approx(1)
    assert found["arousal"]["n"] == 0
    assert found["arousal"]["ccc"] is None, "what is not defined is null in JSON"
    assert COMBINED not in found, "arousal has no labels"


def test_headlines_have_intervals_and_rows_have_everything(predictions):
    figures = evaluate(predictions, labels(), TASKS, Resamples(5, 400, seed=1))
    shown = figures.headline()
    assert 0 <= shown["expression"]["accuracy_low"] <= 0.75 <= shown["expression"]["accuracy_high"] <= 1
    assert "kappa" not in shown["expression"]
    rows = tidy([("m", "test", figures)])
    assert rows.columns.tolist() == ["member", "faces", "task", "metric", "value", "low", "high", "n"]
    assert len(rows[rows["task"] == "expression"]) == 13
    assert "accuracy_low" not in evaluate(predictions, labels(), TASKS).headline()["expression"]


def test_the_combined_score_is_macro_f1_and_mean_ccc(predictions):
    both = labels()
    both["affect"]["arousal"] = [0.1, -0.1, 0.1, -0.1, 0.1]
    found = evaluate(predictions, both, TASKS, Resamples(5, 100))
    assert found.values[COMBINED]["score"] == pytest.approx((2 / 3 + 4 / 5) / 2 + (1 + 0) / 2)
    assert np.nanmax(np.abs(found.resampled[COMBINED]["score"])) <= 2


def test_predictions_that_are_no_numbers_leave_their_task_undefined_and_are_counted(predictions):
    predictions.loc[1, ["p_expression_sad", "valence"]] = np.nan
    predictions.loc[4, "p_expression_sad"] = np.inf  # a face without a label
    found = evaluate(predictions, labels(), TASKS, Resamples(5, 100))
    expression = found.values["expression"]
    assert (expression.pop("n"), expression.pop("not_finite")) == (4, 1)
    assert set(expression.values()) == {None}
    assert found.values["valence"]["not_finite"] == 1
    assert "expression" not in found.resampled


def test_classes_one_by_one(predictions):
    table = by_class(predictions, labels()["expression"], "expression", TASKS["expression"]).set_index("class")
    assert table.loc["happy", ["n", "precision", "recall"]].tolist() == [1, 0.5, 1]
    assert table.loc["sad", "f1"] == pytest.approx(4 / 5)
    assert table.loc["sad", "roc_auc"] == 1.0
    nothing = by_class(predictions, pd.DataFrame({"expression": [None] * 5}), "expression", TASKS["expression"])
    assert nothing["n"].tolist() == [0, 0]
    assert nothing[["precision", "roc_auc"]].isna().all(axis=None)


def test_confusion_pairs_leave_unlabelled_rows_out(predictions):
    pairs_ = confusion(predictions, labels()["expression"], "expression", TASKS["expression"])
    assert pairs_.to_numpy().tolist() == [["happy", "happy"], ["sad", "happy"], ["sad", "sad"], ["sad", "sad"]]
    assert right_answers(predictions, labels()["expression"], "expression", TASKS["expression"]).tolist() == [1, 0, 1, 1, -1]


def test_an_ablation_row_has_percent_and_the_members_settings(predictions, settings):
    figures = evaluate(predictions, labels(), TASKS)
    row = ablation_row("gray-resnet", settings.member("gray-resnet"), 5, figures)
    assert (row["backbone"], row["modality"], row["expression_accuracy"], row["valence_ccc"]) == ("resnet10t", "gray", 75.0, 1.0)
    assert ablation_row("ensemble", None, 5, figures)["backbone"] == ""


DRAW = np.random.default_rng(0)
GROUPED = pd.DataFrame(
    {
        "expression": DRAW.choice(["happy", "sad"], 600),
        "gender": DRAW.choice(["male", "female", None], 600),
        "age": np.where(np.arange(600) < 10, 80.0, 25.0),
        "race": [None] * 600,
    }
)


def answers(skill, wrong_for=None):
    """Predictions that are right in a share of the faces; half as often for one gender."""
    chance = np.where(GROUPED["gender"] == wrong_for, skill / 2, skill)
    right = np.random.default_rng(int(skill * 1000)).random(600) < chance
    happy = np.where((GROUPED["expression"] == "happy") == right, 0.8, 0.2)
    return pd.DataFrame({"p_expression_happy": happy, "p_expression_sad": 1 - happy})


def judged(predictions, resamples):
    tasks = {"expression": TASKS["expression"]}
    figures = evaluate(predictions, {"expression": GROUPED[["expression"]]}, tasks, resamples)
    right = right_answers(predictions, GROUPED[["expression"]], "expression", TASKS["expression"])
    return figures, {"expression": right}


def test_better_means_that_chance_alone_would_hardly_say_so():
    resamples = Resamples(600, 1000)
    good, right_good = judged(answers(0.9), resamples)
    fair, right_fair = judged(answers(0.75), resamples)
    near, right_near = judged(answers(0.752), resamples)
    table = pairs({"fair": fair, "near": near, "good": good}, {"fair": right_fair, "near": right_near, "good": right_good})
    accuracy = table[table["metric"] == "accuracy"].set_index(["first", "second"])
    assert accuracy.loc[("fair", "good"), "significant"]
    assert accuracy.loc[("fair", "good"), "low"] > 0
    assert accuracy.loc[("fair", "good"), "p_mcnemar"] < 1e-6
    assert not accuracy.loc[("fair", "near"), "significant"]
    assert (accuracy["p_adjusted"] >= accuracy["p"]).all()
    assert accuracy.loc[("fair", "good"), "difference"] == pytest.approx(
        good.values["expression"]["accuracy"] - fair.values["expression"]["accuracy"]
    )
    assert pairs({"alone": good}, {"alone": right_good}).empty


def test_mcnemar_counts_the_faces_on_which_two_disagree():
    first, second = np.array([1] * 10 + [0] * 2 + [1, 0, -1]), np.array([0] * 10 + [1] * 2 + [1, 0, 1])
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # 10 of 12, both sides
    assert mcnemar(first, first) == 1.0


def test_groups_have_figures_gaps_have_intervals_and_small_groups_are_named_only():
    tasks = {"expression": TASKS["expression"]}
    groups, gaps = by_group(answers(0.9, wrong_for="female"), GROUPED, tasks, Resamples(600, 500))
    table = groups[groups["metric"] == "accuracy"].set_index("group")
    assert table.loc["male", "value"] > table.loc["female", "value"] + 0.3
    assert table.loc["male", "low"] < table.loc["male", "value"] < table.loc["male", "high"]
    assert table.loc["80-89", "n"] == 10 < MIN_FACES
    assert np.isnan(table.loc["80-89", "value"])
    assert table.loc["20-29", "n"] == 590
    gap = gaps[gaps["metric"] == "accuracy"]
    assert gap[["grouping", "worst", "best"]].to_numpy().tolist() == [["gender", "female", "male"]]
    assert gap["low"].iloc[0] > 0.3
    assert "race" not in set(groups["grouping"]), "no face has that label"


def test_an_axis_is_what_alone_differs(settings):
    base = settings.member("gray-cnn")
    members = {
        "a": base,
        "b": base.model_copy(update={"recipe": "none"}),
        "c": base.model_copy(update={"options": base.options | {"width": 8}}),
        "d": base.model_copy(update={"options": base.options | {"width": 8}, "recipe": "none", "modality": "rgb"}),
        "e": settings.member("gray-resnet"),
    }
    found = axes(members)
    assert {axis: found[axis] for axis in ("recipe", "options.width")} == {"recipe": [["a", "b"]], "options.width": [["a", "c"]]}
    assert sorted(found["backbone"][0]) == list("abcde"), "no two differ in it alone: all, with what else differs"
    assert "epochs" not in found
    resamples = Resamples(600, 300)
    tables = {"a": answers(0.9), "b": answers(0.6)}
    judgements = {name: judged(table, resamples) for name, table in tables.items()}
    figures, right = ({name: one[place] for name, one in judgements.items()} for place in (0, 1))
    table = axis_table("recipe", found["recipe"], members, figures, {"a": 101.4}, pairs(figures, right))
    assert table.columns.tolist()[:7] == ["Setting", "Modality", "Expr Acc", "Race Acc", "Gender Acc", "Age Acc", "FPS"]
    assert table["Setting"].tolist() == ["recipe: crp", "recipe: none"]
    assert table["Significant"].tolist() == ["", "yes"]
    assert table["Difference"].iloc[1].startswith("-")
    assert table["FPS"].iloc[0] == 101
    assert table["Differs also in"].tolist() == ["", ""]
    figures["d"] = figures["b"]
    both = axis_table("recipe", [["a", "d"]], members, figures, {}, pairs(figures, right | {"d": right["b"]}))
    assert both["Differs also in"].tolist() == ["", "modality, options.width"]


def test_the_front_has_what_none_beats_and_ships_what_validation_prefers():
    table = pd.DataFrame({"network": list("abcd"), "ms": [1.0, 2.0, 2.0, 3.0], "accuracy": [0.5, 0.7, 0.6, 0.7]})
    assert efficient(table["ms"], table["accuracy"]).tolist() == [True, True, False, False]
    validation = {"a": 0.5, "b": 0.6, "c": 0.65, "d": 0.9}
    assert to_ship(table, validation, "ms", 2.0) == "c"
    assert to_ship(table, validation, "ms", 0.5) is None


def test_an_interval_of_the_calibration_error_holds_its_value():
    inside = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        sure = draw.uniform(0.5, 1, 600)
        truth = (draw.random(600) > sure).astype(int)
        shares = np.stack([sure, 1 - sure], axis=1)
        metric = of_kind("classification")["ece"]
        drawn = Resamples(600, 300, seed).scores({"ece": metric}, truth, shares, np.ones(600, bool))["ece"]
        low, high = interval(drawn)
        inside += low <= metric(truth, shares) <= high
    assert inside == 20


def test_predictions_that_are_no_numbers_leave_groups_undefined_and_no_answer_right():
    table = answers(0.9)
    table.iloc[3] = np.nan
    groups, gaps = by_group(table, GROUPED, {"expression": TASKS["expression"]}, Resamples(600, 50))
    assert groups["value"].isna().all()
    assert gaps.empty
    assert (right_answers(table, GROUPED[["expression"]], "expression", TASKS["expression"]) == -1).all()


def test_groups_have_every_figure_and_the_worst_of_an_error_is_the_highest():
    groups, gaps = by_group(answers(0.9, wrong_for="female"), GROUPED, {"expression": TASKS["expression"]}, Resamples(600, 50))
    assert set(of_kind("classification")) == set(groups["metric"])
    assert gaps.set_index("metric").loc["log_loss", "worst"] == "female"


def test_predictions_of_other_faces_are_refused_by_the_name_of_their_network():
    ids = pd.Index([f"f{i}" for i in range(4)], name="id")
    judge = Judge(pd.DataFrame({"expression": ["happy", "sad"] * 2}, index=ids), 20, 0)
    card = Card(
        name="a", members={}, input_size=8, modality="rgb", tasks={"expression": ("happy", "sad")}, dataset="d", parameters=1
    )
    table = pd.DataFrame({"id": ids, "split": "test", "p_expression_happy": 0.6, "p_expression_sad": 0.4})
    judge(card, table)
    assert judge(card, table.iloc[::-1]).predictions["id"].tolist() == list(ids)
    other = card.model_copy(update={"name": "b"})
    with pytest.raises(ValueError, match="b has predicted the face 'f0' twice"):
        judge(other, pd.concat([table, table.iloc[:1]]))
    with pytest.raises(ValueError, match=r"b has predicted other faces than a, such as 'f3'"):
        judge(other, table.iloc[:3])
