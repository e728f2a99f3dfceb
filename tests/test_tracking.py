"""Registration against a real MLflow store: what fails half-way is completed when it is tried again."""

import subprocess
import sys

import numpy as np
import pytest
from liverows import until

mlflow = pytest.importorskip("mlflow")

from ferflow import tracking  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def register(release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_registry_uri(None)

    table = tmp_path / "ablation.csv"
    table.write_text("member,accuracy\ncnn,0.5\n")

    def call(release_hash="a", **metrics):
        history = [{"epoch": 1.0, "val_loss": 2.0}, {"epoch": 2.0, "val_loss": 1.0}]
        return tracking.register_release(
            release,
            release_hash=release_hash,
            experiment="e",
            model="m",
            members=[tracking.MemberRun("cnn", {"lr": 0.1}, history, {"test.accuracy": 0.5}, [])],
            metrics={"test.accuracy": 0.5, "test.ccc": float("nan")} | metrics,
            tags={"code": "c", "data": "d"},
            input_example=np.zeros((1, 40, 40, 3), np.uint8),
            files=[],
            tables={"ablation": table},
        )

    yield call
    mlflow.set_tracking_uri(None)


def test_releases_are_registered_once_and_completed_where_something_failed(register, monkeypatch):
    client = mlflow.MlflowClient()
    with monkeypatch.context() as broken:
        broken.setattr(tracking.MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(OSError, match="away"):
            register()
    first = register()
    assert (first.version, first.alias, first.created) == (1, "champion", False)
    again = register()
    assert (again.version, again.created) == (1, False)
    assert len(mlflow.search_runs(experiment_names=["e"])) == 2, "one parent and one member, however often it is called"
    register(**{"test.new_metric": 0.7})
    parent = mlflow.search_runs(experiment_names=["e"], filter_string="tags.`ferflow.complete` = 'true'").run_id[0]
    shown = mlflow.artifacts.load_dict(f"runs:/{parent}/tables/ablation.json")
    assert shown == {"columns": ["member", "accuracy"], "data": [["cnn", 0.5]]}
    runs = mlflow.search_runs(experiment_names=["e"])
    assert len(runs) == 4, "new figures of a known release are a new run"
    assert runs["metrics.test.new_metric"].max() == 0.7
    second = register("b")
    assert (second.version, second.alias, second.created) == (2, "challenger", True)
    assert client.get_model_version("m", "2").tags["ferflow.release"] == "b"
    assert register("a").alias == "champion"
    assert client.get_model_version_by_alias("m", "challenger").version in (2, "2")
    child = runs[runs["tags.member"].notna()].iloc[0]
    points = client.get_metric_history(child["run_id"], "val_loss")
    assert [point.step for point in points] == [1, 2]
    assert all(point.timestamp > 1_600_000_000_000 for point in points)
    path, version = tracking.registered_file("models:/m@champion"), tracking.aliases("m")["champion"]
    assert (path.suffix, version) == (".onnx", 1)
    assert tracking.aliases("unknown") == {}


def test_promotion_and_rollback_move_aliases_and_are_written_down(register):
    with pytest.raises(LookupError, match="no challenger"):
        tracking.promote("m")
    for release_hash in ("a", "b", "c"):
        register(release_hash)
    with pytest.raises(LookupError, match="champion already"):
        tracking.promote("m", 1)
    with pytest.raises(LookupError, match="no version 9; it has 1, 2, 3"):
        tracking.promote("m", 9)
    with pytest.raises(LookupError, match="nothing to go back to"):
        tracking.rollback("m")
    assert tracking.promote("m", why="better") == (1, 3)
    aliases = mlflow.MlflowClient().get_registered_model("m").aliases
    assert {name: int(version) for name, version in aliases.items()} == {"champion": 3, "previous": 1}
    assert tracking.aliases("m")["champion"] == 3
    assert tracking.rollback("m", "it failed") == (3, 1)
    assert tracking.aliases("m")["champion"] == 1
    assert [(move["before"], move["now"], move["why"]) for move in tracking.moves("m")] == [
        (1, 3, "better"),
        (3, 1, "it failed"),
    ]
    assert tracking.registered_file("models:/m@champion").suffix == ".onnx"
    with pytest.raises(LookupError, match="models:/m@best"):
        tracking.registered_file("models:/m@best")


def test_a_server_that_cannot_be_asked_is_not_the_same_as_no_champion(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(tracking.TrackingError):
            tracking.aliases("m")
    finally:
        mlflow.set_tracking_uri(None)


GATES = """
import sys, time
from pathlib import Path
from ferflow import tracking
who, folder = sys.argv[1], Path(sys.argv[2])
(folder / f"ready-{who}").touch()
for round in range(int(sys.argv[3])):
    while not (go := folder / f"go-{round}").exists():
        time.sleep(0.002)
    champion, version = go.read_text().split()[0], go.read_text().split()[1 + int(who)]
    try:
        tracking.promote("m", int(version), who, compared_with=int(champion))
        said = "promoted"
    except tracking.ChampionChangedError as error:
        said = f"changed: {error}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    part = folder / f"part-{round}-{who}"
    part.write_text(said)
    part.rename(folder / f"said-{round}-{who}")
"""


def test_of_two_gates_at_once_one_alone_promotes(tmp_path, monkeypatch):
    """Two processes, one store in SQLite: both have judged against the same champion, and both want to promote."""
    url = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient()
    client.create_registered_model("m")
    rounds = 3
    for _ in range(2 * rounds + 1):
        client.create_model_version("m", str(tmp_path))
    client.set_registered_model_alias("m", "champion", "1")
    gates = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", GATES, str(who), str(tmp_path), str(rounds)]) for who in (0, 1)
    ]
    try:
        until(lambda: all((tmp_path / f"ready-{who}").exists() for who in (0, 1)), 120)
        for number in range(rounds):
            champion = tracking.aliases("m")["champion"]
            (tmp_path / "go").write_text(f"{champion} {2 * number + 2} {2 * number + 3}")
            (tmp_path / "go").rename(tmp_path / f"go-{number}")
            paths = [tmp_path / f"said-{number}-{who}" for who in (0, 1)]
            until(lambda paths=paths: all(path.exists() for path in paths), 60)
            said = sorted(path.read_text() for path in paths)
            assert said[1] == "promoted"
            winner = tracking.aliases("m")["champion"]
            assert f"compared with version {champion}, but by now version {winner} is champion" in said[0]
            assert len(tracking.moves("m")) == number + 1
        assert [gate.wait(30) for gate in gates] == [0, 0]
    finally:
        for gate in gates:
            gate.kill()
            gate.wait()
        mlflow.set_tracking_uri(None)
    assert [one.name for one in client.search_registered_models()] == ["m"], "no lock is left"


def test_a_lock_that_a_dead_process_left_is_broken_and_a_fresh_one_is_waited_for(register, monkeypatch):
    for release_hash in ("a", "b"):
        register(release_hash)
    client = mlflow.MlflowClient()
    client.create_registered_model("m.moving", tags={"token": "somebody"})
    with pytest.raises(LookupError, match="another process moves the aliases of m"), tracking._alone(client, "m", 0.3):
        pass
    monkeypatch.setattr(tracking, "_LOCK_OLD_S", 0.0)
    assert tracking.promote("m", compared_with=1) == (1, 2)
    assert [one.name for one in client.search_registered_models()] == ["m"]
    with pytest.raises(tracking.ChampionChangedError, match="judge it again"):
        tracking.promote("m", 1, compared_with=1)
    with pytest.raises(tracking.AlreadyChampionError):
        tracking.promote("m", 2, compared_with=1)


def test_a_decision_is_kept_with_its_version_and_the_last_one_is_found(register):
    for release_hash in ("a", "b", "c"):
        register(release_hash)
    with pytest.raises(LookupError, match="no version that a gate has judged"):
        tracking.decision_text("m")
    for version, time in ((3, "2026-01-01"), (2, "2026-01-02")):
        tags = {"ferflow.gate": "refused", "ferflow.gate.time": time, "ferflow.gate.class_floor": "failed: x" * 900}
        tracking.record_decision("m", version, tags, {"decision.md": f"# {version}"}, {"check": ["a"], "passed": ["True"]})
    assert tracking.decision_text("m", name="decision.md") == "# 2"
    assert tracking.decision_text("m", 3, "decision.md") == "# 3"
    assert tracking.version_tags("m", 2)["ferflow.gate"] == "refused"
    tracking.drop_challenger("m", 2)
    assert tracking.aliases("m")["challenger"] == 3
    tracking.drop_challenger("m", 3)
    assert "challenger" not in tracking.aliases("m")
