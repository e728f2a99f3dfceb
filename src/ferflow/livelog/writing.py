"""The writer of the log: takes rows at once, writes them in batches from a thread, and outlives its database.

Rows go on in this order: memory, then, where memory is full because the database is away, the spill file, then the database. Two
threads, because a database that hangs must not keep rows from the disk. It knows no SQL and no request.
"""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypedDict
from uuid import uuid4

from ferflow.livelog import spill as spilling
from ferflow.livelog.rows import SPILL, Item, LogError, plain
from ferflow.livelog.spill import Spill
from ferflow.livelog.store import RefusedError, Store
from ferflow.vocabulary import EXPRESSIONS, is_id

_log = logging.getLogger("ferflow.livelog")
_BATCH = 500  # rows
_SLACK = 10_000  # rows beyond the capacity, while the disk is slow
_SPILL_BYTES = 256 << 20  # of the whole folder: about 200,000 rows
_ADOPT_S = 30.0  # between looks for files of processes that died
_PATIENCE_S = 5.0  # the longest pause between attempts, and what a write may take before the database counts as away


class State(TypedDict):
    """Counters of the log: written and dropped since the start; waiting (in memory) and spilled (on disk) now."""

    written: int
    waiting: int
    spilled: int
    dropped: int
    up: bool
    last_error: str


