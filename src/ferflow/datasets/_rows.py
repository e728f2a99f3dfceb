"""Rows of tables that have the manifest's own columns: text to values, and the check against the vocabulary.

Shared by the sources that read such tables (``csv``, ``parquet``) and, for ages, by those that know only a range.
Every error is a ``DataError`` that begins with ``where``: the file and its line or row.
"""

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from ferflow.datasets import DataError, Row, Rows
from ferflow.datasets._files import Files
from ferflow.vocabulary import EXPRESSIONS, GENDERS, MANIFEST_COLUMNS, RACES, SPLITS

_NAMES = {"official_split": SPLITS, "expression": EXPRESSIONS, "gender": GENDERS, "race": RACES}
_NUMBERS = {"valence": (-1, 1), "arousal": (-1, 1), "age": (0, 129)}
_TEXT = ("id", "source", "subject", "problem")
_MEASURED = ("width", "height")  # the manifest's writer takes them from the picture
_MOST_VOTES = 32_767  # int16


def years(group: str) -> float:
    """The middle of a range of ages such as ``20-29``, in years (24.5); an open range such as ``90+`` counts as its beginning.

    Raises ``ValueError`` when it is no such range.
    """
    first, _, last = group.removesuffix("+").partition("-")
    return (int(first) + int(last or first)) / 2


def check_columns(name: str, found: Collection[str]) -> None:
    """``DataError`` unless ``found`` are columns of the manifest with ``image`` among them."""
    if unknown := sorted(set(found) - set(MANIFEST_COLUMNS)):
        raise DataError(f"{name}: unknown columns {', '.join(unknown)}; known: {', '.join(MANIFEST_COLUMNS)}")
    if "image" not in found:
        raise DataError(f"{name}: no column image; found {', '.join(found) or 'nothing'}")


def parse(where: str, cells: dict[str, str]) -> Row:
    """A row of text as values: empty is null, numbers are numbers, votes are numbers separated by spaces."""
    row: Row = {}
    for column, cell in cells.items():
        text = cell.strip()
        try:
            if not text or column in _MEASURED:
                row[column] = None
            elif column == "votes":
                row[column] = [int(vote) for vote in text.split()]
            else:
                row[column] = float(text) if column in _NUMBERS else text
        except ValueError as error:
            raise DataError(f"{where}: {column} is {text!r}, which is no number") from error
    return row


def checked(where: str, row: Row) -> Row:
    """The row without its nulls and sizes, if every value is one that the manifest may hold; else a ``DataError``."""
    row = {column: value for column, value in row.items() if column not in _MEASURED and value is not None and value == value}
    for column, value in row.items():
        if column in _NAMES and value not in _NAMES[column]:
            raise DataError(f"{where}: {column} is {value!r}; known: {', '.join(_NAMES[column])}")
        if column in _NUMBERS and not _is_between(value, *_NUMBERS[column]):
            low, high = _NUMBERS[column]
            raise DataError(f"{where}: {column} is {value!r}; expected a number from {low} to {high}")
        if column == "votes" and not _are_votes(value):
            raise DataError(f"{where}: votes are {value}; expected {len(EXPRESSIONS)} counts, for {', '.join(EXPRESSIONS)}")
    if not row.get("image"):
        raise DataError(f"{where}: no image")
    return row | {column: str(row[column]) for column in _TEXT if column in row}


def _is_between(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high


def _are_votes(value: Any) -> bool:
    counts = isinstance(value, list) and all(isinstance(vote, int) and 0 <= vote <= _MOST_VOTES for vote in value)
    return counts and len(value) == len(EXPRESSIONS)


def picture(where: str, files: Files, name: str) -> bytes:
    """The bytes of the file that a table names; ``DataError`` when it is not among ``files`` or cannot be read."""
    path = PurePosixPath(name.replace("\\", "/")).as_posix()
    if path not in files:
        raise DataError(f"{where}: the image {name} is not in {files.path}")
    try:
        return files.read(path)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def unique(rows: Iterable[tuple[str, Row]]) -> Rows:
    """The rows of ``(where, row)`` pairs; ``DataError`` with both places when an id occurs twice."""
    seen: dict[str, str] = {}
    for where, row in rows:
        if (first := seen.setdefault(row["id"], where)) is not where:
            raise DataError(f"{where}: the id {row['id']!r} is taken by {first}")
        yield row
