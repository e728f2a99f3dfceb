"""One file over HTTP: with a progress bar, a timeout, resume and checksum. It knows neither data sets nor models.

What speaks HTTP is imported when something is fetched: every prediction loads this module, and none fetches.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_BLOCK = 1 << 18
_SILENCE = 30  # seconds without a byte


class DownloadError(RuntimeError):
    """A file that cannot be fetched; the message says what to do by hand."""


@dataclass(frozen=True)
class Remote:
    """One file on a server: its address and, where it is known, its SHA-256."""

    url: str
    sha256: str = ""


def fetch(remote: Remote, folder: Path) -> Path:
    """Fetch one file, going on where an earlier attempt stopped; ``DownloadError`` when its checksum is wrong.

    The file appears under its name only when it is whole; until then it ends in ``.part``.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlsplit

    target = folder / Path(urlsplit(remote.url).path).name
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    try:
        _receive(remote.url, part)
    except HTTPError as error:
        raise DownloadError(f"{remote.url}: {error.code} {error.reason}") from error
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise DownloadError(f"{remote.url} broke off ({error}); the same command goes on from there") from error
    except URLError as error:
        raise DownloadError(f"{remote.url} cannot be reached: {error.reason}") from error
    if remote.sha256 and (found := sha256(part)) != remote.sha256:
        bad = part.replace(target.with_name(target.name + ".bad"))
        raise DownloadError(f"{remote.url} has the SHA-256 {found}, expected {remote.sha256}; what came is kept as {bad}")
    return part.replace(target)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(url: str, part: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urlopen(request, timeout=_SILENCE)
    except HTTPError as error:
        if have and error.code == 416:  # it was all there
            return
        raise
    with reply:
        goes_on = reply.status == 206
        total = int(reply.headers.get("Content-Length") or 0) + (have if goes_on else 0)
        with part.open("ab" if goes_on else "wb") as file, _bar() as bar:
            task = bar.add_task(part.stem, total=total or None, completed=have if goes_on else 0)
            while block := reply.read(_BLOCK):
                file.write(block)
                bar.advance(task, len(block))
    if total and part.stat().st_size < total:
        raise DownloadError(f"{url} stopped after {part.stat().st_size} of {total} bytes; the same command goes on from there")


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
