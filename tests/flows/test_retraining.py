"""The retraining flow with real DVC, MLflow and Prefect, on a pipeline that costs nothing (``faked``)."""

import importlib
import json
import os
import signal
import sqlite3
import time
from datetime import timedelta

import mlflow
import psutil
import pytest
from faked import Faked
from typer.testing import CliRunner

from ferflow import folding, retraining, tracking
from ferflow.cli import app
from flows.companion import answers, prefect_server
from flows.rehearsal import mailbox
from flows.remote import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ALL = ["data", "train"]


@pytest.fixture(scope="module")
def box():
    with mailbox() as found:
        yield found


@pytest.fixture(scope="module")
def project(release, manifest, tmp_path_factory, box):
    """With a Prefect server, so that not every run starts one; this process works in its folder, as its users do."""
    made = Faked(tmp_path_factory.mktemp("project"), release, manifest, box[0])
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(made.env):
            patch.delenv(name)
        for name, value in made.env.items():
            patch.setenv(name, value)
        patch.chdir(made.folder)
        with prefect_server(made.folder / "server.log"):
            wait_until("Prefect answers", lambda: answers(f"{made.env['PREFECT_API_URL']}/health"), 240)
            with _settings(made):
                yield made


def _settings(project: Faked):
    """Prefect reads its settings once in a process, and another test may have been first."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

    return temporary_settings(
        {
            PREFECT_API_URL: project.env["PREFECT_API_URL"],
            PREFECT_HOME: project.env["PREFECT_HOME"],
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
    )


@pytest.fixture
def retrain(capfd):
    """The command, in this process (which has loaded what it takes); gives what it printed."""
    command = importlib.import_module("flows.retraining")

    def run(*more: str, code: int = 0) -> str:
        capfd.readouterr()
        ended = command.main(list(more))
        printed = "".join(capfd.readouterr())
        assert ended == code, printed
        return printed

    return run


@pytest.fixture
def trains(project):
    """A retraining of its own process that has come as far as the training, and stays there until it is killed."""

    def started(*more: str):
        project.ran()
        (project.folder / "nap").write_text("300")
        process = project.start("flows.retraining", *more)
        wait_until("it trains", lambda: "train" in project.lines(), 300)
        return process

    return started


def ferflow(*arguments: str, code: int = 0) -> str:
    """What ``ferflow`` prints."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


def kill(project: Faked, process) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (project.folder / "nap").write_text("0")


def states(project: Faked) -> list[str]:
    database = sqlite3.connect(project.folder / ".prefect/prefect.db")
    with database:
        found = database.execute("select state_name from flow_run where name like 'retrain%' order by created").fetchall()
    database.close()
    return [name for (name,) in found]


def test_too_little_feedback_changes_nothing(project, retrain):
    assert project.ran() == ALL
    before = project.tree()
    project.feedback(3)
    assert "TooFew: too little feedback waits" in retrain()
    assert not retraining.WANTED.exists(), "nobody was alarmed"
    assert "TooFew" in retrain("--why", "drift")
    assert retraining.WANTED.exists()
    assert not retraining.enough_waits()
    assert (project.tree(), project.ran()) == (before, [])
    assert tracking.aliases("ferflow") == {"champion": 1}
    mlflow.MlflowClient().delete_registered_model_alias("ferflow", "champion")
    assert "ferflow has no champion to compare with" in retrain(code=1), "the first that is registered would be it, unjudged"
    assert project.tree() == before
    mlflow.MlflowClient().set_registered_model_alias("ferflow", "champion", "1")


def test_what_the_gate_refuses_is_taken_back_and_named_and_is_not_tried_again(project, retrain, box):
    before = project.tree()
    project.feedback(9, "anger", seed=1)
    assert retraining.enough_waits(), "monitoring sends the alarm again"
    (project.folder / "spoil").touch()
    printed = retrain("--why", "a test")
    (project.folder / "spoil").unlink()
    assert "Refused: version 2 is refused against version 1: parity: the export does not answer as what was evaluated" in printed
    assert project.ran() == ALL
    assert not retraining.WANTED.exists(), "a retraining has taken it up"
    after = project.tree()
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"spoil"}
    assert "up to date" in project.run("dvc", "status")
    assert not project.run("git", "status", "--porcelain").strip(), "nothing that git would see"
    assert tracking.aliases("ferflow") == {"champion": 1}, "the refused version has no alias"
    kept = project.folder / "data/versions"
    assert {path.name for path in kept.iterdir()} == {"1.parquet", "1.live.parquet", "1.json"}
    said = json.loads((kept / "1.json").read_text())
    assert (said["state"], said["added"], said["held_out"]) == ("refused", 9, 3)
    shown = ferflow("gate")
    assert "| parity | - | 1 | 0.001 | **no** |" in shown
    assert "Data: data/versions/1.parquet, 160 faces and 9 live ones (6 anger, 3 happy), 3 held out." in shown
    assert json.loads(ferflow("gate", "2", "--json"))["passed"] is False
    assert "no gate has judged 1" in ferflow("gate", "1", code=1)
    assert ferflow("gate", "--history") == "ferflow was never promoted\n"
    assert [one["event"] for one in box[1]] == ["ferflow.retraining.failed", "ferflow.retraining.refused"], "no champion; refused"
    assert (box[1][1]["version"], box[1][1]["checks"]["parity"], box[1][1]["why"]) == (2, False, "a test")
    assert "TooFew" in retrain(), "what spoilt a model is not folded in again"


