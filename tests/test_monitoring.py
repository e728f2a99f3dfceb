"""The judgement of windows: what is drift, what is chance, what is said of it; and Evidently's report of the same."""

import json

import numpy as np
import pandas as pd
import pytest
from driftrows import faces, live, no_faces, reference

from ferflow import driftpage, monitoring
from ferflow.livelog import Counts
from ferflow.monitoring import MonitorError, compare, counted
from ferflow.params import Monitor

SETTINGS = Monitor(draws=150)


@pytest.fixture(scope="module")
def tested() -> pd.DataFrame:
    return reference()


@pytest.fixture(scope="module")
def known() -> monitoring.Known:
    return {}


@pytest.fixture
def judge(tested, known):
    return lambda rows, window=None, **change: compare(
        tested, rows, SETTINGS.model_copy(update=change), window, None if change else known
    )


def row(drift: monitoring.Drift, feature: str) -> monitoring.Feature:
    return next(one for one in drift.rows if one.feature == feature)


def test_faces_like_those_of_the_test_are_no_drift(judge):
    drift = judge(live(500))
    assert (drift.verdict, drift.drifted) == ("no drift", [])
    assert "looks like" in drift.words
    assert {one.feature for one in drift.rows if one.value is not None} == {
        "expression", "gender", "certain", "confidence", "entropy", "valence", "arousal", "brightness", "contrast", "sharpness",
        "all together", "no face",
    }  # fmt: skip
    assert (drift.looked_at, drift.reference) == (500, 600)


def test_false_alarms_are_rare(judge):
    verdicts = [judge(live(500, seed)).verdict for seed in range(100, 140)]
    assert verdicts.count("drift") <= 3, "1 in 20 is promised, of 40 that is 2"


@pytest.mark.parametrize(
    ("change", "feature", "words"),
    [
        ({"brightness": -40.0}, "brightness", "ictures are darker (brightness 11"),
        ({"brightness": 40.0}, "brightness", "ictures are brighter"),
        ({"sharpness": 900.0}, "sharpness", "ictures are sharper or noisier"),
        ({"valence": -0.3}, "valence", "xpressions are less pleasant"),
        ({"mix": {"happy": 6.0}}, "expression", "more happy (1"),
    ],
)
def test_drills_are_found_and_named(judge, change, feature, words):
    drift = judge(live(500, 3, **change))
    assert drift.verdict == "drift"
    assert row(drift, feature).drifted
    assert words in drift.words
    assert drift.words[0].isupper()


def test_many_small_changes_are_found_together(judge):
    """Each by an eighth of a deviation, the sign of which only the classifier puts together."""
    small = {"brightness": 3.0, "contrast": -1.2, "valence": 0.036, "arousal": -0.024}
    found = [judge(live(500, seed, **small)) for seed in range(50, 60)]
    together = np.mean([row(one, "all together").value for one in found])
    alone = np.mean([row(judge(live(500, seed)), "all together").value for seed in range(50, 60)])
    assert together > alone + 0.015


def test_few_faces_are_never_drift(judge):
    drift = judge(live(199, 6, brightness=-100.0))
    assert drift.verdict == "too few"
    assert "199, and 200 are needed" in drift.words
    assert drift.drifted == []
    assert judge(no_faces(10)).verdict == "too few"
    assert judge(live(200, 6, brightness=-100.0)).verdict == "drift"


def test_pictures_without_faces_are_drift_only_where_nearly_all_are(judge):
    drift = judge(pd.concat([live(50, 7), no_faces(950)], ignore_index=True))
    assert drift.verdict == "drift"
    assert drift.words == "95 % of the pictures have no face."
    assert row(drift, "no face").value == pytest.approx(0.95)
    assert drift.counts.faces == 50
    some = judge(pd.concat([live(500, 7), no_faces(500)], ignore_index=True))
    assert not row(some, "no face").drifted
    few = judge(no_faces(199))
    assert few.verdict == "too few"


def test_what_only_one_side_has_is_said_and_not_judged(judge, tested):
    drift = judge(live(500))
    for name in ("face_size", "detection_score"):
        assert (row(drift, name).why, row(drift, name).value, row(drift, name).drifted) == ("no reference", None, False)
    without = judge(live(500).assign(valence=np.nan, p_gender_male=np.nan, p_gender_female=np.nan))
    assert row(without, "valence").why == "not in the window"
    assert without.verdict == "no drift", "what is missing is no drift of what is there"
    sizes = live(500, 8)[["face_size", "detection_score"]].reset_index(drop=True)
    both = compare(pd.concat([tested.head(500), sizes], axis=1), live(500, 9), SETTINGS)
    assert row(both, "face_size").value is not None


def test_a_reference_of_another_kind_of_model_is_refused(judge):
    strange = pd.DataFrame({"faces": np.ones(300), "p_race_white": np.full(300, 0.5)})
    with pytest.raises(MonitorError, match="no feature in common"):
        judge(strange)


