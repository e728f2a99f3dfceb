"""The sources of faces, one file each: a raw folder, archive or recipe becomes rows of the manifest.

An entry is a function ``load(path, *, seed, **options) -> Iterator[Row]`` that yields dictionaries
with any of the manifest's columns; a missing one is null. It names the file, row or key of whatever
it cannot read in a ``DataError``. It knows nothing of splits, models or stages.
"""

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
Rows = Iterator[Row]


class DataError(ValueError):
    """Raw data that cannot be read; the message names the file, row or key and says what was expected."""
