"""Source ``union``: several sources in one manifest, one after the other.

``path`` is a folder, and the option ``sources`` names what lies in it::

    options:
      sources:
        fer: {source: fer2013, path: fer2013.zip}
        utk: {source: utkface, path: utkface.zip, official: false}

``path`` of an entry is relative to the folder (or absolute), ``options`` are those of its source. Ids become
``<name>/<id>`` and ``source`` the entry's name. ``official: false`` forgets the official splits of an entry, so that the
split stage deals its faces out like any others.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferflow.datasets import WHOLE, About, DataError, Part, Rows
from ferflow.registry import check_options, get, register

ABOUT = About(
    title="several sources together",
    faces="those of its sources",
    terms="those of each source; the strictest holds for the whole",
    homepage="",
    layout="a folder with the files of every source in dataset.options.sources",
    by_hand="fetch every source by its own route",
)
_KEYS = {"source", "path", "options", "official"}
Read = Callable[[Part], Rows]


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, sources: dict[str, dict[str, Any]] | None = None) -> Rows:
    """The rows of every source in turn; all get the same ``seed``.

    Raises ``DataError`` for an entry that is not as above, ``ValueError`` for an option that its source does not know,
    and what the sources raise; entries are checked before the first row is read.
    """
    if not isinstance(sources, dict) or not sources:
        raise DataError("dataset.options.sources is empty; expected {<name>: {source: fer2013, path: fer2013.zip}}")
    readers = [_reader(Path(path), name, entry, seed) for name, entry in sources.items()]
    for number, share in part.of_blocks(len(readers)):
        yield from readers[number](share)


def _reader(folder: Path, name: str, entry: Any, seed: int) -> Read:
    """What reads a share of one entry; every error in the entry itself is raised here."""
    where = f"dataset.options.sources.{name}"
    if not isinstance(entry, dict) or not {"source", "path"} <= set(entry) <= _KEYS or "/" in str(name):
        raise DataError(f"{where} is {entry!r}; expected source and path, and perhaps options and official (a name has no /)")
    try:
        load_source = get("datasets", entry["source"])
    except KeyError as error:
        raise DataError(f"{where}: {error.args[0]}") from error
    options, official = entry.get("options") or {}, entry.get("official", True)
    if not isinstance(options, dict) or not isinstance(official, bool):
        raise DataError(f"{where} is {entry!r}; expected options as {{<name>: <value>}} and official as true or false")
    check_options(load_source, f"{where}.options for the source {entry['source']}", options)

    def read(part: Part) -> Rows:
        for row in load_source(folder / entry["path"], seed=seed, part=part, **options):
            split = row.get("official_split") if official else None
            yield {**row, "id": f"{name}/{row['id']}", "source": str(name), "official_split": split}

    return read
