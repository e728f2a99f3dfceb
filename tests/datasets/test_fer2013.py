from zipfile import ZipFile

import numpy as np
import pytest
from conftest import png

from ferflow.datasets import DataError, fer2013
from ferflow.images import decode, to_gray

HEADER = "emotion,pixels,Usage\n"
PIXELS = " ".join(["7"] * 48 * 48)


def folder(root, files=("train/angry/Training_1.jpg", "train/happy/Training_2.jpg", "test/sad/PublicTest_3.png")):
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(channels=1))
    return root


def rows(path, **options):
    return list(fer2013.load(path, seed=0, **options))


def test_folder_and_zip_give_the_same_rows(tmp_path):
    source = folder(tmp_path / "fer")
    with ZipFile(tmp_path / "fer.zip", "w") as archive:
        for file in source.rglob("*.*"):
            archive.write(file, f"archive/{file.relative_to(source)}")
    assert rows(source) == rows(tmp_path / "fer.zip")
    found = {row["id"]: (row["official_split"], row["expression"]) for row in rows(source)}
    assert found == {
        "fer2013-train-angry-Training_1": ("train", "anger"),
        "fer2013-train-happy-Training_2": ("train", "happy"),
        "fer2013-test-sad-PublicTest_3": ("test", "sad"),
    }


def test_the_original_csv(tmp_path):
    path = tmp_path / "fer2013.csv"
    ramp = " ".join(str(i % 256) for i in range(48 * 48))
    path.write_text(HEADER + f"0,{PIXELS},Training\n3,{ramp},PublicTest\n6,{PIXELS},PrivateTest\n")
    found = rows(path)
    assert [(r["expression"], r["official_split"]) for r in found] == [("anger", "train"), ("happy", "val"), ("neutral", "test")]
    pixels = to_gray(decode(found[1]["image"]))
    assert np.array_equal(pixels.ravel(), np.arange(48 * 48) % 256)
    assert [r["official_split"] for r in rows(path, usage={"PublicTest": "test"})] == ["train", "test", "test"]


def test_the_csv_of_the_contest_has_names_with_spaces_and_may_lie_in_a_zip(tmp_path):
    path = tmp_path / "icml_face_data.csv"
    path.write_text(f"emotion, Usage, pixels\n2,Training,{PIXELS}\n5,PrivateTest,{PIXELS}\n")
    assert [(r["expression"], r["official_split"]) for r in rows(path)] == [("fear", "train"), ("surprise", "test")]
    with ZipFile(tmp_path / "icml.zip", "w") as archive:
        archive.write(path, "challenges/icml_face_data.csv")
    assert rows(tmp_path / "icml.zip") == rows(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column Usage, emotion, pixels; found a, b"),
        (HEADER, "no row"),
        (HEADER + f"7,{PIXELS},Training\n", "line 2"),
        (HEADER + f"-1,{PIXELS},Training\n", "line 2: emotion -1"),
        (HEADER + f"1,{PIXELS},Training\n1,1 2 3,Training\n", "line 3"),
        (HEADER + f"1,{PIXELS.replace('7', '300', 1)},Training\n", "line 2"),
        (HEADER + f"1,{PIXELS},Holiday\n", "Holiday"),
    ],
)
def test_a_wrong_csv_names_file_line_and_what_was_expected(text, words, tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as error:
        rows(path)
    assert str(path) in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="not there"):
        rows(tmp_path / "nothing.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no face"):
        rows(tmp_path / "empty")
    (tmp_path / "junk.zip").write_bytes(b"PK junk")
    with pytest.raises(DataError, match=r"junk\.zip"):
        rows(tmp_path / "junk.zip")
    with pytest.raises(DataError, match="bored"):
        rows(folder(tmp_path / "fer", ["train/bored/x.jpg"]))


def test_the_real_zip_has_the_known_numbers_of_faces(shared):
    found = rows(shared / "data/fer2013.zip")
    assert sum(row["official_split"] == "train" for row in found) == 28_709
    assert sum(row["official_split"] == "test" for row in found) == 3_589
    assert len({row["id"] for row in found}) == len(found)
    assert {row["expression"] for row in found} == set(fer2013.CSV_CLASSES)