def test_what_passes_is_promoted_and_its_data_is_the_projects(project, retrain, box):
    project.ran()
    project.feedback(8, "sad", seed=2)
    printed = retrain("--why", "good feedback")
    assert "Promoted: version 3 passed all 12 checks against version 1, and is champion now (1 before)" in printed
    assert tracking.aliases("ferflow") == {"champion": 3, "previous": 1}
    assert (project.folder / "params.yaml").read_text().startswith("# my comment\n")
    assert 'path: "data/versions/2.parquet"' in (project.folder / "params.yaml").read_text()
    changed = {line[3:] for line in project.run("git", "status", "--porcelain", "-uall").splitlines()}
    assert changed == {"params.yaml", "dvc.lock", "data/versions/2.parquet.dvc"}
    assert box[1][-1]["event"] == "ferflow.retraining.promoted"
    tags = tracking.version_tags("ferflow", 3)
    assert (tags["ferflow.gate"], tags["ferflow.gate.test_faces"]) == ("passed", "passed: the same 24 faces")
    last = ferflow("gate", "--history").splitlines()[-1]
    assert last.endswith("+00:00  version 1 -> 3: gate: good feedback; 12 checks passed")
    assert json.loads(ferflow("gate", "--history", "--json"))[-1]["now"] == 3
    assert states(project)[-1] == "Promoted"
    assert not (project.folder / ".ferflow/retraining/journal.json").exists()


def test_a_stage_that_fails_takes_everything_back(project, retrain, box):
    project.ran()
    before = project.tree()
    project.feedback(8, "fear", seed=3)
    (project.folder / "trip").write_text("2")
    printed = retrain(code=1)
    assert "failed to reproduce 'train'" in printed
    assert project.ran() == ["data", "train"], "what is hopeless is not tried again"
    (project.folder / "trip").unlink()
    assert project.tree() == before
    assert json.loads((project.folder / "data/versions/3.json").read_text())["state"] == "failed"
    assert box[1][-1]["event"] == "ferflow.retraining.failed"
    (project.folder / "trip").write_text("1")
    retrain(code=1)
    assert project.ran() == ["data", "train", "train", "train"], "what may help is tried twice more"
    (project.folder / "trip").unlink()
    assert project.tree() == before


def test_a_way_back_that_is_cut_off_is_gone_to_its_end_first(project, retrain, monkeypatch):
    before, refused = project.tree(), max(folding.versions()) + 1
    project.feedback(8, "fear", seed=5)
    (project.folder / "spoil").touch()
    real = retraining._dvc

    def cut_off(*arguments: str) -> str:
        if arguments[0] == "checkout":
            raise OSError("cut off")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "_dvc", cut_off)
        retrain("--why", "cut off", code=1)
    (project.folder / "spoil").unlink()
    assert (project.folder / ".ferflow/retraining/journal.json").exists()
    (project.folder / "params.yaml").write_text((project.folder / "params.yaml").read_text() + "# edited\n")
    assert "TooFew" in retrain(), "what was refused is not taken for accepted, nor folded again"
    assert json.loads((project.folder / f"data/versions/{refused}.json").read_text())["state"] == "refused"
    assert "# edited" in (project.folder / "params.mine.yaml").read_text()
    (project.folder / "params.mine.yaml").unlink()
    after = project.tree()
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"spoil"}


