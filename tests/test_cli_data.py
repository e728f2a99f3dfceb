import json
import shutil
import subprocess

import pandas as pd
import pytest
from conftest import ACTION_UNITS, ROOT, png
from typer.testing import CliRunner

from ferflow import params
from ferflow.cli import app
from ferflow.datasets import csv, folder, parquet
from ferflow.registry import names
from ferflow.tables import read_labels


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def data(*arguments, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


def test_list_names_every_source_and_how_one_gets_it():
    printed = data("list")
    assert all(name in printed for name in names("datasets"))
    assert "RAF-DB" in printed
    assert "signed agreement" in printed


@pytest.mark.parametrize("command", ["list", "download", "import", "describe", "export", "suspects"])
def test_help_has_an_example(command):
    assert f"Example: ferflow data {command}" in data(command, "--help")


def test_an_agreement_or_an_unknown_name_ends_with_one_message(project):
    assert "signed licence agreement" in data("download", "sfew", code=1)
    assert "known: afewva" in data("download", "imagenet", code=1)


def make_folder(root):
    for name in ("happy/a.png", "sad/b.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(len(name)))
    return root


def test_import_checks_copies_and_makes_it_the_dataset(project):
    printed = data("import", "folder", make_folder(project / "mine"), "--use")
    assert "2 rows can be read, the first is happy/a.png" in printed
    assert "dvc add data/raw/mine" in printed
    assert (project / "data/raw/mine/happy/a.png").exists()
    dataset = params.load().dataset
    assert (dataset.source, str(dataset.path)) == ("folder", "data/raw/mine")
    assert dataset.options == {}
    assert "# Every tunable value" in (project / "params.yaml").read_text()


def test_import_overwrites_nothing_and_names_what_cannot_be_read(project):
    data("import", "folder", make_folder(project / "mine"))
    (project / "other").mkdir()
    make_folder(project / "other/mine")
    assert "is there already; give the new file another name" in data("import", "folder", project / "other/mine", code=1)
    (project / "bad/bored").mkdir(parents=True)
    (project / "bad/bored/x.png").write_bytes(png())
    assert "bored" in data("import", "folder", project / "bad", code=1)
    assert not (project / "data/raw/bad").exists()


def test_import_of_a_table_takes_its_pictures_along_or_says_how(project):
    (project / "new").mkdir()
    (project / "new/a.png").write_bytes(png())
    (project / "new/table.csv").write_text("image,expression\na.png,happy\n")
    assert "import the folder that holds both" in data("import", "csv", project / "new/table.csv", code=1)
    assert not (project / "data/raw/table.csv").exists()
    shutil.make_archive(str(project / "feedback"), "zip", project / "new")
    assert "1 rows can be read" in data("import", "csv", project / "feedback.zip")
    assert "1 rows can be read" in data("import", "csv", project / "new")


def test_import_takes_options_of_the_source_and_reads_to_the_last_row(project):
    for name in ("men/a.png", "women/b.png"):
        (project / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "people" / name).write_bytes(png(len(name)))
    options = ("--option", "task=gender", "--option", "classes={men: male, women: female}")
    assert "2 rows can be read" in data("import", "folder", project / "people", *options, "--use")
    assert params.load().dataset.options == {"task": "gender", "classes": {"men": "male", "women": "female"}}
    assert "unknown options mood; known: task, classes" in data(
        "import", "folder", project / "people", "--option", "mood=1", code=1
    )
    assert "expected KEY=VALUE" in data("import", "folder", project / "people", "--option", "task", code=1)
    (project / "late").mkdir()
    (project / "late/a.png").write_bytes(png())
    lines = [f"{number},a.png,happy" for number in range(9)]
    (project / "late/late.csv").write_text("\n".join(["id,image,expression", *lines, "9,a.png,bored"]))
    assert "line 11: expression is 'bored'" in data("import", "csv", project / "late", code=1)
    assert not (project / "data/raw/late").exists()


def test_import_tracks_what_it_copied_where_there_is_dvc(project):
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    assert "tracked: git add data/raw/mine.dvc" in data("import", "folder", make_folder(project / "mine"))
    assert (project / "data/raw/mine.dvc").exists()


def test_describe_counts_what_a_manifest_holds(manifest, project):
    found = json.loads(data("describe", manifest, "--json"))
    assert found["rows"] == 160
    assert found["expression"]["happy"] == 20
    assert sum(found["age"].values()) == 160
    assert found["size"] == {"32 x 32": 160}
    assert found["problems"] == 0
    assert "happy 20" in data("describe", manifest)
    assert "run the stage ingest" in data("describe", code=1)


def test_an_export_can_be_imported_again(manifest, project):
    labels = read_labels(manifest).set_index("id")
    assert "160 faces" in data("export", "table", "--manifest", manifest)
    again = pd.DataFrame(list(csv.load(project / "table/table.csv", seed=0))).set_index("id")
    assert (again["expression"] == labels["expression"]).all()
    assert again["age"].tolist() == pytest.approx(labels["age"].tolist(), abs=1e-4)
    data("export", "copy", "--manifest", manifest, "--format", "parquet")
    assert len(list(parquet.load(project / "copy/manifest.parquet", seed=0))) == 160
    data("export", "classes", "--manifest", manifest, "--format", "folder")
    assert len(list((project / "classes/happy").glob("*.png"))) == 20
    assert len(list(folder.load(project / "classes", seed=0))) == 160
    assert "nothing is overwritten" in data("export", "classes", "--manifest", manifest, code=1)


def test_suspects_without_a_trained_member_say_what_to_do(project):
    assert "dvc repro train@rgb-cnn" in data("suspects", "rgb-cnn", code=1)
    assert "no member is called 'x'" in data("suspects", "x", code=1)


def test_suspects_of_a_trained_member_are_a_table_and_a_picture(project):
    raw = params.yaml.safe_load((project / "params.yaml").read_text())
    raw["dataset"] |= {"path": str(ACTION_UNITS), "image_size": 32, "options": {"count": 320, "size": 32}}
    member = {"backbone": "cnn", "modality": "gray", "recipe": "none", "epochs": 1, "options": {"width": 4}}
    raw["members"] = {"tiny": member}
    (project / "params.yaml").write_text(params.yaml.safe_dump(raw))
    from ferflow.stages import ingest, split, train, validate

    for stage in (ingest.run, validate.run, split.run, lambda: train.run("tiny")):
        stage()
    assert "reports/data/suspects.csv" in data("suspects", "tiny", "--folds", "3")
    found = pd.read_csv(project / "reports/data/suspects.csv")
    assert list(found.columns) == ["id", "label", "suggested", "quality", "split"]
    assert (found["label"] != found["suggested"]).mean() > 0.9
    assert (project / "reports/data/suspects.png").stat().st_size > 1000
