"""Source ``rafdb``: the basic, aligned part of RAF-DB (Li, Deng, Du, 2017), seven expressions, in colour.

``basic/EmoLabel/list_patition_label.txt`` (so spelt in the original) has lines such as ``train_00001.jpg 5``, with 1 surprise, 2
fear, 3 disgust, 4 happy, 5 sad, 6 anger, 7 neutral; the pictures are ``basic/Image/aligned/train_00001_aligned.jpg``. Where
``basic/Annotation/manual/train_00001_manu_attri.txt`` is there, gender and race come from its last three lines: gender 0 male,
1 female, 2 unsure; race 0 Caucasian, 1 African-American, 2 Asian; a range of ages that is too wide for decades and is not used.
"""

from pathlib import Path

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files
from ferflow.registry import register

ABOUT = About(
    title="RAF-DB (basic)",
    faces="15,339 aligned faces of 100 x 100 in colour, 7 expressions, gender and race",
    terms="non-commercial research, with a signed agreement",
    homepage="http://www.whdeld.cn/RAF/model1.html",
    layout="basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/ (folder or zip)",
    by_hand="write to its authors from the address of your university, as the page above says",
    agreement=True,
)
_EXPRESSIONS = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")  # 1 to 7
_GENDERS = {"0": "male", "1": "female", "2": None}
_RACES = {"0": "white", "1": "black", "2": "asian"}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """Rows with the official split; ``DataError`` names the line, or the file, that is wrong."""
    with Files(Path(path)) as files:
        listing = files.find("list_patition_label.txt")
        if listing is None:
            raise DataError(f"{path}: no list_patition_label.txt; expected basic/EmoLabel/list_patition_label.txt in it")
        root = listing.removesuffix("EmoLabel/list_patition_label.txt")
        lines = [line for line in enumerate(files.text(listing).splitlines(), 1) if line[1].strip()]
        if not lines:
            raise DataError(f"{path}: {listing} is empty")
        for number, line in part.of(lines):
            yield _row(files, root, f"{path}: {listing}, line {number}", line)


def _row(files: Files, root: str, where: str, line: str) -> Row:
    cells = line.split()
    if len(cells) != 2 or cells[1] not in tuple("1234567") or "_" not in cells[0]:
        raise DataError(f"{where}: {line!r} is not of the form 'train_00001.jpg 5' with 1 to 7")
    stem = cells[0].rpartition(".")[0]
    image = f"{root}Image/aligned/{stem}_aligned.jpg"
    if image not in files:
        raise DataError(f"{where}: {image} is not there")
    return {
        "id": f"rafdb-{stem}",
        "image": files.read(image),
        "source": "rafdb",
        "official_split": "test" if stem.startswith("test") else "train",
        "expression": _EXPRESSIONS[int(cells[1]) - 1],
        **_attributes(files, f"{root}Annotation/manual/{stem}_manu_attri.txt"),
    }


def _attributes(files: Files, name: str) -> Row:
    if name not in files:
        return {}
    lines = files.text(name).split("\n")
    values = [line.strip() for line in lines if line.strip()][-3:]
    if len(values) != 3 or values[0] not in _GENDERS or values[1] not in _RACES:
        raise DataError(
            f"{files.path}: {name}: its last three lines must be gender 0 to 2, race 0 to 2, age range; found {values}"
        )
    return {"gender": _GENDERS[values[0]], "race": _RACES[values[1]]}
