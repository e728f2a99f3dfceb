"""Reading raw files: what is damaged, foreign or dangerous is refused by name."""

from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from conftest import png

from ferflow.datasets import DataError, Part, _files
from ferflow.datasets._files import Files, expression, read_table


def test_shares_in_their_order_are_the_whole():
    items = list(range(11))
    for count in (1, 2, 3, 20):
        assert [item for index in range(count) for item in Part(index, count).of(items)] == items


def test_a_folder_and_a_zip_of_it_have_the_same_files(tmp_path):
    for name in ("b/2.png", "a/1.PNG", "notes.txt", ".hidden.png", "__MACOSX/a.png"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(name.encode())
    with ZipFile(tmp_path / "raw.zip", "w") as archive:
        for file in (tmp_path / "raw").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "raw"))
    for path in (tmp_path / "raw", tmp_path / "raw.zip"):
        with Files(path, {".png"}) as files:
            assert files.names == ["a/1.PNG", "b/2.png"]
            assert files.read("b/2.png") == b"b/2.png"
            assert files.find("2.png") == "b/2.png"
            assert files.find("x.png") is None
            with pytest.raises(DataError, match=r"c\.png"):
                files.read("c.png")


@pytest.mark.parametrize("name", ["../up.png", "/etc/up.png", "a/../../up.png", "C:/up.png"])
def test_a_path_that_climbs_out_of_an_archive_is_refused(name, tmp_path):
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, png())
    with pytest.raises(DataError, match=r"up\.png leads out"):
        Files(tmp_path / "x.zip")


def test_a_file_that_expands_without_bound_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("x.png", b"\0" * 30_000_000)
        archive.writestr("y.png", png() * 20)
    with Files(tmp_path / "bomb.zip") as files:
        with pytest.raises(DataError, match=r"x\.png would unpack to 30000000 bytes"):
            files.read("x.png")
        with pytest.raises(DataError, match=r"y\.png would unpack"):
            files.read("y.png", limit=1000)
    (tmp_path / "large.png").write_bytes(b"0" * 2000)
    with pytest.raises(DataError, match=r"large\.png has 2000 bytes"):
        Files(tmp_path).read("large.png", limit=1000)


def test_damaged_archives_and_files_are_named(tmp_path):
    with ZipFile(tmp_path / "x.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png(size=200))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[200:400] = b"\xff" * 200
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.zip: a\.png is damaged"):
        Files(tmp_path / "x.zip").read("a.png")
    (tmp_path / "no.zip").write_bytes(b"PK junk")
    with pytest.raises(DataError, match=r"no\.zip is neither a folder nor a whole zip"):
        Files(tmp_path / "no.zip")
    with pytest.raises(DataError, match="none is not there"):
        Files(tmp_path / "none")


def test_tables_may_have_spaces_a_mark_and_a_zip_around_them(tmp_path):
    text = "\ufeff a , b\n1,2\n\n3,4\n5,6\n"
    (tmp_path / "t.csv").write_text(text)
    with ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "t.csv", "deep/t.csv")
    rows = [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    assert [row for _, row in read_table(tmp_path / "t.csv", ("a", "b"))] == rows
    assert [row for _, row in read_table(tmp_path / "t.zip", ("a",))] == rows
    whole = list(read_table(tmp_path / "t.csv", ("a",)))
    assert [pair for index in range(3) for pair in read_table(tmp_path / "t.csv", ("a",), Part(index, 3))] == whole
    assert whole[1][0] == f"{tmp_path}/t.csv, line 4"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column a; found nothing"),
        (b"b,c\n1,2\n", "no column a; found b, c"),
        (b"a,b\n1\n", "line 2: 1 cells instead of 2"),
        (b"a,b\n\xe9,1\n", "not UTF-8"),
    ],
)
def test_a_table_that_is_not_as_expected_is_named(data, words, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=words) as error:
        list(read_table(tmp_path / "t.csv", ("a",)))
    assert "t.csv" in str(error.value)


def test_expressions_are_known_in_the_spellings_of_the_sets():
    assert [expression(word) for word in ("Happiness", " angry ", "NE", "Surprise", "bored")] == [
        "happy", "anger", "neutral", "surprise", None,
    ]  # fmt: skip
    assert set(_files._EXPRESSION.values()) == {
        "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
    }  # fmt: skip


def zipped(path, name, content):
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_table_that_expands_without_bound_is_refused_like_a_picture(tmp_path):
    path = zipped(tmp_path / "bomb.zip", "t.csv", b"image\n" + b" " * 30_000_000)
    with pytest.raises(DataError, match=r"t\.csv would unpack to 3000000\d bytes"):
        list(read_table(path, ("image",)))
    (tmp_path / "cell.csv").write_text("image\n" + "x" * 2_000_000)
    with pytest.raises(DataError, match="field larger than field limit"):
        list(read_table(tmp_path / "cell.csv", ("image",)))


def test_a_damaged_or_encrypted_table_in_a_zip_is_named(tmp_path):
    lines = "\n".join(["image", *(f"{number * 7919 % 10007}.png" for number in range(2000))])
    path = zipped(tmp_path / "x.zip", "t.csv", lines)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 50 + whole[250:])
    with pytest.raises(DataError, match=r"x\.zip: t\.csv cannot be read"):
        list(read_table(path, ("image",)))
    locked = bytearray(whole)
    for start in (locked.find(b"PK\3\4") + 6, locked.find(b"PK\1\2") + 8):
        locked[start] |= 1
    path.write_bytes(locked)
    with pytest.raises(DataError, match=r"x\.zip: t\.csv cannot be read: .*encrypted"):
        list(read_table(path, ("image",)))


@pytest.mark.parametrize(("text", "words"), [("a,b\n1,2,3", "3 cells instead of 2"), ("a,b,a\n1,2,3", "column a is there more")])
def test_a_row_that_does_not_fit_its_header_is_no_guess(text, words, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        list(read_table(tmp_path / "t.csv", ("a",)))
