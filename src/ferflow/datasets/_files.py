"""Raw files for the sources: folders and zip archives read alike, tables with named columns, class names in any spelling.

Nothing is unpacked to disk, and nothing is trusted: paths that climb out, files that expand without bound,
damaged members and foreign encodings are a ``DataError`` that names the file.
"""

import csv
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from ferflow.datasets import WHOLE, DataError, Part

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jfif"})
MAX_FILE_BYTES = 50_000_000
_MAX_RATIO = 100  # no picture and no table of faces packs better
_MAX_TABLE_BYTES = 4_000_000_000
_MAX_CELL = 1_000_000  # characters; the pixels of a 48 x 48 face take 9,000
_DAMAGE = (BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError)
_CLASSES = {
    "neutral": ("neutral", "neutrality", "ne"),
    "happy": ("happy", "happiness", "joy", "ha"),
    "sad": ("sad", "sadness", "sa"),
    "surprise": ("surprise", "surprised", "su"),
    "fear": ("fear", "fearful", "afraid", "fe"),
    "disgust": ("disgust", "disgusted", "di"),
    "anger": ("anger", "angry", "an"),
    "contempt": ("contempt", "contemptuous"),
}
_EXPRESSION = {spelling: name for name, spellings in _CLASSES.items() for spelling in spellings}


def expression(word: str) -> str | None:
    """The vocabulary's name of an expression, however a set spells it; None if it is none."""
    return _EXPRESSION.get(word.strip().lower())


class Files:
    """The files of a folder or of a zip archive: ``names`` in order, with forward slashes, and their bytes."""

    def __init__(self, path: Path, suffixes: Collection[str] | None = None) -> None:
        self.path = path
        self._archive: ZipFile | None = None
        if path.is_dir():
            found = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        elif path.exists():
            try:
                self._archive = ZipFile(path)
            except (BadZipFile, OSError) as error:
                raise DataError(f"{path} is neither a folder nor a whole zip file: {error}") from error
            found = [info.filename for info in self._archive.infolist() if not info.is_dir()]
        else:
            raise DataError(f"{path} is not there")
        found = [name for name in found if "__MACOSX" not in name and not PurePosixPath(name).name.startswith(".")]
        self.names = sorted(name for name in found if suffixes is None or PurePosixPath(name).suffix.lower() in suffixes)
        self._known = frozenset(self.names)
        if climbing := [name for name in found if name.startswith("/") or ".." in PurePosixPath(name).parts or ":" in name[:3]]:
            raise DataError(f"{path}: {climbing[0]} leads out of the archive; that is no honest archive of faces")

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """The bytes of a file; ``DataError`` where it is missing, damaged or larger than ``limit``."""
        if self._archive is None:
            file = self.path / name
            try:
                if (size := file.stat().st_size) > limit:
                    raise DataError(f"{file} has {size} bytes; no face is that large")
                return file.read_bytes()
            except OSError as error:
                raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
        try:
            return self._archive.read(self._honest(self._archive, name, limit))
        except _DAMAGE as error:
            raise DataError(f"{self.path}: {name} is damaged: {error}") from error

    def _honest(self, archive: ZipFile, name: str, limit: int) -> ZipInfo:
        """What the archive says of a file; ``DataError`` where it is not in it or would expand without bound."""
        try:
            info = archive.getinfo(name)
        except KeyError as error:
            raise DataError(f"{self.path}: {name} is not in it") from error
        if info.file_size > limit or info.file_size > _MAX_RATIO * max(info.compress_size, 1) + 65536:
            raise DataError(f"{self.path}: {name} would unpack to {info.file_size} bytes; no face is that large")
        return info

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A table, to be read as it comes; whoever reads it meets what is damaged (``rows_of`` says it)."""
        if self._archive is None:
            with (self.path / name).open("rb") as file:
                yield file
        else:
            with self._archive.open(self._honest(self._archive, name, _MAX_TABLE_BYTES)) as file:
                yield file

    def called(self, name: str) -> str:
        """How errors call a file: its path, or the archive and the file in it."""
        return str(self.path / name) if self._archive is None else f"{self.path}: {name}"

    def text(self, name: str) -> str:
        """A small text file; ``DataError`` where it is not UTF-8."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.called(name)} is not UTF-8 text: {error.reason} at byte {error.start}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def find(self, ending: str) -> str | None:
        """The first file whose path ends in ``ending`` (whole parts of a path)."""
        return next((name for name in self.names if f"/{name}".endswith(f"/{ending}")), None)


def read_table(path: Path, columns: Collection[str], part: Part = WHOLE) -> Iterator[tuple[str, dict[str, str]]]:
    """``(where, row)`` for every row of a CSV file, or of the one CSV file in a zip; ``where`` names file and line.

    Column names lose the spaces around them. Raises ``DataError`` when one of ``columns`` is missing, the file is
    empty, or it is not UTF-8.
    """
    if path.suffix.lower() != ".zip":
        try:
            with path.open("rb") as file:
                yield from rows_of(file, str(path), columns, part)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        return
    with Files(path, {".csv"}) as files:
        if len(files.names) != 1:
            raise DataError(f"{path}: expected one .csv file in it, found {files.names or 'none'}")
        yield from table_of(files, files.names[0], columns, part)


def table_of(files: Files, name: str, columns: Collection[str], part: Part = WHOLE) -> Iterator[tuple[str, dict[str, str]]]:
    """``read_table`` for one of the files of a folder or a zip."""
    where = files.called(name)
    try:
        with files.open(name) as file:
            yield from rows_of(file, where, columns, part)
    except _DAMAGE as error:
        raise DataError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def rows_of(file: IO[bytes], name: str, columns: Collection[str], part: Part = WHOLE) -> Iterator[tuple[str, dict[str, str]]]:
    """``read_table`` for an open file; ``name`` is what errors call it."""
    csv.field_size_limit(_MAX_CELL)
    try:
        reader = csv.reader(TextIOWrapper(file, "utf-8-sig", newline=""))
        header = [column.strip() for column in next(reader, [])]
        if missing := sorted(set(columns) - set(header)):
            raise DataError(f"{name}: no column {', '.join(missing)}; found {', '.join(header) or 'nothing'}")
        if twice := sorted({column for column in header if column and header.count(column) > 1}):
            raise DataError(f"{name}: the column {', '.join(twice)} is there more than once")
        for line, cells in _numbered(reader, part):
            if cells and len(cells) != len(header):
                raise DataError(f"{name}, line {line}: {len(cells)} cells instead of {len(header)}")
            if cells:
                yield f"{name}, line {line}", dict(zip(header, cells, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV file: {error}") from error


def _numbered(reader: Iterator[list[str]], part: Part) -> Iterator[tuple[int, list[str]]]:
    """The rows of a part with their numbers in the file; the header is number 1."""
    if part.count == 1:
        return enumerate(reader, 2)
    rows = list(reader)
    return enumerate(part.of(rows), 2 + part.index * len(rows) // part.count)
