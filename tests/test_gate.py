"""The gate's checks, each on figures that can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from ferflow.card import Card, task_columns
from ferflow.gate import Decision, Evidence, decide
from ferflow.params import Gate, ParamsError, parse

CLASSES = ("neutral", "happy", "sad", "anger")
CARD = Card(
    name="r", members={"m": "cnn"}, input_size=8, modality="rgb", tasks={"expression": CLASSES}, dataset="d", parameters=1
)
GATE = Gate(margin=0.05, class_floor=0.3, fairness_gap=0.1, ece=0.2, min_live=40)
FINE = [
    {"name": "rows", "severity": "fail", "passed": True, "found": "400"},
    {"name": "balance", "severity": "warn", "passed": False, "found": "4"},
]


def labels(n: int = 400, **columns) -> pd.DataFrame:
    """The classes take turns."""
    known = {"expression": [CLASSES[i % 4] for i in range(n)], "age": np.nan, "gender": None, "race": None}
    return pd.DataFrame(known | columns, index=[f"f{i}" for i in range(n)])


def answers(truth: pd.DataFrame, wrong, confidence: float = 0.9, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """Right answers, but for the rows ``wrong``, where the next class is said."""
    number = np.array([classes.index(name) for name in truth["expression"]])
    number[list(wrong)] = (number[list(wrong)] + 1) % len(classes)
    shares = np.full((len(truth), len(classes)), (1 - confidence) / (len(classes) - 1), np.float32)
    shares[np.arange(len(truth)), number] = confidence
    frame = pd.DataFrame(shares, columns=task_columns("expression", classes))
    return frame.assign(id=truth.index.to_numpy())


def evidence(version: int = 1, wrong=range(40), truth: pd.DataFrame | None = None, **more) -> Evidence:
    truth = labels() if truth is None else truth
    values = {"predictions": answers(truth, wrong), "labels": truth, "latency_ms": 2.0, "size_mb": 5.0, "test_faces": "abc"}
    return Evidence(**{"version": version, "card": CARD, "parity": (1e-6, 1e-4), "validation": FINE} | values | more)


def row(decision: Decision, name: str):
    return next(one for one in decision.rows if one.check == name)


def judged(name: str, gate: Gate = GATE, champion: Evidence | None = None, **challenger):
    return row(decide(champion or evidence(), evidence(2, **challenger), gate, 400), name)


def test_an_equal_model_passes_everything_and_the_table_says_so():
    decision = decide(evidence(), evidence(2), GATE, 400)
    assert decision.passed, decision.as_markdown()
    assert decision.in_words() == "version 2 passed all 12 checks against version 1"
    assert [one.check for one in decision.rows] == [
        "test faces", "answers", "accuracy", "live accuracy", "live labels", "class floor", "fairness", "calibration",
        "latency", "size", "parity", "validation",
    ]  # fmt: skip
    assert row(decision, "accuracy").why == "+0.0 points [+0.0, +0.0] on 400 faces"
    assert "| size | 5.00 MB | 5.00 MB | 200 MB | yes | within the limit |" in decision.as_markdown()
    said = decision.as_json()
    assert (said["champion"], said["challenger"], said["passed"]) == (1, 2, True)
    assert said["rows"][0] == {
        name: getattr(decision.rows[0], name) for name in ("check", "champion", "challenger", "limit", "passed", "why")
    }


def test_accuracy_is_judged_by_the_lower_end_of_the_paired_difference():
    worse = judged("accuracy", wrong=range(80))  # 40 faces of 400 more are wrong: 10 points
    assert (worse.champion, worse.challenger, worse.passed) == ("90.0 %", "80.0 %", False)
    assert worse.why.startswith("-10.0 points [-1")
    assert "that it is not worse by 5 points is not shown" in worse.why
    # 4 more faces wrong: -1 point; standard error sqrt(0.01 * 0.99 / 400) = 0.5 points, so the lower end is about -2
    near = judged("accuracy", wrong=range(44))
    assert near.passed
    low = float(near.why.split("[")[1].split(",")[0])
    assert low == pytest.approx(-2.0, abs=0.35)
    assert not judged("accuracy", Gate(margin=0.015), wrong=range(44)).passed, "the mean is within the margin, the interval not"
    # as many are won as lost (so no difference), but it is less certain: sqrt(0.2 / 400) = 2.2 points
    other = judged("accuracy", wrong=range(40, 80))
    assert other.challenger == "90.0 %"
    assert float(other.why.split("[")[1].split(",")[0]) == pytest.approx(-4.4, abs=0.6)


def test_a_better_model_is_shown_to_be_better():
    assert judged("accuracy", wrong=range(4)).why.startswith("+9.0 points")


def test_live_faces_count_where_there_are_enough():
    few, many = labels(39), labels(60)
    champion = evidence(live=answers(few, range(20)), live_labels=few)
    check = judged("live accuracy", champion=champion, live=answers(few, range(30)), live_labels=few)
    assert check.passed
    assert check.why == "not judged: 39 labelled live faces, and it takes 40"
    champion = evidence(live=answers(many, range(30)), live_labels=many)
    assert judged("live accuracy", champion=champion, live=answers(many, []), live_labels=many).passed
    assert not judged("live accuracy", champion=champion, live=answers(many, range(45)), live_labels=many).passed


def test_live_labels_that_fit_no_face_are_refused_though_both_models_are_alike():
    live = labels(200)
    champion = evidence(live=answers(live, range(190)), live_labels=live)
    check = judged("live labels", champion=champion, live=answers(live, range(184)), live_labels=live)
    assert (check.champion, check.challenger, check.passed) == ("5.0 %", "8.0 %", False)
    assert "faces and labels do not belong together" in check.why
    assert judged("live accuracy", champion=champion, live=answers(live, range(184)), live_labels=live).passed
    assert judged("live labels", champion=champion, live=answers(live, range(155)), live_labels=live).passed, "22.5 % may be 25"
    assert judged("live labels", Gate(live_floor=0), champion, live=answers(live, range(200)), live_labels=live).passed
    few = labels(39)
    assert "not judged" in judged("live labels", live=answers(few, range(39)), live_labels=few).why


def test_no_class_may_fall_below_its_floor():
    happy = [i for i in range(400) if i % 4 == 1]
    lost = judged("class floor", wrong=happy[:75])  # 25 of 100 are still right
    assert not lost.passed
    assert lost.why == "below its floor: happy 25.0 % of 100 (floor 30.0 %)"
    assert judged("class floor", wrong=happy[:70]).passed
    assert judged("class floor", Gate(class_floor=0.3, class_floors={"happy": 0.2}), wrong=happy[:75]).passed
    assert not judged("class floor", Gate(class_floor=0.3, class_floors={"sad": 0.95}), wrong=range(40)).passed


def test_a_class_without_test_faces_cannot_be_judged_unless_it_is_exempt():
    truth = labels().query("expression != 'sad'")
    champion = evidence(truth=truth)
    check = row(decide(champion, evidence(2, truth=truth), GATE, 100), "class floor")
    assert (check.passed, check.why[:50]) == (False, "cannot be judged: no test face is sad (gate.class_")
    exempt = Gate(class_floors={"sad": 0})
    assert row(decide(champion, evidence(2, truth=truth), exempt, 100), "class floor").passed


def test_the_gap_between_groups_may_not_widen():
    truth = labels(gender=["male"] * 200 + ["female"] * 200)
    champion = evidence(truth=truth, wrong=[*range(20), *range(200, 220)])  # 90 % of both
    wider = row(decide(champion, evidence(2, truth=truth, wrong=range(200, 260)), GATE, 400), "fairness")  # 100 % and 70 %
    assert (wider.champion, wider.challenger, wider.passed) == ("0.0 points", "30.0 points", False)
    assert wider.why.startswith("by gender: +30.0 points [")
    as_before = row(decide(champion, evidence(2, truth=truth, wrong=[*range(15), *range(200, 225)]), GATE, 400), "fairness")
    assert (as_before.challenger, as_before.passed) == ("5.0 points", True)
    nobody = judged("fairness")
    assert nobody.passed
    assert "no two groups" in nobody.why


def test_a_gap_that_chance_can_make_is_not_held_against_it():
    truth = labels(80, gender=["male"] * 40 + ["female"] * 40)
    champion = evidence(truth=truth, wrong=[0, 1, 40, 41])
    check = row(decide(champion, evidence(2, truth=truth, wrong=range(40, 45)), GATE, 400), "fairness")  # 12.5 points, 3 faces
    assert check.challenger == "12.5 points"
    assert float(check.why.split("[")[1].split(",")[0]) <= 0
    assert check.passed
    beyond = row(decide(champion, evidence(2, truth=truth, wrong=range(40, 60)), GATE, 400), "fairness")  # 50 points
    assert not beyond.passed


def test_calibration_latency_size_parity_and_validation_have_their_limits():
    truth = labels()
    sure = judged("calibration", predictions=answers(truth, range(160), 0.99))
    assert (sure.challenger, sure.passed) == ("0.390", False)  # says 0.99, is right in 0.6
    assert judged("calibration", predictions=answers(truth, range(40))).challenger == "0.000"  # says 0.9, is right in 0.9
    assert judged("latency", latency_ms=3.0).passed
    assert not judged("latency", latency_ms=3.1).passed
    assert not judged("latency", Gate(latency_ms=2.5), latency_ms=2.6).passed
    assert not judged("latency", latency_ms=float("nan")).passed
    assert judged("size", size_mb=200.0).passed
    assert not judged("size", size_mb=200.1).passed
    assert judged("parity", parity=(1e-4, 1e-4)).passed
    assert not judged("parity", parity=(2e-4, 1e-4)).passed
    assert not judged("parity", parity=(float("nan"), 1e-4)).passed
    broken = [*FINE, {"name": "labels", "severity": "fail", "passed": False, "found": "7 unknown"}]
    check = judged("validation", validation=broken)
    assert (check.challenger, check.passed, check.why) == ("1 of 2", False, "labels: 7 unknown")


@pytest.mark.parametrize("missing", ["latency_ms", "size_mb", "parity", "validation", "test_faces"])
def test_what_is_missing_cannot_be_judged_which_is_a_failure_and_says_so(missing):
    check = judged(missing.split("_m")[0].replace("_", " "), **{missing: None})
    assert not check.passed
    assert check.why.startswith("cannot be judged: ")


def test_other_test_faces_and_lost_answers_are_refused():
    assert not judged("test faces", test_faces="xyz").passed
    old = judged("test faces", champion=evidence(test_faces=None))
    assert old.passed
    assert "the same 400 faces here" in old.why
    short = CARD.model_copy(update={"tasks": {"expression": CLASSES[:3]}})
    three = labels().query("expression != 'anger'")
    lost = row(decide(evidence(truth=three), evidence(2, truth=three, card=short, predictions=answers(three, [], classes=CLASSES[:3])), GATE, 100), "answers")  # fmt: skip  # noqa: E501
    assert (lost.passed, lost.why) == (False, "it cannot answer any more: expression anger")
    swapped = evidence(2).predictions.iloc[::-1].reset_index(drop=True)
    check = judged("accuracy", predictions=swapped, labels=labels().iloc[::-1])
    assert check.why == "cannot be judged: the two were not asked about the same faces"


def test_answers_that_are_no_numbers_fail_every_check_that_needs_them():
    spoilt = answers(labels(), [])
    spoilt.iloc[3, 0] = np.nan
    decision = decide(evidence(), evidence(2, predictions=spoilt), GATE, 100)
    failed = {one.check for one in decision.failed}
    assert failed == {"accuracy", "class floor", "fairness", "calibration"}
    assert "for 1 faces its answers are no numbers" in decision.in_words()


def test_a_label_that_a_model_does_not_know_counts_as_wrong():
    truth = labels()
    three = CARD.model_copy(update={"tasks": {"expression": CLASSES[:3]}})
    known = answers(truth.assign(expression=truth["expression"].replace("anger", "sad")), [], classes=CLASSES[:3])
    decision = decide(evidence(card=three, predictions=known), evidence(2, wrong=[]), GATE, 200)
    assert row(decision, "accuracy").champion == "75.0 %"
    assert decision.passed


def test_poisoned_training_is_refused_whatever_the_live_labels_say():
    """Flipped labels went into training, and into the live labels that a challenger is judged on."""
    flipped = labels(80, expression=[CLASSES[(i + 1) % 4] for i in range(80)])
    champion = evidence(live=answers(flipped, range(80)), live_labels=flipped)
    decision = decide(champion, evidence(2, wrong=range(300), live=answers(flipped, []), live_labels=flipped), GATE, 300)
    assert row(decision, "live accuracy").passed
    assert not row(decision, "accuracy").passed
    assert not decision.passed


def test_the_block_has_defaults_and_names_what_is_wrong(settings):
    raw = settings.model_dump(by_alias=True, mode="json")
    del raw["gate"], raw["retrain"]
    assert parse(raw).gate == Gate()
    with pytest.raises(ParamsError, match="no class is called angry"):
        parse(raw | {"gate": {"class_floors": {"angry": 0.1}}})
    with pytest.raises(ParamsError, match="webhook is an http"):
        parse(raw | {"retrain": {"webhook": "hooks.example.org/x"}})
