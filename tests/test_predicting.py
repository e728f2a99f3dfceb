import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import png
from PIL import Image
from typer.testing import CliRunner

from ferflow.cli import app
from ferflow.finding import Finder, Finding
from ferflow.images import read
from ferflow.inference import Predictor
from ferflow.predicting import Journal, answers, pictures

run = CliRunner().invoke


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, place in enumerate(("a.png", "b.PNG", "deep/c.png")):
        (folder / place).write_bytes(png(number, size=60))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_files_folders_and_patterns_name_each_picture_once(photos):
    names = [path.name for path in pictures([str(photos), str(photos / "a.png"), str(photos / "**/*.png")])]
    assert names == ["a.png", "b.PNG", "c.png"]
    with pytest.raises(FileNotFoundError, match=r"no picture in .*nothing\*"):
        pictures([str(photos / "nothing*")])


def test_one_bad_file_has_its_error_and_the_rest_their_faces(release, photos):
    (photos / "bad.png").write_bytes(b"junk")
    found = list(answers(Predictor(release, Finder(Finding("none"))), pictures([str(photos), str(photos / "absent.jpg")])))
    assert [bool(answer.error) for answer in found] == [False, False, True, False, True]
    assert "bad.png: not an image" in found[2].error
    assert "absent.jpg: No such file" in found[4].error
    assert [len(answer.faces) for answer in found] == [1, 1, 0, 1, 0]


def test_pictures_together_get_the_answers_they_get_alone(release):
    shades = [np.random.default_rng(seed).integers(0, 255, (50 + seed, 70, 3), dtype=np.uint8) for seed in range(3)]
    predictor = Predictor(release, Finder(Finding("none")))
    together = predictor.predict_batch(shades)
    for picture, (face,) in zip(shades, together, strict=True):
        (alone,) = predictor.predict(picture)
        assert alone.probabilities["expression"] == pytest.approx(face.probabilities["expression"], abs=1e-5)
    crops = predictor.predict_faces(shades)
    assert [face.expression for face in crops] == [face.expression for (face,) in together]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_has_a_row_a_face_and_lists_what_went_wrong(kind, release, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"junk")
    table = tmp_path / f"faces.{kind}"
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", f"--{kind}", str(table)]
    result = run(app, arguments)
    assert result.exit_code == 1
    assert "1 of 4 pictures could not be read" in result.stderr
    rows = pd.read_csv(table) if kind == "csv" else pd.read_parquet(table)
    assert [name.rsplit("/", 1)[1] for name in rows["image"]] == ["a.png", "b.PNG", "c.png"]
    assert rows.filter(like="p_expression_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert "tries the others again" in result.stderr
    (photos / "bad.png").write_bytes(png(5, size=60))
    again = run(app, arguments)
    assert again.exit_code == 0
    assert "3 pictures were done already" in again.stderr
    assert len(pd.read_csv(table) if kind == "csv" else pd.read_parquet(table)) == 4
    assert not (tmp_path / f"faces.{kind}.partial").exists()
    assert "--again" in run(app, arguments).stderr
    assert run(app, [*arguments, "--again"]).exit_code == 0


def test_a_run_that_was_cut_off_goes_on_and_asks_nothing_twice(release, photos, tmp_path):
    table, whole = tmp_path / "faces.csv", tmp_path / "whole.csv"
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", "--csv"]
    assert run(app, [*arguments, str(whole)]).exit_code == 0
    predictor = Predictor(release, Finder(Finding("none")))
    journal = Journal(table, predictor)
    for answer in answers(predictor, pictures([str(photos)])[:2]):
        journal.add(answer)
    journal.path.write_bytes(journal.path.read_bytes()[:-9])  # the last line was cut off
    result = run(app, [*arguments, str(table)])
    assert "1 pictures were done already" in result.stderr
    assert pd.read_csv(table).drop(columns="image").equals(pd.read_csv(whole).drop(columns="image"))


def test_a_journal_of_another_model_is_refused(release, photos, tmp_path):
    Journal(tmp_path / "faces.csv", Predictor(release, Finder(Finding("none", margin=0.2))))
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", "--csv", str(tmp_path / "faces.csv")]
    assert "another model" in run(app, arguments).stderr
    (tmp_path / "faces.csv.partial").write_text("nonsense\n")
    assert "is damaged" in run(app, arguments).stderr
    assert run(app, [*arguments, "--again"]).exit_code == 0


def test_a_picture_without_a_face_has_a_row_that_says_so(release, photos, tmp_path):
    table = tmp_path / "faces.csv"
    found = run(app, ["predict", str(photos), "--model", str(release), "--detector", "haar", "--csv", str(table)])
    assert found.exit_code == 0
    assert pd.read_csv(table)["faces"].tolist() == [0, 0, 0]


def test_json_is_one_object_a_picture(release, photos):
    result = run(app, ["predict", str(photos), "--model", str(release), "--detector", "none", "--json"])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == 3
    assert {"expression", "certain", "top3"} <= set(found[0]["faces"][0])


def test_two_forms_at_once_are_refused(photos):
    assert "choose one" in run(app, ["predict", str(photos), "--json", "--csv", "x.csv"]).stderr
    assert "ends in .parquet" in run(app, ["predict", str(photos), "--parquet", "x.csv"]).stderr


def test_faces_are_drawn_where_a_folder_is_given_and_names_do_not_meet(release, photos, tmp_path):
    out = tmp_path / "boxed"
    (photos / "deep/a.png").write_bytes(png(9, size=60))
    result = run(app, ["predict", str(photos), "--model", str(release), "--detector", "none", "--draw", str(out)])
    drawn = sorted(out.rglob("*.png"))
    assert len(drawn) == 4
    assert all(str(path) in result.stdout for path in drawn)
    first = read(next(path for path in drawn if path.parent.name == "photos" and path.name == "a.png.png")).rgb
    assert first.shape == (60, 60, 3)
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", "--csv", str(tmp_path / "t.csv")]
    journal = Journal(tmp_path / "t.csv", Predictor(release, Finder(Finding("none"))))
    for answer in answers(Predictor(release, Finder(Finding("none"))), pictures([str(photos)])[:2]):
        journal.add(answer)
    assert run(app, [*arguments, "--draw", str(tmp_path / "more")]).exit_code == 0
    assert len(list((tmp_path / "more").rglob("*.png"))) == 4, "also those that were done before"
    assert (first != read(photos / "a.png").rgb).any()


def test_names_that_are_no_utf_8_are_written_as_text(release, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))).write_bytes(png(size=60))
    for kind in ("csv", "parquet"):
        table = tmp_path / f"faces.{kind}"
        result = run(app, ["predict", str(folder), "--model", str(release), "--detector", "none", f"--{kind}", str(table)])
        assert result.exit_code == 0, result.output
        rows = pd.read_csv(table) if kind == "csv" else pd.read_parquet(table)
        assert rows["image"][0].endswith(r"caf\xe9.png")
    assert r"caf\xe9.png" in run(app, ["predict", str(folder), "--model", str(release), "--detector", "none"]).stdout


