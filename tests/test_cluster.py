"""The project's pipeline on clusters of this machine: workers killed in mid-training, a folder shared, clones that share nothing.

Real DVC, Prefect, Dask and Ray, and members that are tiny but train for many epochs, so that there is a middle.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from test_pipeline import FOLLOWING, Project

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3000)]  # a busy machine needs minutes to load the libraries
MEMBERS = ["train@rgb", "train@gray"]
TIMED = re.compile(r"reports/(training/.*\.csv|cost\.json)")  # what says how long something took


class Cluster(Project):
    """A project whose pipeline is started in the background, and whose workers can be killed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.started: list[subprocess.Popen[str]] = []
        self.env["PYTHONPATH"] = f"{root / 'src'}:{root}"
        self.env["OMP_NUM_THREADS"] = "1"

    @staticmethod
    def _small(params: dict) -> None:
        Project._small(params)
        params["training"]["epochs"] = 60
        params["robustness"]["faces"] = 0
        params["evaluate"]["resamples"] = 100

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.pipeline", *arguments],
            cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> str:
        printed, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, printed + self.said()
        return printed

    def said(self) -> str:
        """What stages said last, for whoever reads a failure."""
        return "".join(f"\n--- {log.name}\n{log.read_text()[-1500:]}" for log in (self.root / ".ferflow/pipeline").glob("*.log"))

    def lock(self) -> dict:
        return yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]

    def kill_in_mid_training(self, process: subprocess.Popen[str], member: str, folder: Path, whole_worker: bool) -> int:
        """SIGKILL to the worker that trains a member, once there is a checkpoint; its pid.

        Of a cluster that is the worker's process; of this machine's processes, where a stage is a process, the stage's.
        """
        deadline = time.monotonic() + 2400
        checkpoint = folder / f"models/checkpoints/{member}.pt"
        while not checkpoint.exists():
            assert process.poll() is None, process.communicate()[0] + self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        leash = next(one for one in psutil.process_iter(["cmdline"]) if is_leash(one, member, folder))
        victim = leash.parent() if whole_worker else next(one for one in leash.children() if "dvc" in one.cmdline())
        victim.send_signal(signal.SIGKILL)
        return victim.pid

    def commit(self) -> None:
        for command in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "change", "--allow-empty"]):
            subprocess.run(["git", *command], cwd=self.root, check=True)


