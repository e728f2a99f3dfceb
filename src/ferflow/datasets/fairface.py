"""Source ``fairface``: FairFace, faces balanced over seven race groups, with age range and gender.

Kärkkäinen and Joo, "FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age" (WACV 2021). Read are
``fairface_label_train.csv`` and ``fairface_label_val.csv`` (columns ``file, age, gender, race, service_test``) and the
pictures that they name, such as ``train/1.jpg``, beside them; a folder or a zip. The test set was never published: the
validation set, on which the paper reports, is the official "test" here, and validation is cut out of training.
"""

import re
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import IMAGES, Files, rows_of
from ferflow.datasets._rows import picture, unique, years
from ferflow.registry import register

ABOUT = About(
    title="FairFace",
    faces="86,744 training and 10,954 validation colour faces of 224 x 224, with age range, gender and race",
    terms="CC BY 4.0; the pictures are from Flickr (YFCC-100M) under their own licences",
    homepage="https://github.com/joojs/fairface",
    layout="fairface_label_train.csv, fairface_label_val.csv, train/*.jpg and val/*.jpg (folder or zip)",
    by_hand="the Google Drive links on that page: the pictures (padding 0.25) and the two tables, into one folder",
)
TABLES = {"fairface_label_train.csv": "train", "fairface_label_val.csv": "test"}
GENDER = {"Male": "male", "Female": "female"}
# Seven groups into the five of the vocabulary (UTKFace's, whose "others" are "like Hispanic, Latino, Middle Eastern").
RACE = {
    "White": "white",
    "Black": "black",
    "Indian": "indian",
    "East Asian": "asian",
    "Southeast Asian": "asian",
    "Middle Eastern": "others",
    "Latino_Hispanic": "others",
}
# The middle of each range, in years. 0-2 and 3-9 lie in one group of the vocabulary (0-9), all from 70 on in 70-79.
_RANGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69")
AGE = {**{name: years(name) for name in _RANGES}, "more than 70": 70.0}
_DATE = re.compile(r"0?(\d{1,2})-([a-z]{3})|([a-z]{3})-0?(\d{1,2})")
_MENDED = {("mar", "9"): "3-9", ("sep", "3"): "3-9", ("oct", "19"): "10-19"}  # what spreadsheets make of 3-9 and 10-19
Value = TypeVar("Value")


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """The rows of the training table, then of the validation table; ``seed`` changes nothing here.

    Raises ``DataError`` for a missing table, column or picture, an unknown label, and a file that is named twice.
    """
    with Files(Path(path), IMAGES | {".csv"}) as files:
        rows = [row for table, split in TABLES.items() for row in _table(files, table, split)]
        if not rows:
            raise DataError(f"{path}: the tables have headers and no row")
        for row in part.of(list(unique(rows))):
            where, name = row.pop("image")
            yield {**row, "image": picture(where, files, name)}


def _table(files: Files, table: str, split: str) -> list[tuple[str, Row]]:
    """``(where, row)`` of one table; in place of the picture stand ``where`` and the picture's path."""
    name = files.find(table)
    if name is None:
        raise DataError(f"{files.path}: {table} is not there; FairFace is {ABOUT.layout}")
    where_table = f"{files.path}: {name}" if files.path.is_file() else str(files.path / name)
    found = rows_of(BytesIO(files.read(name)), where_table, ("file", "age", "gender", "race"))
    return [(where, _row(where, cells, PurePosixPath(name).parent, split)) for where, cells in found]


def _row(where: str, cells: dict[str, str], folder: PurePosixPath, split: str) -> Row:
    file = PurePosixPath(cells["file"].strip())
    return {
        "id": "fairface-" + "-".join(file.with_suffix("").parts),
        "image": (where, str(folder / file)),
        "source": "fairface",
        "official_split": split,
        "age": _known(where, "age", AGE, mended(cells["age"])),
        "gender": _known(where, "gender", GENDER, cells["gender"].strip()),
        "race": _known(where, "race", RACE, cells["race"].strip()),
    }


def mended(age: str) -> str:
    """A range of ages that a spreadsheet took for a date (``03-Sep``, ``9-Mar``, ``Oct-19``) as it was; others as they are."""
    date = _DATE.fullmatch(age.strip().lower())
    if date is None:
        return age.strip()
    day, month = date[1] or date[4], date[2] or date[3]
    return _MENDED.get((month, day), age.strip())


def _known(where: str, column: str, table: dict[str, Value], word: str) -> Value:
    if word not in table:
        raise DataError(f"{where}: {column} is {word!r}; known: {', '.join(table)}")
    return table[word]
