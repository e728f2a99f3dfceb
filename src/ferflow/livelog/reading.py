"""The log as tables for programs: a window of it for monitoring, and a summary for people.

It writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, Subquery, and_, case, func, inspect, select, type_coerce
from sqlalchemy.types import NullType

from ferflow.livelog import tables
from ferflow.livelog.rows import LogError
from ferflow.livelog.tables import FEEDBACK, PREDICTIONS
from ferflow.vocabulary import LIVE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1000  # in memory as Python objects
_UNIQUE = ("id", "request_id")
_NOTHING = "there is no log yet; the service writes it (bentoml serve) where serve.log of params.yaml says"


@dataclass(frozen=True)
class Summary:
    """What is in the log: rows, the pictures without a face among them, words of feedback, the first and last time, counts.

    ``uncertain`` is the share of faces whose answer was uncertain; NaN where there is no face.
    """

    rows: int
    no_face: int
    feedback: int
    first: datetime
    last: datetime
    expressions: dict[str, int]
    clients: dict[str, int]
    uncertain: float


def read(
    url: str, since: datetime, until: datetime, limit: int | None = None, columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Predictions from ``since`` on and before ``until``, by time; with the last feedback as ``label`` (None: nobody said).

    ``columns``: some of those of the predictions table and ``label``; none: all. Numbers are float32 (counts too, as they may be
    missing), ``certain`` is 1, 0 or NaN, ``time`` is UTC. With a ``limit``, a window of more rows gives that many of them: those
    whose ids come first. Ids are random, so this is a uniform sample, and it is the same each time. ``LogError`` where there is
    no log, or no such column.
    """
    wanted = list(columns) if columns is not None else [*LIVE_COLUMNS, "label"]
    if unknown := sorted(set(wanted) - {*LIVE_COLUMNS, "label"}):
        raise LogError(f"the log has no column {unknown[0]!r}; it has {', '.join(LIVE_COLUMNS)}, label")
    window = and_(PREDICTIONS.c.time >= since, PREDICTIONS.c.time < until)
    chosen: ColumnElement[bool] = window
    if limit is not None:
        # ordered by an expression: by the column itself a planner may walk the whole index of ids instead of the window
        sample = select(PREDICTIONS.c.id).where(window).order_by(PREDICTIONS.c.id.concat("")).limit(limit)
        chosen = PREDICTIONS.c.id.in_(sample)
    return _frame(url, wanted, chosen, window)