def is_leash(process: psutil.Process, member: str, folder: Path) -> bool:
    words = process.info["cmdline"] or []
    try:
        return "flows.leash" in words and f"train@{member}" in words and process.cwd() == str(folder)
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Cluster]:
    """A project with a Prefect server that stays for all tests."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    env = made.env | {"PREFECT_HOME": str(made.root / ".prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(made.port)]
    with background(command, made.root, env, made.root / "prefect.log"):
        until_answers(f"http://127.0.0.1:{made.port}/api/health")
        yield made
        for process in made.started:  # none outlives a test that failed
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=120)


@contextmanager
def background(command: list[str], folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def until_answers(address: str) -> None:
    deadline = time.monotonic() + 400
    while True:
        try:
            if httpx.get(address, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"nothing answers at {address}"
        time.sleep(0.3)


def without_times(entry: dict) -> dict:
    """An entry of dvc.lock without what two runs never share: how long something took, and what is made of that."""
    return {
        key: [one for one in value if not TIMED.match(one["path"])] if key == "outs" else value for key, value in entry.items()
    }


def test_a_member_killed_in_mid_training_goes_on_and_the_lock_is_that_of_a_serial_repro(project):
    process = project.start("--workers", "2", *MEMBERS)
    project.kill_in_mid_training(process, "rgb", project.root, whole_worker=False)
    printed = project.end(process)
    assert "train@rgb: started (attempt 2)" in printed
    assert "going on after epoch" in (project.root / ".ferflow/pipeline/train@rgb.log").read_text()
    assert "5 stages ran, 0 were up to date; dvc.lock is complete" in printed
    entries = project.lock()
    assert list(entries) == ["ingest", "validate", "split", *MEMBERS]

    (project.root / "dvc.lock").unlink()
    assert project.run("dvc", "repro", *MEMBERS).count("is cached - skipping run") == 5
    assert project.lock() == entries, "for the same results; the order of named targets changes in DVC from call to call"

    project.run("dvc", "repro", "--force", "--single-item", "--no-run-cache", "train@rgb")
    assert without_times(project.lock()["train@rgb"]) == without_times(entries["train@rgb"]), "in one go: the same weights"


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_worker_of_a_cluster_killed_in_mid_training(project, engine):
    project.change(lambda params: params["training"].update(lr={"dask": 0.004, "ray": 0.003}[engine]))
    process = project.start("--on", engine, "--workers", "2", *MEMBERS)
    project.kill_in_mid_training(process, "gray", project.root, whole_worker=True)
    printed = project.end(process)
    assert "train@gray: its worker is gone" in printed
    assert "train@gray: started (attempt 2)" in printed
    assert "going on after epoch" in (project.root / ".ferflow/pipeline/train@gray.log").read_text()
    assert "2 stages ran, 3 were up to date" in printed
    before = (project.root / "dvc.lock").read_bytes()
    assert "Running stage" not in project.run("dvc", "repro", *MEMBERS)
    assert (project.root / "dvc.lock").read_bytes() == before


def test_two_clones_share_by_git_and_a_dvc_remote(project, tmp_path):
    clones = tmp_path / "clones"
    project.env["FERFLOW_CLONES"] = str(clones)
    project.change(lambda params: params["training"].update(lr=0.007))
    refused = subprocess.run(
        [sys.executable, "-m", "flows.pipeline", "--clones"],
        cwd=project.root, env=project.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "commit first" in refused.stderr
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit()
    bare = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(project.root), str(bare)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(bare)], cwd=project.root, check=True)

    process = project.start("--on", "dask", "--workers", "2", "--clones", "ensemble")
    deadline = time.monotonic() + 2400
    while not (found := list(clones.glob("*/*/models/checkpoints/rgb.pt"))):
        assert process.poll() is None, process.communicate()[0] + project.said()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    project.kill_in_mid_training(process, "rgb", found[0].parents[2], whole_worker=True)
    printed = project.end(process)
    assert "train@rgb: started (attempt 2)" in printed
    log = found[0].parents[2] / ".ferflow/pipeline/train@rgb.log"
    assert len(list(clones.glob("*/*/.git"))) == 2
    assert not (project.root / "models/checkpoints").exists() or not list((project.root / "models/checkpoints").iterdir())
    assert "3 stages ran, 3 were up to date" in printed
    assert log.exists()
    assert "Running stage" not in project.run("dvc", "repro", "ensemble")
    assert "up to date" in project.run("dvc", "status", "ensemble")
    assert "in sync" in project.run("dvc", "status", "--cloud", *MEMBERS)


def test_the_whole_pipeline_ends_in_the_order_of_a_serial_repro(project):
    project.change(lambda params: params["training"].update(lr=0.009))  # what ran in clones is not in this run cache
    printed = project.end(project.start("--workers", "2"))
    assert "dvc.lock is complete" in printed
    ours = (project.root / "dvc.lock").read_bytes()
    assert "up to date" in project.run("dvc", "status")
    (project.root / "dvc.lock").unlink()
    assert project.run("dvc", "repro").count("is cached - skipping run") == 5 + len(FOLLOWING)
    assert list(project.lock()) == ["ingest", "validate", "split", *MEMBERS, *FOLLOWING]
    assert (project.root / "dvc.lock").read_bytes() == ours


def test_prefect_has_the_pipeline_with_a_task_an_attempt_and_a_table(project):
    database = sqlite3.connect(project.root / ".prefect/prefect.db")
    flows = dict(database.execute("select f.name, r.state_type from flow_run r join flow f on f.id = r.flow_id").fetchall())
    assert flows["pipeline"] == "COMPLETED"
    tasks = [name for (name,) in database.execute("select name from task_run")]
    assert tasks.count("train@rgb") >= 2
    assert "evaluate" in tasks
    lost = [state for name, state in database.execute("select name, state_type from task_run") if name.startswith("train")]
    assert "RUNNING" not in lost
    assert database.execute("select count(*) from artifact where key = 'pipeline'").fetchone()[0] >= 1
