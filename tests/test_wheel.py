"""The wheel: what is in it, what it asks for, and that it predicts in an environment in which nothing else is installed."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import clips
import cv2
import pytest
from conftest import ROOT

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


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An environment that has the wheel and what it asks for."""
    if (uv := shutil.which("uv")) is None:
        pytest.skip("uv is not here: pip install uv")
    folder = tmp_path_factory.mktemp("empty") / "env"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, timeout=60)
    command = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), str(wheel)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FERFLOW", "VIRTUAL_ENV"))}
    clean |= {"HOME": str(folder)}
    command = [str(environment / "bin/ferflow"), *words]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=120)


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
    assert not [name for name in inside if not name.startswith("ferflow")], "nothing else lies in site-packages"


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
