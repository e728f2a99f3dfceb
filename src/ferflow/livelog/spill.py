"""Rows that wait on disk while the database is away: one file of JSON lines a process, in one folder.

A file belongs to the process that holds its lock, which the system takes from a process that dies; then any other may adopt
it. Files are only appended to, read from the front, and removed when everything in them was written. A row that has to be
forgotten is overwritten with blanks where it lies, whoever owns the file. It knows no database and no column.
"""

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ferflow.livelog.rows import Item, from_line, to_line

_BLOCK = 1 << 20


class Spill:
    """One file of the folder; it is made when the first rows come. ``limit`` is that of the whole folder, bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._file: int | None = None
        self._path: Path | None = None
        self._begin = self._next = 0  # of the rows that are not written yet; of those after the ones that were read last
        self._lock = threading.RLock()  # rows are appended by one thread and read by another
        self.rows = 0
        self._read = 0

    def append(self, items: list[Item]) -> bool:
        """Add rows and wait until the disk has them; False, and nothing added, where there is no room."""
        data = b"".join(map(to_line, items))
        with self._lock:
            try:
                if size_of(self._folder) + len(data) > self._limit:
                    return False
                self._open()
                self._write(data)
            except OSError:
                if not self.rows:
                    self._remove()
                return False
            self.rows += len(items)
            return True

    def _open(self) -> None:
        """Lock first, name afterwards: under its name a file always has an owner."""
        if self._file is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        hidden = path.with_suffix(".new")
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._path = hidden
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = hidden.rename(path)
        self._begin = self._next = 0

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        size = os.fstat(self._file).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def read(self, count: int) -> tuple[list[Item], int]:
        """Up to ``count`` rows from the front, and how many lines there are none; they stay until ``done``."""
        with self._lock:
            items: list[Item] = []
            bad = 0
            self._next, self._read = self._begin, 0
            if self._file is None:
                return items, bad
            block = os.pread(self._file, _BLOCK, self._begin)
            for line in block.splitlines(keepends=True)[:count]:
                if not line.endswith(b"\n") and len(block) == _BLOCK and self._next > self._begin:
                    break  # the block ends in the middle of it
                self._next += len(line)
                self._read += 1
                if not line.strip():
                    continue
                try:
                    items.append(from_line(line))
                except (ValueError, TypeError, KeyError):
                    bad += 1
            return items, bad

    def done(self) -> None:
        """The rows that were read last are in the database; an empty file goes."""
        with self._lock:
            self._begin, self.rows = self._next, max(0, self.rows - self._read)
            self._read = 0
            if self._file is not None and self._begin >= os.fstat(self._file).st_size:
                self._remove()

    @property
    def empty(self) -> bool:
        """Whether there is nothing left to read."""
        return self._file is None

    def _remove(self) -> None:
        self.rows = self._begin = self._next = 0
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        self.close()

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = self._path = None

    @classmethod
    def _adopted(cls, path: Path, limit: int) -> "Spill | None":
        found = cls(path.parent, limit)
        try:
            found._file = os.open(path, os.O_RDWR | os.O_APPEND)
            fcntl.flock(found._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(found._file).st_ino:
                raise FileNotFoundError(path)
        except OSError:  # it has an owner, or went just now
            found.close()
            return None
        found._path = path
        with path.open("rb") as file:
            found.rows = sum(1 for _ in file)
        return found


def adopt(folder: Path, limit: int) -> list[Spill]:
    """The files whose processes are gone, oldest first, now ours; empty ones are removed."""
    found = [spill for path in _files(folder) if (spill := Spill._adopted(path, limit))]
    for spill in found:
        if not spill.rows:
            spill.done()
    return [spill for spill in found if not spill.empty]


def size_of(folder: Path) -> int:
    """Bytes of all files of the folder."""
    total = 0
    for path in _files(folder):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _files(folder: Path) -> list[Path]:
    ages = []
    for path in folder.glob("*.jsonl"):
        with suppress(OSError):
            ages.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(ages)]


def holds(folder: Path, prediction: str) -> bool:
    """Whether a prediction lies in any file of the folder."""
    start = _words(prediction)[0]
    return any(line.startswith(start) for path in _files(folder) for _, line in _lines_with(path, prediction))


def forget(folder: Path, prediction: str) -> set[str]:
    """Overwrite a prediction and its feedback with blanks in every file; the keys of the rows that are gone.

    ``OSError`` where a file cannot be written.
    """
    gone = set()
    for path in _files(folder):
        for begin, line in _lines_with(path, prediction):
            try:
                _, row = from_line(line)
            except (ValueError, TypeError, KeyError):
                continue
            gone.add(row.get("key") or row["id"])
            with path.open("r+b") as file:
                file.seek(begin)
                file.write(b" " * (len(line) - 1))
    return gone


def _words(prediction: str) -> tuple[bytes, bytes]:
    return f'["predictions",{{"id":"{prediction}"'.encode(), f'"prediction":"{prediction}"'.encode()


def _lines_with(path: Path, prediction: str) -> Iterator[tuple[int, bytes]]:
    """Where the lines of a prediction begin, and the lines."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for word in _words(prediction):
                end = 0
                while (at := data.find(word, end)) >= 0:
                    begin = data.rfind(b"\n", 0, at) + 1
                    end = data.find(b"\n", at) + 1 or len(data)
                    yield begin, data[begin:end]
