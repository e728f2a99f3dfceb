"""Writes a text file whole or not at all. It knows nothing of what is in it."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write ``text``: whoever reads the file meanwhile, or after this process was killed, has the old text or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
