"""The flow as a user runs it: without a Prefect server, and with a real one, which then has run, artifacts and event."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from driftrows import as_log, live, reference
from liverows import NOON
from loopback import free_port

from ferflow.livelog import PredictionLog
from flows import companion

pytestmark = pytest.mark.slow
SINCE, UNTIL = NOON.isoformat(), (NOON + timedelta(hours=2)).isoformat()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["monitor"]["draws"] = 100
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "models/release").mkdir(parents=True)
    reference().to_parquet(folder / "models/release/reference.parquet")
    rows = pd.concat([live(300, 41), live(400, 42, brightness=-40.0, sharpness=-200.0)], ignore_index=True)
    rows["time"] = [NOON + timedelta(seconds=10 * number) for number in range(700)]
    rows["id"] = [f"{number:032x}" for number in range(700)]
    log = PredictionLog(f"sqlite:///{folder / '.ferflow/live.db'}", folder / ".ferflow/spill")
    log.add(as_log(rows))
    log.close(60)
    return folder


def monitor(project: Path, port: int, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "FERFLOW_"))}
    env = clean | {"PYTHONPATH": str(ROOT / "src"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    done = subprocess.run(
        [sys.executable, "-m", "ferflow.cli", "monitor", *arguments],
        cwd=project, env=env, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_without_a_server_it_judges_and_writes_and_sends_no_event(project):
    done = monitor(project, free_port(), "--since", SINCE, "--until", UNTIL, "--strict", code=3)
    assert "drift: Pictures are darker (brightness 11" in done.stdout
    assert "no Prefect server answers" in done.stderr
    assert "not sent" in done.stdout
    assert json.loads((project / "reports/drift/latest.json").read_text())["verdict"] == "drift"
    assert not (project / "reports/drift/told.json").exists(), "the next look, with a server, sends it"
    good = monitor(project, free_port(), "--since", SINCE, "--until", (NOON + timedelta(minutes=50)).isoformat(), "--strict")
    assert good.stdout.startswith("no drift: ")


def test_what_cannot_be_judged_is_one_line_and_exit_code_2(project):
    done = monitor(project, free_port(), "--since", "2020-01-01", "--until", "2020-01-02", code=2)
    assert done.stderr.splitlines()[-1].startswith("ferflow monitor: the log has no prediction from 2020-01-01")
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real Prefect server on loopback; its port."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        patch.setenv("PREFECT_HOME", str(folder / "home"))
        with companion.prefect_server(folder / "log"):
            deadline = time.monotonic() + 120
            while not companion.server_answers():
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.3)
            yield port


def asked(port: int, what: str, **body) -> list[dict]:
    reply = httpx.post(f"http://127.0.0.1:{port}/api/{what}/filter", json=body, timeout=30)
    reply.raise_for_status()
    found = reply.json()
    return found["events"] if isinstance(found, dict) else found


def test_with_a_server_there_are_a_run_artifacts_and_one_event(project, server):
    first = monitor(project, server, "--since", SINCE, "--until", UNTIL)
    assert "ferflow.drift.detected was sent" in first.stdout
    again = monitor(project, server, "--since", SINCE, "--until", UNTIL)
    assert "not sent: it was before" in again.stdout
    nothing = monitor(project, server, "--since", "2020-01-01", "--until", "2020-01-02", code=2)
    assert nothing.stderr.splitlines()[-1].startswith("ferflow monitor: the log has no prediction")
    runs = asked(server, "flow_runs", sort="START_TIME_ASC")
    ends = [(run["state"]["type"], run["state"]["name"]) for run in runs]
    assert ends == [("COMPLETED", "Completed")] * 2 + [("COMPLETED", "NothingSeen")], "a quiet night is no failure"
    assert {run["state"]["type"] for run in asked(server, "task_runs")} == {"COMPLETED"}
    tasks = {run["name"].rsplit("-", 1)[0] for run in asked(server, "task_runs")}
    assert tasks == {"look", "reference_of", "judge", "write", "record", "publish", "tell"}
    artifacts = {one["key"]: one for one in asked(server, "artifacts")}
    assert "**drift**: Pictures are darker" in artifacts["drift"]["data"]
    assert "index.html" in artifacts["drift-report"]["data"]
    deadline = time.monotonic() + 30
    wanted = {"event": {"name": ["ferflow.drift.detected"]}}
    while not (events := asked(server, "events", filter=wanted)):
        assert time.monotonic() < deadline, "the event did not arrive"
        time.sleep(0.5)
    (event,) = events
    assert event["resource"]["prefect.resource.id"] == "ferflow.model.ferflow"
    assert event["payload"]["verdict"] == "drift"
    assert event["payload"]["drifted"][0] == "brightness"
