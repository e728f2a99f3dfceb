"""Files that are no code: where they are looked for, and how they are fetched, checked and put there.

What a file is for is not known here; who needs one declares an ``Asset``.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ferflow.fetching import DownloadError, Remote, fetch, sha256

FOLDER_VARIABLE = "FERFLOW_ASSETS"
PROJECT_FOLDER = Path("models/detectors")


class AssetError(OSError):
    """A file that is not there, or is not the one that is meant; the message says what to do."""


@dataclass(frozen=True)
class Asset:
    """One file: its name, its address (empty: bring your own), its SHA-256 (empty: any content) and its licence."""

    file: str
    url: str
    sha256: str
    licence: str


def folders() -> list[Path]:
    """Where files are looked for, first to last: ``FERFLOW_ASSETS``, the project's folder, the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [*([Path(chosen).expanduser()] if chosen else []), PROJECT_FOLDER, cache / "ferflow"]


def target_folder() -> Path:
    """Where files are put: ``FERFLOW_ASSETS``, else the project's folder inside a project, else the user's cache."""
    first, *_, last = folders()
    return first if first != PROJECT_FOLDER or Path("params.yaml").is_file() else last


def find(asset: Asset) -> Path | None:
    """The file, or None where it lies nowhere. Raises ``AssetError`` when what lies there is another file."""
    found = next((path for folder in folders() if (path := folder / asset.file).is_file()), None)
    if found is not None:
        _check(asset, found, f"Move it away, then: ferflow assets fetch (or give the file's path, if you want this one: {found})")
    return found


def get(asset: Asset, folder: Path | None = None) -> Path:
    """The file, fetched where it is not there yet; one with the wrong content is kept aside under another name.

    Raises ``AssetError`` that says what to fetch by hand, and where to put it.
    """
    folder = folder or target_folder()
    target = folder / asset.file
    if target.is_file():
        if _is(asset, target):
            return target
        target.replace(target.with_name(target.name + ".bad"))
    if not asset.url:
        raise AssetError(f"{asset.file} is a file of your own: put it at {target}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return fetch(Remote(asset.url, asset.sha256), folder)
    except (DownloadError, OSError) as error:
        raise AssetError(f"{error}\n{by_hand(asset, target)}") from error


def add(asset: Asset, file: Path, folder: Path | None = None) -> Path:
    """Copy a file that was fetched by hand to where it is looked for; ``AssetError`` when it is not the one meant."""
    if not file.is_file():
        raise AssetError(f"{file} is no file")
    _check(asset, file, "Nothing was copied.")
    target = (folder or target_folder()) / asset.file
    if target.exists() and target.samefile(file):
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, part)
    except OSError as error:
        raise AssetError(f"{file} cannot be copied to {target}: {error.strerror or error}") from error
    return part.replace(target)


def by_hand(asset: Asset, target: Path) -> str:
    """What to fetch, and where to put it."""
    return (
        f"By hand, on a machine with a network:\n  from:    {asset.url}\n  sha256:  {asset.sha256}\n"
        f"  licence: {asset.licence}\n  to:      {target}"
    )


def _is(asset: Asset, path: Path) -> bool:
    return not asset.sha256 or sha256(path) == asset.sha256


def _check(asset: Asset, path: Path, hint: str) -> None:
    if not _is(asset, path):
        raise AssetError(
            f"{path} is not the {asset.file} that is meant: its SHA-256 is {sha256(path)}, expected {asset.sha256}. {hint}"
        )
