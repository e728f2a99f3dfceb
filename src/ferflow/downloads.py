"""Raw data from where its makers keep it: plain files over HTTP, with resume and checksum, and Kaggle through its client.

What asks for a signed agreement is never fetched. Where something cannot be had, the error says what to fetch by hand, and
where to put it. It knows no manifest and no stage.
"""

import hashlib
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from ferflow.datasets import About, Remote

_BLOCK = 1 << 18


class DownloadError(RuntimeError):
    """A set that cannot be fetched; the message says what to do by hand."""


def download(name: str, about: About, folder: Path) -> list[Path]:
    """Fetch a set into ``folder`` and return what came; files that are there already are kept.

    Raises ``DownloadError`` for a set that asks for an agreement, is not ours to fetch, or cannot be reached.
    """
    if about.agreement or not (about.kaggle or about.remotes):
        raise DownloadError(by_hand(name, about, folder))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if about.kaggle:
            return [_from_kaggle(about.kaggle, folder / name)]
        return [fetch(remote, folder) for remote in about.remotes]
    except (OSError, DownloadError) as error:
        raise DownloadError(f"{error}\n{by_hand(name, about, folder)}") from error


def by_hand(name: str, about: About, folder: Path) -> str:
    """What to fetch, from where, under which terms, and where to put it."""
    route = f"https://www.kaggle.com/datasets/{about.kaggle}" if about.kaggle else about.homepage
    lines = [f"{about.title}: {about.by_hand or 'download it'}"]
    lines += [f"  from:   {place}" for place in (route, *(remote.url for remote in about.remotes)) if place]
    lines += [f"  terms:  {about.terms}", f"  layout: {about.layout}"]
    lines += [f"  then:   ferflow data import {name} PATH     (it belongs in {folder})"]
    return "\n".join(lines)


def fetch(remote: Remote, folder: Path) -> Path:
    """Fetch one file, going on where an earlier attempt stopped; ``DownloadError`` when its checksum is wrong."""
    target = folder / Path(urlsplit(remote.url).path).name
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    try:
        _receive(remote.url, part)
    except HTTPError as error:
        raise DownloadError(f"{remote.url}: {error.code} {error.reason}") from error
    except HTTPException as error:
        raise DownloadError(f"{remote.url} broke off ({error}); the same command goes on from there") from error
    except URLError as error:
        raise DownloadError(f"{remote.url} cannot be reached: {error.reason}") from error
    if remote.sha256 and (found := _sha256(part)) != remote.sha256:
        bad = part.replace(target.with_name(target.name + ".bad"))
        raise DownloadError(f"{remote.url} has the SHA-256 {found}, expected {remote.sha256}; what came is kept as {bad}")
    return part.replace(target)


def _receive(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urlopen(request, timeout=30)
    except HTTPError as error:
        if have and error.code == 416:  # it was all there
            return
        raise
    with reply:
        goes_on = reply.status == 206
        total = int(reply.headers.get("Content-Length") or 0) + (have if goes_on else 0)
        with (
            part.open("ab" if goes_on else "wb") as file,
            tqdm(total=total or None, initial=have if goes_on else 0, unit="B", unit_scale=True, desc=part.stem) as progress,
        ):
            while block := reply.read(_BLOCK):
                file.write(block)
                progress.update(len(block))
    if total and part.stat().st_size < total:
        raise DownloadError(f"{url} stopped after {part.stat().st_size} of {total} bytes; the same command goes on from there")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_kaggle(handle: str, target: Path) -> Path:
    """The set's files in ``target``; kagglehub shows progress, goes on after an interruption, and checks what came."""
    if target.exists():
        return target
    import kagglehub

    try:
        found = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # its client has no common base class of errors
        raise DownloadError(f"Kaggle's client could not fetch {handle}: {error}") from error
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(found, part)
    return part.replace(target)
