"""Source ``fer2013``: the FER-2013 faces, 48 x 48 grey, seven expressions.

Goodfellow et al., "Challenges in Representation Learning" (2013). Three layouts are read: the folder
download ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, that folder as a zip, and the original
``fer2013.csv`` with the columns ``emotion, pixels, Usage``. In the CSV PublicTest is the official
validation and PrivateTest the official test, as in the contest; ``usage`` in the options changes that.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np

from ferflow.datasets import DataError, Row, Rows
from ferflow.images import encode_png
from ferflow.registry import register

FOLDER_CLASSES = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "sad": "sad",
    "surprise": "surprise",
    "neutral": "neutral",
}
CSV_CLASSES = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # emotion 0 to 6
CSV_USAGE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_SIDE = 48
_MAX_FILE_BYTES = 10_000_000


@register
def load(path: Path, *, seed: int, usage: dict[str, str] | None = None) -> Rows:
    """Rows of the manifest from a folder, a zip of it, or ``fer2013.csv``; ``seed`` changes nothing here.

    Raises ``DataError`` when the path is not there, holds no face, or a row cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} is not there; put FER-2013's folder, its zip or fer2013.csv at this place")
    if path.suffix == ".csv":
        return _from_csv(path, {**CSV_USAGE, **(usage or {})})
    return _from_files(path, _zip_files(path) if path.is_file() else _folder_files(path))


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in _IMAGE_SUFFIXES:
            yield file.relative_to(folder).as_posix(), file.read_bytes()


def _zip_files(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if PurePosixPath(info.filename).suffix.lower() in _IMAGE_SUFFIXES:
                    if info.file_size > _MAX_FILE_BYTES:
                        raise DataError(f"{path}: {info.filename} would unpack to {info.file_size} bytes; no face is that large")
                    yield info.filename, archive.read(info)
    except BadZipFile as error:
        raise DataError(f"{path} is neither a folder, a .csv, nor a whole zip file: {error}") from error


def _from_files(path: Path, files: Iterator[tuple[str, bytes]]) -> Rows:
    """Files whose last folders are ``train|test/<class>``; anything else in the archive is an error, not a guess."""
    empty = True
    for name, data in files:
        parts = PurePosixPath(name).parts
        if "__MACOSX" in parts:
            continue
        if len(parts) < 3 or parts[-3] not in ("train", "test") or parts[-2] not in FOLDER_CLASSES:
            classes = "|".join(FOLDER_CLASSES)
            raise DataError(f"{path}: {name} does not lie in train/<class>/ or test/<class>/ with <class> one of {classes}")
        empty = False
        yield {
            "id": "fer2013-" + "-".join((*parts[-3:-1], PurePosixPath(name).stem)),  # a file may lie in two classes
            "image": data,
            "source": "fer2013",
            "official_split": parts[-3],
            "expression": FOLDER_CLASSES[parts[-2]],
        }
    if empty:
        raise DataError(f"{path} holds no face: expected train/<class>/*.jpg and test/<class>/*.jpg")


def _from_csv(path: Path, usage: dict[str, str]) -> Rows:
    csv.field_size_limit(sys.maxsize)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = {"emotion", "pixels", "Usage"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path}: no column {', '.join(sorted(missing))}; found {reader.fieldnames}")
        index = -1
        for index, row in enumerate(reader):
            yield _csv_row(f"{path}, line {index + 2}", index, row, usage)
        if index < 0:
            raise DataError(f"{path} has a header and no row")


def _csv_row(where: str, index: int, row: dict[str, str], usage: dict[str, str]) -> Row:
    try:
        expression = CSV_CLASSES[int(row["emotion"])] if int(row["emotion"]) >= 0 else None
        pixels = np.array(row["pixels"].split(), dtype=np.uint8).reshape(_SIDE, _SIDE)
        split = usage[row["Usage"].strip()]
    except (ValueError, IndexError, OverflowError, AttributeError, TypeError) as error:
        raise DataError(f"{where}: {error}; expected emotion 0 to 6, {_SIDE * _SIDE} pixels from 0 to 255") from error
    except KeyError as error:
        raise DataError(f"{where}: Usage {error} is none of {', '.join(usage)}") from error
    if expression is None:
        raise DataError(f"{where}: emotion {row['emotion']} is not 0 to 6")
    return {
        "id": f"fer2013-{index:05d}",
        "image": encode_png(pixels),
        "source": "fer2013",
        "official_split": split,
        "expression": expression,
    }
