"""The driver of the graph with real DVC and real engines, on graphs of small shell commands; no Prefect server is there."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import yaml
from conftest import ROOT
from loopback import free_port

from ferflow.params import Pipeline, Resources
from flows import pipeline
from flows.board import Board
from flows.driving import Drive
from flows.engines import EngineError, Processes
from flows.graph import Graph, GraphError
from flows.sharing import Sharing
from flows.work import Order

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # engines start slowly on a busy machine
PARTS = """
stages:
  begin:
    cmd: cut -c1 word > begin
    deps: [word]
    outs: [begin]
  part:
    foreach: [a, b]
    do:
      cmd: sh part.sh ${item}
      deps: [begin, part.sh]
      outs: ["parts/${item}"]
  end:
    cmd: cat parts/* > end
    deps: [parts]
    outs: [end]
  aside:
    cmd: cp word aside
    deps: [word]
    outs: [aside]
"""
# where TOGETHER is set, a waits for b, which is later in the graph: it ends only if they run side by side (or after two minutes)
PART = """mkdir -p parts
n=0; [ "$1$TOGETHER" = ayes ] && until [ -e parts/b ] || [ $n -ge 1200 ]; do n=$((n + 1)); sleep 0.1; done
echo "$1 $(cat begin)" > parts/$1; echo "$1" >> journal
"""
IGNORED = "/begin\n/parts\n/end\n/aside\n"  # else DVC makes parts/.gitignore, in the order in which parts are done


class Toy:
    """A DVC project of a few commands."""

    def __init__(self, root: Path) -> None:
        self.root, self.started = root, list[subprocess.Popen[str]]()
        root.mkdir(parents=True)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "FERFLOW_", "MLFLOW_"))}
        self.env |= {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "PREFECT_API_URL": "http://prefect.invalid/api",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        shutil.copy(ROOT / "params.yaml", root / "params.yaml")
        for name, text in (("dvc.yaml", PARTS), ("part.sh", PART), ("word", "one\n"), (".gitignore", IGNORED)):
            (root / name).write_text(text)
        for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(command, cwd=root, env=self.env, check=True)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.pipeline", *arguments],
            cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background of a shell ignore it
        )  # fmt: skip
        self.started.append(process)
        return process

    @contextmanager
    def background(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """One of Dask's programs."""
        command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
        with (self.root / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.root, env=self.env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def end(self) -> None:
        """No pipeline outlives a test that failed."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=120)

    def pipeline(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        printed, _ = process.communicate(timeout=900)
        assert process.returncode == code, printed
        return printed

    def repro(self) -> str:
        done = subprocess.run(["dvc", "repro"], cwd=self.root, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def lock(self) -> bytes:
        return (self.root / "dvc.lock").read_bytes()

    def journal(self) -> list[str]:
        """The parts that were made, in order."""
        return (self.root / "journal").read_text().split()


@pytest.fixture
def toy(tmp_path) -> Iterator[Toy]:
    made = Toy(tmp_path / "toy")
    yield made
    made.end()


def started(printed: str) -> list[str]:
    return re.findall(r"^\S+ (\S+): started", printed, re.MULTILINE)


CLUSTERS = [pytest.param("dask", marks=pytest.mark.long), pytest.param("ray", marks=pytest.mark.long)]


@pytest.mark.parametrize("engine", ["processes", *CLUSTERS])
def test_the_lock_ends_as_after_a_serial_repro_on_every_engine(toy, tmp_path, engine):
    serial = Toy(tmp_path / "serial")
    serial.repro()
    toy.env["TOGETHER"] = "yes"
    printed = toy.pipeline("--on", engine, "--workers", "2")
    assert "no Prefect server answers" in printed
    assert toy.journal() == ["b", "a"], "side by side"
    assert "5 stages ran, 0 were up to date; dvc.lock is complete" in printed
    assert toy.lock() == serial.lock()
    assert "Running stage" not in toy.repro()
    assert toy.lock() == serial.lock()
    assert toy.pipeline("--on", engine) == "all 5 stages are up to date\n"


COUNT = """
n=$(cat checkpoint 2>/dev/null || echo 0)
echo "from $n" >> journal
while [ $n -lt 40 ]; do n=$((n + 1)); echo $n > checkpoint.new; mv checkpoint.new checkpoint; sleep 0.1; done
rm checkpoint
echo $n > counted
"""


@pytest.mark.parametrize("engine", CLUSTERS)
def test_a_worker_that_is_killed_loses_nothing_but_its_time(toy, engine):
    """Ray's own, and two of Dask started by hand, each for itself, in one folder: what a network folder is to two machines.

    test_cluster.py kills workers that train; this stage only counts.
    """
    (toy.root / "dvc.yaml").write_text("stages: {count: {cmd: sh count.sh, deps: [count.sh], outs: [counted]}}\n")
    (toy.root / "count.sh").write_text(COUNT)
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = ["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "cores=1"]
    with ExitStack() as running:
        port = address.rpartition(":")[2]
        workers = set[int]()
        if engine == "dask":
            running.enter_context(toy.background("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"))
            workers = {running.enter_context(toy.background(*worker)).pid for _ in range(2)}
        where = ("--address", address) if engine == "dask" else ("--workers", "2")
        process, deadline = toy.start("--on", engine, *where), time.monotonic() + 300
        while not (toy.root / "checkpoint").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        leash = next(one for one in psutil.process_iter(["cmdline"]) if is_leash(one, toy.root))
        family = [leash, *leash.children(recursive=True)]
        victim = leash.parent()
        assert victim.pid in workers or engine == "ray"
        victim.kill()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive, "a stage dies with its worker"
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    if engine == "ray":  # a scheduler of one's own gives the stage to another worker by itself
        assert "count: its worker is gone" in printed
        assert "count: started (attempt 2)" in printed
    assert (toy.root / "counted").read_text() == "40\n"
    first, second = (int(word) for word in toy.journal() if word != "from")
    assert (first, 0 < second <= 40) == (0, True), "it went on from its checkpoint"


def is_leash(process: psutil.Process, folder: Path) -> bool:
    try:
        return "flows.leash" in (process.info["cmdline"] or []) and process.cwd() == str(folder)
    except psutil.Error:
        return False


def test_only_what_is_stale_runs_and_what_came_out_the_same_stops_there(toy):
    toy.pipeline()
    (toy.root / "word").write_text("other\n")  # begin is another letter's, but...
    dry = toy.pipeline("--dry")
    assert dry.startswith("begin: stale (changed deps: word")
    assert "part@a: up to date, asked again after begin" in dry
    printed = toy.pipeline()
    assert set(started(printed)) == {"begin", "aside"}, "both begin with the letter o: nothing else is stale"
    assert "2 stages ran, 3 were up to date" in printed
    (toy.root / "word").write_text("two\n")
    assert set(started(toy.pipeline("part@b"))) == {"begin", "part@b"}
    entries = list(yaml.safe_load(toy.lock())["stages"])
    toy.pipeline()
    assert list(yaml.safe_load(toy.lock())["stages"]) == entries, "what was there keeps its place, as in a serial run"


def test_what_fails_is_tried_again_unless_it_is_hopeless_and_the_rest_goes_on(toy):
    fails = 'if [ "$1" = a ]; then exit 2; fi; if [ "$1" = b ] && [ ! -e tried ]; then touch tried; exit 1; fi\n'
    (toy.root / "part.sh").write_text(fails + PART)
    printed = toy.pipeline(code=1)
    assert printed.count("part@a: started") == 1
    assert "part@a: part@a ended with exit code 2" in printed
    assert printed.count("part@b: started") == 2
    assert "failed: part@a: " in printed
    assert "not begun because of that: end" in printed
    assert (toy.root / "parts/b").exists()
    (toy.root / "part.sh").write_text(PART)
    assert toy.pipeline().count("part@a: started") == 1
    assert (toy.root / "end").exists()


def test_a_file_that_changes_while_it_runs_is_heeded(toy):
    process = toy.start("--workers", "1")
    deadline = time.monotonic() + 600
    while not (toy.root / "begin").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while not (toy.root / "journal").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (toy.root / "word").write_text("two\n")
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, printed
    assert "changed while the pipeline ran" in printed
    assert (toy.root / "end").read_text() == "a t\nb t\n"


def test_who_ends_the_pipeline_ends_its_stages_and_a_second_one_is_refused(toy):
    (toy.root / "part.sh").write_text("echo $$ > pid.$1; sleep 300\n")
    process = toy.start("--workers", "3")
    deadline = time.monotonic() + 600
    while len(found := [path for path in toy.root.glob("pid.*") if path.read_text()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    pids = [int(path.read_text()) for path in found]
    assert "another pipeline is at work in this folder" in toy.pipeline(code=2)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert "goes on from here" in printed
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (toy.root / "part.sh").write_text(PART)
    assert "dvc.lock is complete" in toy.pipeline()


def test_a_stage_dies_with_whoever_started_it(tmp_path):
    child = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); time.sleep(300)"
    )
    starter = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'flows.leash', sys.executable, '-c', {child!r}], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True); time.sleep(300)"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True, env=env)
    leash = psutil.Process(int(process.stdout.readline()))
    deadline = time.monotonic() + 60
    while len(family := leash.children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs([leash, *family], timeout=30)
    assert not alive


def test_bad_calls_say_what_to_do(toy, tmp_path, monkeypatch, capsys):
    def said(*arguments: str) -> str:
        before = signal.getsignal(signal.SIGTERM)
        try:
            assert pipeline.main(arguments) == 2
        finally:
            signal.signal(signal.SIGTERM, before)
        return capsys.readouterr().err

    for arguments, message in {
        ("--address", "tcp://127.0.0.1:1"): "--address needs --on dask or --on ray",
        ("--on", "dask", "--address", "tcp://127.0.0.1:1", "--workers", "2"): "--workers is for clusters of this machine",
        ("--workers", "0"): "--workers must be at least 1",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            pipeline.arguments(arguments)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        pipeline.arguments(["--help"])
    assert "python -m flows.pipeline --on ray --address auto --clones" in capsys.readouterr().out
    unreachable = ("--on", "dask", "--address", "tcp://127.0.0.1:1")
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in toy.pipeline(*unreachable, code=2)
    monkeypatch.chdir(toy.root)
    assert "'nothing'" in said("nothing")
    monkeypatch.chdir(tmp_path)
    assert "run the command in the project's root" in said()
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    assert "run this in the project's root" in said()


@pytest.mark.long
def test_clones_share_by_git_and_a_dvc_remote(toy, tmp_path):
    """Two workers that see nothing of each other's files; test_cluster.py kills one of such."""
    serial = Toy(tmp_path / "serial")
    serial.repro()
    toy.env["FERFLOW_CLONES"] = str(tmp_path / "clones")
    for command in (
        ["dvc", "remote", "add", "-q", "--default", "store", str(tmp_path / "store")],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=toy.root, env=toy.env, check=True)
    printed = toy.pipeline("--on", "dask", "--workers", "2", "--clones")
    assert "5 stages ran, 0 were up to date; dvc.lock is complete" in printed
    assert len(list((tmp_path / "clones").glob("*/*/.git"))) == 2
    assert not (toy.root / "journal").exists(), "nothing ran here"
    assert (toy.root / "end").read_text() == (serial.root / "end").read_text() == "a o\nb o\n"
    assert toy.lock() == serial.lock()
    assert "Running stage" not in toy.repro()


