"""What is written into the log's tables, and taken out of them: each row once, and nothing that was forgotten.

It owns what is done in one transaction; when, and what happens where the database is away, is known to ``writing`` alone.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, StatementError

from ferflow.livelog import tables
from ferflow.livelog.rows import Item, LogError
from ferflow.livelog.tables import FEEDBACK, FORGOTTEN, PREDICTIONS


class RefusedError(LogError):
    """The database is there, and does not take these values."""


class Store:
    """The tables at one address. Every method raises ``LogError`` where the database cannot be reached."""

    def __init__(self, url: str) -> None:
        self._engine = tables.connect(url)

    def prepare(self) -> None:
        """Make the tables where they are not there."""
        tables.prepare(self._engine)

    def write(self, items: list[Item]) -> None:
        """Write plain rows, all or none of them; one that is there already stays as it is.

        ``RefusedError`` where a value is at fault.
        """
        with tables.said(self._engine):
            try:
                with self._engine.begin() as connection:
                    self._lock(connection, "_shared")
                    for table in (PREDICTIONS, FEEDBACK):
                        if rows := [row for name, row in items if name == table.name]:
                            connection.execute(_insert(connection, table), rows)
                    _sweep(connection, items)
            except StatementError as error:
                if isinstance(error, DataError) or not isinstance(error, DBAPIError):
                    raise RefusedError(f"a row is refused: {str(error.orig).splitlines()[0][:200]}") from error
                raise

    def knows(self, prediction: str) -> bool:
        """Whether the prediction is in the table."""
        with tables.said(self._engine), self._engine.connect() as connection:
            return connection.scalar(select(PREDICTIONS.c.id).where(PREDICTIONS.c.id == prediction)) is not None

    def forget(self, prediction: str) -> set[str]:
        """Delete a prediction and its feedback; the keys of the rows that are gone.

        Its id is noted, so that a row of it that is still on its way, in whatever process, is deleted as it arrives.
        """
        file = tables.file_of(self._engine)
        if file is not None and not file.exists():
            return set()
        self.prepare()
        with tables.said(self._engine), self._engine.begin() as connection:
            self._lock(connection, "")
            connection.execute(_insert(connection, FORGOTTEN), [{"id": prediction, "time": datetime.now(UTC)}])
            return _delete(connection, [prediction])

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def _lock(self, connection: Connection, kind: str) -> None:
        """Who forgets waits for who writes: else a row that is not committed yet would be overlooked. SQLite has one writer."""
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:number)"), {"number": tables.FORGET_LOCK})


def _insert(connection: Connection, table: Table) -> Any:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def _sweep(connection: Connection, items: list[Item]) -> None:
    """Delete what was just written of predictions that were to be forgotten before they came."""
    ids = {row["id"] if name == PREDICTIONS.name else row["prediction"] for name, row in items}
    if gone := list(connection.scalars(select(FORGOTTEN.c.id).where(FORGOTTEN.c.id.in_(ids)))):
        _delete(connection, gone)


def _delete(connection: Connection, predictions: list[str]) -> set[str]:
    gone: set[str] = set()
    for key, column in ((PREDICTIONS.c.id, PREDICTIONS.c.id), (FEEDBACK.c.key, FEEDBACK.c.prediction)):
        gone |= set(connection.scalars(select(key).where(column.in_(predictions))))
        connection.execute(delete(key.table).where(column.in_(predictions)))
    return gone
