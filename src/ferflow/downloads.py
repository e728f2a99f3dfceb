"""Raw data from where its makers keep it: plain files over HTTP, and Kaggle through its client.

What asks for a signed agreement is never fetched. Where something cannot be had, the error says what to fetch by hand, and
where to put it. It knows no manifest and no stage.
"""

import shutil
from pathlib import Path

from ferflow.datasets import About
from ferflow.fetching import DownloadError as DownloadError
from ferflow.fetching import fetch as fetch


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
