"""``make schedule``: what it serves, the drift event, and that it outlives its server, its worker and itself."""

import fcntl
import subprocess
import time

import psutil
import pytest
from faked import Faked

from flows.remote import Prefect, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


class Scheduled:
    """A project whose schedule runs."""

    def __init__(self, project: Faked) -> None:
        self.project, self.prefect = project, Prefect(project.env["PREFECT_API_URL"])
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        self.process = self.project.start("flows.schedule", log="schedule.log")
        wait_until("the deployments are served", lambda: self.prefect.deployment("monitoring"), 300)

    def children(self, word: str) -> list[psutil.Process]:
        assert self.process is not None
        return [one for one in psutil.Process(self.process.pid).children() if word in " ".join(one.cmdline())]

    def kill(self, process: psutil.Process) -> None:
        """With everything it started, as when a machine goes down."""
        family = [*process.children(recursive=True), process]
        for one in family:
            one.kill()
        psutil.wait_procs(family, 30)

    def trains(self) -> bool:
        return self.project.lines()[-1:] == ["train"]

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)


@pytest.fixture(scope="module")
def scheduled(release, manifest, tmp_path_factory):
    one = Scheduled(Faked(tmp_path_factory.mktemp("project"), release, manifest))
    yield one
    one.stop()


def test_every_deployment_is_served_with_a_form_and_a_limit(scheduled):
    retrain = scheduled.prefect.deployment("retrain")
    assert retrain["global_concurrency_limit"]["limit"] == 1
    assert retrain["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    form = retrain["parameter_openapi_schema"]["properties"]
    assert {"why", "min_feedback", "promote", "refused_too", "after_rollback"} == set(form)
    assert (form["promote"]["type"], form["why"]["type"], form["why"]["description"]) == (
        "boolean", "string", "written down with what comes of it",
    )  # fmt: skip
    assert scheduled.prefect.deployment("reproduce")["parameter_openapi_schema"]["properties"]["stages"]["type"] == "array"
    automations = scheduled.prefect.ask("/automations/filter", {})
    (trigger,) = [one["trigger"] for one in automations if "drift" in one["name"]]
    assert trigger["expect"] == ["ferflow.drift.detected"]
    assert trigger["match"] == {"prefect.resource.id": "ferflow.model.ferflow"}


def test_the_schedule_can_be_listed_and_a_second_one_does_not_start(scheduled):
    listed = scheduled.project.run("python", "-m", "flows.schedule", "--list")
    assert "retrain: event ferflow.drift.detected" in listed
    assert "it runs in this folder already" in scheduled.project.run("python", "-m", "flows.schedule", code=1)


def test_the_event_starts_a_retraining_which_outlives_the_server(scheduled):
    project, prefect = scheduled.project, scheduled.prefect
    project.ran()
    project.feedback(8, seed=1)
    (project.folder / "nap").write_text("300")
    event = {"id": "0c8a3a4e-5b0e-4c8e-9f5e-3f6b5a0c7d11", "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    event |= {"event": "ferflow.drift.detected", "resource": {"prefect.resource.id": "ferflow.model.ferflow"}, "payload": {}}
    prefect.ask("/events", [event])
    (run,) = wait_until("the event starts a run", lambda: prefect.runs("retrain"), 180)
    assert run["parameters"]["why"] == "drift"
    wait_until("it trains", scheduled.trains, 180)
    (server,) = scheduled.children("prefect")
    scheduled.kill(server)
    wait_until("the server is away", lambda: prefect.deployment("retrain") is None, 60)
    wait_until("the server is back", lambda: prefect.deployment("retrain"), 180)
    (project.folder / "nap").write_text("0")
    assert prefect.end(run["id"], 180) == "Promoted"
    assert project.ran() == ["data", "train"]
    assert project.aliases() == {"champion": 2, "previous": 1}


def test_a_second_retraining_waits_for_the_first_and_a_killed_worker_is_replaced(scheduled):
    project, prefect = scheduled.project, scheduled.prefect
    project.feedback(8, "sad", seed=2)
    (project.folder / "nap").write_text("300")
    first = prefect.start("retrain", {"why": "first"})
    wait_until("it trains", scheduled.trains, 180)
    second = prefect.start("retrain", {"why": "second"})
    wait_until("the second waits", lambda: prefect.state(second).get("name") == "AwaitingConcurrencySlot", 120)
    (worker,) = scheduled.children("--work")
    scheduled.kill(worker)
    (project.folder / "nap").write_text("0")
    assert prefect.end(first, 240) == "Crashed"
    runs = wait_until("the first is taken up", lambda: prefect.runs("retrain")[3:], 240)
    assert runs[0]["parameters"]["why"] == "first"
    ends = {prefect.end(one, 240) for one in (runs[0]["id"], second)}
    assert ends == {"Promoted", "TooFew"}, "whichever came first went on, and nothing was left for the other"
    assert project.ran() == ["data", "train", "train"]
    assert project.aliases()["champion"] == 3


def test_when_everything_is_killed_the_next_start_goes_on(scheduled):
    project, prefect = scheduled.project, scheduled.prefect
    project.feedback(8, "fear", seed=3)
    (project.folder / "nap").write_text("300")
    run = prefect.start("retrain", {"why": "all is lost"})
    wait_until("it trains", scheduled.trains, 180)
    scheduled.kill(psutil.Process(scheduled.process.pid))
    scheduled.process.wait()
    (project.folder / "nap").write_text("0")
    scheduled.start()
    assert prefect.end(run, 240) == "Crashed"
    made = wait_until("it is taken up", lambda: [one for one in prefect.runs("retrain") if "taken up 1" in one["tags"]][1:], 240)
    assert prefect.end(made[0]["id"], 240) == "Promoted"
    assert project.ran() == ["data", "train", "train"]


def test_a_run_whose_own_process_is_killed_is_taken_up(scheduled):
    """Prefect sees that, and calls it crashed itself; its pipeline lives on, and holds the lock."""
    project, prefect = scheduled.project, scheduled.prefect
    project.ran()
    project.feedback(8, "disgust", seed=4)
    (project.folder / "nap").write_text("300")
    run = prefect.start("retrain", {"why": "killed alone"})
    wait_until("it trains", scheduled.trains, 180)
    (own,) = [one for one in psutil.process_iter() if is_engine_of(one, run)]
    own.kill()
    wait_until("Prefect sees it", lambda: prefect.state(run).get("name") == "Crashed", 120)
    made = wait_until("it is taken up", lambda: [one for one in prefect.runs("retrain") if taken_up(one, "killed alone")], 240)
    (project.folder / "nap").write_text("0")
    assert prefect.end(made[0]["id"], 240) == "Promoted"
    assert project.ran() == ["data", "train"], "the pipeline that lived on has done it"


def test_a_run_that_is_under_way_when_the_schedule_is_stopped_is_taken_up(scheduled):
    project, prefect = scheduled.project, scheduled.prefect
    project.feedback(8, "happy", seed=6)
    (project.folder / "nap").write_text("300")
    run = prefect.start("retrain", {"why": "stopped"})
    wait_until("it trains", scheduled.trains, 180)
    scheduled.stop()
    assert not (project.folder / ".ferflow/retraining/lock").exists() or not is_locked(
        project.folder / ".ferflow/retraining/lock"
    )
    (project.folder / "nap").write_text("0")
    scheduled.start()
    made = wait_until("it is taken up", lambda: [one for one in prefect.runs("retrain") if taken_up(one, "stopped")], 240)
    assert prefect.state(run)["name"] == "Crashed"
    assert prefect.end(made[0]["id"], 240) == "Promoted"
    assert project.ran() == ["data", "train", "train"]


def is_engine_of(process: psutil.Process, run: str) -> bool:
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline()
    except (psutil.Error, OSError):
        return False


def taken_up(run: dict, why: str) -> bool:
    return "taken up 1" in run["tags"] and run["parameters"]["why"] == why


def is_locked(path) -> bool:
    """Whether a process holds it: nothing of a schedule that was stopped works on."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_pipeline_runs_by_its_deployment(scheduled):
    project, prefect = scheduled.project, scheduled.prefect
    (project.folder / "models/release/model.onnx").unlink()
    assert prefect.end(prefect.start("reproduce"), 120) == "Completed"
    assert (project.folder / "models/release/model.onnx").exists()


def test_at_the_end_nothing_is_left(scheduled):
    scheduled.stop()
    here = str(scheduled.project.folder)
    left = []
    for one in psutil.process_iter():
        try:
            if one.cwd() == here and one.status() != psutil.STATUS_ZOMBIE:
                left.append(one.cmdline())
        except (psutil.Error, OSError):
            continue
    assert not left
    assert scheduled.prefect.deployment("retrain") is None
