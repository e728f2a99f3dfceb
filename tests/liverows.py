"""Rows of the prediction log for tests, and what is asked of a log again and again."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from sqlalchemy import text

from ferflow.consent import Crops
from ferflow.livelog import PredictionLog
from ferflow.livelog.tables import connect

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(number: int = 0, **values: Any) -> dict[str, Any]:
    """A row of its own id; its time is ``number`` seconds after noon, and ``face`` is the number."""
    made = {"id": uuid4().hex, "time": NOON + timedelta(seconds=number), "client": "c", "faces": 1, "face": number}
    return (
        made
        | {"expression": "happy", "confidence": 0.75, "certain": True, "p_expression_happy": 0.75, "latency_ms": 4.5}
        | values
    )


def people_say(log: PredictionLog, crops: Path, count: int, label: str = "happy", seed: int = 0) -> list[str]:
    """People gave ``count`` faces of noise, agreed that they are kept, and said what they show; closes the log."""
    draw, kept, ids = np.random.default_rng([seed, count]), Crops(crops, 90), [uuid4().hex for _ in range(count)]
    for number, one in enumerate(ids):
        time = datetime.now(UTC) - timedelta(minutes=5) + timedelta(seconds=number)
        log.add([{"id": one, "time": time, "client": "c", "request_id": one, "faces": 1}])
        kept.keep(one, np.kron(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8), np.ones((5, 5, 1), np.uint8)))
    for one in ids:
        assert log.feedback(one, label)
    log.close(20)
    return ids


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


def stored(url: str, what: str = "id", table: str = "predictions") -> list[Any]:
    """A column of a table, by time."""
    engine = connect(url)
    try:
        with engine.connect() as connection:
            return [found[0] for found in connection.execute(text(f"SELECT {what} FROM {table} ORDER BY time"))]
    finally:
        engine.dispose()


def each_once(url: str, ids: list[str]) -> bool:
    """Whether exactly these rows are there, each once."""
    return Counter(stored(url)) == Counter(ids)


# What another process does: it adds rows, two words of feedback, prints the ids, and closes.
CHILD = """
import sys
from liverows import row
from ferflow.livelog import PredictionLog
log = PredictionLog(sys.argv[1], sys.argv[2], capacity=200)
rows = [row(n) for n in range(int(sys.argv[3]))]
for one in rows:
    log.add([one])
log.feedback(rows[0]["id"], "sad")
log.close(60)
print(log.state()["dropped"], *(one["id"] for one in rows))
"""


def command(code: str, *arguments: object) -> list[str]:
    """Python code in a process of its own, which finds the tests' helpers."""
    here = f"import sys; sys.path.insert(0, {str(__file__).rsplit('/', 1)[0]!r})\n"
    return [sys.executable, "-c", here + code, *map(str, arguments)]


def two_processes_write(url: str, spill: Path, count: int) -> None:
    """Two processes write ``count`` rows each, at the same time, where nobody has made the tables: every row is there once."""
    running = [
        subprocess.Popen(command(CHILD, url, spill, count), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=90) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert [out.split()[0] for out, _ in said] == ["0"] * 2, "nothing is dropped"
    assert each_once(url, [one for out, _ in said for one in out.split()[1:]])
    assert stored(url, "label", "feedback") == ["sad"] * 2
