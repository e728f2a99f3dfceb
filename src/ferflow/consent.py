"""Crops of people who agreed that theirs may be kept for training: a folder of its own, a day a folder, for a limited time.

It owns the folder's layout, ``YYYY-MM-DD/<prediction id>.png``, and how long a picture lies there. It knows no request and no
database; the id leads to the prediction and to what people said of it.
"""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np

from ferflow.images import encode_png
from ferflow.vocabulary import is_id

_log = logging.getLogger("ferflow.consent")
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_UNFINISHED_S = 3600  # after which a file without its name is what a killed process left


class Crops:
    """The crops in ``folder``, which processes may share. Only the owner of the files may read them.

    ``keep_days``: after which ``purge`` removes a crop. ``leave_free``: bytes of the disk that crops do not use up.
    """

    def __init__(self, folder: Path, keep_days: float, *, leave_free: int = 200_000_000) -> None:
        self._folder, self._keep_days, self._leave_free = Path(folder), keep_days, leave_free
        self._trouble = ""

    def keep(self, prediction: str, crop: np.ndarray) -> bool:
        """Keep an H x W x 3 crop (RGB, uint8); False, and a line in the log of the process, where the disk does not take it.

        ``ValueError`` for an id that is not 32 hexadecimal digits: nothing else becomes a file's name.
        """
        if not is_id(prediction):
            raise ValueError(f"{prediction!r:.60} is no prediction's id (32 hexadecimal digits)")
        day = self._folder / datetime.now(UTC).strftime("%Y-%m-%d")
        unfinished = day / f".{uuid4().hex}.tmp"
        try:
            day.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(day).free < self._leave_free:
                raise OSError(f"less than {self._leave_free / 1e6:.0f} MB are free")
            _write(unfinished, encode_png(crop))
            unfinished.replace(day / f"{prediction}.png")
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            self._say(f"{self._folder}: {error.strerror or error}")
            return False
        self._trouble = ""
        return True

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("consented crops are not kept: %s", trouble)
        self._trouble = trouble

    def paths(self) -> list[Path]:
        """The crops, by day and id."""
        return sorted(self._files())

    def forget(self, prediction: str) -> int:
        """Remove the crop of a prediction; how many there were. ``OSError`` where one cannot be removed."""
        if not is_id(prediction):
            return 0
        found = list(self._folder.glob(f"{_DAY}/{prediction}.png"))
        for path in found:
            path.unlink(missing_ok=True)
            _leave(path.parent)
        return len(found)

    def purge(self) -> int:
        """Remove what is older than ``keep_days``; how many crops went. Those that cannot be removed are logged and stay."""
        gone, oldest = 0, time.time() - self._keep_days * 86_400
        for path in self.paths():
            try:
                if _made(path) < oldest:
                    path.unlink()
                    gone += 1
            except OSError as error:
                _log.warning("a consented crop whose time is over is still there: %s", error)
        for path in self._folder.glob(f"{_DAY}/.*.tmp"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _UNFINISHED_S:
                    path.unlink()
        for day in self._folder.glob(_DAY):
            _leave(day)
        return gone

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob(f"{_DAY}/*.png") if is_id(path.stem))


def _made(path: Path) -> float:
    """When a crop was taken, seconds: the file's time, or the end of its day where that is earlier (a copy has a new time)."""
    try:
        day_over = datetime.strptime(path.parent.name, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        return path.stat().st_mtime
    return min(path.stat().st_mtime, day_over.timestamp())


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _leave(day: Path) -> None:
    """Remove a folder in which nothing is left; ``keep`` makes it again."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    if day.name != today:
        with suppress(OSError):
            day.rmdir()
