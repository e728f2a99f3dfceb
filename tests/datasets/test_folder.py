from zipfile import ZipFile

import pytest
from conftest import png

from ferflow.datasets import DataError, Part, folder


def make(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number, size=8))
    return root


def rows(path, **options):
    return list(folder.load(path, seed=0, **options))


SPLIT = (
    "train/Happiness/1.png",
    "Train/angry/1.jpg",
    "valid/sad/1.png",
    "validation/sad/1.png",
    "val/fear/1.png",
    "test/NE/a.b.png",
)


def test_splits_and_classes_in_any_spelling(tmp_path):
    found = {row["id"]: (row["official_split"], row["expression"]) for row in rows(make(tmp_path / "mine", *SPLIT))}
    assert found == {
        "train/Happiness/1.png": ("train", "happy"),
        "Train/angry/1.jpg": ("train", "anger"),
        "valid/sad/1.png": ("val", "sad"),
        "validation/sad/1.png": ("val", "sad"),
        "val/fear/1.png": ("val", "fear"),
        "test/NE/a.b.png": ("test", "neutral"),
    }
    assert {row["source"] for row in rows(tmp_path / "mine")} == {"mine"}


def test_classes_without_splits(tmp_path):
    found = rows(make(tmp_path, "happy/1.png", "happy/1.jpg", "contempt/1.png"))
    assert [(r["id"], r["official_split"], r["expression"]) for r in found] == [
        ("contempt/1.png", None, "contempt"),
        ("happy/1.jpg", None, "happy"),
        ("happy/1.png", None, "happy"),
    ]


def test_a_zip_with_folders_around_and_shares_give_the_same_rows(tmp_path):
    source = make(tmp_path / "mine", *SPLIT)
    with ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in source.rglob("*.*"):
            archive.write(file, f"archive/v1/{file.relative_to(source)}")
    whole = rows(source)
    assert rows(tmp_path / "mine.zip") == whole
    for count in (2, 4, 20):
        assert [row for index in range(count) for row in rows(source, part=Part(index, count))] == whole


@pytest.mark.parametrize(
    ("task", "names", "labels"),
    [
        ("gender", ("Female/1.png", "male/1.png"), ["female", "male"]),
        ("race", ("asian/1.png", "others/1.png"), ["asian", "others"]),
        ("age", ("0-9/1.png", "20-29/1.png", "33/1.png", "5.5/1.png", "90+/1.png"), [4.5, 24.5, 33, 5.5, 90]),
    ],
)
def test_other_tasks(task, names, labels, tmp_path):
    assert [row[task] for row in rows(make(tmp_path, *names), task=task)] == labels


def test_folders_are_mapped_to_classes(tmp_path):
    make(tmp_path, "smiling/1.png", "0/1.png", "sad/1.png")
    assert [row["expression"] for row in rows(tmp_path, classes={"smiling": "happy", 0: "Anger"})] == ["anger", "sad", "happy"]
    make(tmp_path / "ages", "old/1.png", "kid/1.png")
    assert [row["age"] for row in rows(tmp_path / "ages", task="age", classes={"old": "80-89", "kid": 7})] == [7, 84.5]


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["bored/1.png"], {}, r"bored/1\.png lies in 'bored' which is no class .* known: neutral, .*{bored: <one of these>}"),
        (["man/1.png"], {"task": "gender"}, "'man' which is no class of the task gender; known: male, female"),
        (["130/1.png"], {"task": "age"}, "known: 0-9, 10-19"),
        (["15-25/1.png"], {"task": "age"}, "known: 0-9, 10-19"),
        (["nan/1.png"], {"task": "age"}, "known: 0-9, 10-19"),
        (["bored/1.png"], {"classes": {"bored": "tired"}}, "'bored', which .*classes maps to 'tired', which is no class"),
        (["happy/1.png"], {"task": "mood"}, "options.task is 'mood'; known: expression, gender, race, age"),
        (["train/happy/1.png", "testing/sad/1.png"], {}, r"testing/sad/1\.png does not lie as <split>/.* splits train, val"),
        (["train/happy/1.png", "sad/1.png"], {}, r"sad/1\.png does not lie as"),
        (["a/train/sad/1.png", "b/train/sad/1.png"], {}, r"b/train/sad/1\.png does not lie as a/<split>"),
        (["a/sad/1.png", "b/sad/1.png"], {}, r"b/sad/1\.png does not lie as a/<class>/<file>"),
        (["1.png"], {}, r"1\.png does not lie as <class>/<file>"),
        (["notes.txt"], {}, "holds no picture"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(names, options, words, tmp_path):
    with pytest.raises(DataError, match=words) as error:
        rows(make(tmp_path, *names), **options)
    assert str(tmp_path) in str(error.value) or "task" in options


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="none is not there"):
        rows(tmp_path / "none")