def labelled(url: str, since: datetime, until: datetime, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """As ``read``, of those predictions alone that somebody said the expression of."""
    wanted = [name for name in (columns if columns is not None else LIVE_COLUMNS) if name != "label"] + ["label"]
    window = and_(PREDICTIONS.c.time >= since, PREDICTIONS.c.time < until)
    found = _frame(url, wanted, and_(window, PREDICTIONS.c.id.in_(select(FEEDBACK.c.prediction))), window)
    return found.dropna(subset=["label"], ignore_index=True)


def recent(url: str, count: int, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """The last ``count`` rows, the newest last; columns as in ``read``."""
    wanted = list(columns) if columns is not None else [*LIVE_COLUMNS, "label"]
    newest = select(PREDICTIONS.c.id).order_by(PREDICTIONS.c.time.desc(), PREDICTIONS.c.id.desc()).limit(count)
    chosen = PREDICTIONS.c.id.in_(newest)
    return _frame(url, wanted, chosen, chosen)


def last_words() -> Subquery:
    """What people said: ``prediction``, ``label`` and ``place``, which is 1 for the last word of a prediction."""
    order = func.row_number().over(partition_by=FEEDBACK.c.prediction, order_by=(FEEDBACK.c.time.desc(), FEEDBACK.c.key.desc()))
    return select(FEEDBACK.c.prediction, FEEDBACK.c.label, order.label("place")).subquery()


def _labels(connection: Connection, where: ColumnElement[bool]) -> dict[str, str]:
    """The last word on each prediction. Not joined in the large query: a planner that knows no figures yet may try every pair."""
    words = select(FEEDBACK.c.prediction, FEEDBACK.c.label).join(PREDICTIONS, PREDICTIONS.c.id == FEEDBACK.c.prediction)
    return {row[0]: row[1] for row in connection.execute(words.where(where).order_by(FEEDBACK.c.time, FEEDBACK.c.key))}


def _frame(url: str, wanted: list[str], chosen: ColumnElement[bool], spoken: ColumnElement[bool]) -> "pd.DataFrame":
    """A thousand rows at a time become arrays (more at once fall out of the processor's cache); of equal texts one is kept.

    ``chosen``: which rows; ``spoken``: of which the feedback is looked up, at least theirs.
    """
    import pandas as pd  # a second of start-up, which writers do not need

    kept = [name for name in dict.fromkeys((*wanted, "id")) if name != "label"]
    numbers = [name for name in kept if LIVE_COLUMNS[name] not in ("string", "timestamp")]
    others = [name for name in kept if name not in numbers]
    query = select(*(type_coerce(PREDICTIONS.c[name], NullType()) for name in (*numbers, *others))).where(chosen)
    query = query.order_by(PREDICTIONS.c.time, PREDICTIONS.c.id)
    blocks: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in others}
    seen: dict[str, str] = {}
    engine = existing(url)
    try:
        with tables.said(engine), engine.connect() as connection:
            must_exist(connection)
            labels = _labels(connection, spoken) if "label" in wanted else {}
            for rows in connection.execution_options(yield_per=_ROWS).execute(query).partitions():
                blocks.append(np.array([row[: len(numbers)] for row in rows], dtype=np.float32))
                for place, name in enumerate(others, len(numbers)):
                    parts[name].append(_array(name, [row[place] for row in rows], seen))
    finally:
        engine.dispose()
    values = np.concatenate(blocks) if blocks else np.empty((0, len(numbers)), np.float32)
    blocks.clear()
    frame = pd.DataFrame(values, columns=numbers, copy=False).assign(**{name: _joined(name, parts.pop(name)) for name in others})
    if "time" in frame:
        frame["time"] = frame["time"].dt.tz_localize("UTC")
    if "label" in wanted:
        frame["label"] = _texts([labels.get(one) for one in frame["id"]])
    return frame[wanted]


def _array(name: str, values: list[Any], seen: dict[str, str]) -> np.ndarray:
    if name == "time":
        naive = values if isinstance(values[0], str) else [value.astimezone(UTC).replace(tzinfo=None) for value in values]
        return np.array(naive, dtype="datetime64[us]")  # SQLite has texts, in UTC
    return _texts(values if name in _UNIQUE else [value and seen.setdefault(value, value) for value in values])


def _texts(values: list[Any]) -> np.ndarray:
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    return texts


def _joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype="datetime64[us]" if name == "time" else object)


def existing(url: str) -> Engine:
    """An engine for a log that is there, as far as its address can tell; ``LogError`` where it is not."""
    engine = tables.connect(url)
    file = tables.file_of(engine)
    if file is not None and not file.exists():  # to open it would make it
        raise LogError(f"{file}: {_NOTHING}")
    return engine


def must_exist(connection: Connection) -> None:
    """``LogError`` where the database has no log."""
    if not all(inspect(connection).has_table(table.name) for table in (PREDICTIONS, FEEDBACK)):
        raise LogError(f"{connection.engine.url.render_as_string()}: {_NOTHING}")


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def summary(url: str) -> Summary | None:
    """What is in the log; None where it has no row. ``LogError`` where there is no log."""
    engine = existing(url)
    face = PREDICTIONS.c.expression.is_not(None)
    doubt = func.avg(case((PREDICTIONS.c.certain.is_(False), 1.0), else_=0.0)).filter(face)
    totals = select(
        func.count(),
        func.count().filter(PREDICTIONS.c.faces == 0),
        func.min(PREDICTIONS.c.time),
        func.max(PREDICTIONS.c.time),
        doubt,
    )
    try:
        with tables.said(engine), engine.connect() as connection:
            must_exist(connection)
            rows, no_face, first, last, uncertain = connection.execute(totals.select_from(PREDICTIONS)).one()
            if not rows:
                return None
            words = connection.scalar(select(func.count()).select_from(FEEDBACK)) or 0
            expressions, clients = (_counts(connection, name) for name in ("expression", "client"))
    finally:
        engine.dispose()
    doubts = float("nan") if uncertain is None else float(uncertain)
    return Summary(rows, no_face, words, _utc(first), _utc(last), expressions, clients, doubts)


def _counts(connection: Connection, name: str) -> dict[str, int]:
    column, count = PREDICTIONS.c[name], func.count()
    query = select(column, count).where(column.is_not(None)).group_by(column).order_by(count.desc(), column)
    return {row[0]: row[1] for row in connection.execute(query)}
