"""The log's tables in SQLite or PostgreSQL: how they are reached, made and checked.

It owns the columns' types and the connection, and knows nothing of what rows mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import (
    REAL,
    URL,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.types import TypeEngine

from ferflow.livelog.rows import LogError
from ferflow.vocabulary import FEEDBACK_COLUMNS, LIVE_COLUMNS

_WAIT_S = 2  # for a lock of SQLite, and twice that for a server to answer
_SCHEMA_LOCK, FORGET_LOCK = 7_215_401, 7_215_402  # numbers of PostgreSQL's advisory locks; any that nobody else uses


class _Utc(TypeDecorator[datetime]):
    """A time in UTC, with its zone where the database knows of zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value


_TYPES: dict[str, TypeEngine[Any]] = {
    "string": String(),
    "int32": Integer(),
    "float32": REAL(),
    "bool": Boolean(),
    "timestamp": _Utc(),
}
_PYTHON = {"string": str, "int32": int, "float32": float, "bool": bool, "timestamp": datetime}
_META = MetaData()


def _table(name: str, columns: dict[str, str], key: str, indexed: tuple[str, ...]) -> Table:
    return Table(
        name,
        _META,
        *(
            Column(column, _TYPES[kind], primary_key=column == key, nullable=column not in (key, "time"), index=column in indexed)
            for column, kind in columns.items()
        ),
    )


PREDICTIONS = _table("predictions", LIVE_COLUMNS, "id", ("time", "client"))
FEEDBACK = _table("feedback", FEEDBACK_COLUMNS, "key", ("prediction", "time"))
FORGOTTEN = _table("forgotten", {"id": "string", "time": "timestamp"}, "id", ())
_SHAPES = {"predictions": LIVE_COLUMNS, "feedback": FEEDBACK_COLUMNS, "forgotten": {"id": "string", "time": "timestamp"}}


def connect(url: str) -> Engine:
    """An engine for ``url`` (nothing is opened yet); ``LogError`` for an address that cannot be one of a log."""
    plain = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    try:
        address = make_url(plain)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() == "sqlite" and address.database and address.database != ":memory:":
            return _sqlite(str(Path(address.database).absolute()))
        if address.drivername == "postgresql+psycopg":
            # a server that was cut off is noticed; a pooled connection is tried before it is used
            limits = {"connect_timeout": 2 * _WAIT_S, "tcp_user_timeout": 5000 * _WAIT_S, "application_name": "ferflow"}
            given = {name: value for name, value in limits.items() if name not in address.query}
            return create_engine(address, connect_args=given, pool_pre_ping=True, pool_size=2)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise LogError(f"the log's address (serve.log) is not usable: {error}") from error
    raise LogError(
        f"the log cannot be at {address.render_as_string()}: serve.log is sqlite:///FILE or "
        "postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    )


def _sqlite(path: str) -> Engine:
    """Opened anew for every transaction: a file that was moved away is noticed, and not written to in the dark."""
    engine = create_engine(URL.create("sqlite", database=path), poolclass=NullPool, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def file_of(engine: Engine) -> Path | None:
    """The file of an SQLite log."""
    return Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None


@contextmanager
def said(engine: Engine) -> Iterator[None]:
    """Everything that goes wrong with the database becomes a ``LogError`` of one line, without statement, values or password."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        first = (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]
        raise LogError(f"{engine.url.render_as_string(hide_password=True)}: {first}") from error


def prepare(engine: Engine) -> None:
    """Make the tables where they are missing, however many processes try at once; ``LogError`` where they have another shape."""
    with said(engine):
        if (file := file_of(engine)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        with engine.connect() as connection:
            missing = set(_META.tables) - set(inspect(connection).get_table_names())
            connection.rollback()
            if missing:
                with _alone(connection):
                    _META.create_all(connection)
            _check(connection, engine)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction in which no other process makes tables: 'create if not exists' alone fails where two do."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _SCHEMA_LOCK})
    yield
    connection.commit()


def _check(connection: Connection, engine: Engine) -> None:
    inspector = inspect(connection)
    for name, shape in _SHAPES.items():
        found = {column["name"]: column["type"] for column in inspector.get_columns(name)}
        wrong = [column for column, kind in shape.items() if column not in found or not _fits(found[column], _PYTHON[kind])]
        if wrong or inspector.get_pk_constraint(name)["constrained_columns"] != [next(iter(shape))]:
            raise LogError(
                f"{engine.url.render_as_string()}: the table {name} is of another version (look at "
                f"{', '.join(wrong[:3]) or 'its primary key'}); rename it (ALTER TABLE {name} RENAME TO {name}_old) and drop "
                "its indexes, and a new one is made"
            )


def _fits(kind: TypeEngine[Any], wanted: type) -> bool:
    try:
        return issubclass(kind.python_type, wanted) or (wanted is float and kind.python_type is Decimal)
    except NotImplementedError:
        return False
