from zipfile import ZipFile

import pytest
from conftest import png

import ferflow.datasets.csv as source
from ferflow.datasets import DataError, Part, _files

TABLE = """image,id,official_split,subject,expression,valence,arousal,age,gender,race,votes,problem,width,height
a/1.png,one,train,ann,happy,0.5,-1,24.5,female,asian,0 10 0 0 0 0 0 0,,99,99
a/2.png,,, ,,,,,,,,not a face,,
./b/3.png,three,val,,contempt,,,0,male,others,,,,
"""


def make(root, table=TABLE, names=("a/1.png", "a/2.png", "b/3.png")):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number, size=8))
    (root / "faces.csv").write_text(table)
    return root / "faces.csv"


def rows(path, **options):
    return list(source.load(path, seed=0, **options))


def test_the_standard_library_keeps_its_name():
    assert hasattr(_files.csv, "field_size_limit") and _files.csv is not source


def test_every_column_is_parsed_and_empty_is_null(tmp_path):
    first, second, third = rows(make(tmp_path))
    assert first == {
        "id": "one",
        "image": png(0, size=8),
        "source": "faces",
        "official_split": "train",
        "subject": "ann",
        "expression": "happy",
        "valence": 0.5,
        "arousal": -1.0,
        "age": 24.5,
        "gender": "female",
        "race": "asian",
        "votes": [0, 10, 0, 0, 0, 0, 0, 0],
    }
    assert second == {"id": "faces-000001", "image": png(1, size=8), "source": "faces", "problem": "not a face"}
    assert third["age"] == 0 and third["official_split"] == "val" and third["image"] == png(2, size=8)


def test_images_may_lie_elsewhere(tmp_path):
    path = make(tmp_path, names=())
    make(tmp_path / "pictures")
    assert len(rows(path, images="pictures")) == 3
    with ZipFile(tmp_path / "p.zip", "w") as archive:
        for file in (tmp_path / "pictures").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path / "pictures"))
    assert rows(path, images="p.zip") == rows(path, images=str(tmp_path / "pictures"))


def test_a_zip_holds_table_and_pictures(tmp_path):
    path = make(tmp_path / "mine")
    with ZipFile(tmp_path / "faces.zip", "w") as archive:
        for file in path.parent.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    assert rows(tmp_path / "faces.zip") == rows(path)


def test_shares_in_their_order_are_the_whole(tmp_path):
    path = make(tmp_path)
    for count in (2, 3, 20):
        assert [row for index in range(count) for row in rows(path, part=Part(index, count))] == rows(path)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,age\na/1.png,3\n", r"no column image; found file, age"),
        ("image,mood,size\na/1.png,x,1\n", "unknown columns mood, size; known: id, image,"),
        ("image,age\n", "has a header and no row"),
        ("", "no column image; found nothing"),
        ("image,age\na/1.png,old\n", "line 2: age is 'old', which is no number"),
        ("image,age\na/1.png,3\na/2.png,130\n", "line 3: age is 130.0; expected a number from 0 to 129"),
        ("image,valence\na/1.png,nan\na/2.png,1.1\n", "line 3: valence is 1.1; expected a number from -1 to 1"),
        ("image,expression\na/1.png,joy\n", "line 2: expression is 'joy'; known: neutral, happy"),
        ("image,gender\na/1.png,f\n", "line 2: gender is 'f'; known: male, female"),
        ("image,race\na/1.png,x\n", "line 2: race is 'x'; known: white"),
        ("image,official_split\na/1.png,dev\n", "line 2: official_split is 'dev'; known: train, val, test"),
        ("image,votes\na/1.png,1 2 3\n", "line 2: votes are .1, 2, 3.; expected 8 counts"),
        ("image,votes\na/1.png,1 2 3 4 5 6 7 -8\n", "line 2: votes are"),
        ("image,votes\na/1.png,1 2 3 4 5 6 7 8.5\n", "line 2: votes is '1 2 3 4 5 6 7 8.5', which is no number"),
        ("image,age\n,3\n", "line 2: no image"),
        ("image\na/9.png\n", r"line 2: the image a/9\.png is not in"),
        ("image\n../faces.csv\n", r"line 2: the image \.\./faces\.csv is not in"),
        ("image,id\na/1.png,x\na/2.png,y\nb/3.png,x\n", "line 4: the id 'x' is taken by .*line 2"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(table, words, tmp_path):
    path = make(tmp_path, table)
    with pytest.raises(DataError, match=words) as error:
        rows(path)
    assert str(path) in str(error.value)


def test_a_picture_that_cannot_be_read_is_named_with_its_line(tmp_path, monkeypatch):
    path = make(tmp_path, "image\na/1.png\n")
    monkeypatch.setattr(_files.Files.read, "__defaults__", (10,))
    with pytest.raises(DataError, match=r"line 2: .*a/1\.png has \d+ bytes"):
        rows(path)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv is no CSV table"):
        rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match="nowhere is not there"):
        rows(make(tmp_path), images="nowhere")
