import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, png
from typer.testing import CliRunner

from ferflow import presets
from ferflow.cli import app
from ferflow.registry import names

run = CliRunner().invoke
MODELS = {"train", "compare", "gate", "promote", "rollback"}


def test_help_names_every_command_and_each_has_an_example():
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {
        "preset",
        "ablation",
        "search",
        "results",
        "evaluate",
        "list",
        *MODELS,
        "predict",
        "doctor",
        "export",
        "monitor",
    } == set(commands)
    assert all(name in run(app, ["--help"]).output for name in commands)
    for name in commands:
        assert f"Example: ferflow {name}" in run(app, [name, "--help"]).output


def test_help_loads_no_heavy_library():
    code = "import ferflow.cli, sys; print([m for m in ('torch','pandas','cv2','onnxruntime','mlflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_predict_prints_faces_and_a_bad_file_does_not_end_the_run(release, tmp_path):
    (tmp_path / "good.png").write_bytes(png(size=80))
    (tmp_path / "bad.png").write_bytes(b"junk")
    files = [str(tmp_path / "bad.png"), str(tmp_path / "good.png")]
    result = run(app, ["predict", *files, "--model", str(release), "--detector", "none", "--json"])
    assert result.exit_code == 1
    assert "bad.png: not an image" in result.stderr
    answer = json.loads(result.stdout)
    assert answer["image"].endswith("good.png")
    assert answer["faces"][0]["box_xyxy"] == [0, 0, 80, 80]
    plain = run(app, ["predict", files[1], "--model", str(release), "--detector", "none"])
    assert plain.exit_code == 0
    assert "1 face\n" in plain.stdout
    assert "%" in plain.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "x.png", "--model", "nowhere"], "make repro"),
        (["preset", "imagenet"], "known: fer2013"),
        (["list", "things"], "backbones"),
    ],
)
def test_a_mistake_ends_with_one_line_that_says_what_to_do(arguments, words, in_root):
    result = run(app, arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_preset_switches_params_and_without_a_name_lists(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(app, ["preset"]).stdout.split() == presets.names()
    assert "dvc repro" in run(app, ["preset", "fer2013"]).stdout
    assert "source: fer2013" in (tmp_path / "params.yaml").read_text()


def test_results_before_any_run_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(app, ["results"])
    assert result.exit_code == 1
    assert "dvc repro" in result.stderr


def test_list_shows_what_is_registered():
    assert run(app, ["list", "transforms"]).stdout.strip() == "transforms: " + ", ".join(names("transforms"))
    assert "heads: affect, affect_ccc, classification, ordinal" in run(app, ["list"]).stdout


@pytest.fixture
def compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/evaluation").mkdir(parents=True)
    (tmp_path / "reports/evaluation/comparisons.csv").write_text(
        "task,metric,first,second,difference,low,high,p,p_mcnemar,p_adjusted,significant\n"
        "expression,accuracy,a,b,-0.02,-0.03,-0.01,0.001,0.001,0.002,True\n"
        "expression,accuracy,a,c,0.001,-0.01,0.012,0.8,0.9,0.8,False\n"
        "expression,accuracy,b,c,0.021,0.01,0.03,0.001,0.001,0.002,True\n"
    )


def test_compare_says_which_is_better_and_whether_it_is_shown(compared):
    assert "a against b: +2.00 [+1.00, +3.00], p 0.002: better" in run(app, ["compare", "a", "b"]).stdout
    assert run(app, ["compare", "c"]).stdout.count("against") == 2
    assert "c against a: +0.10 [-1.00, +1.20], p 0.800: no difference shown" in run(app, ["compare"]).stdout
    assert "compared a, b, c, not d" in run(app, ["compare", "d"]).stderr
    assert "compared accuracy of expression" in run(app, ["compare", "--metric", "ccc"]).stderr


def test_train_names_the_members_there_are_and_says_what_would_run(in_root):
    assert "it has rgb-cnn" in run(app, ["train", "nobody"]).stderr


@pytest.mark.slow
def test_promote_without_a_challenger_says_what_to_do(tmp_path, monkeypatch):
    pytest.importorskip("mlflow").set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for command, words in (
        (["promote"], "no challenger"),
        (["rollback"], "nothing to go back to"),
        (["promote", "7"], "no version 7"),
    ):
        result = run(app, command)
        assert result.exit_code == 1
        assert words in result.stderr
