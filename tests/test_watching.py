"""One look at the log: which window, which reference, what is kept, and when drift is announced."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from driftrows import as_log, live, no_faces, reference
from liverows import NOON
from typer.testing import CliRunner

from ferflow import livelog, params, watching
from ferflow.cli import app
from ferflow.livelog import Counts, PredictionLog
from ferflow.monitoring import Drift, MonitorError, counted

URL = "sqlite:///.ferflow/live.db"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a reference and a log: 600 good faces of noon, from one o'clock 500 dark ones; other things beside."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "models/release").mkdir(parents=True)
    reference().to_parquet(folder / "models/release/reference.parquet")
    good, dark = live(600, 31), live(500, 32, brightness=-40.0)
    good["time"] = [NOON + timedelta(seconds=6 * number) for number in range(600)]
    dark["time"] = [NOON + timedelta(hours=1, seconds=6 * number) for number in range(500)]
    nothing = no_faces(30).assign(time=[NOON + timedelta(minutes=number) for number in range(30)])
    other = live(40, 33).assign(model_version="ferflow/9", time=NOON)
    rows = pd.concat([good, dark, nothing, other], ignore_index=True)
    rows["id"] = [f"{number:032x}" for number in np.random.default_rng(0).permutation(len(rows))]
    log = PredictionLog(f"sqlite:///{folder / '.ferflow/live.db'}", folder / ".ferflow/spill")
    log.add(as_log(rows))
    for id_, word in zip(rows["id"][:20], ["happy", *rows["expression"][1:20]], strict=True):
        log.feedback(id_, "sad")
        log.feedback(id_, word)
    log.close(60)
    assert log.state()["written"] == len(rows) + 40
    rows.to_pickle(folder / "rows.pkl")
    return folder


@pytest.fixture
def here(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.rmtree("reports", ignore_errors=True)
    return params.load()


def judged(settings, since=NOON, until=NOON + DAY):
    seen = watching.look(settings, since, until)
    table = watching.reference_of(settings, seen.version)
    return watching.judge(settings, seen, table), seen, table


def test_the_database_counts_as_the_frame_does(here):
    rows = pd.read_pickle("rows.pkl")
    window = livelog.window(URL, NOON, NOON + DAY)
    words = livelog.read(URL, NOON, NOON + DAY, columns=["id", "label"]).set_index("id")["label"]
    expected = counted(rows.assign(label=rows["id"].map(words)))
    assert window == expected
    assert window.total == Counts(1170, 1170, 30, window.total.uncertain, 20, window.total.right)
    assert window.total.right >= 19, "the last word counts"
    assert list(window.versions) == ["models/release", "ferflow/9"]
    assert livelog.window(URL, NOON - DAY, NOON).groups == {}


def test_the_model_that_answered_most_is_judged_and_others_are_left_out(here):
    drift, seen, _ = judged(here)
    assert (seen.version, seen.others, len(seen.rows)) == ("models/release", 40, 1130)
    assert drift.counts.rows == 1130
    assert drift.window["other_versions"] == 40
    assert drift.verdict == "drift"
    assert drift.drifted[0] == "brightness"
    assert drift.accuracy.count == 20
    quiet, *_ = judged(here, until=NOON + timedelta(hours=1))
    assert quiet.verdict == "no drift"


def test_of_a_large_window_a_sample_is_compared_and_all_is_counted(here):
    settings = here.model_copy(update={"monitor": here.monitor.model_copy(update={"max_rows": 400})})
    drift, *_ = judged(settings)
    assert drift.looked_at < 400
    assert drift.counts.rows == 1130
    assert drift.verdict == "drift"


def test_a_look_leaves_page_report_and_judgement_and_the_latest_of_them(here):
    drift, seen, table = judged(here)
    folder = watching.write(here, drift, seen, table, NOON)
    assert folder == Path("reports/drift/2026-03-01T12-00-00Z")
    assert {path.name for path in folder.iterdir()} == {"index.html", "report.html", "evidently.json", "drift.json"}
    said = json.loads((folder / "drift.json").read_text())
    assert (said["verdict"], said["report"]) == ("drift", str(folder))
    assert json.loads(Path("reports/drift/latest.json").read_text()) == said
    latest = watching.LATEST.read_text()
    assert f'href="{folder.name}/report.html"' in latest
    assert (watching.FOLDER / folder.name / "report.html").stat().st_size > 1e6
    assert 'href="report.html"' in (folder / "index.html").read_text()


def test_too_few_faces_have_a_page_without_a_report_and_old_pages_go(here):
    few = here.model_copy(update={"monitor": here.monitor.model_copy(update={"keep_reports": 2})})
    drift, seen, table = judged(few, until=NOON + timedelta(minutes=10))
    assert drift.verdict == "too few"
    kept = Path("reports/drift/mine")
    kept.mkdir(parents=True)
    folders = [watching.write(few, drift, seen, table, NOON) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-03-01T12-00-00Z{end}" for end in ("", "-2", "-3")]
    assert [folder.exists() for folder in folders] == [False, True, True]
    assert kept.exists(), "what is not a report of ours stays"
    assert {path.name for path in folders[-1].iterdir()} == {"index.html", "drift.json"}


def drift_of(since: datetime, hours: float, version: str = "ferflow/1", verdict: str = "drift") -> Drift:
    window = {"since": since.isoformat(), "until": (since + timedelta(hours=hours)).isoformat(), "model_version": version}
    return Drift(verdict, "darker", (), Counts(), 500, 600, window=window)


def test_drift_is_announced_once_a_window(here):
    sent = []

    def send(payload):
        sent.append(payload)
        return True

    assert not watching.tell(drift_of(NOON, 24), lambda payload: False), "it did not arrive"
    assert watching.tell(drift_of(NOON, 24), send)
    assert not watching.tell(drift_of(NOON, 24), send), "the same window"
    assert not watching.tell(drift_of(NOON + timedelta(hours=1), 24), send), "an hour later, the same rows"
    assert watching.tell(drift_of(NOON + DAY, 24), send), "the next day"
    assert watching.tell(drift_of(NOON, 24, "ferflow/2"), send), "another model"
    assert not watching.tell(drift_of(NOON + 3 * DAY, 24, verdict="no drift"), send)
    assert len(sent) == 3
    assert sent[0]["verdict"] == "drift"
    json.dumps(sent)


def test_times_in_words():
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert watching.when("24h", now) == NOON
    assert watching.when("1.5 h", now) == now - timedelta(minutes=90)
    assert watching.when("2026-03-01T13:00+01:00", now) == NOON
    assert watching.when("2026-03-01T12:00", now) == NOON
    assert watching.span(None, None, 24, now) == (NOON, now)
    assert watching.span("30m", "1d", 24, now) == (NOON - timedelta(minutes=30), NOON)
    assert watching.span("24h", "2027-01-01", 24, now) == (NOON, now), "a window does not end in the future"
    with pytest.raises(MonitorError, match="is no time: write 30m"):
        watching.when("yesterday", now)
    with pytest.raises(MonitorError, match="ends before"):
        watching.span("2026-03-02T00:00", "2026-03-01T00:00", 24, now)


def test_what_cannot_be_judged_says_why(here, tmp_path):
    with pytest.raises(watching.NothingSeenError, match="no prediction from 2026-02-28 12:00 to 2026-03-01 12:00"):
        watching.look(here, NOON - DAY, NOON)
    with pytest.raises(livelog.LogError, match="no log yet"):
        watching.look(here, NOON, NOON + DAY, "sqlite:///elsewhere.db")
    with pytest.raises(MonitorError, match=r"serve\.log of params\.yaml is empty"):
        watching.look(here, NOON, NOON + DAY, "")
    for version in ("ferflow/9", "other/1", "file x.onnx", "starter", ""):
        with pytest.raises(MonitorError, match=r"there is no reference.parquet; .*--reference FILE"):
            watching.reference_of(here, version)
    reference(20).assign(split="train").to_parquet(tmp_path / "train.parquet")
    with pytest.raises(MonitorError, match="test faces alone"):
        watching.reference_of(here, "x", tmp_path / "train.parquet")


def test_a_model_file_has_its_reference_beside_it(here, tmp_path, monkeypatch):
    reference(25).to_parquet(tmp_path / "reference.parquet")
    monkeypatch.setenv("FERFLOW_MODEL", str(tmp_path / "model.onnx"))
    assert len(watching.reference_of(here, "file model.onnx")) == 25


def test_a_version_of_the_registry_has_its_own_reference_and_a_look_is_a_run(here, release, tmp_path, monkeypatch):
    """Real MLflow: the champion is judged by its own test faces, whatever lies in models/release by now."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    import mlflow

    from ferflow import tracking

    mlflow.set_tracking_uri(None)
    own = tmp_path / tracking.REFERENCE
    reference(77).to_parquet(own)
    example = np.zeros((2, 40, 40, 3), np.uint8)
    found = tracking.register_release(
        release, release_hash="abc", experiment="e", model="ferflow", members=[], metrics={}, tags={}, input_example=example,
        files=[own], tables={},
    )  # fmt: skip
    assert len(watching.reference_of(here, f"ferflow/{found.version}")) == 77
    with pytest.raises(MonitorError, match="there is no reference"):
        watching.reference_of(here, "ferflow/8")
    drift, seen, table = judged(here, until=NOON + timedelta(minutes=10))
    folder = watching.write(here, drift, seen, table)
    run = watching.record(here, drift, folder)
    assert watching.record(here, drift, folder) == run, "a retry makes no second one"
    kept = tracking.MlflowClient().get_run(run)
    assert kept.info.run_name == f"drift {folder.name}"
    assert kept.data.metrics["drift"] == 0
    assert kept.data.tags["verdict"] == "too few"
    assert {one.path for one in tracking.MlflowClient().list_artifacts(run)} == {"index.html", "drift.json"}


def test_help_has_examples():
    result = CliRunner().invoke(app, ["monitor", "--help"])
    assert result.exit_code == 0
    assert result.output.count("Example: ferflow monitor") == 3


def test_outside_a_project_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["monitor"])
    assert result.exit_code == 1
    assert "project's root" in result.stderr
