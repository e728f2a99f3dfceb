from zipfile import ZipFile

import pytest
from conftest import png

from ferflow.datasets import DataError, Part, fairface
from ferflow.vocabulary import RACES, age_group

HEADER = "file,age,gender,race,service_test\n"
TRAIN = """train/1.jpg,50-59,Male,East Asian,True
train/2.jpg,0-2,Female,Latino_Hispanic,False
train/3.jpg,03-Sep,Female,Black,False
"""
VAL = "val/1.jpg,more than 70,Male,Middle Eastern,True\nval/2.jpg,Oct-19,Female,Indian,False\n"


def folder(root, train=TRAIN, val=VAL, pictures=("train/1", "train/2", "train/3", "val/1", "val/2")):
    for number, name in enumerate(pictures):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.jpg").write_bytes(png(number, size=8))
    root.mkdir(exist_ok=True)
    (root / "fairface_label_train.csv").write_text(HEADER + train)
    (root / "fairface_label_val.csv").write_text(HEADER + val)
    return root


def rows(path, **options):
    return list(fairface.load(path, seed=0, **options))


def test_labels_splits_and_pictures(tmp_path):
    found = rows(folder(tmp_path))
    assert [(r["id"], r["official_split"], r["age"], r["gender"], r["race"]) for r in found] == [
        ("fairface-train-1", "train", 54.5, "male", "asian"),
        ("fairface-train-2", "train", 1, "female", "others"),
        ("fairface-train-3", "train", 6, "female", "black"),
        ("fairface-val-1", "test", 70, "male", "others"),
        ("fairface-val-2", "test", 14.5, "female", "indian"),
    ]
    assert [row["image"] for row in found] == [png(number, size=8) for number in range(5)]


def test_a_zip_and_shares_give_the_same_rows(tmp_path):
    source = folder(tmp_path / "fairface")
    with ZipFile(tmp_path / "fairface.zip", "w") as archive:
        for file in source.rglob("*.*"):
            archive.write(file, f"fairface/{file.relative_to(source)}")
    whole = rows(source)
    assert rows(tmp_path / "fairface.zip") == whole
    for count in (2, 3, 20):
        assert [row for index in range(count) for row in rows(source, part=Part(index, count))] == whole


def test_every_range_lies_in_its_group_and_every_race_is_one_of_five():
    groups = {name: age_group(age) for name, age in fairface.AGE.items()}
    assert groups.pop("0-2") == groups.pop("3-9") == "0-9"
    assert groups.pop("more than 70") == "70-79"
    assert all(name == group for name, group in groups.items()) and len(groups) == 6
    assert set(fairface.RACE.values()) == set(RACES) and len(fairface.RACE) == 7


@pytest.mark.parametrize(
    ("date", "age"),
    [(date, "3-9") for date in ("03-Sep", "3-Sep", "09-Mar", "9-mar", "Mar-09", "Sep-3", " 3-9 ")]
    + [(date, "10-19") for date in ("Oct-19", "19-Oct", "10-19")]
    + [("10-Oct", "10-Oct"), ("Jan-09", "Jan-09"), ("more than 70", "more than 70")],
)
def test_ranges_that_a_spreadsheet_took_for_dates_are_mended(date, age):
    assert fairface.mended(date) == age


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ("train/1.jpg,10-Oct,Male,White,True\n", "line 2: age is '10-Oct'; known: 0-2, 3-9"),
        (TRAIN + "train/4.jpg,0-2,Other,White,True\n", "line 5: gender is 'Other'; known: Male, Female"),
        ("train/1.jpg,0-2,Male,Martian,True\n", "line 2: race is 'Martian'; known: White, Black"),
        ("train/1.jpg,0-2,Male,White,True\ntrain/9.jpg,0-2,Male,White,True\n", r"line 3: the image train/9\.jpg is not in"),
        ("train/1.jpg,0-2\n", "line 2: 2 cells instead of 5"),
        ("train/1.jpg,0-2,Male,White,True\ntrain/1.jpg,0-2,Male,Black,True\n", "line 3: the id 'fairface-train-1' is .*line 2"),
        ("../1.jpg,0-2,Male,White,True\n", r"line 2: the image \.\./1\.jpg is not in"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_with_file_and_line(train, words, tmp_path):
    with pytest.raises(DataError, match=words) as error:
        rows(folder(tmp_path, train=train))
    assert str(tmp_path / "fairface_label_train.csv") in str(error.value)


def test_missing_tables_columns_and_rows_are_named(tmp_path):
    with pytest.raises(DataError, match="no row"):
        rows(folder(tmp_path / "a", train="", val=""))
    (tmp_path / "a/fairface_label_val.csv").write_text("file,age\n")
    with pytest.raises(DataError, match=r"fairface_label_val\.csv: no column gender, race; found file, age"):
        rows(tmp_path / "a")
    (tmp_path / "a/fairface_label_val.csv").unlink()
    with pytest.raises(DataError, match=r"fairface_label_val\.csv is not there"):
        rows(tmp_path / "a")
    with pytest.raises(DataError, match="nothing is not there"):
        rows(tmp_path / "nothing")
