"""A release on faces that it was not made of: crops, end to end, foreign classes, broken pictures."""

import pandas as pd
import pytest
from conftest import png
from typer.testing import CliRunner

from ferflow import evaluating
from ferflow.cli import app
from ferflow.detectors import Detection
from ferflow.finding import Finder
from ferflow.inference import Predictor
from ferflow.params import Dataset


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
    assert (shares.max(axis=1) == 1).all()
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