def test_a_large_window_does_not_alarm_for_a_trifle(judge):
    many = judge(live(20_000, 10, brightness=1.0))
    assert many.verdict == "no drift", "a twenty-fifth of a deviation is significant, and matters to nobody"


def test_live_accuracy_has_its_interval_and_the_one_of_the_test(judge):
    rows = live(400, 11, labelled=True)
    rows.loc[100:, "label"] = None
    drift = judge(rows)
    right = (rows["label"] == rows["expression"])[:100].sum()
    assert (drift.accuracy.right, drift.accuracy.count) == (right, 100)
    assert drift.accuracy.low < drift.accuracy.value < drift.accuracy.high
    assert 0.7 < drift.accuracy.tested < 1
    assert judge(live(400, 11)).accuracy is None
    few = judge(rows.head(120).assign(certain=np.nan))
    assert (few.verdict, few.accuracy.count) == ("too few", 100), "feedback is told where faces are too few"


def test_clients_that_stand_out_are_named_and_do_not_judge(judge):
    rows = pd.concat(
        [live(900, 12), live(220, 13, brightness=-30.0).assign(client="cellar"), live(40, 14).assign(client="new")],
        ignore_index=True,
    )
    drift = judge(rows)
    by = {one.client: one for one in drift.slices}
    assert list(by) == ["c", "cellar", "new"], "the busiest first"
    assert by["c"].stands_out == ()
    assert "brightness" in by["cellar"].stands_out
    assert by["new"].stands_out is None
    assert by["cellar"].counts.faces == 220
    assert judge(live(500)).slices == (), "one client is the whole window"


def test_the_same_window_is_always_judged_the_same_way(tested):
    first, second = (compare(tested, live(300, 15), SETTINGS) for _ in range(2))
    assert first.as_json() == second.as_json()


def test_the_judgement_is_plain_values(judge):
    drift = judge(pd.concat([live(300, 16, labelled=True), live(300, 17).assign(client="two")], ignore_index=True))
    said = json.loads(json.dumps(drift.as_json()))
    assert said["verdict"] == drift.verdict
    assert said["counts"]["faces"] == 600
    assert said["slices"][0]["counts"]["rows"] == 300


def test_counts_of_a_frame():
    rows = pd.concat([live(3, 1, labelled=True), no_faces(2)], ignore_index=True)
    rows["certain"] = [1.0, 0.0, 0.0, np.nan, np.nan]
    rows["label"] = [rows["expression"][0], None, "no such word", None, None]
    assert counted(rows).total == Counts(5, 5, 2, 2, 2, 1)
    assert counted(faces(4)).total.rows == 4


# --- the page, and Evidently's report


@pytest.fixture(scope="module")
def dark(tested):
    times = pd.date_range("2026-03-01 12:00", periods=500, freq="2min", tz="UTC")
    rows = live(500, 20, brightness=-40.0, labelled=True).assign(time=times)
    rows.loc[200:, "client"] = "<b>cellar</b>"
    drift = compare(tested, rows, SETTINGS)
    window = {"since": "2026-03-01T11:00:00+00:00", "until": "2026-03-02T11:00:00+00:00", "model_version": "ferflow/3"}
    return monitoring.replace(drift, window=window | {"other_versions": 7}), rows


def test_the_page_says_it_in_words_and_draws_it(tested, dark):
    drift, rows = dark
    html = driftpage.page(drift, tested, rows, "report.html")
    assert drift.words.split(" (")[0] in html
    assert html.count("<svg") > 20
    assert '<a href="report.html">' in html
    assert "&lt;b&gt;cellar" in html
    assert "<b>cellar" not in html
    assert "<script" not in html
    assert not any(word in html for word in ("http://", "https://", " style=", "nan", "None"))
    assert "7 rows of other models" in html


def test_a_page_of_too_few_or_of_no_faces_is_a_page(tested):
    for rows in (live(10), no_faces(30), live(0)):
        drift = compare(tested, rows, SETTINGS)
        html = driftpage.page(drift, tested, rows)
        assert "Too few" in html
        assert "nan" not in html


@pytest.fixture(scope="module")
def reported(tested, dark):
    return monitoring.report(tested, dark[1], dark[0])


def test_evidently_reports_the_same_figures_with_our_limits(dark, reported):
    drift, _ = dark
    _, found = reported
    theirs = {one["config"]["column"]: one for one in found["metrics"] if "column" in one["config"]}
    ours = {one.feature: one for one in drift.rows if one.value is not None and one.statistic not in ("AUC", "share")}
    assert set(theirs) == set(ours)
    for name, one in ours.items():
        assert theirs[name]["value"] == pytest.approx(one.value, abs=1e-6), name
        assert theirs[name]["config"]["threshold"] == pytest.approx(one.threshold), name


def test_evidentlys_page_may_load_nothing(reported):
    html, _ = reported
    assert "default-src 'none'" in html[: html.index("<style")]
    assert 'src="http' not in html
