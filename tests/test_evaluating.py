"""A release on faces that it was not made of: crops, end to end, foreign classes, broken pictures."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, png
from typer.testing import CliRunner

from ferflow import evaluating, params
from ferflow.card import Card
from ferflow.cli import app
from ferflow.detectors import Detection
from ferflow.finding import Finder
from ferflow.inference import Predictor
from ferflow.model import build
from ferflow.params import Dataset
from ferflow.vocabulary import AGE_GROUPS


@pytest.fixture
def faces(tmp_path):
    for index, name in enumerate(["happy"] * 20 + ["sad"] * 20 + ["bored"] * 5):
        folder = tmp_path / "faces" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(png(index))
    return tmp_path / "faces"


def test_the_same_tables_and_page_come_out(release, faces, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        ["evaluate", str(release), "folder", str(faces), "--out", str(out), "--resamples", "200", "--option",
         "classes={happy: happy, sad: sad, bored: contempt}"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no face is neutral" in result.output
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert len(predictions) == 45
    figures = pd.read_csv(out / "evaluation/figures.csv").set_index(["task", "metric"])["value"]
    right = predictions.filter(like="p_expression_").idxmax(axis=1).str.removeprefix("p_expression_")
    truth = predictions["id"].str.split("/").str[0].replace("bored", "contempt")
    assert figures["expression", "accuracy"] == pytest.approx((right == truth).mean())
    html = (out / "index.html").read_text()
    assert "Calibration" in html
    assert "data:image/png" in html
    assert not (out / "manifest.parquet").exists(), "it has the pictures"


class Blind:
    """Finds a face in every second picture."""

    def __init__(self):
        self.asked = 0

    def __call__(self, rgb):
        self.asked += 1
        return [Detection((4.0, 4.0, 40.0, 40.0), 0.9)] if self.asked % 2 else []


def test_a_face_that_is_not_found_is_an_error_and_is_listed(release, faces, tmp_path):
    (faces / "sad" / "broken.png").write_bytes(b"no picture")
    dataset = Dataset(
        source="folder", path=faces, image_size=40, options={"classes": {"happy": "happy", "sad": "sad", "bored": "anger"}}
    )
    summary = evaluating.run(Predictor(release, Finder(detector=Blind())), dataset, tmp_path / "out", True, 100, 0)
    missed = pd.read_csv(tmp_path / "out/missed.csv")["id"]
    assert len(missed) == 22
    assert pd.read_csv(tmp_path / "out/unreadable.csv")["id"].tolist() == ["sad/broken.png"]
    predictions = pd.read_parquet(tmp_path / "out/predictions.parquet").set_index("id")
    assert "sad/broken.png" not in predictions.index
    shares = predictions.loc[missed].filter(like="p_expression_")
    assert (shares.max(axis=1) > 0.999).all()
    right = shares.idxmax(axis=1).str.removeprefix("p_expression_") == missed.str.split("/").str[0].to_numpy()
    assert not right.any()
    assert "in 22 no face was found" in summary.title
    figures = pd.read_csv(tmp_path / "out/evaluation/figures.csv").set_index(["task", "metric"])
    assert figures.loc[("expression", "accuracy"), "n"] == 45


def test_faces_without_any_label_that_it_knows_are_refused(release, tmp_path):
    (tmp_path / "faces").mkdir()
    pd.DataFrame({"id": ["a"], "image": [png()], "age": [30.0]}).to_parquet(tmp_path / "faces.parquet")
    result = CliRunner().invoke(
        app, ["evaluate", str(release), "parquet", str(tmp_path / "faces.parquet"), "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 1
    assert "no face has a label of expression, affect, gender" in result.output


def test_missed_faces_count_as_wrong_in_every_figure(release, tmp_path):
    rows = {"id": list("abcdefgh"), "image": [png(i) for i in range(8)], "expression": ["happy", "sad"] * 4}
    rows |= {"gender": ["male", "female"] * 4, "valence": [0.5, -0.5] * 4, "arousal": [0.1, -0.9] * 4}
    pd.DataFrame(rows).to_parquet(tmp_path / "faces.parquet")
    dataset = Dataset(source="parquet", path=tmp_path / "faces.parquet", image_size=40)
    evaluating.run(Predictor(release, Finder(detector=lambda rgb: [])), dataset, tmp_path / "out", True, 50, 0)
    figures = pd.read_csv(tmp_path / "out/evaluation/figures.csv").set_index(["task", "metric"])["value"]
    for task, metric in (
        ("expression", "accuracy"),
        ("expression", "top3"),
        ("gender", "accuracy"),
        ("valence", "sign_agreement"),
    ):
        assert figures[task, metric] == 0, (task, metric)
    assert figures["arousal", "mae"] == pytest.approx((1.1 + 1.9) / 2)
    assert np.isnan(figures["gender", "top2"]), "among two classes it says nothing"


def test_an_ordered_class_is_missed_by_as_much_as_can_be():
    card = Card(name="t", members={}, input_size=8, modality="rgb", tasks={"age": AGE_GROUPS}, dataset="d", parameters=1)
    outputs = {"age": np.full((2, 10), 0.1)}
    labels = pd.DataFrame({"age": [5.0, 85.0]}, index=["a", "b"])
    evaluating._count_as_wrong(outputs, labels, card, {"a", "b"})
    assert outputs["age"].argmax(axis=1).tolist() == [9, 0]
    assert outputs["age"].sum(axis=1) == pytest.approx(1)


def test_nothing_but_an_evaluation_is_replaced(release, faces, tmp_path, monkeypatch):
    precious = tmp_path / "mine/precious.txt"
    precious.parent.mkdir()
    precious.write_text("keep")
    monkeypatch.chdir(tmp_path / "mine")
    refused = {precious.parent: "you are in", tmp_path: "you are in", precious: "is a file"}
    for out, words in {**refused, faces: "the source", faces / "out": "the source"}.items():
        result = CliRunner().invoke(app, ["evaluate", str(release), "folder", str(faces), "--out", str(out)])
        assert result.exit_code == 1
        assert words in result.output
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["evaluate", str(release), "folder", str(faces), "--out", str(precious.parent)])
    assert "no evaluation" in result.output
    assert precious.read_text() == "keep"
    assert len(list(faces.rglob("*.png"))) == 45


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "x"], "no source is called"),
        (["folder", "x", "--detector", "eagle"], "ferflow: no detectors entry is called 'eagle'"),
        (["folder", "x", "--resamples", "0"], "at least 1"),
    ],
)
def test_mistakes_end_with_one_plain_line(arguments, words, release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["evaluate", str(release), *arguments])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "pydantic" not in result.stderr


def test_a_member_s_folder_is_evaluated_as_a_release_is(settings, tmp_path, monkeypatch):
    torch.manual_seed(0)
    tasks = {"expression": ("happy", "sad")}
    network = build(settings.member("gray-cnn"), tasks, 40).eval()
    folder = tmp_path / "gray-cnn"
    folder.mkdir()
    torch.save(network.state_dict(), folder / "weights.pt")
    card = Card(name="a", members={}, input_size=40, modality="gray", tasks=tasks, dataset="d", parameters=1)
    card = card.model_copy(update={"temperatures": {"expression": 2.0}})
    (folder / "card.json").write_text(card.model_dump_json())
    monkeypatch.chdir(ROOT)
    predictor = Predictor(evaluating.open_release(folder))
    crops = np.random.default_rng(0).integers(0, 255, (3, 40, 40, 3), dtype=np.uint8)
    network.temperatures = card.temperatures
    with torch.no_grad():
        expected = network.predict(torch.from_numpy(crops))["expression"]
    assert predictor.outputs(crops)["expression"] == pytest.approx(expected.numpy(), abs=1e-5)
    with pytest.raises(params.ParamsError, match="no member 'stranger'"):
        evaluating.open_release(folder.rename(tmp_path / "stranger"))
