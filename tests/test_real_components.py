"""The same pipeline, service and log on PostgreSQL and S3: real servers on loopback, one configuration file."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import psycopg
import pytest
from liverows import people_say, row
from loopback import free_port
from running import SCRIPTS
from test_pipeline import Project

from ferflow import livelog
from flows.remote import Prefect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, object]]:
    """The address of an S3 server with the bucket ``ferflow``, and a client of it."""
    moto = pytest.importorskip("moto.server", reason="moto's S3 server is not installed")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
        client.create_bucket(Bucket="ferflow")
        yield f"http://{host}:{port}", client
    finally:
        server.stop()


class Databases:
    """Three databases of one server."""

    def __init__(self, postgres) -> None:
        self.mlflow, self.prefect, self.log = (postgres.database() for _ in range(3))

    def ask(self, url: str, question: str) -> list[tuple]:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            return connection.execute(question).fetchall()


@pytest.fixture(scope="module")
def databases(postgres) -> Databases:
    return Databases(postgres)


@pytest.fixture(scope="module")
def project(tmp_path_factory, databases, bucket) -> Project:
    """A project that differs from any other by its components.env alone."""
    made = Project(tmp_path_factory.mktemp("real"))
    made.change(lambda params: params["robustness"].update(faces=0))
    made.change(lambda params: params["evaluate"].update(resamples=100))
    (made.root / "components.env").write_text(
        f"MLFLOW_TRACKING_URI={databases.mlflow}\n"
        "MLFLOW_DEFAULT_ARTIFACT_ROOT=s3://ferflow/mlflow\n"
        f"MLFLOW_S3_ENDPOINT_URL={bucket[0]}\n"
        "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\nAWS_DEFAULT_REGION=us-east-1\n"
        f"PREFECT_SERVER_DATABASE_CONNECTION_URL={databases.prefect.replace('+psycopg', '+asyncpg')}\n"
        f"FERFLOW_LOG={databases.log}\n"
    )
    return made


def test_a_release_goes_to_postgresql_and_s3_and_comes_back(postgres, bucket, release, tmp_path, monkeypatch):
    """What ``register``, ``promote``, ``rollback`` and the service ask of MLflow, without the rest of a pipeline."""
    mlflow = pytest.importorskip("mlflow")
    from ferflow import tracking

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://ferflow/alone",
        "MLFLOW_S3_ENDPOINT_URL": bucket[0],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(postgres.database())
    try:
        for number, way in enumerate(("champion", "challenger"), 1):
            made = tracking.register_release(
                release, release_hash=way, experiment="e", model="m", members=[], metrics={"test.accuracy": 0.5}, tags={},
                input_example=np.zeros((1, 40, 40, 3), np.uint8), files=[release], tables={},
            )  # fmt: skip
            assert (made.version, made.alias, made.created) == (number, way, True)
        assert tracking.promote("m") == (1, 2)
        assert tracking.rollback("m") == (2, 1)
        assert tracking.registered_file("models:/m@champion").read_bytes()[:4] == release.read_bytes()[:4]
    finally:
        mlflow.set_tracking_uri(None)
    keys = [entry["Key"] for entry in bucket[1].list_objects_v2(Bucket="ferflow")["Contents"]]
    assert len([key for key in keys if key.startswith("alone/e/") and key.endswith(".onnx")]) >= 2
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.long
def test_the_pipeline_registers_in_postgresql_and_s3_and_nothing_is_left_in_files(project, databases, bucket):
    project.run("python", "-m", "flows.pipeline")
    versions = databases.ask(databases.mlflow, "select name, version from model_versions")
    assert versions == [("ferflow", 1)]
    aliases = databases.ask(databases.mlflow, "select alias from registered_model_aliases")
    assert ("champion",) in aliases
    keys = [entry["Key"] for entry in bucket[1].list_objects_v2(Bucket="ferflow")["Contents"]]
    assert any(key.endswith("model.onnx") for key in keys)
    assert all(key.startswith(("mlflow/ferflow/", "alone/")) for key in keys)
    runs = databases.ask(databases.prefect, "select f.name, r.state_type from flow_run r join flow f on f.id = r.flow_id")
    states = dict(runs)
    assert {"pipeline", "ingest", "train", "register"} <= set(states)
    assert set(states.values()) == {"COMPLETED"}
    left = [name for name in ("mlflow.db", "mlruns", ".prefect/prefect.db") if (project.root / name).exists()]
    assert left == []


@pytest.mark.long
def test_promotion_and_rollback_work_there(project, databases):
    def aliases() -> dict[str, int]:
        return dict(databases.ask(databases.mlflow, "select alias, version from registered_model_aliases"))

    project.change(lambda params: params["export"].update(model="gray"))
    project.run("dvc", "repro", "register")
    assert (aliases()["champion"], aliases()["challenger"]) == (1, 2)
    project.run("ferflow", "promote")
    assert (aliases()["champion"], aliases()["previous"]) == (2, 1)
    project.run("ferflow", "rollback")
    assert (aliases()["champion"], aliases()["previous"]) == (1, 2)


@pytest.mark.long
def test_the_service_serves_from_s3_and_logs_to_postgresql_and_monitoring_reads_it(project, databases, shared):
    port = free_port()
    log = project.root / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(SCRIPTS / "bentoml"), "serve", "--port", str(port)],
            cwd=project.root, env=project.env, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    begin = datetime.now(UTC) - timedelta(seconds=5)
    try:
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        picture = (shared / "media/two_people.jpg").read_bytes()
        answer = httpx.post(f"{url}/predict", files={"image": picture}, timeout=60).json()
        assert answer["model_version"] == "ferflow/1"
        assert len(answer["faces"]) == 2
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
    window = livelog.read(databases.log, begin, datetime.now(UTC) + timedelta(seconds=5))
    assert len(window) == 2
    assert window["expression"].notna().all()
    assert not (project.root / ".ferflow/live.db").exists()


@pytest.mark.long
def test_monitoring_and_retraining_run_there_by_their_deployments(project, databases, bucket):
    """The service has answered about two faces; people say of forty others what they show."""

    def lenient(params: dict) -> None:
        """What is tried is the way of a retraining: a network of one epoch has no accuracy to lose."""
        params["monitor"].update(cron="")
        params["retrain"].update(min_feedback=8, cron="")
        params["gate"] |= {
            "margin": 1.0,
            "live_margin": 1.0,
            "live_floor": 0.0,
            "fairness_gap": 1.0,
            "class_floor": 0,
            "ece": 1.0,
        }
        params["gate"] |= {"latency_ratio": 50.0}

    project.change(lenient)
    log = project.root / "schedule.log"
    with log.open("wb") as output:
        schedule = subprocess.Popen(
            [str(SCRIPTS / "python"), "-m", "flows.schedule"],
            cwd=project.root, env=project.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    prefect = Prefect(project.env["PREFECT_API_URL"])
    try:
        assert prefect.end(prefect.start("monitoring", {"since": "1h"}), 300) == "Completed", log.read_text()[-3000:]
        crops = project.root / "data/consented"
        people_say(livelog.PredictionLog(databases.log, project.root / ".ferflow/spill"), crops, 40)
        ended = prefect.end(prefect.start("retrain", {"why": "a test", "after_rollback": True}), 900)
        assert ended == "Promoted", log.read_text()[-5000:]
    finally:
        schedule.terminate()
        schedule.wait(120)
    assert databases.ask(databases.log, "select count(*) from feedback") == [(40,)]
    ((drift,),) = databases.ask(databases.mlflow, "select name from runs where name like 'drift %'")
    assert drift
    (champion,) = databases.ask(databases.mlflow, "select version from registered_model_aliases where alias = 'champion'")
    question = f"select key, value from model_version_tags where version = {champion[0]}"
    assert dict(databases.ask(databases.mlflow, question))["ferflow.gate"] == "passed"
    keys = {key for (key,) in databases.ask(databases.prefect, "select key from artifact")}
    assert {"drift", "drift-report", "gate", "gate-table"} <= keys
    stored = [entry["Key"] for entry in bucket[1].list_objects_v2(Bucket="ferflow")["Contents"]]
    assert any("ferflow-drift" in key and key.endswith("index.html") for key in stored)
    left = [name for name in ("mlflow.db", "mlruns", ".prefect/prefect.db", ".ferflow/live.db") if (project.root / name).exists()]
    assert left == []


def test_a_window_of_the_log_is_the_same_from_postgresql_as_from_sqlite(databases, postgres, tmp_path):
    rows = [row(number) for number in range(300)]
    tables = []
    for number, url in enumerate((postgres.database(), f"sqlite:///{tmp_path / 'live.db'}")):
        log = livelog.PredictionLog(url, tmp_path / f"spill{number}")
        log.add(rows)
        log.feedback(rows[7]["id"], "sad")
        log.close(30)
        since = rows[0]["time"]
        tables.append(livelog.read(url, since, since + timedelta(minutes=4), limit=100))
    assert len(tables[0]) == 100
    assert tables[0].equals(tables[1])
