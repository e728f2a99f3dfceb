"""The wheel: what is in it, what it asks for, and that it predicts in an environment in which nothing else is installed."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import timedelta
from email.parser import Parser
from pathlib import Path

import clips
import cv2
import httpx
import pytest
from conftest import ROOT
from driftrows import as_log, live, reference
from liverows import NOON, until
from loopback import free_port

from ferflow.livelog import PredictionLog
from flows.companion import answers

pytestmark = pytest.mark.slow
EXTRAS = {"train", "data", "track", "flows", "cluster", "serve", "monitor"}
OFFLINE = re.compile(r"dns error|error sending request|Failed to fetch|Network|not found in the cache|timed out")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    [found] = folder.glob("ferflow-*.whl")
    return found


def installed(wheel: Path, folder: Path, extras: str = "") -> Path:
    """An environment in ``folder`` that has the wheel, what it asks for, and what the extras (``[a,b]``) do."""
    if (uv := shutil.which("uv")) is None:
        pytest.skip("uv is not here: pip install uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, timeout=60)
    command = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), f"{wheel}{extras}"]
    if extras:  # the versions that are tried, and are at hand
        pins = folder.with_suffix(".txt")
        pins.write_text(
            "\n".join(re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==\S+", (ROOT / "requirements/lock.txt").read_text(), re.MULTILINE))
        )
        command += ["--constraint", str(pins)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An environment that has the wheel and what it asks for."""
    return installed(wheel, tmp_path_factory.mktemp("empty") / "env")


def clean(folder: Path) -> dict[str, str]:
    ours = ("PYTHON", "FERFLOW", "VIRTUAL_ENV", "MLFLOW", "PREFECT", "BENTOML_HOME")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"HOME": str(folder)}


def run(environment: Path, folder: Path, *words: str, program: str = "ferflow") -> subprocess.CompletedProcess:
    command = [str(environment / "bin" / program), *words]
    return subprocess.run(command, cwd=folder, env=clean(folder), capture_output=True, text=True, timeout=300)


def test_the_metadata_names_version_licence_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith("dist-info/METADATA")]
        said = Parser().parsestr(archive.read(name).decode())
    assert (said["Name"], said["License-Expression"]) == ("ferflow", "Apache-2.0")
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["Version"])
    assert f"\n## {said['Version']} - " in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {said['Version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert set(said.get_all("Provides-Extra")) >= EXTRAS
    asked = [one for one in said.get_all("Requires-Dist") if "extra ==" not in one]
    assert not [one for one in asked if re.match(r"(torch|mlflow|bentoml|prefect|dvc|timm|matplotlib)\b", one)]


def test_everything_that_is_read_at_run_time_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {"ferflow/starter/model.onnx", "ferflow/py.typed", "ferflow/datasets/synthetic.yaml"} <= inside
    assert {name.removeprefix("src/") for name in tracked} <= inside
    assert {"ferflow/params.yaml", "flows/monitoring.py"} <= inside
    assert not [name for name in inside if not name.startswith(("ferflow", "flows/"))], "nothing else lies in site-packages"


def test_it_predicts_where_nothing_else_is_installed(environment, tmp_path):
    cv2.imwrite(str(tmp_path / "face.jpg"), next(clips.frames(1)))
    done = run(environment, tmp_path, "predict", "face.jpg", "--model", "starter")
    assert done.returncode == 0, done.stderr
    assert re.search(r"face\.jpg: 1 face\n  .*%", done.stdout), done.stdout


def test_its_environment_has_no_training_or_serving_library(environment):
    [packages] = environment.glob("lib/python*/site-packages")
    assert (packages / "onnxruntime").is_dir()
    for name in ("torch", "mlflow", "bentoml", "prefect", "dvc", "sklearn", "matplotlib", "starlette"):
        assert not (packages / name).exists(), name


@pytest.mark.parametrize("words", [("--help",), ("list",), ("data", "list"), ("assets", "list"), ("preset",), ("doctor",)])
def test_commands_that_need_no_extra_work_without_one(environment, tmp_path, words):
    done = run(environment, tmp_path, *words)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_missing_is_said_with_how_to_get_it(environment, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert "install ferflow with its extra 'train'" in run(environment, tmp_path, "doctor").stdout
    for words, package, extra in ((("log",), "sqlalchemy", "serve"), (("promote",), "mlflow", "track")):
        done = run(environment, tmp_path, *words)
        assert done.returncode == 1
        assert done.stderr == f"ferflow: the package {package} is not installed; install ferflow with its extra '{extra}'\n"


@pytest.mark.long
def test_with_train_it_judges_a_model(wheel, tmp_path):
    environment = installed(wheel, tmp_path / "env", "[train]")
    for name, frame in zip(("happy", "sad", "anger"), clips.frames(3), strict=True):
        (tmp_path / "faces" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / name / "face.png"), frame)
    done = run(environment, tmp_path, "evaluate", "starter", "folder", "faces", "--out", "judged")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "judged/metrics.json").exists()


@pytest.mark.long
def test_with_serve_the_service_answers_in_an_empty_folder(wheel, tmp_path):
    environment, port = installed(wheel, tmp_path / "env", "[serve]"), free_port()
    command = [str(environment / "bin/bentoml"), "serve", "ferflow.serving.service:FerFlow", "--port", str(port)]
    (tmp_path / "here").mkdir()
    with (tmp_path / "serve.log").open("wb") as log:
        service = subprocess.Popen(command, cwd=tmp_path / "here", env=clean(tmp_path), stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz") or service.poll() is not None, 120)
        picture = cv2.imencode(".jpg", next(clips.frames(1)))[1].tobytes()
        reply = httpx.post(f"http://127.0.0.1:{port}/predict", files={"image": picture}, timeout=60)
        assert reply.status_code == 200, reply.text
        assert (reply.json()["model_version"], len(reply.json()["faces"])) == ("starter", 1)
    finally:
        service.terminate()
        service.wait(60)
    assert run(environment, tmp_path / "here", "log").stdout.count("starter") == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("extras", "words"), [("[monitor]", "Prefect is not installed"), ("[monitor,flows]", "no Prefect server answers")]
)
def test_with_monitor_a_log_is_judged_and_with_flows_by_prefect(wheel, tmp_path, extras, words):
    environment = installed(wheel, tmp_path / "env", extras)
    log = PredictionLog(f"sqlite:///{tmp_path}/live.db", tmp_path / "spill")
    rows = live(300, 41, brightness=-40.0)
    rows["time"] = [NOON + timedelta(seconds=number) for number in range(300)]
    rows["id"] = [f"{number:032x}" for number in range(300)]
    log.add(as_log(rows))
    log.close(60)
    reference().to_parquet(tmp_path / "reference.parquet")
    about = ["--url", f"sqlite:///{tmp_path}/live.db", "--reference", "reference.parquet"]
    done = run(environment, tmp_path, "monitor", "--since", NOON.isoformat(), *about, "--strict")
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("drift: Pictures are darker")
    assert words in done.stderr
    assert (tmp_path / "reports/drift/latest.html").exists()
