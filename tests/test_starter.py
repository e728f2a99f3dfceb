"""What ferflow carries for a start: small, loadable, and as good as its card says."""

import zipfile

import numpy as np
import pytest

import ferflow
from ferflow import starter
from ferflow.images import decode
from ferflow.inference import Predictor

FOLDERS = {"angry": "anger"}  # the others are called as their classes


def test_it_is_small_and_answers_for_expressions_alone():
    assert starter.MODEL.stat().st_size <= 6_000_000
    predictor = ferflow.load("starter", detector="none")
    assert (predictor.card.name, predictor.card.dataset, list(predictor.card.tasks)) == ("starter", "fer2013", ["expression"])
    (face,) = predictor.predict(np.zeros((60, 60, 3), np.uint8))
    assert sum(face.probabilities["expression"].values()) == pytest.approx(1, abs=1e-5)
    assert (face.age, face.gender, face.race, face.valence) == (None, None, None, None)


def test_its_card_stands_beside_it_and_says_what_the_file_says():
    words = starter.MODEL.with_name("README.md").read_text()
    predictor = Predictor(starter.MODEL)
    assert f"{predictor.card.certain_above:.4f}" in words
    assert f"{predictor.card.parameters / 1e6:.2f} M" in words
    assert "AI Act" in words


def test_it_is_as_good_as_its_card_says(shared):
    with zipfile.ZipFile(shared / "data/fer2013.zip") as archive:
        files = [name for name in archive.namelist() if "test/" in name and name.endswith(".jpg")][::6]
        crops = [decode(archive.read(name)) for name in files]
    truth = [FOLDERS.get(folder := name.split("/")[-2], folder) for name in files]
    found = ferflow.load("starter").predict_faces(crops)
    accuracy = np.mean([face.expression == label for face, label in zip(found, truth, strict=True)])
    assert accuracy > 0.688 - 3 * (0.688 * 0.312 / len(files)) ** 0.5
