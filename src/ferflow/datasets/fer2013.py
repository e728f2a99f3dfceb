"""Source ``fer2013``: the FER-2013 faces, 48 x 48 grey, seven expressions.

Goodfellow et al., "Challenges in Representation Learning" (2013). Four layouts are read: the folder download
``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, that folder as a zip, the original ``fer2013.csv`` with the
columns ``emotion, pixels, Usage``, and ``icml_face_data.csv``, whose column names have spaces (either also as
the one file in a zip). In the CSV PublicTest is the official validation and PrivateTest the official test, as in
the contest; ``usage`` in the options changes that.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import IMAGES, Files, expression, read_table, table_of
from ferflow.images import encode_png
from ferflow.registry import register

ABOUT = About(
    title="FER-2013",
    faces="35,887 grey faces of 48 x 48, 7 expressions",
    terms="for research; gathered from the web, no licence of the pictures' owners",
    homepage="https://www.kaggle.com/datasets/msambare/fer2013",
    layout="train/<class>/*.jpg and test/<class>/*.jpg (folder or zip), fer2013.csv or icml_face_data.csv",
    kaggle="msambare/fer2013",
)
CSV_CLASSES = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # emotion 0 to 6
_TABLES = ("fer2013.csv", "icml_face_data.csv")
_COLUMNS = ("emotion", "pixels", "Usage")
CSV_USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
SIDE = 48


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, usage: dict[str, str] | None = None) -> Rows:
    """Rows of the manifest from a folder, a zip, or a CSV file; ``seed`` changes nothing here.

    Raises ``DataError`` when the path is not there, holds no face, or a row cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} is not there; put FER-2013's folder, its zip or fer2013.csv at this place")
    names = {**CSV_USAGE, **(usage or {})}
    if path.suffix == ".csv":
        yield from _from_rows(path, read_table(path, _COLUMNS, part), names, part)
        return
    with Files(path, IMAGES | {".csv"}) as files:
        tables = [name for name in files.names if name.endswith(".csv")]
        known = [name for name in tables if PurePosixPath(name).name in _TABLES] or tables
        if not tables:
            yield from _from_files(files, part)
        elif len(known) > 1 or len(tables) < len(files.names):
            raise DataError(f"{path} holds {', '.join(files.names[:3])} …: give the path of the folders, or of the table, alone")
        else:
            yield from _from_rows(path, table_of(files, known[0], _COLUMNS, part), names, part)


def _from_files(files: Files, part: Part) -> Rows:
    if not files.names:
        raise DataError(f"{files.path} holds no face: expected train/<class>/*.jpg and test/<class>/*.jpg")
    for name in part.of(files.names):
        yield file_row(files, name)


def file_row(files: Files, name: str) -> Row:
    """The row of a file ``train|test/<class>/NAME``; anywhere else it is an error, not a guess."""
    parts = PurePosixPath(name).parts
    label = expression(parts[-2]) if len(parts) > 2 and parts[-3] in ("train", "test") else None
    if label is None:
        raise DataError(
            f"{files.path}: {name} does not lie in train/<class>/ or test/<class>/ with <class> one of "
            "angry, disgust, fear, happy, neutral, sad, surprise"
        )
    return {
        "id": "fer2013-" + "-".join((*parts[-3:-1], PurePosixPath(name).stem)),  # a file may lie in two classes
        "image": files.read(name),
        "source": "fer2013",
        "official_split": parts[-3],
        "expression": label,
    }


def _from_rows(path: Path, rows: Iterator[tuple[str, dict[str, str]]], usage: dict[str, str], part: Part) -> Rows:
    empty = True
    for where, row in rows:
        empty = False
        yield csv_row(where, row, usage)
    if empty and part.count == 1:
        raise DataError(f"{path} has a header and no row")


def csv_row(where: str, row: dict[str, str], usage: dict[str, str]) -> Row:
    """The row of a line of the CSV; ``where`` ends in the number of the line."""
    try:
        number = int(row["emotion"])
        if not 0 <= number < len(CSV_CLASSES):
            raise ValueError(f"emotion {number}")
        split = usage[row["Usage"].strip()]
        image = encode_png(pixels(row["pixels"]))
    except KeyError as error:
        raise DataError(f"{where}: Usage {error} is none of {', '.join(usage)}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: {error}; expected emotion 0 to 6, {SIDE * SIDE} pixels from 0 to 255") from error
    return {
        "id": f"fer2013-{int(where.rpartition(' ')[2]) - 2:05d}",
        "image": image,
        "source": "fer2013",
        "official_split": split,
        "expression": CSV_CLASSES[number],
    }


def pixels(text: str) -> np.ndarray:
    """Numbers between spaces as a grey face, 48 x 48, uint8; ``ValueError`` or ``OverflowError`` if they are not that."""
    values = np.array(text.split(), dtype=np.int64)
    if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        raise ValueError(f"{values.size} pixels from {values.min(initial=0)} to {values.max(initial=0)}")
    return values.astype(np.uint8).reshape(SIDE, SIDE)
