"""Writes a text file whole or not at all. It knows nothing of what is in it."""

import errno
import os
import shutil
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write ``text``: whoever reads the file meanwhile, or after this process was killed, has the old text or the new one.

    A link stays a link, and a file keeps its mode. A file that is a mount of its own cannot be replaced: it is written in place.
    """
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    if path.exists():
        shutil.copymode(path, part)
    try:
        part.replace(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        path.write_text(text)
        part.unlink()