def test_a_picture_that_changed_since_is_looked_at_again_and_again_forgets_everything(release, photos, tmp_path):
    table = tmp_path / "faces.csv"
    predictor = Predictor(release, Finder(Finding("none")))
    found = list(answers(predictor, pictures([str(photos)])))
    journal = Journal(table, predictor)
    for answer in found:
        journal.add(answer)
    (photos / "a.png").write_bytes(png(17, size=80))
    assert len(Journal(table, predictor).rows) == 2
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", "--csv", str(table), "--again"]
    assert "done already" not in run(app, arguments).stderr


def test_a_table_is_whole_or_not_there(release, photos, tmp_path, monkeypatch):
    def breaks(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", breaks)
    table = tmp_path / "faces.csv"
    arguments = ["predict", str(photos), "--model", str(release), "--detector", "none", "--csv", str(table)]
    assert "the disk is full" in run(app, arguments).stderr
    assert not table.exists()
    monkeypatch.undo()
    again = run(app, arguments)
    assert "3 pictures were done already" in again.stderr
    assert len(pd.read_csv(table)) == 3


def test_notes_stand_in_the_table_and_only_broken_pictures_make_an_empty_one(release, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    arguments = ["--model", str(release), "--detector", "none", "--csv"]
    assert run(app, ["predict", str(folder), *arguments, str(tmp_path / "a.csv")]).exit_code == 0
    assert "first of 3" in pd.read_csv(tmp_path / "a.csv")["notes"][0]
    (folder / "moving.gif").write_bytes(b"junk")
    assert run(app, ["predict", str(folder), *arguments, str(tmp_path / "b.csv")]).exit_code == 1
    assert pd.read_csv(tmp_path / "b.csv").columns.tolist() == ["image", "faces"]


@pytest.mark.parametrize(
    ("inputs", "words"), [(["~nosuch/x.jpg"], "~nosuch"), (["{folder}", "--csv", "{folder}"], "is a folder")]
)
def test_mistakes_are_said_before_any_work(inputs, words, release, photos):
    arguments = [text.format(folder=photos) for text in inputs]
    result = run(app, ["predict", *arguments, "--model", str(release), "--detector", "none"])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
