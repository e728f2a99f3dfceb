from zipfile import ZipFile

import pytest
from conftest import png

from ferflow.datasets import DataError, Part, utkface

NAMES = (
    "100_0_0_20170112213500903.jpg.chip.jpg",
    "25_1_2_20170116174525125.jpg",
    "deep/1_1_4_20161219140623097.jpg",
    "7_0_3_20170116220224657 .jpg.chip.jpg",  # the set has such a name, and one without the point before jpg
    "55_0_1_20170116232725357jpg.chip.jpg",
)
MALFORMED = {
    "61_1_20170109142408075.jpg.chip.jpg": "has 3 parts; expected <age>_<gender>_<race>_<time>",
    "53__0_20170116184028385.jpg": "has gender ''",
    "117_0_0_20170116184028385.jpg": "has age '117'; expected age 0 to 116",
    "20_2_5_20170116184028385.jpg": "has gender '2', race '5'",
    "-1_0_0_20170116184028385.jpg": "has age '-1'",
    "holiday.jpg": "has 1 parts",
}


def folder(root, names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number, size=8))
    return root


def rows(path, **options):
    return list(utkface.load(path, seed=0, **options))


def test_labels_stand_in_the_name(tmp_path):
    found = {row["id"]: (row["age"], row["gender"], row["race"]) for row in rows(folder(tmp_path, NAMES))}
    assert found == {
        "utkface-100_0_0_20170112213500903": (100, "male", "white"),
        "utkface-25_1_2_20170116174525125": (25, "female", "asian"),
        "utkface-1_1_4_20161219140623097": (1, "female", "others"),
        "utkface-7_0_3_20170116220224657": (7, "male", "indian"),
        "utkface-55_0_1_20170116232725357jpg": (55, "male", "black"),
    }
    assert all(row["source"] == "utkface" and "official_split" not in row and "problem" not in row for row in rows(tmp_path))


def test_folder_and_zip_give_the_same_rows_and_shares_are_the_whole(tmp_path):
    source = folder(tmp_path / "utk", [*NAMES, *MALFORMED])
    with ZipFile(tmp_path / "utk.zip", "w") as archive:
        for file in source.rglob("*.*"):
            archive.write(file, file.relative_to(source))
    whole = rows(source)
    assert rows(tmp_path / "utk.zip") == whole
    for count in (2, 3, 20):
        assert [row for index in range(count) for row in rows(source, part=Part(index, count))] == whole


def test_a_malformed_name_is_a_row_that_says_what_is_wrong(tmp_path):
    found = {row["id"]: row for row in rows(folder(tmp_path, MALFORMED))}
    assert len(found) == len(MALFORMED)
    for name, words in MALFORMED.items():
        row = found["utkface-" + name.partition(".")[0]]
        assert words in row["problem"] and row["id"].removeprefix("utkface-") in row["problem"]
        assert set(row) == {"id", "image", "source", "problem"} and row["image"]


def test_equal_copies_are_read_once_and_different_ones_are_an_error(tmp_path):
    for part in ("UTKFace", "crop_part1"):
        folder(tmp_path / part, NAMES[:1])
    assert [row["id"] for row in rows(tmp_path)] == ["utkface-100_0_0_20170112213500903"]
    (tmp_path / "crop_part1" / NAMES[0]).write_bytes(png(9))
    with pytest.raises(DataError, match=rf"UTKFace/{NAMES[0]} and crop_part1/{NAMES[0]}|crop_part1/.* and UTKFace/.*") as error:
        rows(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.zip is not there"):
        rows(tmp_path / "none.zip")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=f"{tmp_path} holds no picture"):
        rows(tmp_path)


def test_the_real_zip_has_every_face_and_its_three_malformed_names(shared):
    found = rows(shared / "data/utkface_64.zip")
    assert len(found) == len({row["id"] for row in found}) == 20_714
    assert {row["id"]: row["problem"] for row in found if "problem" in row}.keys() == {
        "utkface-39_1_20170116174525125",
        "utkface-61_1_20170109142408075",
        "utkface-61_1_20170109150557335",
    }
    usable = [row for row in found if "problem" not in row]
    assert {row["age"] for row in usable} <= set(range(1, 117))
    assert {row["gender"] for row in usable} == {"male", "female"}
    assert {row["race"] for row in usable} == {"white", "black", "asian", "indian", "others"}