def test_a_cancelled_run_leaves_no_stage_at_work(project, retrain, trains):
    before = project.tree()
    project.feedback(8, "fear", seed=6)
    process = trains("--why", "cancelled")
    stages = [one for one in psutil.process_iter(["cwd", "cmdline"]) if "stage.py" in " ".join(one.info["cmdline"] or [])]
    mine = [one for one in stages if one.info["cwd"] == str(project.folder)]
    assert mine, "a stage naps"
    process.send_signal(signal.SIGTERM)  # to the flow's process alone, as Prefect does
    process.wait(120)
    assert not [one for one in mine if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    (project.folder / "nap").write_text("0")
    assert "are as they were before" in retrain("--undo")
    assert project.tree() == before


def test_a_run_that_is_killed_can_be_taken_back_or_gone_on_with(project, retrain, trains):
    champion, before = tracking.aliases("ferflow")["champion"], project.tree()
    project.feedback(8, "disgust", seed=4)
    killed = trains("--why", "killed")
    assert "another retraining is at work in this folder" in retrain("--undo", code=1)
    kill(project, killed)
    assert project.tree() != before
    assert "are as they were before" in retrain("--undo")
    assert project.tree() == before
    kill(project, trains("--why", "killed again"))
    assert (project.folder / ".ferflow/retraining/journal.json").exists()
    assert f"checks against version {champion}, and is champion now" in retrain()
    assert project.ran() == ["data", "train", "train"], "what was done is not done again"
    newest = max(folding.versions())
    assert f"data/versions/{newest}.parquet" in (project.folder / "params.yaml").read_text()
    assert (project.folder / f"data/versions/{newest}.parquet.dvc").exists()
    assert not (project.folder / f"data/versions/{newest - 1}.parquet.dvc").exists(), "the one that was taken back"


def test_changes_that_could_not_be_brought_back_are_not_touched(project, retrain):
    path = project.folder / "data/splits.parquet"
    kept = path.read_bytes()
    path.unlink()
    path.write_bytes(b"mine")
    assert "outputs differ from dvc.lock" in retrain(code=1)
    assert path.read_bytes() == b"mine"
    path.write_bytes(kept)


def test_the_pipelines_deployment_waits_for_a_retraining(project, monkeypatch):
    reproducing = importlib.import_module("flows.reproducing")
    monkeypatch.setattr(reproducing, "_RETRAINING_S", 0.0)
    project.ran()
    with retraining.alone():
        state = reproducing.reproduce(return_state=True)
    assert "another retraining is at work in this folder" in state.message
    retraining.Journal({}).save()
    assert "a retraining was cut off" in reproducing.reproduce(return_state=True).message
    retraining.JOURNAL.unlink()
    assert project.ran() == []


def test_the_lock_is_held_by_a_pipeline_that_outlives_its_flow(project, retrain, trains):
    before = project.tree()
    project.feedback(8, "fear", seed=7)
    process = trains("--why", "its flow is killed alone")
    process.kill()
    process.wait()
    with pytest.raises(retraining.RetrainError, match="another retraining"), retraining.alone():
        pass
    (project.folder / "nap").write_text("0")
    with retraining.alone(120):
        pass
    assert "are as they were before" in retrain("--undo")
    assert project.tree() == before | {"nap": b"0"}


def test_what_passes_waits_where_nobody_wants_it_promoted(project, retrain):
    before = tracking.aliases("ferflow")
    project.feedback(8, "surprise", seed=8)
    assert "Passed: version" in retrain("--judge-only")
    after = tracking.aliases("ferflow")
    assert after["champion"] == before["champion"]
    assert after["challenger"] > before["champion"]


def test_a_version_that_could_not_be_judged_is_not_the_challenger(project, retrain, monkeypatch):
    before, files = tracking.aliases("ferflow"), project.tree()
    project.feedback(8, "happy", seed=9)

    def fails(*_, **__):
        assert tracking.aliases("ferflow")["challenger"] > before["challenger"], "it is registered"
        raise retraining.RetrainError("the judge is away")

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "judge", fails)
        assert "the judge is away" in retrain(code=1)
    assert project.tree() == files
    assert tracking.aliases("ferflow") == before, "'ferflow promote' would have made it champion"


def test_what_was_rolled_back_is_not_promoted_in_another_form(project, retrain, box):
    champion, before = tracking.aliases("ferflow")["champion"], project.tree()
    assert "nothing is retrained on them until somebody calls" in ferflow("rollback", "--why", "it is worse on the door camera")
    back = tracking.aliases("ferflow")["champion"]
    assert back < champion
    printed = retrain("--why", "drift", code=1)
    assert f"ferflow went back from version {champion} to {back} (it is worse on the door camera)" in printed
    assert retraining.WANTED.exists(), "the alarm is not lost"
    assert not retraining.enough_waits(), "it failed: it is sent again tomorrow, and not at every look"
    yesterday = time.time() - 25 * 3600
    os.utime(retraining.WANTED, (yesterday, yesterday))
    assert retraining.enough_waits()
    assert box[1][-1]["event"] == "ferflow.retraining.failed"
    assert project.tree() == before
    assert f"checks against version {back}, and is champion now" in retrain("--after-rollback")


