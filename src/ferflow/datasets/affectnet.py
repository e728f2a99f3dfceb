"""Source ``affectnet``: AffectNet (Mollahosseini et al., 2017): eight expressions, valence and arousal, in colour.

Three layouts. ``image_path,emotion,valence,arousal``: a table of crops, paths relative to it. The official
``training.csv`` and ``validation.csv`` (``subDirectory_filePath, face_x, face_y, face_width, face_height, ..., expression,
valence, arousal``) with the pictures in the folder ``images`` names: the face is cut out of the picture; expression 9
uncertain and 10 no face are a ``problem``, 8 none keeps its valence and arousal where it has them, -2 is no value.
``labels.csv`` (``pth, label, relFCs``) with a folder a class. A folder or a zip with one of these. Numbers
0 to 7 are neutral, happy, sad, surprise, fear, disgust, anger, contempt. The official validation is our test: the official
test was never published.
"""

from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files, expression, table_of
from ferflow.datasets._rows import picture
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
_NONE, _NO_VALUE = 8, -2.0
_OFFICIAL_FILES = {"training.csv": "train", "validation.csv": "test"}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, images: str = "") -> Rows:
    """Rows from a CSV file, or from a folder with one of the layouts; ``images`` is where pictures lie, seen from there.

    Raises ``DataError`` that names the line: a missing picture, an unknown emotion, a value beyond -1 to 1.
    """
    path = Path(path)
    is_table = path.suffix.lower() == ".csv"
    with Files(path.parent if is_table else path) as files:
        tables = {path.name: None} if is_table else _tables(files)
        for number, share in part.of_blocks(len(tables)):
            table, split = list(tables.items())[number]
            yield from _rows(files, table, images, split, share)


def _rows(files: Files, table: str, images: str, split: str | None, part: Part) -> Rows:
    folder = (PurePosixPath(table).parent / images).as_posix()
    first = next(table_of(files, table, ()), None)
    header = set(first[1]) if first else set()
    if set(_OFFICIAL) <= header:
        yield from (_official(files, folder, where, row, split) for where, row in table_of(files, table, _OFFICIAL, part))
    elif set(_FOLDERS) <= header:
        yield from (_from_folders(files, folder, where, row) for where, row in table_of(files, table, _FOLDERS, part))
    else:
        yield from (_from_seed(files, folder, where, row) for where, row in table_of(files, table, _SEED, part))


def _tables(files: Files) -> dict[str, str | None]:
    """The tables of a folder or zip, each with the split that it is."""
    official: dict[str, str | None] = {found: split for name, split in _OFFICIAL_FILES.items() if (found := files.find(name))}
    if official:
        return official
    tables = [name for name in files.names if name.lower().endswith(".csv")]
    if len(tables) == 1:
        return {tables[0]: None}
    raise DataError(f"{files.path}: neither training.csv and validation.csv nor just one table in it, but {tables[:3] or 'none'}")


def _row(files: Files, folder: str, where: str, name: str) -> Row:
    image = picture(where, files, f"{folder}/{name}".removeprefix("./"))
    return {"id": f"affectnet-{name.rpartition('.')[0]}", "image": image, "source": "affectnet"}


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


def _from_seed(files: Files, folder: str, where: str, row: dict[str, str]) -> Row:
    number = _emotion(where, row["emotion"], 7)
    values = {name: _value(where, row, name) for name in ("valence", "arousal")}
    return _row(files, folder, where, row["image_path"]) | {"expression": EXPRESSIONS[number], **values}


def _from_folders(files: Files, folder: str, where: str, row: dict[str, str]) -> Row:
    label = expression(row["label"])
    if label is None:
        raise DataError(f"{where}: the label {row['label']!r} is no expression; known: {', '.join(EXPRESSIONS)}")
    return _row(files, folder, where, row["pth"]) | {"expression": label}


def _official(files: Files, folder: str, where: str, row: dict[str, str], split: str | None) -> Row:
    number = _emotion(where, row["expression"], 10)
    found = _row(files, folder, where, row["subDirectory_filePath"])
    try:
        left, top, width, height = (int(float(row[f"face_{name}"])) for name in ("x", "y", "width", "height"))
    except ValueError as error:
        raise DataError(f"{where}: the face's box is not four numbers: {error}") from error
    found["image"] = _cut(found["image"], left, top, width, height)
    values = {name: _value(where, row, name) for name in ("valence", "arousal")}
    found |= {"official_split": split}
    if number < len(EXPRESSIONS):
        return found | {"expression": EXPRESSIONS[number], **values}
    if number == _NONE and None not in values.values():
        return found | values  # none of the eight expressions, but with valence and arousal
    return found | {"problem": _UNUSABLE[number]}


def _cut(image: bytes, left: int, top: int, width: int, height: int) -> bytes:
    """The face's box out of the picture; the whole picture where it cannot be decoded or the box is not in it."""
    try:
        face = decode(image)[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    except ImageError:
        return image
    return encode_png(face) if face.size else image
