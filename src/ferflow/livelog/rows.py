"""Rows as the log takes them: checked and made plain, so that no database can refuse one for what is in it.

It knows no database.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ferflow.vocabulary import FEEDBACK_COLUMNS, LIVE_COLUMNS, is_id

SPILL = Path(".ferflow/spill")  # the folder of rows that wait on disk
COLUMNS = {"predictions": LIVE_COLUMNS, "feedback": FEEDBACK_COLUMNS}
_FLOATS = [name for name, kind in LIVE_COLUMNS.items() if kind == "float32"]
_LONGEST = 200  # characters of a text; clients choose some of them
_INT32 = 2**31

Item = tuple[str, dict[str, Any]]  # the table, and a row of it


class LogError(RuntimeError):
    """The log cannot be reached, or is not what it should be; the message says which and what to do."""


def plain(item: Item) -> Item:
    """The row with exactly the columns of its table, as plain values; what it lacks, and what is not finite, is None.

    Texts are cut at 200 characters, times become UTC (one without a zone counts as UTC). Keys that are no columns are left
    out. ``ValueError`` names the value that cannot be meant.
    """
    table, row = item
    values = {name: _value(name, kind, row.get(name)) for name, kind in COLUMNS[table].items() if kind != "float32"}
    if table == "predictions":
        values |= _floats(row)
    for name in {"id", "prediction", "key"} & values.keys():
        if not is_id(values[name]):
            raise ValueError(f"{name} {row.get(name)!r:.60} is not 32 hexadecimal digits")
    if values["time"] is None:
        raise ValueError(f"a row of {table} has no time")
    return table, values


def _value(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "string":
        return str(value).replace("\0", "").encode("utf-8", "replace").decode()[:_LONGEST]
    if kind == "bool":
        return bool(value)
    if kind == "int32":
        if not -_INT32 <= int(value) < _INT32:
            raise ValueError(f"{name} {value!r:.60} is no 32-bit number")
        return int(value)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError(f"{name} {value!r:.60} is no time")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _floats(row: Mapping[str, Any]) -> dict[str, float | None]:
    """All at once and as single precision: PostgreSQL refuses a ``real`` that is too large, or too small, to be one."""
    with np.errstate(over="ignore", under="ignore"):
        values = np.array([row.get(name) for name in _FLOATS], dtype=np.float32)
    finite = np.isfinite(values)
    return {name: value if good else None for name, value, good in zip(_FLOATS, values.tolist(), finite.tolist(), strict=True)}


def to_line(item: Item) -> bytes:
    """A plain row as a line of JSON; a row's id comes first, so that it can be found without parsing."""
    table, row = item
    return json.dumps([table, row], separators=(",", ":"), default=datetime.isoformat).encode() + b"\n"


def from_line(line: bytes) -> Item:
    """The plain row of a line; ``ValueError`` where it is none (a line that was cut off, say)."""
    table, row = json.loads(line)
    if table not in COLUMNS or not isinstance(row, dict):
        raise ValueError("a line that is no row")
    return plain((table, row))