def test_clones_need_what_they_share(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(toy.root)
    with pytest.raises(GraphError, match="clones need git"):
        Sharing(Graph())  # nothing is committed yet
    for command in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    (toy.root / "word").write_text("two\n")
    with pytest.raises(GraphError, match=r"commit first.*word"):
        Sharing(Graph())
    subprocess.run(["git", "checkout", "-q", "word"], check=True)
    with pytest.raises(GraphError, match="dvc remote add"):
        Sharing(Graph())


def test_a_remote_that_does_not_answer_costs_an_attempt_and_not_the_run(toy, monkeypatch):
    class Hiccups:
        """What is pushed, and what is pulled, fails the first time."""

        asked: ClassVar = []

        def order(self, order, needs):
            self.asked.append(f"push for {order.stage}")
            if len(self.asked) == 1:
                raise GraphError("dvc push: no answer")
            return order

        def take_over(self, graph, outcome):
            self.asked.append(f"pull {outcome.stage}")
            if self.asked.count("pull begin") == 1:
                raise GraphError("dvc pull: no answer")

    monkeypatch.chdir(toy.root)
    for name in ("PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, toy.env[name])
    graph, engine = Graph(["begin"]), Processes(1, None, Resources())
    engine.start()
    with Board(1) as board:
        drive = Drive(graph, engine, Pipeline(retries=2), board, graph.plan(), Hiccups())
        drive.run()
    engine.stop()
    assert (drive.failed, drive.left) == ({}, [])
    assert Hiccups.asked == ["push for begin", "push for begin", "pull begin", "push for begin", "pull begin"]
    assert (toy.root / "begin").read_text() == "o\n"
    assert "Stage 'begin' didn't change" in toy.repro()


def test_a_stage_that_is_gone_is_named(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    graph = Graph()
    (toy.root / "dvc.yaml").write_text(PARTS.replace("aside:", "elsewhere:"))
    with pytest.raises(GraphError, match=r"^aside: not in dvc\.yaml any more"):
        graph.stale(["begin", "aside"])


def test_what_is_changed_again_and_again_is_no_success(toy, monkeypatch):
    """A stage whose dependency is written anew whenever it has run."""
    monkeypatch.chdir(toy.root)
    for name in ("PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, toy.env[name])
    monkeypatch.setattr(Drive, "_changed_meanwhile", changing := Changing(toy.root / "word", Drive._changed_meanwhile))
    graph, engine = Graph(["begin", "aside"]), Processes(1, None, Resources())
    engine.start()
    with Board(2) as board:
        drive = Drive(graph, engine, Pipeline(), board, graph.plan(), None)
        drive.run()
    engine.stop()
    assert changing.times == 3
    assert set(drive.failed) == {"begin", "aside"}
    assert drive.left == []
    assert "begin: stale" in toy.pipeline("--dry", "begin")


class Changing:
    """Edits a file before it is asked what has changed."""

    def __init__(self, file: Path, ask) -> None:
        self.file, self.ask, self.times = file, ask, 0

    def __get__(self, drive, _):
        return lambda: self(drive)

    def __call__(self, drive):
        self.times += 1
        self.file.write_text(f"{self.times} times\n")
        return self.ask(drive)


def test_processes_hand_out_cores_and_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    engine = Processes(3, None, Resources(gpus=1))
    engine.start()
    order, wants = Order("train@a", "."), Resources(gpus=1)
    first, second = engine.take(order, wants), engine.take(order, wants)
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in (first, second)] == ["0", "1"]
    assert engine.take(order, wants) is None
    engine.give_back(first, wants)
    assert engine.take(order, wants).environment["CUDA_VISIBLE_DEVICES"] == "0"
    engine.stop()
    with pytest.raises(EngineError, match="asks for 3 GPUs, and there are 2"):
        Processes(3, None, Resources(gpus=3)).start()


def test_what_a_stage_asks_for():
    settings = Pipeline(resources={"train": {"cores": 1}, "train@big": {"cores": 4, "gpus": 1}})
    assert settings.wants("train@small").cores == 1
    assert settings.wants("train@big").gpus == 1
    assert settings.wants("report") == Resources()
    assert settings.runs_here("register")
    assert settings.runs_here("data/raw/faces.zip.dvc")
    assert not settings.runs_here("train@small")