class PredictionLog:
    """Writes rows to the database at ``url`` (see ``serve.log``), off the path of requests.

    ``spill``: a folder, which processes may share. ``capacity``: rows kept in memory while the database is away (and a batch of
    500); then the oldest go to the folder, up to ``spill_bytes``, and when it has no room either they are dropped and counted.
    ``LogError`` at once for an address that cannot be right; never later. Rows in memory are lost when the process is killed;
    nothing else is.
    """

    def __init__(
        self,
        url: str,
        spill: Path = SPILL,
        capacity: int = 10_000,
        *,
        interval_s: float = 0.5,
        spill_bytes: int = _SPILL_BYTES,
    ) -> None:
        self._store, self._folder = Store(url), Path(spill).absolute()
        self._capacity, self._interval_s, self._spill_bytes = max(1, capacity), interval_s, spill_bytes
        self._buffer: deque[Item] = deque()
        self._batch: list[Item] = []  # taken from the buffer, and not known to be written
        self._spill = Spill(self._folder, spill_bytes)
        self._adopted: list[Spill] = []
        self._lock = threading.Lock()  # of the buffer and the counters; never held while a disk or a database is waited for
        self._moving = threading.Lock()  # rows go from the buffer either to the database or to the disk: the order stays
        self._wake, self._full, self._stop, self._tried = (threading.Event() for _ in range(4))
        self._written = self._dropped = 0
        self._up, self._ready, self._error = False, False, ""
        self._closed = False
        self._busy_since: float | None = None
        self._adopt_at = self._deadline = 0.0
        self._threads = [
            threading.Thread(target=target, name=f"ferflow-log-{target.__name__.strip('_')}", daemon=True)
            for target in (self._write_on, self._spill_on)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close, 2.0)

    # ---- what callers use -------------------------------------------------------------------------------------------------

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows (see ``vocabulary.LIVE_COLUMNS``; they belong to the log from now on). Never waits, never raises."""
        try:
            self._take_in([("predictions", row) for row in rows])
        except Exception as error:  # whatever was given instead of rows must not end a request
            self._drop(1, f"rows that are none: {error!r:.200}")

    def feedback(self, prediction: str, label: str, client: str | None = None) -> bool:
        """Note what somebody says the expression really was; False where there is no such prediction.

        Every word is kept, the last one counts. While the database is away a prediction cannot be looked up: the word is taken
        on trust. ``ValueError`` for a label that is no expression. It may wait for the database (a few milliseconds; for an id
        that is not there, twice the writer's interval, as another process may be about to write it).
        """
        if label not in EXPRESSIONS:
            raise ValueError(f"no expression is called {label!r:.60}; there are {', '.join(EXPRESSIONS)}")
        if not is_id(prediction):
            return False
        if not self._knows(prediction):
            self._stop.wait(2 * self._interval_s)
            if not self._knows(prediction):
                return False
        row = {"key": uuid4().hex, "prediction": prediction, "label": label, "client": client, "time": datetime.now(UTC)}
        self._take_in([("feedback", row)])
        return True

    def forget(self, prediction: str) -> int:
        """Remove a prediction and its feedback from memory, disk and database; the number of rows that went.

        ``LogError`` where the database is away: what it holds is still there, so ask again.
        """
        if not is_id(prediction):
            return 0
        with self._lock:
            about = [item for item in (*self._batch, *self._buffer) if _is_about(item, prediction)]
            if about:
                self._buffer = deque(item for item in self._buffer if not _is_about(item, prediction))
                self._batch = [item for item in self._batch if not _is_about(item, prediction)]
        gone = {str(row.get("key") or row.get("id")) for _, row in about}
        return len(gone | _forget(self._store, self._folder, prediction))

    def state(self) -> State:
        """The counters, and whether the database takes rows (``last_error`` says what was last wrong, also afterwards)."""
        busy = self._busy_since
        with self._lock:
            return State(
                written=self._written,
                waiting=len(self._buffer) + len(self._batch),
                spilled=self._spill.rows + sum(one.rows for one in self._adopted),
                dropped=self._dropped,
                up=self._up and (busy is None or monotonic() - busy < _PATIENCE_S),
                last_error=self._error,
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, for at most ``timeout_s``; put the rest on disk, where the next start finds it."""
        if self._stop.is_set():
            return
        self._deadline = monotonic() + timeout_s
        self._stop.set()
        self._wake.set()
        self._full.set()
        for thread in self._threads:
            thread.join(max(0.1, self._deadline - monotonic()))
        with self._lock:
            left = [*self._batch, *self._buffer]
            self._batch, self._buffer, self._closed = [], deque(), True
        for start in range(0, len(left), _BATCH):
            self._put_away(left[start : start + _BATCH])
        for one in (*self._adopted, self._spill):
            one.close()
        self._store.close()
        atexit.unregister(self.close)

    # ---- memory -----------------------------------------------------------------------------------------------------------

    def _take_in(self, items: list[Item]) -> None:
        with self._lock:
            if not (closed := self._closed):
                self._buffer.extend(items)
            waiting = len(self._buffer)
            excess = waiting - self._capacity - _SLACK
            for _ in range(excess):  # the disk, too, hangs
                self._buffer.popleft()
        if closed:
            self._drop(len(items), "rows came after the log was closed")
        if excess > 0:
            self._drop(excess, "memory is full, and the spill file does not take rows fast enough")
        if waiting > self._capacity:
            self._full.set()
        if waiting >= _BATCH:
            self._wake.set()

    def _drop(self, count: int, why: str) -> None:
        with self._lock:
            self._dropped += count
            new, self._error = why != self._error, why
        if new:
            _log.warning("prediction log: %d rows dropped: %s", count, why)

    def _plain(self, items: list[Item]) -> list[Item]:
        good = []
        for item in items:
            try:
                good.append(plain(item))
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                self._drop(1, f"a row cannot be used: {error}")
        return good

    def _knows(self, prediction: str) -> bool:
        with self._lock:
            here = [item for rows in (self._buffer, self._batch) for item in rows]
        if any(item[0] == "predictions" and _is_about(item, prediction) for item in here):
            return True
        if spilling.holds(self._folder, prediction):
            return True
        self._tried.wait(_PATIENCE_S)  # for the first look at the database
        if not self.state()["up"]:
            return True
        try:
            return self._store.knows(prediction)
        except LogError:
            return True

    # ---- disk -------------------------------------------------------------------------------------------------------------

    def _spill_on(self) -> None:
        """The thread that puts the oldest rows on disk whenever there are too many in memory."""
        while not self._stop.is_set():
            self._full.wait()
            self._full.clear()
            while not self._stop.is_set() and len(self._buffer) > self._capacity:
                with self._moving:
                    with self._lock:
                        count = min(_BATCH, max(1, self._capacity // 4), len(self._buffer))
                        oldest = [self._buffer.popleft() for _ in range(count)]
                    self._put_away(oldest)

    def _put_away(self, items: list[Item]) -> None:
        items = self._plain(items)
        if items and not self._spill.append(items):
            self._drop(len(items), f"the database is away, and {self._folder} has no room (or reached its limit)")

    # ---- database ---------------------------------------------------------------------------------------------------------

    def _write_on(self) -> None:
        """The thread that writes: a batch as soon as it is full, what there is every interval, with pauses while it fails."""
        pause = self._interval_s
        while True:
            stopping = self._stop.is_set()
            try:
                good = self._attempt()
            except Exception as error:  # a mistake of ours must not end the thread
                _log.exception("prediction log")
                good = self._down(f"{type(error).__name__}: {error}")
            if stopping:
                return
            if good:
                pause = self._interval_s
                self._wake.wait(pause)
            else:
                self._stop.wait(pause)
                pause = min(2 * pause, _PATIENCE_S)
            self._wake.clear()

    def _attempt(self) -> bool:
        """Write everything that waits; False where the database is away, or the time to close is over."""
        if not self._ready:
            self._ready = self._reach(self._store.prepare)
            self._tried.set()
        if not self._ready:
            return False
        if monotonic() >= self._adopt_at and not self._stop.is_set():  # who closes must not take its own file up again
            self._adopt_at = monotonic() + _ADOPT_S
            self._adopted += spilling.adopt(self._folder, self._spill_bytes)
        while (found := self._oldest()) is not None:
            items, done = found
            if (self._stop.is_set() and monotonic() > self._deadline) or not self._write(items):
                return False
            done()
        self._adopted = [one for one in self._adopted if not one.empty]
        return True

    def _oldest(self) -> tuple[list[Item], Callable[[], None]] | None:
        """Up to a batch of the rows that have waited longest, and what to do when they are written; None: nothing waits."""
        with self._moving:
            if self._batch:  # it failed before
                return self._batch, self._batch_done
            for source in (*self._adopted, self._spill):
                if not source.empty:
                    items, bad = source.read(_BATCH)
                    return items, partial(self._spilled_done, source, bad)
            with self._lock:
                raw = self._batch = [self._buffer.popleft() for _ in range(min(_BATCH, len(self._buffer)))]
        if not raw:
            return None
        good = self._plain(raw)
        with self._lock:
            self._batch = good
        return good, self._batch_done

    def _batch_done(self) -> None:
        with self._lock:
            self._batch = []

    def _spilled_done(self, source: Spill, bad: int) -> None:
        source.done()
        if bad:
            self._drop(bad, "lines of a spill file were cut off or are not rows")

    def _write(self, items: list[Item]) -> bool:
        """Whether the rows are written now; rows whose values the database refuses are dropped one by one."""
        if not items:
            return True
        try:
            if not self._reach(lambda: self._store.write(items)):
                return False
        except RefusedError as error:
            if len(items) > 1:
                return all(self._write([item]) for item in items)
            self._drop(1, str(error))
            return True
        with self._lock:
            self._written += len(items)
        return True

    def _reach(self, ask: Callable[[], None]) -> bool:
        """Do something with the database; False, and a line in the log of the process, where it cannot be reached."""
        self._busy_since = monotonic()
        try:
            ask()
        except RefusedError:
            raise
        except LogError as error:
            return self._down(str(error))
        finally:
            self._busy_since = None
        if not self._up:
            _log.info("prediction log: the database takes rows")
        self._up = True
        return True

    def _down(self, why: str) -> bool:
        with self._lock:
            new = self._up or why != self._error
            self._up, self._ready, self._error = False, False, why
        if new:
            _log.warning("prediction log: rows wait, the database is away: %s", why)
        return False


def _is_about(item: Item, prediction: str) -> bool:
    table, row = item
    return isinstance(row, dict) and row.get("id" if table == "predictions" else "prediction") == prediction


def _forget(store: Store, folder: Path, prediction: str) -> set[str]:
    try:
        return spilling.forget(folder, prediction) | store.forget(prediction)
    except OSError as error:
        raise LogError(f"{folder}: {error}") from error


def forget(url: str, prediction: str, spill: Path = SPILL) -> int:
    """Remove a prediction and its feedback from a log that another process may be writing; the number of rows that went.

    A row that is still on its way is deleted when it arrives. ``LogError`` where the database cannot be reached.
    """
    store = Store(url)
    try:
        return len(_forget(store, Path(spill), prediction)) if is_id(prediction) else 0
    finally:
        store.close()
