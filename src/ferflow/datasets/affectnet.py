"""Source ``affectnet``: AffectNet (Mollahosseini et al., 2017): eight expressions, valence and arousal, in colour.

Three layouts. ``image_path,emotion,valence,arousal``: a table of crops, paths relative to it. The official
``training.csv`` and ``validation.csv`` (``subDirectory_filePath, face_x, face_y, face_width, face_height, ..., expression,
valence, arousal``) with the pictures in the folder ``images`` names: the face is cut out of the picture; expression 8 none, 9
uncertain and 10 no face are a ``problem``, -2 is no value. ``labels.csv`` (``pth, label, relFCs``) with a folder a class. Numbers
0 to 7 are neutral, happy, sad, surprise, fear, disgust, anger, contempt. The official validation is our test: the official
test was never published.
"""

from pathlib import Path

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files, expression, read_table
from ferflow.images import ImageError, decode, encode_png
from ferflow.registry import register
from ferflow.vocabulary import EXPRESSIONS

ABOUT = About(
    title="AffectNet",
    faces="about 291,000 (8 expressions, cropped) or 420,000 annotated pictures, with valence and arousal",
    terms="non-commercial research, with a signed agreement",
    homepage="https://mohammadmahoor.com/pages/databases/affectnet/",
    layout="a table image_path,emotion,valence,arousal; training.csv and validation.csv; or labels.csv",
    by_hand="the head of a laboratory asks for it on the page above",
    agreement=True,
)
_SEED = ("image_path", "emotion", "valence", "arousal")
_OFFICIAL = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression", "valence", "arousal")
_FOLDERS = ("pth", "label")
_UNUSABLE = {8: "annotated as no expression", 9: "annotated as uncertain", 10: "annotated as no face"}
_NO_VALUE = -2.0
_OFFICIAL_FILES = {"training.csv": "train", "validation.csv": "test"}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, images: str = "") -> Rows:
    """Rows from a CSV file, or from a folder with one of the layouts; ``images`` is where pictures lie, seen from there.

    Raises ``DataError`` that names the line: a missing picture, an unknown emotion, a value beyond -1 to 1.
    """
    path = Path(path)
    tables = {path: None} if path.is_file() else _tables(path)
    for number, (table, split) in enumerate(tables.items()):
        with Files(table.parent / images) as files:
            for share in part.of_block(number, len(tables)):
                yield from _rows(files, table, split, share)


def _rows(files: Files, table: Path, split: str | None, part: Part) -> Rows:
    header = _header(table)
    if set(_OFFICIAL) <= header:
        yield from (_official(files, where, row, split) for where, row in read_table(table, _OFFICIAL, part))
    elif set(_FOLDERS) <= header:
        yield from (_from_folders(files, where, row) for where, row in read_table(table, _FOLDERS, part))
    else:
        yield from (_from_seed(files, where, row) for where, row in read_table(table, _SEED, part))


def _tables(folder: Path) -> dict[Path, str | None]:
    """The tables of a folder, each with the split that it is."""
    official: dict[Path, str | None] = {folder / n: s for n, s in _OFFICIAL_FILES.items() if (folder / n).exists()}
    if official:
        return official
    if (folder / "labels.csv").exists():
        return {folder / "labels.csv": None}
    raise DataError(f"{folder}: no training.csv, validation.csv or labels.csv in it; or give the path of a table")


def _header(table: Path) -> set[str]:
    try:
        with table.open(encoding="utf-8-sig") as file:
            return {name.strip() for name in file.readline().split(",")}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read: {error}") from error


def _row(files: Files, where: str, name: str) -> Row:
    if name not in files:
        raise DataError(f"{where}: the picture {name} is not in {files.path}")
    return {"id": f"affectnet-{name.rpartition('.')[0]}", "image": files.read(name), "source": "affectnet"}


def _value(where: str, row: dict[str, str], name: str) -> float | None:
    try:
        value = float(row[name])
    except ValueError as error:
        raise DataError(f"{where}: {name} is {row[name]!r}, no number") from error
    if value == _NO_VALUE:
        return None
    if not -1 <= value <= 1:
        raise DataError(f"{where}: {name} is {value:g}; it must lie between -1 and 1, or be -2 for none")
    return value


def _emotion(where: str, text: str, most: int) -> int:
    if not text.strip().isdigit() or int(text) > most:
        raise DataError(f"{where}: emotion {text!r} is not a number from 0 to {most}")
    return int(text)


def _from_seed(files: Files, where: str, row: dict[str, str]) -> Row:
    number = _emotion(where, row["emotion"], 7)
    values = {name: _value(where, row, name) for name in ("valence", "arousal")}
    return _row(files, where, row["image_path"]) | {"expression": EXPRESSIONS[number], **values}


def _from_folders(files: Files, where: str, row: dict[str, str]) -> Row:
    label = expression(row["label"])
    if label is None:
        raise DataError(f"{where}: the label {row['label']!r} is no expression; known: {', '.join(EXPRESSIONS)}")
    return _row(files, where, row["pth"]) | {"expression": label}


def _official(files: Files, where: str, row: dict[str, str], split: str | None) -> Row:
    number = _emotion(where, row["expression"], 10)
    found = _row(files, where, row["subDirectory_filePath"])
    try:
        left, top, width, height = (int(float(row[f"face_{name}"])) for name in ("x", "y", "width", "height"))
    except ValueError as error:
        raise DataError(f"{where}: the face's box is not four numbers: {error}") from error
    found["image"] = _cut(found["image"], left, top, width, height)
    values = {name: _value(where, row, name) for name in ("valence", "arousal")}
    labels = {"problem": _UNUSABLE[number]} if number in _UNUSABLE else {"expression": EXPRESSIONS[number], **values}
    return found | {"official_split": split} | labels


def _cut(image: bytes, left: int, top: int, width: int, height: int) -> bytes:
    """The face's box out of the picture; the whole picture where it cannot be decoded or the box is not in it."""
    try:
        face = decode(image)[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    except ImageError:
        return image
    return encode_png(face) if face.size else image
