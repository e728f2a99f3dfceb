"""The companion with real processes: what it runs, what it says, and that it ends with the run."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT

from ferflow.registry import names
from ferflow.stages import HOPELESS
from flows import companion


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which to run; no Prefect server may be started from here (its address is another machine's)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.invalid/api")
    return tmp_path


@pytest.fixture
def accompanied():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def test_stages_run_in_the_companion_which_ends_with_the_run(project, accompanied, capfd, monkeypatch):
    monkeypatch.setattr(companion, "_run_to_accompany", lambda: accompanied.pid)
    assert companion.ensure()
    assert companion.ensure(), "a second stage finds the same one"
    result = project / "result.json"
    job = companion.start_stage("split", [], result)
    assert job._process is None, "it should run in the companion"
    assert job.wait() == HOPELESS
    assert "split: params.yaml is not here" in capfd.readouterr().err
    assert companion.start_stage("no_such_stage", [], result).wait() == 1
    assert "No module named" in capfd.readouterr().err
    (project / "loaded.py").write_text("import sys; print('torch' in sys.modules)")
    assert companion.start_module("loaded", [], {}).wait() == 0
    assert capfd.readouterr().out == "False\n", "what does not compute with torch does not wait for it"
    assert companion.start_module("loaded", [], {}, preload=True).wait() == 0
    assert companion.start_module("loaded", [], {}, preload=True).wait() == 0
    assert capfd.readouterr().out == "loading libraries, once for the whole run\nTrue\nTrue\n"
    (project / "endless.py").write_text("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(300)")
    asked = companion.start_module("endless", [], {})
    wait_until(lambda: (project / "pid").exists() and (project / "pid").read_text())
    asked._client.close()  # as when Ctrl-C ends the stage's command
    wait_until(lambda: not psutil.pid_exists(int((project / "pid").read_text())))
    accompanied.kill()
    accompanied.wait()
    wait_until(lambda: not companion.SOCKET.exists())


def test_a_companion_that_is_told_to_end_takes_its_server_with_it(project, accompanied, monkeypatch):
    with companion.socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    monkeypatch.setattr(companion, "_run_to_accompany", lambda: accompanied.pid)
    assert companion.ensure()
    process = next(one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[-1:] == [str(accompanied.pid)])
    wait_until(process.children)
    (server,) = process.children()
    wait_until(lambda: "prefect" in server.cmdline())  # until then it is a copy of the companion
    process.terminate()
    assert process.wait(60) is not None or not process.is_running()
    wait_until(lambda: not server.is_running())
    assert not companion.SOCKET.exists()


def test_without_a_companion_a_stage_starts_its_own_interpreter(project, capfd):
    job = companion.start_stage("split", [], project / "result.json")
    assert job._process is not None
    assert job.wait() == HOPELESS
    assert "params.yaml is not here" in capfd.readouterr().err


def test_a_companion_that_goes_away_is_a_failed_stage():
    ours, theirs = companion.socket.socketpair()
    theirs.sendall(b"+")
    theirs.close()
    assert companion.Job(ours, lambda: pytest.fail("the stage was taken up: it must not run twice")).wait() == 1


def test_a_companion_that_ends_before_it_takes_a_stage_up_leaves_it_to_another_interpreter(project, capfd):
    companion.STATE.mkdir()
    with companion.socket.socket(companion.socket.AF_UNIX) as ending:
        ending.bind(str(companion.SOCKET))
        ending.listen()
        job = companion.start_stage("split", [], project / "result.json")
        assert job._process is None, "it listens, and will not accept"
    assert job.wait() == HOPELESS
    assert job.wait() == HOPELESS, "and says so again"
    assert "params.yaml is not here" in capfd.readouterr().err


def test_a_remote_or_dead_server_is_waited_for_only_once(project, monkeypatch):
    companion.STATE.mkdir()
    with companion.prefect_server(project / "log") as server:
        assert server is None
    slept: list[float] = []
    monkeypatch.setattr(companion.time, "sleep", slept.append)
    assert not companion.wait_for_server(0.5)
    assert slept
    slept.clear()
    assert not companion.wait_for_server(30)
    assert not slept


def test_a_stage_whose_prefect_cannot_be_loaded_still_runs(project, monkeypatch):
    (project / "prefect.py").write_text("raise ImportError('broken')")
    done = subprocess.run(
        [sys.executable, "-m", "flows", "split"],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": f"{project}:{os.environ['PYTHONPATH']}"},
    )  # fmt: skip
    assert done.returncode == HOPELESS
    assert "split is not recorded: broken" in done.stderr
    assert "params.yaml is not here" in done.stderr
    monkeypatch.setenv("FERFLOW_RECORD", "0")
    monkeypatch.setenv("PYTHONPATH", f"{project}:{os.environ['PYTHONPATH']}")
    done = subprocess.run([sys.executable, "-m", "flows", "split"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "not recorded" in done.stderr) == (HOPELESS, False), "nobody asked for a record"


def test_an_unknown_stage_lists_the_known_ones(project):
    done = subprocess.run([sys.executable, "-m", "flows", "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert ", ".join(names("stages")) in done.stderr
