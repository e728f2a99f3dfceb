"""Forms with files (RFC 7578), taken apart strictly and without copying: what two parsers could read differently is refused.

It knows no field and no route.
"""

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r"""boundary=(?:"([\w'()+,./:=? -]{1,70})"|([\w'()+,./:=?-]{1,70}))(?:[;\s]|$)""", re.I | re.A)
_PARAMETER = re.compile(r';\s*([\w*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))')
_MAX_HEAD = 4096  # bytes of a part's headers


@dataclass(frozen=True)
class Part:
    """One part of a form: the field's name, whether it says that it is a file and of what kind, and its bytes."""

    name: str
    is_file: bool
    kind: str
    data: memoryview


def split(body: bytes, content_type: str, most: int) -> list[Part]:
    """The parts of a form (RFC 7578), strictly: what two parsers could read differently is refused with ``ValueError``."""
    found = _BOUNDARY.search(content_type)
    if not found:
        raise ValueError("the content type names no boundary")
    delimiter = b"--" + (found[1] or found[2]).encode()
    at = (2 if body.startswith(b"\r\n") else 0) + len(delimiter)
    if not body.startswith(delimiter, at - len(delimiter)):
        raise ValueError("it does not begin with its boundary")
    parts: list[Part] = []
    while (end := body.find(b"\r\n" + delimiter, at)) >= 0:
        if len(parts) == most:
            raise ValueError(f"it has more than {most} parts")
        parts.append(_part(body, at, end))
        at = end + 2 + len(delimiter)
    if not body.startswith(b"--", at) or body[at + 2 : at + 100].strip() or len(body) > at + 100:
        raise ValueError("it is cut off, its last boundary is missing")
    return parts


def _part(body: bytes, start: int, end: int) -> Part:
    """The part between two boundaries; its bytes are looked at where they are, not copied."""
    blank = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEAD))
    if blank < 0 or not body.startswith(b"\r\n", start):
        raise ValueError("a part has no headers, or too many")
    kind, given = "", None
    for line in body[start + 2 : blank].split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name.lower() == "content-disposition" and given is None:
            given = _disposition(value.strip())
        elif name.lower() == "content-disposition":
            raise ValueError("a part has two names")
        elif name.lower() == "content-type":
            kind = value.partition(";")[0].strip().lower()
        elif name.lower() == "content-transfer-encoding" and value.strip().lower() not in ("binary", "8bit", "7bit"):
            raise ValueError("a part has a content-transfer-encoding")
    if given is None:
        raise ValueError("a part has no name")
    return Part(*given, kind, memoryview(body)[blank + 4 : end])


def _disposition(value: str) -> tuple[str, bool]:
    """A part's name, and whether it is a file: has a file name, whatever that is."""
    kind, _, _ = value.partition(";")
    found = [(match[1].lower(), match[2] if match[2] is not None else match[3]) for match in _PARAMETER.finditer(value)]
    names = [text for name, text in found if name == "name"]
    if kind.strip().lower() != "form-data" or len(names) != 1:
        raise ValueError("a part has no name, or two")
    return names[0], any(name in ("filename", "filename*") for name, _ in found)
