import json
import shutil
from pathlib import Path

import onnxruntime
import pytest
from conftest import ROOT
from typer.testing import CliRunner

from ferflow import doctor
from ferflow.cli import app

run = CliRunner().invoke


def found(root: Path) -> dict[str, doctor.Finding]:
    return {one.check: one for one in doctor.examine(root)}


def test_an_empty_folder_is_no_project_and_every_remedy_is_said(tmp_path):
    checks = found(tmp_path)
    assert checks["python"].state == "good"
    assert checks["project"].state == "note"
    assert "make repro" in checks["model"].remedy
    assert checks["detector haar"].state == "good"
    assert all(one.remedy for one in checks.values() if one.state != "good")


def test_a_wrong_key_and_a_broken_model_are_found(release, tmp_path):
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text() + "\nnonsense: 1\n")
    (tmp_path / "models/release").mkdir(parents=True)
    (tmp_path / "models/release/model.onnx").write_bytes(b"junk")
    checks = found(tmp_path)
    assert checks["params.yaml"].state == "bad"
    assert "nonsense" in checks["params.yaml"].found
    assert checks["model"].state == "bad"
    assert "ONNX Runtime cannot load" in checks["model"].found
    shutil.copy(release, tmp_path / "models/release/model.onnx")
    assert found(tmp_path)["model"].state == "good"


def test_a_package_of_a_wrong_version_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0.0.1" if name == "onnxruntime" else "99")
    assert "onnxruntime 0.0.1 (wanted >=" in found(tmp_path)["packages of inference"].found
    assert onnxruntime.__version__ != "0.0.1"


def test_a_check_that_breaks_is_a_finding(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda root: 1 / 0)
    assert found(tmp_path)["machine"].found == "ZeroDivisionError: division by zero"


def test_the_command_ends_with_1_only_where_something_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(app, ["doctor"]).exit_code == 0
    (tmp_path / "dvc.yaml").touch()
    result = run(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert any(one["check"] == "params.yaml" and one["state"] == "bad" for one in json.loads(result.stdout))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense"])
def test_a_server_that_is_not_there_does_not_answer(url):
    assert not doctor._answers(url)
