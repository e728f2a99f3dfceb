import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import png

import ferflow.datasets.parquet as source
from ferflow.datasets import DataError, Part
from ferflow.vocabulary import MANIFEST_COLUMNS


def write(path, rows, **options):
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def rows(path, **options):
    return list(source.load(path, seed=0, **options))


FACE = png(0, size=8)


def test_bytes_and_paths_give_the_same_rows(tmp_path):
    labels = [{"id": "a", "expression": "happy", "age": 3.0, "votes": [1] * 8, "problem": None}]
    labels.append({"id": "b", "age": float("nan"), "problem": "x"})
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number, size=8))
    found = rows(write(tmp_path / "faces.parquet", [{**row, "image": png(n, size=8)} for n, row in enumerate(labels)]))
    assert found == [
        {"id": "a", "image": FACE, "source": "faces", "expression": "happy", "age": 3.0, "votes": [1] * 8},
        {"id": "b", "image": png(1, size=8), "source": "faces", "problem": "x"},
    ]
    named = [{**row, "image": f"{n}.png"} for n, row in enumerate(labels)]
    assert rows(write(tmp_path / "faces.parquet", named)) == found
    (tmp_path / "tables").mkdir()
    assert rows(write(tmp_path / "tables/faces.parquet", named), images="..") == found


def test_a_manifest_of_this_project_is_read_as_it_was(manifest, drawn_rows):
    found = rows(manifest)
    assert [row["id"] for row in found] == [row["id"] for row in drawn_rows]
    for row, drawn in zip(found, drawn_rows, strict=True):
        assert row["image"] == drawn["image"] and row["expression"] == drawn["expression"]
        assert row["age"] == pytest.approx(drawn["age"]) and set(row) <= set(MANIFEST_COLUMNS) - {"width", "height"}


@pytest.mark.parametrize("row_group_size", [1, 3, 7, 1000])
def test_shares_in_their_order_are_the_whole(row_group_size, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_ROWS_AT_ONCE", 2)
    path = write(tmp_path / "t.parquet", [{"image": FACE, "age": float(n)} for n in range(10)], row_group_size=row_group_size)
    whole = rows(path)
    assert [(row["id"], row["age"]) for row in whole] == [(f"t-{n:06d}", n) for n in range(10)]
    for count in (2, 3, 20):
        assert [row for index in range(count) for row in rows(path, part=Part(index, count))] == whole


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([{"file": "x"}], "unknown columns file; known: id, image,"),
        ([{"age": 3.0}], "no column image; found age"),
        ([{"image": FACE, "gender": "male"}, {"image": FACE, "gender": "f"}], "row 1: gender is 'f'; known: male, female"),
        ([{"image": FACE, "expression": 3}], "row 0: expression is 3; known: neutral"),
        ([{"image": FACE, "age": "old"}], "row 0: age is 'old'; expected a number from 0 to 129"),
        ([{"image": FACE, "votes": 3}], "row 0: votes are 3; expected 8 counts"),
        ([{"image": FACE, "votes": [1] * 7}], "row 0: votes are"),
        ([{"image": FACE}, {"image": None}], "row 1: no image"),
        ([{"image": "none.png"}], r"row 0: the image none\.png is not in"),
        ([{"image": 3}], "row 0: the image 3 is not in"),
        ([{"image": FACE, "id": 7}, {"image": FACE, "id": 7}], "row 1: the id '7' is taken by .*row 0"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_row(table, words, tmp_path):
    path = write(tmp_path / "faces.parquet", table)
    with pytest.raises(DataError, match=words) as error:
        rows(path)
    assert str(path) in str(error.value)


def test_what_is_no_whole_table_is_named(tmp_path):
    path = write(tmp_path / "faces.parquet", [{"image": FACE}])
    pq.write_table(pq.read_table(path).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"empty\.parquet has no row"):
        rows(tmp_path / "empty.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"faces\.parquet cannot be read as a Parquet file"):
        rows(path)
    with pytest.raises(DataError, match=r"none\.parquet cannot be read"):
        rows(tmp_path / "none.parquet")