def test_what_is_rolled_back_while_it_is_trained_anew_is_not_promoted_either(project, retrain, monkeypatch):
    champion, before, real = tracking.aliases("ferflow")["champion"], project.tree(), retraining.judge
    project.feedback(8, "happy", seed=13)

    def judged(*arguments, **more):
        tracking.rollback("ferflow", "meanwhile")
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(retraining, "judge", judged)
        assert "another version was made champion by hand" in retrain(code=1)
    assert project.tree() == before
    assert tracking.aliases("ferflow")["champion"] < champion
    assert f"went back from version {champion}" in retrain(code=1)
    tracking.promote("ferflow", champion, "it was better after all")
    assert "Promoted" in retrain()


@pytest.mark.parametrize(
    ("moves", "back"),
    [
        ([(1, 5), (5, 3)], True),
        ([(1, 5), (5, 3), (3, 4)], True),
        ([(1, 5), (5, 3), (3, 5)], False),
        ([(1, 5)], False),
        ([(None, 5)], False),
        ([(3, 8), (8, 5)], False),
        ([(1, 4), (4, 3)], True),
        ([(1, 4), (4, 3), (3, 5)], False),
    ],
    ids=["back", "and another one promoted", "and there again", "promoted", "first", "back to it", "made after", "but wanted"],
)
def test_who_went_back_from_what_is_here(moves, back, monkeypatch):
    said = [{"before": before, "now": now, "why": "by hand"} for before, now in moves]
    monkeypatch.setattr(tracking, "moves", lambda _: said)
    assert (retraining.went_back("m", 5) is not None) == back
    monkeypatch.setattr(tracking, "moves", lambda _: [move | {"why": "gate: another clone's"} for move in said])
    assert retraining.went_back("m", 5) is None


def test_data_that_somebody_has_chosen_is_not_overridden(project, retrain):
    path = project.folder / "params.yaml"
    before = path.read_text()
    project.feedback(8, "anger", seed=12)
    path.write_text(
        before.replace("path: data/versions", "path: other/versions").replace('path: "data/versions', 'path: "other/versions')
    )
    assert path.read_text() != before
    assert "the pipeline has not run on the data that params.yaml names (dataset.path)" in retrain(code=1)
    path.write_text(before)


def test_a_run_whose_process_ended_before_it_began_is_started_anew(project, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running

    from flows import reviving

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow_from_name("unborn"), "here")
        run = client.create_flow_run_from_deployment(deployment, state=Pending(), parameters={"n": 1})
        looking = reviving.Reviver(["unborn"], ["unborn"], most=3)
        running = client.create_flow_run_from_deployment(deployment, state=Running())
        assert looking.look(young_s=0) == 0, "it may be about to begin, on another machine"
        monkeypatch.setattr(reviving, "_UNBORN", timedelta(0))
        assert looking.look(young_s=0) == 1
        assert client.read_flow_run(run.id).state.type == "CRASHED"
        (other,) = [one for one in client.read_flow_runs() if one.tags == ["taken up 1"]]
        assert (other.parameters, other.state.type) == ({"n": 1}, "SCHEDULED")
        assert looking.look(young_s=0) == 0
        assert client.read_flow_run(running.id).state.type == "RUNNING", "it left no mark here: it is another machine's"


def test_a_run_that_prefect_itself_found_dead_is_started_anew_once(project):
    from prefect.client.orchestration import get_client
    from prefect.states import Completed, Crashed, Running

    from flows import reviving

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow_from_name("dead"), "here")
        crashed, done = (client.create_flow_run_from_deployment(deployment, state=Running()) for _ in range(2))
        for run, state in ((crashed, Crashed()), (done, Completed())):
            (project.folder / f".ferflow/runs/{run.id}").touch()
            client.set_flow_run_state(run.id, state, force=True)
        looking = reviving.Reviver(["dead"], ["dead"], most=3)
        assert (looking.look(young_s=0), looking.look(young_s=0)) == (1, 0)
        others = [
            one for one in client.read_flow_runs() if one.deployment_id == deployment and one.id not in (crashed.id, done.id)
        ]
        assert [(one.tags, one.state.type) for one in others] == [(["taken up 1"], "SCHEDULED")]
        assert not (project.folder / f".ferflow/runs/{done.id}").exists(), "marks do not pile up"
