"""Every source on files in its official layout: labels, splits and subjects, shares, and what is wrong by name."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ACTION_UNITS, png

from ferflow.datasets import WHOLE, About, DataError, Part, about
from ferflow.datasets import ferplus as ferplus_module
from ferflow.datasets.fairface import RACE as RACES
from ferflow.images import image_size
from ferflow.ingestion import join
from ferflow.registry import get, names
from ferflow.tables import write_rows
from ferflow.vocabulary import EXPRESSIONS

PIXELS = " ".join(str(i % 256) for i in range(48 * 48))
VOTES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def write(root: Path, name: str, content: bytes | str | None = None) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    data = png(zlib.crc32(name.encode()) % 1000) if content is None else content
    (root / name).write_bytes(data.encode() if isinstance(data, str) else data)


def fer2013(root):
    lines = (f"{emotion},{usage},{PIXELS}\n" for emotion, usage in ((0, "Training"), (3, "PublicTest"), (6, "PrivateTest")))
    write(root, "icml_face_data.csv", "emotion, Usage, pixels\n" + "".join(lines))
    return root / "icml_face_data.csv", {}


def ferplus(root):
    usage = ["Training", "Training", "PublicTest", "PrivateTest", "Training", "Training"]
    write(root, "fer2013.csv", "emotion,pixels,Usage\n" + "".join(f"0,{PIXELS},{name}\n" for name in usage))
    votes = ["4,0,0,1,3,2,0,0,0,0", "5,5,0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,9,1,0", "0,0,8,0,0,0,2,0,0,0", "1,0,0,0,0,0,0,0,0,9",
             "0,0,0,0,0,0,0,0,0,10"]  # fmt: skip
    images = [f"fer{i:07d}.png" for i in range(5)] + [""]
    write(root, "fer2013new.csv", VOTES + "".join(f"{u},{i},{v}\n" for u, i, v in zip(usage, images, votes, strict=True)))
    return root, {}


def affectnet(root):
    values = np.linspace(-1, 1, 8)
    rows = [f"img/{number}.jpg,{number},{value},{-value}" for number, value in enumerate(values)]
    for number in range(8):
        write(root, f"img/{number}.jpg")
    write(root, "seeds.csv", "image_path,emotion,valence,arousal\n" + "\n".join(rows) + "\n")
    return root / "seeds.csv", {}


def rafdb(root):
    for name in ("train_00001", "train_00002", "test_0001"):
        write(root, f"basic/Image/aligned/{name}_aligned.jpg")
    write(root, "basic/EmoLabel/list_patition_label.txt", "train_00001.jpg 5\ntrain_00002.jpg 1\ntest_0001.jpg 7\n")
    write(root, "basic/Annotation/manual/train_00001_manu_attri.txt", "1\t2\n3\t4\n1\n2\n3\n")
    return root, {}


def ckplus(root):
    for name in ("anger/S010_004_00000017.png", "happy/S010_006_00000013.png", "contempt/S138_008_00000007.png"):
        write(root, name)
    return root, {}


def jaffe(root):
    for name in ("KA.AN1.39.tiff", "KA.HA2.30.tiff", "YM.NE3.51.tiff"):
        write(root, name)
    return root, {}


def sfew(root):
    for name in (
        "Train/Angry/AlexEmma_000416200_00000028.png",
        "Val/Happy/Hangover_005111400_00000016.png",
        "Test/Twilight_1_2.png",
    ):
        write(root, name)
    return root, {}


def afewva(root):
    frames = {f"{i:05d}": {"landmarks": [[20, 20], [60, 60]], "valence": 5.0 - i, "arousal": -10.0} for i in range(3)}
    for number in frames:
        write(root, f"001/{number}.png", png(size=100))
    write(root, "001/001.json", json.dumps({"video_id": "001", "actor": "Ann Doe", "frames": frames}))
    return root, {}


def utkface(root):
    for name in ("26_1_2_2017.jpg.chip", "100_0_4_2016.jpg.chip", "39_1_2016.jpg.chip", "61_3_1_2017", "200_0_1_2"):
        write(root, f"UTKFace/{name}.jpg")
    return root, {}


def fairface(root):
    ages = ["0-2", "03-Sep", "Oct-19", "more than 70", "19-Oct", "3-9", "50-59"]
    rows = enumerate(zip(ages, RACES, strict=True))
    lines = [f"train/{i}.jpg,{age},{'Male' if i % 2 else 'Female'},{race},True\n" for i, (age, race) in rows]
    for i in range(7):
        write(root, f"train/{i}.jpg")
    write(root, "val/1.jpg")
    write(root, "fairface_label_train.csv", "file,age,gender,race,service_test\n" + "".join(lines))
    write(root, "fairface_label_val.csv", "file,age,gender,race,service_test\nval/1.jpg,20-29,Male,White,False\n")
    return root, {}


def folder(root):
    for name in ("train/Happiness/a.png", "train/angry/b.png", "valid/sad/c.png", "test/sad/c.png"):
        write(root, name)
    return root, {}


def csv(root):
    write(root, "img/a.png")
    write(root, "img/b.png")
    text = "id,image,expression,valence,age,votes,subject\nx,a.png,happy,0.5,30,0 9 1 0 0 0 0 0,ann\ny,b.png,,,,,\n"
    write(root, "table.csv", text)
    return root / "table.csv", {"images": "img"}


def parquet(root):
    first = {"id": "a", "image": png(1), "expression": "sad", "votes": [1, 2, 3, 0, 0, 0, 0, 0]}
    write_rows([first, {"id": "b", "image": png(2), "age": 3.0}], root / "part.parquet")
    join([root / "part.parquet"], root / "manifest.parquet")
    return root / "manifest.parquet", {}


def union(root):
    fer2013(root)
    utkface(root / "faces")
    folder(root / "own")
    sources = {
        "fer": {"source": "fer2013", "path": "icml_face_data.csv", "options": {"usage": {"PublicTest": "test"}}},
        "utk": {"source": "utkface", "path": "faces"},
        "own": {"source": "folder", "path": "own", "official": False},
    }
    return root, {"sources": sources}


def synthetic(root):
    return ACTION_UNITS, {"count": 9, "size": 32}


MADE = (
    fer2013,
    ferplus,
    affectnet,
    rafdb,
    ckplus,
    jaffe,
    sfew,
    afewva,
    utkface,
    fairface,
    folder,
    csv,
    parquet,
    union,
    synthetic,
)
LAYOUTS = {function.__name__: function for function in MADE}
FOLDERS = sorted(set(names("datasets")) - {"synthetic", "csv", "parquet", "union", "fer2013", "affectnet", "folder"})


class Made:
    """The rows of sources whose files lie in one folder each."""

    def __init__(self, root: Path) -> None:
        self.root, self.known = root, {}

    def layout(self, name: str) -> tuple[Path, dict]:
        if name not in self.known:
            (self.root / name).mkdir()
            self.known[name] = LAYOUTS[name](self.root / name)
        return self.known[name]

    def __call__(self, name: str, part: Part = WHOLE, path: Path | None = None, **changed) -> list[dict]:
        where, options = self.layout(name)
        return list(get("datasets", name)(path or where, seed=0, part=part, **{**options, **changed}))


@pytest.fixture
def rows(tmp_path) -> Made:
    return Made(tmp_path)


def by_id(found: list[dict], *columns: str) -> dict:
    return {row["id"]: tuple(row.get(column) for column in columns) for row in found}


@pytest.mark.parametrize("name", names("datasets"))
def test_a_source_gives_rows_of_the_manifest_and_its_shares_are_the_whole(name, rows, tmp_path):
    whole = rows(name)
    assert len(whole) >= 2
    assert len({row["id"] for row in whole}) == len(whole)
    assert write_rows(whole, tmp_path / "rows.parquet") == len(whole)
    assert all(image_size(row["image"])[0] > 0 for row in whole)
    for count in (2, 3, 7):
        assert [row for index in range(count) for row in rows(name, Part(index, count))] == whole


@pytest.mark.parametrize("name", names("datasets"))
def test_a_source_says_what_it_is_and_how_one_gets_it(name):
    found = about(name)
    assert isinstance(found, About)
    assert all((found.title, found.faces, found.terms, found.layout))
    assert found.kaggle or found.remotes or found.by_hand
    assert not (found.agreement and (found.kaggle or found.remotes)), "what asks for a signature is never fetched"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_zip_is_read_as_the_folder_is(name, rows, tmp_path):
    path, _ = rows.layout(name)
    shutil.make_archive(str(tmp_path / "packed"), "zip", path)
    assert rows(name, path=tmp_path / "packed.zip") == rows(name)


@pytest.mark.parametrize("name", [*FOLDERS, "fer2013", "affectnet", "folder"])
def test_an_empty_folder_and_a_missing_path_are_named(name, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(DataError, match=str(path)):
            list(get("datasets", name)(path, seed=0))


def test_ferplus_votes_decide_and_ties_unknown_and_no_face_are_problems(rows):
    found = rows("ferplus")
    assert [row.get("expression") for row in found] == ["neutral", None, "contempt", "surprise", None, None]
    assert [row["official_split"] for row in found] == ["train", "train", "val", "test", "train", "train"]
    assert found[0]["votes"] == [4, 0, 1, 0, 0, 2, 3, 0]  # in the vocabulary's order
    assert [row.get("problem") for row in found] == [
        None, "FER+: as many votes for neutral as for happiness", None, None, "FER+: most votes for not a face",
        "FER+ took this image out",
    ]  # fmt: skip


def test_ferplus_in_folders(rows, tmp_path):
    for part, name in (("Train", "fer0000000"), ("Valid", "fer0028638"), ("Test", "fer0032220")):
        write(tmp_path / "f", f"FER2013{part}/{name}.png")
        write(tmp_path / "f", f"FER2013{part}/label.csv", f'{name}.png,"(0, 0, 48, 48)",0,9,0,0,0,0,0,0,1,0\n')
    assert by_id(rows("ferplus", path=tmp_path / "f"), "expression", "official_split") == {
        "ferplus-fer0000000": ("happy", "train"), "ferplus-fer0028638": ("happy", "val"), "ferplus-fer0032220": ("happy", "test"),
    }  # fmt: skip


def test_ferplus_votes_beside_the_real_fer2013(rows, shared):
    real = rows("ferplus", path=shared / "data/fer2013.zip", votes=str(shared / "data/ferplus_votes.csv"), part=Part(0, 8))
    assert len(real) == 32298 // 8
    assert sum(row.get("problem") is None for row in real) > 0.8 * len(real)
    assert all(sum(row["votes"]) <= 10 * len(real) for row in real if "votes" in row)
    kept = rows(
        "ferplus",
        path=shared / "data/fer2013.zip",
        votes=str(shared / "data/ferplus_votes.csv"),
        part=Part(0, 8),
        labels="original",
    )
    assert len(kept) == len(real)
    assert all(row["expression"] and "problem" not in row for row in kept), "every face keeps FER-2013's own label"
    assert {row.get("expression") for row in real} == {*EXPRESSIONS, None}


def test_affectnet_in_its_three_forms(rows, tmp_path):
    found = rows("affectnet")
    assert [row["expression"] for row in found] == list(EXPRESSIONS)
    assert (found[0]["valence"], found[0]["arousal"]) == (-1, 1)
    box = "10,20,30,40,1;2"
    write(tmp_path / "o", "images/1/a.jpg", png(size=100))
    write(tmp_path / "o", "images/1/b.jpg", png(size=100))
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    write(tmp_path / "o", "training.csv", header + f"1/a.jpg,{box},1,0.5,-2\n")
    write(tmp_path / "o", "validation.csv", header + f"1/b.jpg,{box},10,-2,-2\n")
    official = rows("affectnet", path=tmp_path / "o", images="images")
    assert by_id(official, "expression", "valence", "arousal", "official_split", "problem") == {
        "affectnet-1/a": ("happy", 0.5, None, "train", None), "affectnet-1/b": (None, None, None, "test", "annotated as no face"),
    }  # fmt: skip
    assert image_size(official[0]["image"]) == (30, 40)
    write(tmp_path / "l", "anger/image1.jpg")
    write(tmp_path / "l", "labels.csv", ",pth,label,relFCs\n0,anger/image1.jpg,surprise,0.87\n")
    assert [row["expression"] for row in rows("affectnet", path=tmp_path / "l")] == ["surprise"]


def test_ckplus_has_subjects(rows):
    assert by_id(rows("ckplus"), "subject", "expression") == {
        "ckplus-S010_004_00000017": ("S010", "anger"), "ckplus-S010_006_00000013": ("S010", "happy"),
        "ckplus-S138_008_00000007": ("S138", "contempt"),
    }  # fmt: skip


def test_jaffe_has_subjects(rows):
    assert by_id(rows("jaffe"), "subject", "expression") == {
        "jaffe-KA.AN1.39": ("KA", "anger"), "jaffe-KA.HA2.30": ("KA", "happy"), "jaffe-YM.NE3.51": ("YM", "neutral"),
    }  # fmt: skip


def test_sfew_has_films_and_its_test_has_no_labels(rows):
    found = {row["id"]: row for row in rows("sfew")}
    train, test = found["sfew-train-anger-AlexEmma_000416200_00000028"], found["sfew-test-Twilight_1_2"]
    assert (train["subject"], train["official_split"], train["expression"]) == ("AlexEmma", "train", "anger")
    assert (test["official_split"], test["expression"]) == ("test", None)
    assert "not public" in test["problem"]


def test_afewva_scales_and_cuts_the_face_out(rows):
    found = rows("afewva")
    assert by_id(found, "subject", "valence", "arousal")["afewva-001-00000"] == ("Ann Doe", 0.5, -1.0)
    assert image_size(found[0]["image"]) == (60, 60)  # 40 pixels of landmarks and a quarter on every side
    assert image_size(rows("afewva", crop=False)[0]["image"]) == (100, 100)


def test_rafdb_has_attributes_where_they_are_there(rows):
    assert by_id(rows("rafdb"), "expression", "official_split", "gender", "race") == {
        "rafdb-train_00001": ("sad", "train", "female", "asian"), "rafdb-train_00002": ("surprise", "train", None, None),
        "rafdb-test_0001": ("neutral", "test", None, None),
    }  # fmt: skip


WRONG_CLIP = '{"actor": "a", "frames": {"00000": {"landmarks": [], "valence": 11, "arousal": 0}}}'
WRONG = {
    "ferplus": ("fer2013new.csv", VOTES + "Training,a,1,2\n", "line 2: 4 cells"),
    "affectnet": ("seeds.csv", "image_path,emotion,valence,arousal\nimg/1.jpg,9,0,0\n", "line 2: emotion '9'"),
    "rafdb": ("basic/EmoLabel/list_patition_label.txt", "train_00001.jpg 12\n", "line 1: 'train_00001.jpg 12'"),
    "ckplus": ("bored/S010_004_00000018.png", None, "bored/S010_004_00000018.png is not of the form"),
    "jaffe": ("KA.XX1.39.tiff", None, "KA.XX1.39.tiff is not of the form"),
    "sfew": ("Train/Bored/x_1_2.png", None, "Train/Bored/x_1_2.png does not lie in"),
    "afewva": ("001/001.json", WRONG_CLIP, "frame 00000: valence"),
    "csv": ("table.csv", "image,valence\na.png,7\n", "line 2: valence is 7"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_file_and_row(name, rows, tmp_path):
    rows(name)
    file, content, words = WRONG[name]
    write(tmp_path / name, file, content)
    with pytest.raises(DataError) as error:
        rows(name)
    assert words in str(error.value)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("name", "header", "line", "words"),
    [
        ("affectnet", "image_path,emotion,valence,arousal", "img/99.jpg,1,0,0", "line 2: the image img/99.jpg is not in"),
        ("affectnet", "image_path,emotion,valence,arousal", "img/1.jpg,1,3,0", "valence is 3"),
        ("affectnet", "image_path,emotion,valence,arousal", "img/1.jpg,1,high,0", "valence is 'high'"),
        ("affectnet", "image_path,emotion,valence", "img/1.jpg,1,0", "no column arousal"),
        ("csv", "image,mood", "a.png,1", "unknown columns mood"),
        ("csv", "image,expression", "a.png,bored", "expression is 'bored'"),
        ("csv", "image,votes", "a.png,1 2", "votes are [1, 2]"),
    ],
)
def test_wrong_lines_of_tables_are_named(name, header, line, words, rows):
    path, _ = rows.layout(name)
    path.write_text(f"{header}\n{line}\n")
    with pytest.raises(DataError) as error:
        rows(name)
    assert words in str(error.value)


def test_afewva_names_a_value_that_is_no_number_and_keeps_frames_nobody_annotated(rows, tmp_path):
    afewva(tmp_path / "raw")
    clip = next((tmp_path / "raw").rglob("*.json"))
    (clip.parent / "00077.png").write_bytes(png(7))
    extra = [row for row in rows("afewva", path=tmp_path / "raw") if row.get("problem")]
    assert [(row["id"].endswith("00077"), "no annotation" in row["problem"]) for row in extra] == [(True, True)]
    for wrong in ('"valence": NaN, "arousal": 5', '"valence": 5, "arousal": NaN'):
        clip.write_text('{"actor": "a", "frames": {"00000": {"landmarks": [], WRONG}}}'.replace("WRONG", wrong))
        with pytest.raises(DataError, match="frame 00000: valence and arousal lie between"):
            rows("afewva", path=tmp_path / "raw")
    clip.write_text('{"actor": "a", "frames": {"00000": {"landmarks": [[NaN, 1]], "valence": 1, "arousal": 1}}}')
    with pytest.raises(DataError, match="frame 00000: a landmark is not a number"):
        rows("afewva", path=tmp_path / "raw")


def test_affectnet_reads_a_folder_or_zip_with_one_table_and_keeps_values_of_none(rows, tmp_path):
    write(tmp_path / "s", "img/a.png", png(1))
    write(tmp_path / "s", "list.csv", "image_path,emotion,valence,arousal\nimg/a.png,1,0.5,0.25\n")
    shutil.make_archive(str(tmp_path / "s"), "zip", tmp_path / "s")
    for path in (tmp_path / "s", tmp_path / "s.zip", tmp_path / "s/list.csv"):
        assert [row["expression"] for row in rows("affectnet", path=path)] == ["happy"]
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,expression,valence,arousal\n"
    write(tmp_path / "o", "1/a.png", png(1))
    write(tmp_path / "o", "training.csv", header + "1/a.png,0,0,8,8,8,0.3,0.4\n")
    (found,) = rows("affectnet", path=tmp_path / "o")
    assert (found.get("expression"), found["valence"], found["arousal"], found.get("problem")) == (None, 0.3, 0.4, None)


def test_ferplus_sums_votes_of_a_picture_and_refuses_a_foreign_table(rows, tmp_path):
    write(tmp_path / "f", "train/happy/a.jpg", png(1))
    write(tmp_path / "f", "train/sad/b.jpg", png(2))
    header = "fer2013_image," + ",".join(ferplus_module.COLUMNS) + "\n"
    votes = tmp_path / "votes.csv"
    votes.write_text(header + "a.jpg,0,3,0,0,0,0,0,0,0,0\na.jpg,4,2,0,0,0,0,0,0,0,0\n")
    found = rows("ferplus", path=tmp_path / "f", votes=str(votes))
    assert by_id(found, "expression", "problem") == {
        "ferplus-train-happy-a": ("happy", None), "ferplus-train-sad-b": (None, "votes.csv has no votes for it"),
    }  # fmt: skip
    assert found[0]["votes"][:2] == [4, 5]
    kept = rows("ferplus", path=tmp_path / "f", votes=str(votes), labels="original")
    assert by_id(kept, "expression", "problem") == {
        "ferplus-train-happy-a": ("happy", None),
        "ferplus-train-sad-b": ("sad", None),
    }
    votes.write_text(header + "z.jpg,0,3,0,0,0,0,0,0,0,0\n")
    with pytest.raises(DataError, match=r"none of its pictures, such as z\.jpg, is in"):
        rows("ferplus", path=tmp_path / "f", votes=str(votes))


def test_fer2013_does_not_choose_between_pictures_and_a_table(rows, tmp_path):
    write(tmp_path / "f", "train/happy/a.jpg", png(1))
    write(tmp_path / "f", "fer2013.csv", "emotion,pixels,Usage\n")
    with pytest.raises(DataError, match="give the path of the folders, or of the table, alone"):
        rows("fer2013", path=tmp_path / "f")


def test_ferplus_keeps_pictures_that_no_label_names(rows, tmp_path):
    write(tmp_path / "raw", "FER2013Train/a.png")
    write(tmp_path / "raw", "FER2013Train/label.csv", 'a.png,"(0, 0, 48, 48)",0,9,0,0,0,0,0,0,1,0\n')
    write(tmp_path / "raw", "FER2013Train/extra.png")
    found = {row["id"]: row.get("problem") for row in rows("ferplus", path=tmp_path / "raw")}
    assert found["ferplus-extra"] == "label.csv does not name it"
