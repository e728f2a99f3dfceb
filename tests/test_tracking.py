"""Registration against a real MLflow store: what fails half-way is completed when it is tried again."""

import numpy as np
import pytest

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
    path, version = tracking.champion_model("m")
    assert (path.suffix, version) == (".onnx", 1)
    assert tracking.champion_model("unknown") is None


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
    assert tracking.champion_model("m")[1] == 3
    assert tracking.rollback("m", "it failed") == (3, 1)
    assert tracking.champion_model("m")[1] == 1
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
            tracking.champion_model("m")
    finally:
        mlflow.set_tracking_uri(None)
