"""Exports of trained networks, in the stage and by the command: what is compared, and that a wrong answer stops it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from ferflow import params
from ferflow.card import Card
from ferflow.cli import app
from ferflow.exporting import ParityError, compare, demand, main_task
from ferflow.faces import load_faces
from ferflow.model import build
from ferflow.stages import StageError
from ferflow.stages import export as stage
from ferflow.tables import load_labels, predictions_table
from ferflow.training import predict

CLASSES = {"expression": params.TASKS["expression"].classes, "affect": ("valence", "arousal")}


@pytest.fixture(scope="module")
def project(manifest, drawn_rows, tmp_path_factory):
    """A folder with data and one member that has learned nothing."""
    root = tmp_path_factory.mktemp("project")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["dataset"] |= {"image_size": 32}
    raw["members"] = {"gray": {"backbone": "cnn", "modality": "gray", "recipe": "none", "options": {"width": 4}}}
    raw["export"] |= {
        "model": "gray",
        "formats": ["onnx", "onnx_int8"],
        "calibration": 40,
        "int8_agreement": 0.9,
        "int8_drop": 0.1,
    }
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    (root / "data").mkdir()
    shutil.copy(manifest, root / "data/manifest.parquet")
    splits = ["test" if place < 60 else "val" if place < 80 else "train" for place in range(len(drawn_rows))]
    pd.DataFrame({"id": [row["id"] for row in drawn_rows], "split": splits}).to_parquet(root / "data/splits.parquet")
    member, folder = params.load(root / "params.yaml").member("gray"), root / "models/members/gray"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = build(member, CLASSES, 32).eval()
    torch.save(network.state_dict(), folder / "weights.pt")
    card = Card(
        name="gray", members={"gray": "cnn"}, input_size=32, modality="gray", tasks=CLASSES, dataset="synthetic", parameters=9
    )
    (folder / "card.json").write_text(card.model_dump_json())
    labels = load_labels(root / "data/manifest.parquet", root / "data/splits.parquet")
    faces = load_faces(root / "data/manifest.parquet", labels, ("test",), 32, "gray", {})["test"]
    predictions_table(card, faces.ids, "test", predict(network, faces.pixels)).to_parquet(folder / "predictions.parquet")
    return root


def test_the_stage_compares_every_format_and_writes_one_table(project, monkeypatch):
    monkeypatch.chdir(project)
    summary = stage.run()
    assert [row["format"] for row in summary.rows] == ["pytorch", "onnx", "onnx_int8"]
    parity = json.loads((project / "models/release/parity.json").read_text())
    assert parity["onnx"]["from_pytorch"]["largest_difference"] < 1e-4
    assert parity["onnx"]["from_evaluation"]["largest_difference"] < 1e-4
    assert parity["onnx_int8"]["allowed"] == {"agreement": 0.9, "accuracy_drop": 0.1}
    table = pd.read_csv(project / "reports/exports.csv")
    assert list(table["format"]) == ["pytorch", "onnx", "onnx_int8"]
    assert (table[["ms, 1 face", "ms, 32 faces"]] > 0).all().all()
    assert (table["MB"].dropna() > 0).all()
    assert table["accuracy %"].between(0, 100).all()
    text = (project / "reports/exports.md").read_text()
    assert "60 test faces" in text
    assert "| onnx_int8" in text


def test_an_answer_that_differs_stops_the_stage(project, monkeypatch):
    monkeypatch.chdir(project)
    settings = params.load()
    strict = settings.export.model_copy(update={"tolerance": 1e-12, "formats": ("onnx",)})
    monkeypatch.setattr(params, "load", lambda: settings.model_copy(update={"export": strict}))
    with pytest.raises(StageError, match=r"onnx: the largest difference from .* more than export\.tolerance = 1e-12; see"):
        stage.run()


GOOD = {
    "from_pytorch": {"largest_difference": 0.05, "same_class": 0.995},
    "accuracy_drop": 0.002,
    "allowed": {"agreement": 0.99, "accuracy_drop": 0.005},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"from_pytorch": {"largest_difference": 0.05, "same_class": 0.98}}, "98.0% of the faces .*int8_agreement = 99.0%"),
        ({"accuracy_drop": 0.006}, "falls by 0.60 points, more than export.int8_drop = 0.50"),
        ({"from_pytorch": {"largest_difference": float("nan"), "same_class": 1.0}}, "not a number"),
        ({"allowed": {"largest_difference": 1e-4}}, "largest difference from pytorch is 0.05"),
    ],
)
def test_what_a_format_is_allowed(change, words):
    demand("it", GOOD)
    with pytest.raises(ParityError, match=words):
        demand("it", GOOD | change)


def test_a_difference_that_is_no_number_is_found():
    nothing = [np.full((2, 3), np.nan)]
    found = compare([np.zeros((2, 3))], nothing)
    assert np.isnan(found["largest_difference"])
    with pytest.raises(ParityError, match="onnx: the largest difference from pytorch is nan"):
        demand("onnx", {"from_pytorch": found, "allowed": {"largest_difference": 1e-4}})


def test_classes_are_compared_by_the_expression_or_the_first_task_that_has_some():
    assert main_task(["affect", "age", "expression"]) == 2
    assert main_task(["affect", "gender"]) == 1
    assert main_task(["affect"]) is None
    assert compare([np.zeros((2, 2))], [np.ones((2, 2))], None) == {"largest_difference": 1, "same_class": 1}


def test_the_command_exports_a_member_and_shows_a_table(project, monkeypatch):
    monkeypatch.chdir(project)
    found = CliRunner().invoke(app, ["export", "gray", "--formats", "onnx,safetensors", "--out", "out", "--faces", "10"])
    assert found.exit_code == 0, found.output
    assert "safetensors" in found.output
    assert "written to out/gray" in found.output
    assert {path.name for path in (project / "out/gray").iterdir()} == {
        "model.onnx", "model.safetensors", "model_config.json", "parity.json", "exports.md", "exports.csv",
    }  # fmt: skip
    alone = CliRunner().invoke(app, ["export", "--formats", "checkpoint", "--out", "alone", "--faces", "3"])
    assert alone.exit_code == 0, alone.output
    assert not (project / "alone/gray/model.onnx").exists(), "only what was asked for"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no network is called 'nobody'; params.yaml has: ensemble, gray"),
        (["ensemble"], "ensemble.json is not there"),
        (["gray", "--formats", "coreml"], "no exporters entry is called 'coreml'; known: checkpoint"),
        (["gray", "--formats", ","], "--formats names none"),
    ],
)
def test_what_cannot_be_exported_is_said_before_any_work(project, monkeypatch, arguments, words):
    monkeypatch.chdir(project)
    found = CliRunner().invoke(app, ["export", *arguments, "--out", "never"])
    assert found.exit_code == 1
    assert words in found.output
    assert not (project / "never").exists()


def test_a_wrong_answer_ends_the_command_with_exit_code_1_and_names_the_file(project, monkeypatch):
    monkeypatch.chdir(project)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("tolerance: 0.0001", "tolerance: 1.0e-12"))
    try:
        found = CliRunner().invoke(app, ["export", "gray", "--formats", "onnx", "--out", "wrong"])
    finally:
        (project / "params.yaml").write_text(text)
    assert found.exit_code == 1
    assert "wrong/gray/model.onnx is not to be used" in found.output
